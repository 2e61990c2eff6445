//! The tools that a model is offered, and whether what it asks for is a call of one of them.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_engine::backend::{ToolCall, ToolSpec, json_schema};
use anabranch_engine::cx::{Cx, NamedTool, Progress};
use anabranch_engine::operator::{OpError, ToolName};
use anabranch_engine::value::Text;
use jsonschema::Validator;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::references::References;

/// Most things that are said to be wrong with one call.
const PROBLEMS_MAX: usize = 5;
/// Longest part of a schema, or of a value, that a model is reminded of, in characters.
const SHOWN_CHARS: usize = 1_000;

/// A tool under the name that the model knows.
#[derive(Debug)]
pub(crate) struct OfferedTool {
    pub(crate) named: NamedTool,
    /// As the model knows it.
    pub(crate) spec: ToolSpec,
    validator: Validator,
}

/// The tools that a model is offered.
#[derive(Debug)]
pub(crate) struct Offered {
    tools: Vec<OfferedTool>,
    /// Those whose arguments cannot be checked, and why.
    left_out: Vec<(Text, String)>,
}

impl Offered {
    /// These tools. The model knows each by its own name, and by its whole name if two would have the same.
    ///
    /// A tool whose schema is none is left out, unless it is among the `named` ones or there is no other.
    pub(crate) fn of(tools: Vec<NamedTool>, named: &[ToolName]) -> Result<Self, OpError> {
        let mut seen = BTreeSet::new();
        let own = |named: &NamedTool| named.tool.spec().name.clone();
        let twice: BTreeSet<Text> = tools.iter().map(own).filter(|name| !seen.insert(name.clone())).collect();
        let mut offered = Self { tools: Vec::new(), left_out: Vec::new() };
        for tool in tools {
            let name = if twice.contains(&own(&tool)) { tool.name.clone() } else { own(&tool) };
            // What a validator cannot read, model servers cannot either.
            let spec = tool.tool.spec();
            let spec = ToolSpec { name, schema: json_schema(&spec.schema), ..spec.clone() };
            match jsonschema::validator_for(&closed(&spec.schema)) {
                Ok(validator) => offered.tools.push(OfferedTool { named: tool, spec, validator }),
                Err(error) if named.iter().any(|name| name.0 == tool.name) => {
                    return Err(unusable(&tool.name, &error.to_string()));
                }
                Err(error) => offered.left_out.push((tool.name, error.to_string())),
            }
        }
        match offered.left_out.first() {
            Some((name, why)) if offered.tools.is_empty() => Err(unusable(name, why)),
            _ => Ok(offered),
        }
    }

    /// Says which tools are missing.
    pub(crate) fn note(&self, cx: &Cx) {
        for (name, why) in &self.left_out {
            let note = format!("leaves out the tool `{name}`, whose schema is none: {}", shortened(why));
            cx.progress(Progress::Note(note));
        }
    }

    /// What the model is told of them.
    pub(crate) fn specs(&self) -> Vec<ToolSpec> {
        self.tools.iter().map(|tool| tool.spec.clone()).collect()
    }

    /// The tool, if there is exactly one.
    pub(crate) fn only(&self) -> Option<&OfferedTool> {
        match self.tools.as_slice() {
            [tool] => Some(tool),
            _ => None,
        }
    }

    /// The tool of a call with its arguments, references resolved; or what is wrong, in words for the model.
    pub(crate) fn check(
        &self,
        call: &ToolCall,
        references: &References,
    ) -> Result<(&OfferedTool, Map<String, Value>), String> {
        let Some(tool) = self.tools.iter().find(|tool| tool.spec.name == call.name) else {
            let names: Vec<String> = self.tools.iter().map(|tool| format!("`{}`", tool.spec.name)).collect();
            return Err(format!("there is no tool `{}`; there are: {}", call.name, names.join(", ")));
        };
        // Servers write no arguments in several ways.
        let written = match call.arguments.trim() {
            "" | "null" => "{}",
            written => written,
        };
        let arguments = match serde_json::from_str::<Value>(written) {
            Ok(Value::Object(arguments)) => arguments,
            Ok(_) => return Err(tool.refusal("they are no JSON object")),
            Err(error) => return Err(tool.refusal(&format!("they are no JSON: {error}"))),
        };
        if let Some(number) = oversized(written) {
            let problem = format!(
                "{} is a whole number of more than 64 bits, which would not arrive as it is",
                shortened(&number)
            );
            return Err(tool.refusal(&problem));
        }
        let arguments = references.resolve(arguments).map_err(|problem| tool.refusal(&problem))?;
        tool.check(arguments).map(|arguments| (tool, arguments))
    }
}

