//! What the scheduler of model calls achieves: `cargo run --release -p anabranch-benches --bin serving`.
//!
//! Prints one JSON object: each figure with its goal, the baseline of the same run and the ratio to it. `--only NAME`,
//! as often as wanted, leaves out the others. The servers are simulated; all but `overhead` and `saturation_http` run
//! on a simulated clock, so that their figures do not depend on the machine, nor on how this was compiled.

use std::io::Write as _;
use std::time::Instant;

use anabranch_benches::Failed;
use anabranch_benches::serving::{fairness, fan_out, faults, overhead, overload, prefix, saturation};
use serde_json::{Map, Value};

type Figure = fn() -> Result<Value, Failed>;

const FIGURES: [(&str, Figure); 8] = [
    ("saturation", saturation::figure),
    ("saturation_http", saturation::over_http),
    ("prefix", prefix::figure),
    ("fan_out", fan_out::figure),
    ("fairness", fairness::figure),
    ("overload", overload::figure),
    ("overhead", overhead::figure),
    ("faults", faults::figure),
];

fn main() -> Result<(), Failed> {
    let names = FIGURES.map(|(name, _)| name);
    let mut only = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            ("--only", Some(name)) if names.contains(&name.as_str()) => only.push(name),
            _ => return Err(format!("usage: serving [--only {}]...", names.join("|")).into()),
        }
    }
    let mut report = Map::new();
    for (name, figure) in FIGURES {
        if only.is_empty() || only.iter().any(|only| only == name) {
            let start = Instant::now();
            report.insert(name.to_owned(), figure()?);
            writeln!(std::io::stderr(), "{name}: {:.1} s", start.elapsed().as_secs_f64())?;
        }
    }
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&report)?)?;
    Ok(())
}
