//! What the programs that read the evaluation data are told on the command line.

use std::path::PathBuf;

use crate::Outcome;

/// `--data FOLDER`, the evaluation data, and whether `--json` asks for JSON; nothing else is taken by `program`.
pub fn data_and_json(program: &str) -> Outcome<(PathBuf, bool)> {
    let (mut data, mut is_json) = (PathBuf::from("../shared/data"), false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--data" => data = args.next().ok_or("`--data` needs a value")?.into(),
            "--json" => is_json = true,
            _ => {
                let usage = format!("usage: {program} --data FOLDER [--json]");
                return Err(format!("unknown argument `{arg}`; {usage}").into());
            }
        }
    }
    Ok((data, is_json))
}
