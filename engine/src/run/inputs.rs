//! The inputs of a run against the inputs that a flow declares: all problems at once.

use crate::diagnostic::suggest;
use crate::plan::Input;
use crate::state::check_bounds;
use crate::value::Map;

/// The inputs with their types, defaults filled in.
pub fn check(declared: &[Input], mut given: Map) -> Result<Map, Vec<String>> {
    let mut problems = Vec::new();
    let mut inputs = Map::new();
    for input in declared {
        let Some(value) = given.shift_remove(&input.port.name).or_else(|| input.default.clone()) else {
            if !input.port.ty.is_optional() {
                problems.push(missing(input));
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
            Err(problem) => problems.push(problem),
        }
    }
    for name in given.keys() {
        let known = declared.iter().map(|input| &*input.port.name);
        let hint = suggest(name, known, "its inputs are").map(|hint| format!("; {hint}")).unwrap_or_default();
        problems.push(format!("the flow has no input `{name}`{hint}"));
    }
    if problems.is_empty() { Ok(inputs) } else { Err(problems) }
}

fn missing(input: &Input) -> String {
    let doc = if input.port.doc.is_empty() { String::new() } else { format!(" ({})", input.port.doc) };
    format!("input `{}` is missing: it takes `{}`{doc}", input.port.name, input.port.ty)
}
