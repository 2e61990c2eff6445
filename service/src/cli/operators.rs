//! `anabranch operators`: the operators that flows can use, each with its page, settings and ports.

use std::fmt::Write as _;

use anabranch_engine::diagnostic::suggest;
use anabranch_engine::operator::{OperatorSpec, PortSet};
use serde_json::{Value as Json, json};

use super::print::{BOLD, DIM};
use super::{Ended, print};
use crate::exit::{Error, Exit};

/// Longest part of a default that is shown: some are whole prompts.
const DEFAULT_CHARS: usize = 40;

/// List the operators that flows can use, or show one with its settings and ports
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch operators
  anabranch operators retrieve.bm25
  anabranch operators --json | jq '.[].name'

JSON: an array of {name, summary}; of one operator
  {name, summary, page, inputs: [{name, type, about}], open_inputs: TYPE|null,
   outputs: [{name, type, about}], settings: JSON Schema}
`page` is Markdown; a type ends in `?` where the port may stay empty.")]
pub(crate) struct Args {
    /// Show this operator
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Ended {
    let registry = anabranch_operators::registry();
    let Some(name) = &args.name else {
        if args.json {
            let list: Vec<Json> =
                registry.iter().map(|op| json!({ "name": op.name, "summary": summary(op) })).collect();
            print::json(&list)?;
            return Ok(Exit::Ok);
        }
        let width = registry.names().map(str::len).max().unwrap_or_default();
        let mut text = String::new();
        for op in registry.iter() {
            writeln!(text, "{BOLD}{:width$}{BOLD:#}  {}", op.name, summary(op)).ok();
        }
        print::data(&text)?;
        return Ok(Exit::Ok);
    };
    let Some(op) = registry.get(name) else {
        let hint = suggest(name, registry.names(), "there are");
        return Err(Error::usage(format!("there is no operator `{name}`")).maybe_hint(hint));
    };
    if args.json {
        print::json(&json!({
            "name": op.name, "summary": summary(op), "page": op.page, "inputs": op.inputs.ports,
            "open_inputs": op.inputs.open.as_ref().map(ToString::to_string), "outputs": op.outputs.ports,
            "settings": op.settings,
        }))?;
    } else {
        print::data(&page(op))?;
    }
    Ok(Exit::Ok)
}

/// The first paragraph of the page, on one line.
fn summary(op: &OperatorSpec) -> String {
    op.summary().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn page(op: &OperatorSpec) -> String {
    let mut text = format!("{BOLD}{}{BOLD:#}\n\n{}\n", op.name, op.page.trim());
    ports(&mut text, "Inputs", &op.inputs);
    settings(&mut text, op.settings.as_value());
    ports(&mut text, "Outputs", &op.outputs);
    text
}

fn ports(text: &mut String, title: &str, set: &PortSet) {
    let mut rows: Vec<[String; 3]> = set
        .ports
        .iter()
        .map(|port| [port.name.to_string(), port.ty.to_string(), port.doc.to_string()])
        .collect();
    rows.extend(
        set.open.iter().map(|ty| {
            ["...".to_owned(), ty.to_string(), "Any other name that the flow connects.".to_owned()]
        }),
    );
    section(text, title, &rows);
}

fn settings(text: &mut String, schema: &Json) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let mut rows = Vec::new();
    for (name, setting) in schema["properties"].as_object().into_iter().flatten() {
        let default = match setting.get("default") {
            Some(Json::Null) | None if required.contains(&name.as_str()) => "required".to_owned(),
            Some(Json::Null) | None => "optional".to_owned(),
            Some(default) => format!("default {}", shortened(&default.to_string())),
        };
        let about = setting["description"].as_str().unwrap_or_default();
        let range = [("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most")]
            .iter()
            .filter_map(|(key, word)| Some(format!(", {word} {}", setting.get(*key)?)))
            .collect::<String>();
        rows.push([name.clone(), format!("{}, {default}{range}", kind(setting)), about.to_owned()]);
    }
    section(text, "Settings", &rows);
}

/// A default as a column has room for it; `--json` has all of it.
fn shortened(default: &str) -> String {
    match default.char_indices().nth(DEFAULT_CHARS) {
        Some((end, _)) => format!("{}…", default.get(..end).unwrap_or_default().trim_end()),
        None => default.to_owned(),
    }
}

/// What a setting may be, in a word or two.
fn kind(setting: &Json) -> String {
    if let Some(name) = setting["x-anabranch"].as_str() {
        return name.to_owned();
    }
    let values = |list: &Json| {
        let words: Vec<String> =
            list.as_array().into_iter().flatten().map(|v| v.as_str().unwrap_or("…").to_owned()).collect();
        words.join(" | ")
    };
    if setting["enum"].is_array() {
        return values(&setting["enum"]);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(variants) = setting[key].as_array() {
            let mut kinds: Vec<String> = variants
                .iter()
                .map(|variant| variant["const"].as_str().map_or_else(|| kind(variant), str::to_owned))
                .filter(|kind| kind != "null")
                .collect();
            // Variants of a mapping are told apart by what the setting says of itself.
            kinds.dedup();
            return kinds.join(" | ");
        }
    }
    match &setting["type"] {
        Json::String(word) => word_of(word).to_owned(),
        Json::Array(words) => {
            let words: Vec<&str> =
                words.iter().filter_map(Json::as_str).filter(|word| *word != "null").map(word_of).collect();
            words.join(" | ")
        }
        _ => "any".to_owned(),
    }
}

/// JSON Schema's words for types as the flow language says them.
fn word_of(json_type: &str) -> &str {
    match json_type {
        "string" => "text",
        "integer" => "int",
        "number" => "float",
        "boolean" => "bool",
        "array" => "list",
        "object" => "map",
        other => other,
    }
}

fn section(text: &mut String, title: &str, rows: &[[String; 3]]) {
    if rows.is_empty() {
        return;
    }
    writeln!(text, "\n{BOLD}{title}{BOLD:#}").ok();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    for [name, kind, about] in rows {
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(text, "  {name:first$}  {DIM}{kind:second$}{DIM:#}  {about}").ok();
    }
}
