//! A plan: a flow with every reference resolved to a position, ready to run. It cannot fail on a name or a port.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::Budget;
use crate::flow::expression::Expr;
use crate::flow::{Need, OnItemError, TestDecl};
use crate::operator::{DynOperator, OperatorSpec, Port};
use crate::retry::Retry;
use crate::scope::Scope;
use crate::types::Type;
use crate::value::{Text, Value};

pub mod build;
mod check;
pub mod explain;
mod kit;
#[cfg(test)]
mod tests;

pub use build::{Environment, compile};
pub use kit::Kit;

/// A compiled flow.
#[derive(Debug)]
pub struct Plan {
    /// Name of the flow.
    pub name: Text,
    /// Hash of everything that decides what the flow does: the texts of the flow, its sub-flows and prompts.
    pub hash: Text,
    /// What the flow is for.
    pub about: Option<Text>,
    /// The body.
    pub root: Arc<Body>,
    /// The budget of the flow.
    pub budget: Budget,
    /// The tests that the flow carries.
    pub tests: Vec<TestDecl>,
    /// Names of the indexes that settings mention, so that they can be built before the run.
    pub indexes: Vec<Text>,
}

impl Plan {
    /// The node that runs at `scope`, whatever the turn or item.
    pub fn node(&self, scope: &Scope) -> Option<&Node> {
        self.place(scope).map(|(_, node)| node)
    }

    /// The node that runs at `scope`, and the body that it is part of.
    pub(crate) fn place(&self, scope: &Scope) -> Option<(&Body, &Node)> {
        let path = scope.to_string();
        let mut rest = path.as_str();
        let mut body = &*self.root;
        loop {
            let (first, inner) = match rest.split_once('/') {
                Some((first, inner)) => (first, Some(inner)),
                None => (rest, None),
            };
            let name = first.split('[').next().unwrap_or(first);
            let node = body.nodes.iter().find(|node| *node.name == *name)?;
            let Some(inner) = inner else { return Some((body, node)) };
            (body, rest) = node.inner(inner)?;
        }
    }
}

impl Node {
    /// The body that the node opens, if it opens one.
    pub fn body(&self) -> Option<&Body> {
        match &self.kind {
            // What a plan is made of is known when it is there.
            Kind::Op(_) | Kind::Wait(_) | Kind::Plan(_) => None,
            Kind::Flow { body, .. } => Some(body),
            Kind::Loop(inner) => Some(&inner.body),
            Kind::Each(inner) => Some(&inner.body),
        }
    }

    /// The body inside this node that the path `inner` leads into, and the path in it.
    pub(crate) fn inner<'a>(&self, inner: &'a str) -> Option<(&Body, &'a str)> {
        self.fallback(inner).or_else(|| Some((self.body()?, inner)))
    }

    /// The flow that stands in for the node, and the path in it, if `inner` leads there.
    pub(crate) fn fallback<'a>(&self, inner: &'a str) -> Option<(&Body, &'a str)> {
        let inner = inner.strip_prefix("on_error/")?;
        match &self.on_error {
            OnError::Flow { body, .. } => Some((body, inner)),
            _ => None,
        }
    }
}

/// What a flow takes from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Its name, type and documentation.
    pub port: Port,
    /// Value if none is given; an optional input without one is absent.
    pub default: Option<Value>,
    /// Least number, or least length of a text or list.
    pub min: Option<f64>,
    /// Greatest number, or greatest length of a text or list.
    pub max: Option<f64>,
}

/// The nodes of one scope: a flow, a loop's turn, an each's item.
#[derive(Debug, Default)]
pub struct Body {
    /// The flow's name, for a flow's body.
    pub flow: Option<Text>,
    /// Inputs of a flow's body; `inputs` of other bodies are positional, see [`Ref::Input`].
    pub inputs: Vec<Input>,
    /// The nodes, in the order in which they are written.
    pub nodes: Vec<Node>,
    /// Values from the scope around that the body uses, in that scope's terms; copied when the scope opens.
    pub captures: Vec<Ref>,
    /// Named results: a flow's outputs, a loop's `next` (in the order of `carry`), an each's outputs.
    pub outputs: Vec<Output>,
}

impl Body {
    /// The paths of the waits in the body and what is inside it, without indexes, in the order in which they are written.
    pub fn waits(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.add_waits("", &mut paths);
        paths
    }

    fn add_waits(&self, within: &str, paths: &mut Vec<String>) {
        for node in &self.nodes {
            let path = format!("{within}{}", node.name);
            if let Kind::Wait(_) = node.kind {
                paths.push(path.clone());
            }
            if let Some(inner) = node.body() {
                inner.add_waits(&format!("{path}/"), paths);
            }
            if let OnError::Flow { body, .. } = &node.on_error {
                body.add_waits(&format!("{path}/on_error/"), paths);
            }
        }
    }
}

/// A named result of a body.
#[derive(Debug)]
pub struct Output {
    /// Name, type and documentation.
    pub port: Port,
    /// How it is made.
    pub value: Expr,
}

/// Where a value comes from, within one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ref {
    /// Of a flow: its inputs. Of a loop's turn: what is carried, in order. Of an each's item: the item, then its index.
    Input(u32),
    /// An output of a node of the same body.
    Port {
        /// Position of the node in [`Body::nodes`].
        node: u32,
        /// Position of the port in [`Node::outputs`].
        port: u32,
    },
    /// A value copied from the scope around: position in [`Body::captures`].
    Capture(u32),
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: Text,
    /// What it is for.
    pub about: Option<Text>,
    /// What it runs.
    pub kind: Kind,
    /// Its outputs.
    pub outputs: Vec<Port>,
    /// The nodes that it waits for, each once.
    pub needs: Vec<Dependency>,
    /// The nodes that wait for it.
    pub dependents: Vec<u32>,
    /// Whether it runs at all.
    pub when: Option<Expr>,
    /// When it may start.
    pub join: Join,
    /// What happens when it fails.
    pub on_error: OnError,
    /// What it may spend.
    pub budget: Option<Budget>,
}

