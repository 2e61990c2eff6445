//! `anabranch check`: everything that is wrong with flow files, for people, editors and CI.

use std::path::PathBuf;

use anabranch_engine::diagnostic::{self, Diagnostics};

use super::{Ended, load, print, report, world};
use crate::exit::{Error, Exit};

/// Check flows: every problem at once, with its place and what would be right
///
/// A folder is searched for YAML files with a top-level `flow:`. Problems are printed to standard output; the exit
/// code is 3 if one of them is an error. Names of models and indexes are checked where there is a configuration file
/// or an index.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch check flows/quickstart.yaml
  anabranch check --strict flows/
  anabranch check --format sarif flows/ > flows.sarif
  anabranch check --format github flows/         # annotations in GitHub Actions

JSON (--format json, or --json): an array of
  {code, severity: \"error\"|\"warning\", message, file, line, column,
   end_line, end_column, hint,
   labels: [{message, file, line, column, end_line, end_column}]}
Lines and columns count from 1; columns count characters; the end is exclusive.
`hint` may be null.")]
pub(crate) struct Args {
    /// Flow files, or folders to search for them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,
    /// How problems are printed
    #[arg(long, value_enum, default_value_t = report::Format::Text)]
    format: report::Format,
    /// The same as `--format json`
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    world: world::Args,
}

pub(crate) fn run(args: &Args) -> Ended {
    let registry = anabranch_operators::registry();
    let names = world::World::new(&args.world)?.declared_names();
    let files = load::collect(&args.paths)?;
    let mut problems = Diagnostics::default();
    for path in &files {
        let file = load::read(path)?;
        match load::compile(&file, &registry, names.as_ref()) {
            Ok((_, found)) | Err(found) => problems.extend(found),
        }
    }
    if args.strict {
        problems.deny_warnings();
    }
    problems.sort();
    let format = if args.json { report::Format::Json } else { args.format };
    print::data(&report::render(&problems, format)?)?;
    if files.is_empty() {
        let paths: Vec<String> = args.paths.iter().map(|path| format!("`{}`", path.display())).collect();
        let message = format!("there are no flows in {}", paths.join(", "));
        return Err(Error::usage(message).hint("a flow is a YAML file with a top-level `flow:`"));
    }
    print::remark(&format!("{}: {}", print::count(files.len(), "flow"), diagnostic::summary(&problems)));
    Ok(if problems.has_errors() { Exit::Invalid } else { Exit::Ok })
}
