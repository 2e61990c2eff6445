//! Expressions: what stands in `in`, `when`, `carry`, `next`, `until`, `each`, `outputs` and `${ }`.
//!
//! A bare path (`search.chunks`) is a lookup. `first`, `present` and `all_present` know about absence. All else is CEL.

use std::sync::Arc;

use crate::plan::Ref;
use crate::types::Type;
use crate::value::{Text, Value};

/// What a reference finds when it is evaluated.
#[derive(Debug, Clone, PartialEq)]
pub enum Slot {
    /// Not decided yet; counts as absent where somebody looks all the same (a join that did not wait).
    Pending,
    /// There will be no value, and why.
    Absent(Arc<Absence>),
    /// A value.
    Present(Value),
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Absence {
    /// The path of the value that is absent: `once.chunks`.
    pub what: Text,
    /// Why: `when` was false, its own input was absent, …
    pub why: Text,
}

/// What a name in an expression means, where the expression stands. Implemented by the builder.
pub trait Resolve {
    /// The longest leading part of `path` that is a reference: `search.chunks` of `search.chunks[0].text`.
    ///
    /// `path` holds the identifiers of a dotted path; an unknown name comes back as the problem to report, with the
    /// index of the segment at fault.
    fn resolve(&self, path: &[&str]) -> Result<Resolved, Unresolved>;
}

/// A resolved reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// What it refers to.
    pub at: Ref,
    /// The type of the value there.
    pub ty: Type,
    /// How many segments of the path the reference takes up.
    pub taken: usize,
}

/// A name that means nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Unresolved {
    /// The diagnostic code to report it under.
    pub code: crate::diagnostic::Code,
    /// Which segment of the path is at fault.
    pub segment: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// A problem within an expression or template.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The diagnostic code to report it under.
    pub code: crate::diagnostic::Code,
    /// Where, in bytes of the text.
    pub range: std::ops::Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// Where references are looked up.
pub trait Env {
    /// The slot that `at` refers to.
    fn slot(&self, at: Ref) -> Slot;
}

/// A checked expression.
#[derive(Debug, Clone)]
pub struct Expr {
    /// As it is written.
    pub source: Text,
    /// Its type as far as it could be inferred.
    pub ty: Type,
    /// Every reference in it, and whether its absence makes the whole expression absent.
    pub refs: Vec<Reference>,
    code: Code,
}

/// A reference within an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// What is referred to.
    pub at: Ref,
    /// False within `first`, `present` and `all_present`.
    pub strict: bool,
}

#[derive(Debug, Clone)]
enum Code {
    Literal(Value),
    Path { at: Ref, fields: Vec<Step> },
}

/// One step of a path into a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// `.name`.
    Field(Text),
    /// `[0]`.
    Index(usize),
}

/// Why an expression gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{source_text}`: {message}")]
pub struct EvalError {
    /// The expression.
    pub source_text: Text,
    /// What went wrong.
    pub message: String,
}

/// Reads and checks an expression: all of its problems at once.
pub fn compile(source: &str, names: &dyn Resolve) -> Result<Expr, Vec<Problem>> {
    let _ = (source, names);
    Err(Vec::new())
}

impl Expr {
    /// An expression that is always `value`.
    pub fn literal(value: Value) -> Self {
        Self {
            source: value.to_string().into(),
            ty: value.ty(),
            refs: Vec::new(),
            code: Code::Literal(value),
        }
    }

    /// A bare reference of type `ty`.
    pub fn path(source: impl Into<Text>, at: Ref, fields: Vec<Step>, ty: Type) -> Self {
        Self {
            source: source.into(),
            ty,
            refs: vec![Reference { at, strict: true }],
            code: Code::Path { at, fields },
        }
    }

    /// Its value in `env`. Absent if a strict reference is.
    pub fn eval(&self, env: &dyn Env) -> Result<Slot, EvalError> {
        match &self.code {
            Code::Literal(value) => Ok(Slot::Present(value.clone())),
            Code::Path { at, fields } => {
                let Slot::Present(mut value) = env.slot(*at) else { return Ok(env.slot(*at)) };
                for step in fields {
                    let next = match (step, &value) {
                        (Step::Field(name), value) => value.field(name),
                        (Step::Index(index), Value::List(items)) => items.get(*index).cloned(),
                        (Step::Index(_), _) => None,
                    };
                    value = next.ok_or_else(|| EvalError {
                        source_text: self.source.clone(),
                        message: "no such value".to_owned(),
                    })?;
                }
                Ok(Slot::Present(value))
            }
        }
    }
}
