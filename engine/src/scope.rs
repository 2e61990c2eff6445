//! Where in a run something happens: paths such as `answer`, `hop[2]/search`, `fan[17]/hop[1]/think`.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::Text;

/// The place of a node execution.
///
/// One pointer: a scope is cloned many times on the way of an execution, and the texts in it belong to the plan, which
/// all runs of a process share and would otherwise count up and down together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Arc<Place>);

/// The path of the scope around a node, and the node's name there.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Path of the enclosing scope; empty at the top of the flow.
    pub frame: Text,
    /// The node's name.
    pub node: Text,
}

impl Deref for Scope {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.0
    }
}

impl Scope {
    /// The node `node` in the scope at path `frame`.
    pub fn new(frame: impl Into<Text>, node: impl Into<Text>) -> Self {
        Self(Arc::new(Place { frame: frame.into(), node: node.into() }))
    }

    /// The path of the scope that the node opens by itself: a sub-flow (`once`).
    pub fn sub(&self) -> Text {
        self.to_string().into()
    }

    /// The path of one turn or item of the node: `hop[2]`.
    pub fn indexed(&self, index: usize) -> Text {
        format!("{self}[{index}]").into()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.frame.is_empty() {
            f.write_str(&self.node)
        } else {
            write!(f, "{}/{}", self.frame, self.node)
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl From<&str> for Scope {
    fn from(path: &str) -> Self {
        match path.rsplit_once('/') {
            Some((frame, node)) => Self::new(frame, node),
            None => Self::new("", path),
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|path| Self::from(path.as_str()))
    }
}
