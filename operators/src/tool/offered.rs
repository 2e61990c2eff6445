//! The tools that a model is offered, and whether what it asks for is a call of one of them.

use std::collections::BTreeSet;

use anabranch_engine::backend::{ToolCall, ToolSpec};
use anabranch_engine::cx::NamedTool;
use anabranch_engine::operator::OpError;
use anabranch_engine::value::Text;
use jsonschema::Validator;
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
    pub(crate) name: Text,
    validator: Validator,
}

/// The tools that a model is offered.
#[derive(Debug)]
pub(crate) struct Offered(Vec<OfferedTool>);

impl Offered {
    /// These tools. The model knows each by its own name, and by its whole name if two would have the same.
    pub(crate) fn of(tools: Vec<NamedTool>) -> Result<Self, OpError> {
        let mut seen = BTreeSet::new();
        let own = |named: &NamedTool| named.tool.spec().name.clone();
        let twice: BTreeSet<Text> = tools.iter().map(own).filter(|name| !seen.insert(name.clone())).collect();
        let offered = tools.into_iter().map(|named| {
            let name = if twice.contains(&own(&named)) { named.name.clone() } else { own(&named) };
            let validator =
                jsonschema::validator_for(&closed(&named.tool.spec().schema)).map_err(|error| {
                    OpError::InvalidSetting(format!("the schema of tool `{}` is none: {error}", named.name))
                })?;
            Ok(OfferedTool { named, name, validator })
        });
        Ok(Self(offered.collect::<Result<_, OpError>>()?))
    }

    /// What the model is told of them.
    pub(crate) fn specs(&self) -> Vec<ToolSpec> {
        let spec =
            |tool: &OfferedTool| ToolSpec { name: tool.name.clone(), ..tool.named.tool.spec().clone() };
        self.0.iter().map(spec).collect()
    }

    /// The tool, if there is exactly one.
    pub(crate) fn only(&self) -> Option<&OfferedTool> {
        match self.0.as_slice() {
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
        let Some(tool) = self.0.iter().find(|tool| tool.name == call.name) else {
            let names: Vec<String> = self.0.iter().map(|tool| format!("`{}`", tool.name)).collect();
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
        let schema = self.named.tool.spec().schema.to_string();
        format!(
            "`{}` was not called, since its arguments are wrong: {problem}. They must satisfy {}",
            self.name,
            shortened(&schema)
        )
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
        let is_open = entries.contains_key("additionalProperties")
            || entries.contains_key("patternProperties")
            || entries.contains_key("unevaluatedProperties")
            || ["allOf", "anyOf", "oneOf", "$ref"].iter().any(|key| entries.contains_key(*key));
        if !is_open {
            entries.insert("additionalProperties".to_owned(), json!(false));
        }
    }
    schema
}
