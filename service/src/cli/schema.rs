//! `anabranch schema`: the JSON Schema of the flow language, for editors.

use anabranch_engine::flow::schema::schema;

use super::{Ended, print};
use crate::exit::Exit;

/// Print the JSON Schema of the flow language, for editors
///
/// It knows every operator with its settings, so an editor completes and checks them while you type.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch schema > flow.schema.json

  # first line of a flow, for the YAML language server of VS Code and others
  # yaml-language-server: $schema=./flow.schema.json

The output is JSON (draft 2020-12); --json changes nothing.")]
pub(crate) struct Args {
    /// The output is JSON with or without it
    #[arg(long, hide = true)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Ended {
    let Args { json: _ } = args;
    print::json(&schema(&anabranch_operators::registry()))?;
    Ok(Exit::Ok)
}
