//! `anabranch explain`: a flow as a picture or text, or the page of a diagnostic code.

use std::path::{Path, PathBuf};

use anabranch_engine::diagnostic::{ALL, Code, nearest};
use anabranch_engine::plan::explain::{self, Format};
use serde_json::json;

use super::{Ended, load, print};
use crate::exit::{Error, Exit};

/// Show what a flow does and may cost, or what a diagnostic code means
///
/// A flow is shown with its nodes, edges and bounds, and with the most model calls and tokens that it can take.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch explain flows/quickstart.yaml
  anabranch explain flows/looping.yaml --format mermaid
  anabranch explain flows/branching.yaml --format dot | dot -Tsvg > branching.svg
  anabranch explain FLOW0032

JSON of a flow (--format json, or --json):
  {flow, hash, about, inputs, outputs, indexes, budget, worst_case,
   nodes: [{name, about, needs, when, outputs, budget, on_error,
            and one of op, flow, loop, each}]}
JSON of a code: {code, title, severity, page}, the page in Markdown.")]
pub(crate) struct Args {
    /// A flow file, the name of a flow in flows/, or a code such as FLOW0032
    #[arg(value_name = "FLOW|CODE")]
    what: PathBuf,
    /// How a flow is shown
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    /// The same as `--format json`
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For reading in a terminal.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// Graphviz.
    Dot,
    /// For programs.
    Json,
}

pub(crate) fn run(args: &Args) -> Ended {
    let form = if args.json { Form::Json } else { args.format };
    match as_code(&args.what) {
        Some(id) => code(id, form),
        None => flow(&args.what, form),
    }
}

/// `FLOW0032` or something like it: no path, `flow` and digits. A file of that name comes first.
fn as_code(what: &Path) -> Option<&str> {
    let id = what.to_str()?;
    let rest = id.get(..4).filter(|head| head.eq_ignore_ascii_case("flow")).and_then(|_| id.get(4..))?;
    (!rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()) && !what.exists()).then_some(id)
}

fn code(id: &str, form: Form) -> Ended {
    let Some(code) = Code::find(id) else {
        let upper = id.to_ascii_uppercase();
        let hint = match nearest(&upper, ALL.iter().map(|code| code.id())).and_then(Code::find) {
            Some(near) => Some(format!("did you mean `{near}` ({})?", near.title())),
            None => ALL.last().map(|last| format!("codes go from `FLOW0001` to `{last}`")),
        };
        return Err(Error::usage(format!("there is no code `{id}`")).maybe_hint(hint));
    };
    match form {
        Form::Json => print::json(&json!({
            "code": code, "title": code.title(), "severity": code.severity(), "page": code.page(),
        }))?,
        Form::Text => print::data(&format!("{}\n", code.page().trim_end()))?,
        Form::Mermaid | Form::Dot => {
            return Err(Error::usage(format!("`{code}` is a code and has a page, no picture")));
        }
    }
    Ok(Exit::Ok)
}

fn flow(path: &Path, form: Form) -> Ended {
    let file = load::read(&load::find(path)?)?;
    // Names of models and indexes do not matter to the shape of a flow: it is explained on any machine.
    let plan = load::compile_or_complain(&file, &anabranch_operators::registry(), None)?;
    let format = match form {
        Form::Text => Format::Text,
        Form::Mermaid => Format::Mermaid,
        Form::Dot => Format::Dot,
        Form::Json => Format::Json,
    };
    print::data(&format!("{}\n", explain::explain(&plan, format).trim_end()))?;
    Ok(Exit::Ok)
}
