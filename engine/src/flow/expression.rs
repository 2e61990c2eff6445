//! Expressions: what stands in `in`, `when`, `carry`, `next`, `until`, `each`, `outputs` and `${ }`.
//!
//! The language is CEL, read and evaluated by the `cel` crate. Ours are the names, the types, the bounds, and what knows
//! about absence: `first`, `present`, `all_present`. A bare path (`search.chunks`) is a lookup and nothing else.

use std::sync::Arc;

use crate::limits;
use crate::plan::Ref;
use crate::types::Type;
use crate::value::{Text, Value};

mod check;
pub mod condition;
mod functions;
mod infer;
mod lower;
mod meter;
mod native;
mod read;
mod scan;
#[cfg(test)]
mod tests;
mod values;

pub use condition::Condition;

use native::Program;

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
    Path {
        at: Ref,
        fields: Vec<Step>,
    },
    /// With what each reference names, in the order of [`Expr::refs`].
    Program {
        program: Arc<Program>,
        names: Arc<[Named]>,
    },
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
    if source.len() > limits::EXPRESSION_BYTES {
        return Err(vec![Problem {
            code: crate::diagnostic::Code::EXPRESSION_SIZE,
            range: 0..source.len(),
            message: format!(
                "the expression has {} bytes, and {} is the most",
                source.len(),
                limits::EXPRESSION_BYTES
            ),
            hint: None,
        }]);
    }
    let read = read::plain(source).map_err(|problem| vec![problem])?;
    let mut checker = check::Checker::new(&read, names);
    let ty = checker.node(&read.root);
    if !checker.problems.is_empty() {
        checker.problems.sort_by_key(|problem| (problem.range.start, problem.range.end));
        checker.problems.dedup();
        return Err(checker.problems);
    }
    let path = checker.steps(&read.root);
    let (refs, names): (Vec<_>, Vec<_>) = checker.refs.into_iter().unzip();
    let code = if let Some((at, fields)) = path {
        Code::Path { at, fields }
    } else {
        let program = Program::new(source).map_err(|problem| vec![problem])?;
        if refs.is_empty() {
            // What depends on nothing is known now, and so is its failure.
            Code::Literal(program.evaluate(&[]).map_err(|stop| vec![constant(source, stop)])?)
        } else {
            Code::Program { program: Arc::new(program), names: names.into() }
        }
    };
    Ok(Expr { source: source.into(), ty, refs, code })
}

/// What a reference names.
#[derive(Debug, Clone)]
struct Named {
    /// As it is written: `search.chunks`.
    name: Text,
    /// Its type, if there are floats in it.
    floats: Option<Type>,
}

/// Why an evaluation gives no value.
#[derive(Debug, Clone, PartialEq)]
enum Stop {
    /// A value that it needs is absent.
    Absent(Arc<Absence>),
    /// A key or item that is not there: absent for `first` and its like, an error elsewhere.
    Missing(String),
    /// It cannot be done with these values.
    Error(String),
    /// A bound is reached.
    Bound(String),
}

/// The problem of an expression without references that has no value.
fn constant(source: &str, stop: Stop) -> Problem {
    use crate::diagnostic::Code;
    let (code, message) = match stop {
        Stop::Bound(message) => (Code::EXPRESSION_SIZE, format!("the expression {message}")),
        Stop::Error(message) | Stop::Missing(message) => {
            (Code::EXPRESSION_TYPE, format!("the expression never has a value: {message}"))
        }
        Stop::Absent(absence) => {
            (Code::EXPRESSION_TYPE, format!("the expression never has a value: {}", absence.why))
        }
    };
    Problem { code, range: 0..source.len(), message, hint: None }
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

    /// The value, if it is known without any reference.
    pub fn as_literal(&self) -> Option<&Value> {
        if let Code::Literal(value) = &self.code { Some(value) } else { None }
    }

    /// Its value in `env`. Absent if a strict reference is.
    pub fn eval(&self, env: &dyn Env) -> Result<Slot, EvalError> {
        let outcome = match &self.code {
            Code::Literal(value) => return Ok(Slot::Present(value.clone())),
            Code::Path { at, fields } => match settled(env.slot(*at), &self.source) {
                Ok(value) if fields.is_empty() => return Ok(Slot::Present(value)),
                Ok(value) => fields.iter().try_fold(value, step),
                Err(absence) => Err(Stop::Absent(absence)),
            },
            Code::Program { program, names } => self.run(program, names, env),
        };
        match outcome {
            Ok(value) => Ok(Slot::Present(value)),
            Err(Stop::Absent(absence)) => Ok(Slot::Absent(absence)),
            Err(Stop::Missing(message) | Stop::Error(message) | Stop::Bound(message)) => {
                Err(EvalError { source_text: self.source.clone(), message })
            }
        }
    }

    fn run(&self, program: &Program, names: &[Named], env: &dyn Env) -> Result<Value, Stop> {
        let mut values = Vec::with_capacity(self.refs.len());
        for (reference, Named { name, floats }) in self.refs.iter().zip(names) {
            match settled(env.slot(reference.at), name) {
                Err(absence) if reference.strict => return Err(Stop::Absent(absence)),
                // A whole number where any number may be; `cel` keeps them apart.
                Ok(value) => values.push((
                    name,
                    Ok(match floats {
                        Some(ty) => value.clone().into_type(ty).unwrap_or(value),
                        None => value,
                    }),
                )),
                absent @ Err(_) => values.push((name, absent)),
            }
        }
        program.evaluate(&values)
    }
}

/// The value of a slot, or why there is none.
fn settled(slot: Slot, name: &Text) -> Result<Value, Arc<Absence>> {
    match slot {
        Slot::Present(value) => Ok(value),
        Slot::Absent(absence) => Err(absence),
        Slot::Pending => Err(Arc::new(Absence { what: name.clone(), why: "not settled yet".into() })),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the step of a fold")]
fn step(value: Value, step: &Step) -> Result<Value, Stop> {
    match step {
        Step::Field(name) => values::field(&value, name),
        Step::Index(at) => values::item(&value, *at),
    }
}