/// One node that another waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// Position in [`Body::nodes`].
    pub node: u32,
    /// Whether it must be settled whatever the join says: `after`, `when`, or a required port that takes no other.
    pub strict: bool,
}

/// When a node with several inputs may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Join {
    /// How many inputs must be there.
    pub need: Need,
    /// How long to wait for them; then it starts with what there is.
    pub deadline: Option<Duration>,
    /// Whether branches that are no longer wanted are stopped.
    pub cancel_losers: bool,
}

/// A value of a setting: known, or to be evaluated when the node starts.
#[derive(Debug)]
pub enum Late<T> {
    /// Known.
    Now(T),
    /// Evaluated when the node starts, checked then.
    Later(Expr),
}

/// What a node runs.
#[derive(Debug)]
pub enum Kind {
    /// An operator.
    Op(Op),
    /// Another flow.
    Flow {
        /// Its body.
        body: Arc<Body>,
        /// An expression for each of its inputs, by position; `None` takes the default.
        inputs: Vec<Option<Expr>>,
    },
    /// A loop.
    Loop(Loop),
    /// An each.
    Each(Each),
    /// A question to somebody outside.
    Wait(Wait),
    /// A plan that is made while the flow runs.
    Plan(Planned),
}

/// An operator with its wiring.
pub struct Op {
    /// The operator.
    pub spec: Arc<OperatorSpec>,
    /// Its settings.
    pub settings: Settings,
    /// Its settings as they are written, for those who look: `${ expr }` is a text, what is not written is left out.
    pub written: serde_json::Value,
    /// Names of the input ports, in the order of `inputs`.
    pub names: Arc<[Text]>,
    /// Types of the input ports, in the same order.
    pub types: Vec<Type>,
    /// An expression for each input port; `None` where an optional port is not connected.
    pub inputs: Vec<Option<Expr>>,
    /// When and how often it is tried again.
    pub retry: Retry,
    /// Bound of an attempt.
    pub timeout: Option<Late<Duration>>,
    /// Bound of the silence of a streaming attempt.
    pub idle_timeout: Option<Late<Duration>>,
    /// How long a result may be used again.
    pub cache: Option<Duration>,
    /// Of an operator that makes plans: what the node that runs them takes.
    pub kit: Option<Arc<Kit>>,
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Op")
            .field("spec", &self.spec.name)
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

/// The settings of an operator.
pub enum Settings {
    /// Known when the flow is loaded: the operator is ready.
    Ready(Arc<dyn DynOperator>),
    /// With `${ expr }` inside: the JSON, and what goes where.
    Late {
        /// The settings, with `null` where an expression goes.
        template: serde_json::Value,
        /// JSON pointer -> expression.
        holes: Vec<(String, Expr)>,
    },
}

/// A loop.
#[derive(Debug)]
pub struct Loop {
    /// The body of a turn. Its inputs are what is carried; its outputs are the values for the next turn, same order.
    pub body: Arc<Body>,
    /// Names and types of what is carried.
    pub carry: Vec<Port>,
    /// First values, in the terms of the scope around.
    pub first: Vec<Expr>,
    /// Most turns.
    pub max_turns: Late<u32>,
    /// Reason and condition, in the terms of the body.
    pub until: Vec<(Text, Expr)>,
}

/// An each.
#[derive(Debug)]
pub struct Each {
    /// The list, in the terms of the scope around.
    pub items: Expr,
    /// The body of an item. Its inputs are the item and its index.
    pub body: Arc<Body>,
    /// Items that run at once.
    pub concurrency: Late<u32>,
    /// What a failed item does.
    pub on_item_error: OnItemError,
    /// Share of the items that must succeed.
    pub min_success: f64,
    /// Position of the output that must agree, and how often.
    pub quorum: Option<(u32, u32)>,
    /// Most items.
    pub max_items: Late<u32>,
}

/// A wait for an answer from outside. Its outputs are `value` and `answered`.
#[derive(Debug)]
pub struct Wait {
    /// The type that the answer must have.
    pub ty: Type,
    /// What is asked.
    pub about: Option<Text>,
    /// What the one who answers is shown, by name.
    pub shown: Vec<(Text, Expr)>,
    /// How long it waits.
    pub deadline: Duration,
    /// The value if nobody answers; without one, the node fails.
    pub default: Option<Value>,
}

/// A plan that is made while the flow runs. Its outputs are those that the node declares, then `fell_back` and
/// `problems`.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Expr,
    /// An expression for each input of the plan, in the order of the inventory.
    pub inputs: Vec<Expr>,
    /// What the plan may be made of.
    pub kit: Arc<Kit>,
    /// What runs in the place of a plan that cannot be used. Its inputs are those of the plan.
    pub fallback: Option<Arc<Body>>,
}

/// What happens when a node fails.
#[derive(Debug, Default)]
pub enum OnError {
    /// The scope around fails.
    #[default]
    Fail,
    /// Its outputs are absent.
    Skip,
    /// These values stand in, by position of output.
    Value(Vec<Option<Value>>),
    /// This flow runs with the node's inputs of the same names and gives its outputs.
    Flow {
        /// Its body.
        body: Arc<Body>,
        /// An expression for each of its inputs, by position.
        inputs: Vec<Option<Expr>>,
        /// For each output of the node, the position of the flow's output.
        outputs: Vec<u32>,
    },
}
