//! `anabranch route`: what routers learn from a log.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anabranch_operators::route::tally::{Learned, Record};
use serde_json::{Value as Json, json};

use super::{Ended, print};
use crate::exit::{Error, Exit};

/// Most lines of a log that are read.
const LINES_MAX: usize = 10_000_000;
/// Most problems of a log that are told.
const PROBLEMS_MAX: usize = 10;

/// Make the table of a router from what happened
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch route learn log.jsonl > table.yaml")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Learn(LearnArgs),
}

/// Make the table of `route.tag` from a log of routes that were taken
///
/// The log has a JSON object a line: the tags of a text, the route that it took, whether that was right, and if you like
/// what it cost. A text that was tried on several routes has a line for each.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch route learn log.jsonl > table.yaml
  anabranch route learn log.jsonl --json | jq .routes

A line of the log:
  {\"tags\": [\"algebra\"], \"route\": \"small\", \"success\": false, \"cost\": 0.2}

The output is what stands under `with:` of a node with `route.tag`, as YAML.
JSON: {routes: {ROUTE: COST}, table: {TAG: {ROUTE: [RIGHT, OF]}}}
`COST` is the mean of the log, 0 where it says none.")]
struct LearnArgs {
    /// The log, JSON Lines
    log: PathBuf,
    /// Leave out tags that were seen less often than this, over all routes
    #[arg(long, value_name = "N", default_value_t = 1)]
    min_count: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Ended {
    match &args.command {
        Command::Learn(args) => learn(args),
    }
}

fn learn(args: &LearnArgs) -> Ended {
    let learned = read(&args.log)?;
    let settings = settings(&learned, args.min_count);
    if args.json {
        print::json(&settings)?;
    } else {
        print::data(&yaml(&settings))?;
    }
    let table = settings.get("table").and_then(|table| table.as_object());
    let (tags, routes) = (table.map_or(0, serde_json::Map::len), learned.routes.len());
    print::remark(&format!("{} and {}", print::count(tags, "tag"), print::count(routes, "route")));
    Ok(Exit::Ok)
}

/// The whole log, or everything that is wrong with it.
fn read(path: &Path) -> Result<Learned, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::caused(Exit::Usage, format!("cannot read {}", path.display()), &error))?;
    let mut learned = Learned::default();
    let mut problems = Vec::new();
    let lines = text.lines().enumerate().take(LINES_MAX).filter(|(_, line)| !line.trim().is_empty());
    for (number, line) in lines {
        match serde_json::from_str::<Record>(line) {
            Ok(record) => learned.add(&record),
            Err(error) => problems.push(format!("{}:{}: {error}", path.display(), number + 1)),
        }
        if problems.len() >= PROBLEMS_MAX {
            break;
        }
    }
    if text.lines().nth(LINES_MAX).is_some() {
        problems.push(format!("{} has more than {LINES_MAX} lines", path.display()));
    }
    let hint = "a line is {\"tags\": [\"algebra\"], \"route\": \"small\", \"success\": true}";
    if !problems.is_empty() {
        return Err(Error::usage(problems.join("\n")).hint(hint));
    }
    if learned.routes.is_empty() {
        return Err(Error::usage(format!("{} has no lines", path.display())).hint(hint));
    }
    Ok(learned)
}

/// What stands under `with:` of a node with `route.tag`.
fn settings(learned: &Learned, min_count: u64) -> Json {
    let routes: serde_json::Map<String, Json> =
        learned.routes.iter().map(|(route, known)| (route.to_string(), json!(known.cost()))).collect();
    let table: serde_json::Map<String, Json> = learned
        .table
        .iter()
        .filter(|(_, routes)| routes.values().map(|seen| seen.of).sum::<u64>() >= min_count)
        .map(|(tag, routes)| {
            let seen = routes.iter().map(|(route, seen)| (route.to_string(), json!([seen.right, seen.of])));
            (tag.to_string(), seen.collect::<serde_json::Map<_, _>>().into())
        })
        .collect();
    json!({ "routes": routes, "table": table })
}

/// The settings as YAML, a line a tag: JSON within YAML is YAML.
fn yaml(settings: &Json) -> String {
    let mut text = format!("routes: {}\ntable:\n", settings["routes"]);
    for (tag, routes) in settings["table"].as_object().into_iter().flatten() {
        writeln!(text, "  {}: {routes}", json!(tag)).ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(log: &str) -> Result<Json, Error> {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("log.jsonl");
        std::fs::write(&path, log).unwrap();
        read(&path).map(|learned| settings(&learned, 2))
    }

    const LOG: &str = r#"
{"tags": ["algebra", "hard: yes"], "route": "small", "success": false, "cost": 1}
{"tags": ["algebra"], "route": "large", "success": true, "cost": 3}
{"tags": ["algebra"], "route": "large", "success": true, "cost": 5}
"#;

    #[test]
    fn a_log_becomes_the_settings_of_the_router() {
        let found = learned(LOG).unwrap();
        let expected = json!({
            "routes": { "small": 1.0, "large": 4.0 },
            "table": { "algebra": { "small": [0, 1], "large": [2, 2] } },
        });
        assert_eq!(found, expected);
        assert_eq!(
            yaml(&found),
            "routes: {\"small\":1.0,\"large\":4.0}\ntable:\n  \"algebra\": {\"small\":[0,1],\"large\":[2,2]}\n"
        );
        let registry = anabranch_operators::registry();
        assert!(registry.get("route.tag").unwrap().validator.is_valid(&found));
    }

    #[test]
    fn every_line_that_cannot_be_read_is_told_with_its_place() {
        let error = learned("{\"tags\": []}\n\nno\n").unwrap_err();
        let lines: Vec<&str> = error.message.lines().collect();
        assert!(lines[0].ends_with("log.jsonl:1: missing field `route` at line 1 column 12"), "{}", lines[0]);
        assert!(lines[1].contains("log.jsonl:3: "), "{}", lines[1]);
        let less = learned(&LOG.replace("\"cost\": 5", "\"cost\": -5")).unwrap_err();
        assert!(less.message.contains("log.jsonl:4: `cost` is -5, less than nothing"), "{}", less.message);
        assert!(learned("\n").unwrap_err().message.ends_with("has no lines"));
    }
}
