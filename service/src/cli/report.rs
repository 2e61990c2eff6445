//! Diagnostics in the forms that people and programs read: text, JSON, SARIF, GitHub's workflow commands.

use std::fmt::Write as _;
use std::sync::Arc;

use anabranch_engine::diagnostic::{
    ALL, Diagnostic, Diagnostics, Severity, SourceFile, Span, render as text,
};
use serde_json::{Value as Json, json};

use crate::exit::{Error, Exit};

/// A form of diagnostics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For reading: the line underlined, with a hint.
    Text,
    /// One array, for programs.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Workflow commands, for annotations in GitHub Actions.
    Github,
}

/// All problems in one form, ending in a line break unless there is nothing to say.
pub(crate) fn render(problems: &Diagnostics, format: Format) -> Result<String, Error> {
    match format {
        Format::Text => Ok(text(problems, true)),
        Format::Json => pretty(&problems.iter().map(one_json).collect::<Vec<_>>()),
        Format::Sarif => pretty(&sarif(problems)),
        Format::Github => Ok(problems.iter().map(github).collect()),
    }
}

fn pretty(value: &impl serde::Serialize) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::caused(Exit::Failed, "cannot write the output", &error))?;
    Ok(text + "\n")
}

/// Lines and columns of a span, counted from 1, the end exclusive.
struct Place {
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

impl Place {
    fn of(file: &SourceFile, span: Span) -> Self {
        let (line, column) = file.place(span.start);
        let (end_line, end_column) = file.place(span.end);
        Self { line, column, end_line, end_column }
    }
}

fn one_json(problem: &Diagnostic) -> Json {
    let place = Place::of(&problem.file, problem.span);
    let labels: Vec<Json> = problem
        .labels
        .iter()
        .map(|label| {
            let place = Place::of(&label.file, label.span);
            json!({
                "message": label.message, "file": label.file.name, "line": place.line, "column": place.column,
                "end_line": place.end_line, "end_column": place.end_column,
            })
        })
        .collect();
    json!({
        "code": problem.code, "severity": problem.severity, "message": problem.message,
        "file": problem.file.name, "line": place.line, "column": place.column,
        "end_line": place.end_line, "end_column": place.end_column, "hint": problem.hint, "labels": labels,
    })
}

fn sarif(problems: &Diagnostics) -> Json {
    let rules: Vec<Json> = ALL
        .iter()
        .map(|code| {
            json!({
                "id": code.id(),
                "shortDescription": { "text": code.title() },
                "help": { "text": code.page(), "markdown": code.page() },
                "defaultConfiguration": { "level": code.severity() },
            })
        })
        .collect();
    let results: Vec<Json> = problems
        .iter()
        .map(|problem| {
            let message = match &problem.hint {
                Some(hint) => format!("{}\nhint: {hint}", problem.message),
                None => problem.message.clone(),
            };
            let related: Vec<Json> = problem
                .labels
                .iter()
                .map(|label| {
                    json!({
                        "message": { "text": label.message },
                        "physicalLocation": location(&label.file, label.span),
                    })
                })
                .collect();
            let mut result = json!({
                "ruleId": problem.code,
                "ruleIndex": ALL.iter().position(|code| *code == problem.code),
                "level": problem.severity,
                "message": { "text": message },
                "locations": [{ "physicalLocation": location(&problem.file, problem.span) }],
            });
            // The schema has no room for an empty list of related places.
            if let (false, Some(result)) = (related.is_empty(), result.as_object_mut()) {
                result.insert("relatedLocations".to_owned(), related.into());
            }
            result
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "anabranch",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn location(file: &Arc<SourceFile>, span: Span) -> Json {
    let place = Place::of(file, span);
    json!({
        "artifactLocation": { "uri": uri(&file.name) },
        "region": {
            "startLine": place.line, "startColumn": place.column,
            "endLine": place.end_line, "endColumn": place.end_column,
        },
    })
}

/// A path as a relative URI: `/` between parts, everything unusual as `%XX`.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.replace('\\', "/").trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            write!(uri, "%{byte:02X}").ok();
        }
    }
    uri
}

fn github(problem: &Diagnostic) -> String {
    let place = Place::of(&problem.file, problem.span);
    let command = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let message = match &problem.hint {
        Some(hint) => format!("{}\nhint: {hint}", problem.message),
        None => problem.message.clone(),
    };
    // A column range is only meant within one line.
    let columns = if place.line == place.end_line {
        format!(",col={},endColumn={}", place.column, place.end_column)
    } else {
        String::new()
    };
    let file = escape_data(&problem.file.name).replace(':', "%3A").replace(',', "%2C");
    format!(
        "::{command} file={file},line={},endLine={}{columns},title={}::{}\n",
        place.line,
        place.end_line,
        problem.code,
        escape_data(&message)
    )
}

fn escape_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use anabranch_engine::diagnostic::Code;

    use super::*;

    fn problems() -> Diagnostics {
        let file = SourceFile::new("flows/my flow.yaml", "flow: x\nnodes: π\n");
        let mut problems = Diagnostics::default();
        problems.push(
            Diagnostic::new(Code::UNKNOWN_KEY, &file, Span::new(8, 13), "100% wrong").hint("write `b`"),
        );
        problems
    }

    #[test]
    fn github_commands_escape_what_would_end_them() {
        assert_eq!(
            render(&problems(), Format::Github).unwrap(),
            "::error file=flows/my flow.yaml,line=2,endLine=2,col=1,endColumn=6,title=FLOW0009::\
             100%25 wrong%0Ahint: write `b`\n"
        );
    }

    #[test]
    fn json_has_lines_and_columns_from_one_with_the_end_exclusive() {
        let array: Json = serde_json::from_str(&render(&problems(), Format::Json).unwrap()).unwrap();
        assert_eq!(
            array[0],
            json!({
                "code": "FLOW0009", "severity": "error", "message": "100% wrong", "file": "flows/my flow.yaml",
                "line": 2, "column": 1, "end_line": 2, "end_column": 6, "hint": "write `b`", "labels": [],
            })
        );
    }

    #[test]
    fn sarif_names_the_rule_and_the_place() {
        let log: Json = serde_json::from_str(&render(&problems(), Format::Sarif).unwrap()).unwrap();
        let run = &log["runs"][0];
        let result = &run["results"][0];
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "flows/my%20flow.yaml");
        assert_eq!(place["region"]["startLine"], 2);
    }
}
