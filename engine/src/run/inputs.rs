//! The inputs of a run against the inputs that a flow declares: all problems at once.

use crate::diagnostic::suggest;
use crate::plan::Input;
use crate::state::check_bounds;
use crate::value::{Map, Text};

/// What is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputProblem {
    /// The input.
    pub input: Text,
    /// What is wrong, with its name.
    pub message: String,
}

/// The inputs with their types, defaults filled in.
pub fn check(declared: &[Input], given: Map) -> Result<Map, Vec<String>> {
    check_each(declared, given)
        .map_err(|problems| problems.into_iter().map(|problem| problem.message).collect())
}

/// As [`check`], with the input that each problem is about.
pub fn check_each(declared: &[Input], mut given: Map) -> Result<Map, Vec<InputProblem>> {
    let about = |input: &Text, message| InputProblem { input: input.clone(), message };
    let mut problems = Vec::new();
    let mut inputs = Map::new();
    for input in declared {
        let Some(value) = given.shift_remove(&input.port.name).or_else(|| input.default.clone()) else {
            if !input.port.ty.is_optional() {
                problems.push(about(&input.port.name, missing(input)));
            }
            continue;
        };
        let checked = value
            .into_type(&input.port.ty)
            .map_err(|mismatch| format!("input `{}`: {mismatch}", input.port.name))
            .and_then(|value| check_bounds(input, &value).map(|()| value));
        match checked {
            Ok(value) => {
                inputs.insert(input.port.name.clone(), value);
            }
            Err(problem) => problems.push(about(&input.port.name, problem)),
        }
    }
    for name in given.keys() {
        let known = declared.iter().map(|input| &*input.port.name);
        let hint = suggest(name, known, "its inputs are").map(|hint| format!("; {hint}")).unwrap_or_default();
        problems.push(about(name, format!("the flow has no input `{name}`{hint}")));
    }
    if problems.is_empty() { Ok(inputs) } else { Err(problems) }
}

fn missing(input: &Input) -> String {
    let doc = if input.port.doc.is_empty() { String::new() } else { format!(" ({})", input.port.doc) };
    format!("input `{}` is missing: it takes `{}`{doc}", input.port.name, input.port.ty)
}