impl OfferedTool {
    /// The arguments if they satisfy the schema; or what is wrong with them.
    pub(crate) fn check(&self, arguments: Map<String, Value>) -> Result<Map<String, Value>, String> {
        let arguments = Value::Object(arguments);
        let problems: Vec<String> = self
            .validator
            .iter_errors(&arguments)
            .take(PROBLEMS_MAX)
            .map(|error| {
                let place = error.instance_path().to_string();
                let at = if place.is_empty() { String::new() } else { format!(" (at `{place}`)") };
                format!("{}{at}", shortened(&error.to_string()))
            })
            .collect();
        match arguments {
            Value::Object(arguments) if problems.is_empty() => Ok(arguments),
            _ => Err(self.refusal(&problems.join("; "))),
        }
    }

    fn refusal(&self, problem: &str) -> String {
        let schema = self.spec.schema.to_string();
        format!(
            "`{}` was not called, since its arguments are wrong: {problem}. They must satisfy {}",
            self.spec.name,
            shortened(&schema)
        )
    }
}

fn unusable(tool: &str, why: &str) -> OpError {
    OpError::InvalidSetting(format!("the schema of tool `{tool}` is none: {why}"))
}

/// The first whole number in some JSON that has more than 64 bits: read, it would be another.
fn oversized(json: &str) -> Option<String> {
    let mut n_digits = 0;
    // Nearly all JSON has none that is long enough to be looked at.
    json.bytes()
        .any(|byte| {
            n_digits = if byte.is_ascii_digit() { n_digits + 1 } else { 0 };
            n_digits >= u64::MAX.ilog10()
        })
        .then(|| serde_json::from_str(json).ok().and_then(oversized_in))?
}

fn oversized_in(json: &RawValue) -> Option<String> {
    let text = json.get();
    match text.as_bytes().first()? {
        b'{' => serde_json::from_str::<BTreeMap<String, &RawValue>>(text)
            .ok()?
            .into_values()
            .find_map(oversized_in),
        b'[' => serde_json::from_str::<Vec<&RawValue>>(text).ok()?.into_iter().find_map(oversized_in),
        b'-' | b'0'..=b'9' if !text.contains(['.', 'e', 'E']) => {
            (text.parse::<i64>().is_err() && text.parse::<u64>().is_err()).then(|| text.to_owned())
        }
        _ => None,
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The schema that lets no argument through that it does not name, unless it says otherwise itself.
fn closed(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(entries) = &mut schema {
        entries.entry("type").or_insert_with(|| json!("object"));
        let has = |keys: &[&str]| keys.iter().any(|key| entries.contains_key(*key));
        if !has(&["additionalProperties", "patternProperties", "unevaluatedProperties"]) {
            // The names may stand in parts of it.
            let is_composed = has(&["allOf", "anyOf", "oneOf", "$ref", "if", "dependentSchemas"]);
            let key = if is_composed { "unevaluatedProperties" } else { "additionalProperties" };
            entries.insert(key.to_owned(), json!(false));
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_that_would_change_are_found() {
        for json in [
            r#"{"n": 18446744073709551616}"#,
            r#"{"a": [1, {"b": -9223372036854775809}]}"#,
            "[123456789012345678901234567890]",
        ] {
            assert!(oversized(json).is_some(), "{json}");
        }
        for json in [
            r#"{"n": 18446744073709551615, "m": -9223372036854775808}"#,
            r#"{"id": "123456789012345678901234567890"}"#,
            r#"{"x": 0.123456789012345678901234, "y": 1e300, "z": 123456789012345678901234.5}"#,
            "",
        ] {
            assert_eq!(oversized(json), None, "{json}");
        }
    }

    #[test]
    fn a_schema_in_parts_lets_no_other_names_through() {
        let schema = json!({
            "$defs": { "a": { "properties": { "a": { "type": "integer" } }, "required": ["a"] } },
            "$ref": "#/$defs/a",
            "anyOf": [{ "properties": { "b": {} } }, { "properties": { "c": {} } }],
        });
        let validator = jsonschema::validator_for(&closed(&schema)).unwrap();
        assert!(validator.is_valid(&json!({ "a": 1, "b": 2 })));
        assert!(!validator.is_valid(&json!({ "a": 1, "zzz": 2 })));
    }
}
