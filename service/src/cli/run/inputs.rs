//! The inputs of a run, from `-i` and `--inputs`: typed by the flow, all problems at once.

use std::fmt::Write as _;
use std::path::Path;

use anabranch_engine::plan::{Input, Plan};
use anabranch_engine::run::check_inputs;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Map, Value};
use serde_json::Value as Json;

use crate::exit::{Error, chain};

/// The inputs that the command line gives: those of `file`, with `-i name=value` on top.
pub(crate) fn gather(plan: &Plan, file: Option<&Path>, given: &[String]) -> Result<Map, Error> {
    let mut problems = Vec::new();
    let mut values: Vec<(String, Given)> = Vec::new();
    if let Some(path) = file {
        match read_file(path) {
            Ok(entries) => {
                values.extend(entries.into_iter().map(|(name, json)| (name, Given::Json(json))));
            }
            Err(problem) => problems.push(problem),
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for argument in given {
        let Some((name, value)) = argument.split_once('=') else {
            problems.push(format!("`-i {argument}` has no `=`; write `-i name=value`"));
            continue;
        };
        if seen.contains(&name) {
            problems.push(format!("`{name}` is given twice"));
            continue;
        }
        seen.push(name);
        values.retain(|(known, _)| known != name);
        match value.strip_prefix('@') {
            // `@@` is a text that begins with `@`.
            Some(rest) if rest.starts_with('@') => {
                values.push((name.to_owned(), Given::Words(rest.to_owned())));
            }
            Some(path) => {
                let text = std::fs::read_to_string(path);
                values.push((
                    name.to_owned(),
                    text.map_or_else(
                        |error| Given::Unreadable(format!("cannot read `{path}`: {error}")),
                        Given::Words,
                    ),
                ));
            }
            None => values.push((name.to_owned(), Given::Words(value.to_owned()))),
        }
    }
    let mut map = Map::new();
    let mut unread: Vec<String> = Vec::new();
    for (name, given) in values {
        let value = match given {
            Given::Words(text) => match plan.root.inputs.iter().find(|input| *input.port.name == *name) {
                Some(input) => read_words(text, &input.port.ty),
                None => Ok(Value::text(text)),
            },
            Given::Json(json) => Ok(Value::from_json(json)),
            Given::Unreadable(why) => Err(why),
        };
        match value {
            Ok(value) => {
                map.insert(name.into(), value);
            }
            Err(problem) => {
                problems.push(format!("`{name}`: {problem}"));
                unread.push(name);
            }
        }
    }
    // A value that could not be read is no missing one: its problem is told already.
    let mut declared = plan.root.inputs.clone();
    for input in declared.iter_mut().filter(|input| unread.iter().any(|name| *input.port.name == **name)) {
        input.port.ty = Type::optional(input.port.ty.clone());
    }
    match check_inputs(&declared, map.clone()) {
        Ok(_) if problems.is_empty() => return Ok(map),
        Ok(_) => {}
        Err(more) => problems.extend(more),
    }
    Err(refuse(plan, &problems))
}

/// The error for inputs that do not fit, with what the flow takes.
pub(crate) fn refuse(plan: &Plan, problems: &[String]) -> Error {
    let mut message = format!("the inputs do not fit flow `{}`", plan.name);
    match problems {
        [one] => message = format!("{message}: {one}"),
        many => message.extend(many.iter().map(|problem| format!("\n  {problem}"))),
    }
    Error::usage(message).hint(describe(plan))
}

enum Given {
    /// As it stands on the command line: read by the type of the input.
    Words(String),
    /// As it stands in a file.
    Json(Json),
    /// A file that cannot be read, and why.
    Unreadable(String),
}

fn read_file(path: &Path) -> Result<serde_json::Map<String, Json>, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read `{shown}`: {error}"))?;
    match from_yaml(&text) {
        Ok(Json::Object(entries)) => Ok(entries),
        Ok(_) => Err(format!("`{shown}` holds no mapping of names to values")),
        Err(error) => Err(format!("`{shown}` can be read neither as JSON nor as YAML: {error}")),
    }
}

/// Text stays text; everything else is read as YAML, of which JSON is a part.
pub(in crate::cli) fn read_words(text: String, ty: &Type) -> Result<Value, String> {
    if matches!(ty.required(), Type::Text | Type::Label) {
        return Ok(Value::text(text));
    }
    let json = match from_yaml(&text) {
        Ok(json) => json,
        // What is no YAML is still a text where anything is taken.
        Err(_) if matches!(ty.required(), Type::Any | Type::Json) => Json::String(text.clone()),
        Err(error) => return Err(format!("expected `{ty}`, but `{text}` cannot be read: {error}")),
    };
    Value::from_json(json).into_type(ty).map_err(|mismatch| {
        let example = match ty.required() {
            Type::List(_) => ", write a list as `[a, b]`",
            Type::Map(_) => ", write a map as `{name: value}`",
            _ => "",
        };
        format!("{mismatch}: `{text}`{example}")
    })
}

fn from_yaml(text: &str) -> Result<Json, String> {
    serde_yaml::from_str(text).map_err(|error| {
        // The reader's errors draw the text; the first line says what is wrong.
        chain(&error).lines().next().unwrap_or_default().to_owned()
    })
}

/// What the flow takes, a line an input.
fn describe(plan: &Plan) -> String {
    let inputs = &plan.root.inputs;
    if inputs.is_empty() {
        return format!("flow `{}` takes no inputs", plan.name);
    }
    let mut text = "its inputs are".to_owned();
    for Input { port, default, min, max } in inputs {
        write!(text, "\n  {}: {}", port.name, port.ty).ok();
        if let Some(default) = default {
            write!(text, " = {}", default.to_json()).ok();
        }
        if let Some(min) = min {
            write!(text, ", at least {min}").ok();
        }
        if let Some(max) = max {
            write!(text, ", at most {max}").ok();
        }
        if !port.doc.is_empty() {
            write!(text, "  ({})", port.doc.trim_end_matches('.')).ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use anabranch_engine::budget::Budget;
    use anabranch_engine::operator::Port;
    use anabranch_engine::plan::Body;

    use super::*;

    fn plan() -> Plan {
        let input = |name: &str, ty: &str, default: Option<Value>, max: Option<f64>| Input {
            port: Port { name: name.into(), ty: ty.parse().unwrap(), doc: "".into() },
            default,
            min: None,
            max,
        };
        let inputs = vec![
            input("question", "text", None, None),
            input("hops", "int", Some(Value::Int(4)), Some(8.0)),
            input("tags", "list<text>?", None, None),
        ];
        Plan {
            name: "f".into(),
            hash: "".into(),
            about: None,
            root: Arc::new(Body { inputs, ..Body::default() }),
            budget: Budget::default(),
            tests: vec![],
            indexes: vec![],
        }
    }

    fn ask(given: &[&str]) -> Result<Map, String> {
        let given: Vec<String> = given.iter().map(|given| (*given).to_owned()).collect();
        gather(&plan(), None, &given).map_err(|error| error.message)
    }

    #[test]
    fn a_value_is_read_by_the_type_of_its_input() {
        let map = ask(&["question=12", "hops=3", "tags=[a, b]"]).unwrap();
        assert_eq!(map["question"], Value::text("12"), "text stays text");
        assert_eq!(map["hops"], Value::Int(3));
        assert_eq!(map["tags"], Value::list([Value::text("a"), Value::text("b")]));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let message = ask(&["hops=many", "tag=[a]", "nothing", "tags=a"]).unwrap_err();
        for part in [
            "`hops`: expected `int`",
            "no input `tag`; did you mean `tags`?",
            "`-i nothing` has no `=`",
            "`tags`: expected `list<text>?`",
            "input `question` is missing",
        ] {
            assert!(message.contains(part), "{part} in\n{message}");
        }
    }

    #[test]
    fn a_number_beyond_its_limit_is_refused() {
        assert!(ask(&["question=x", "hops=9"]).unwrap_err().contains("input `hops`"));
    }

    #[test]
    fn two_at_signs_are_a_text_that_begins_with_one() {
        assert_eq!(ask(&["question=@@home"]).unwrap()["question"], Value::text("@home"));
        assert!(ask(&["question=@no/such/file"]).unwrap_err().contains("cannot read `no/such/file`"));
    }
}
