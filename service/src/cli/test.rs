//! `anabranch test`: runs the tests that flows carry.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_backends::chat::Tape;
use anabranch_engine::diagnostic::{self, SourceFile};
use anabranch_engine::flow::{Library as _, TestDecl};
use anabranch_engine::plan::Plan;
use serde_json::{Value as Json, json};

use super::print::{self, BOLD, DIM, GREEN, RED, YELLOW};
use super::{Ended, load, world};
use crate::exit::{self, Error, Exit};
use crate::library::Files;
use crate::trial::{self, Tested};

/// Run the tests that flows carry
///
/// Each of a flow's `tests:` gives inputs, and stubs for the nodes that are not to run; what comes of it is compared
/// with its `expect:`. Nothing outside is asked: models answer from the test's `script:` or `replay:` file, or there are none, and
/// there are no indexes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch test flows/
  anabranch test flows/quickstart.yaml --filter \"nothing is found\"

The exit code is 1 if a test fails, 3 if a flow is invalid.

JSON: {passed, failed, invalid: [FILE], without_tests: [FILE],
       tests: [{file, flow, name, line, passed,
                unmet: [{what, expected, got, line, column}], error?}]}
Lines and columns count from 1.")]
pub(crate) struct Args {
    /// Flow files, or folders to search for them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only run tests whose `flow :: name` holds this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    world: world::Args,
}

/// What became of all tests.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    invalid: Vec<String>,
    without_tests: Vec<String>,
    tests: Vec<Json>,
}

pub(crate) async fn run(args: &Args) -> Ended {
    let world = world::World::new(&args.world)?;
    let registry = anabranch_operators::registry();
    let files = load::collect(&args.paths)?;
    if files.is_empty() {
        return Err(
            Error::usage("there are no flows to test").hint("a flow is a YAML file with a top-level `flow:`")
        );
    }
    let cancel = world::cancel_on_interrupt();
    let mut tally = Tally::default();
    for path in files {
        let file = load::read(&path)?;
        let plan = match load::compile(&file, &registry, None) {
            Ok((plan, _)) => Arc::new(plan),
            Err(problems) => {
                print::complain(diagnostic::render(&problems, true).trim_end());
                tally.invalid.push(file.name.clone());
                continue;
            }
        };
        if plan.tests.is_empty() {
            tally.without_tests.push(file.name.clone());
            if !args.json {
                print::data(&format!(
                    "{YELLOW}no tests{YELLOW:#} {} {DIM}({}){DIM:#}\n",
                    plan.name, file.name
                ))?;
            }
        }
        for test in &plan.tests {
            let title = format!("{} :: {}", plan.name, test.name.value);
            if args.filter.as_ref().is_some_and(|filter| !title.contains(filter)) {
                continue;
            }
            let recording = |name: &str| recording(&file, name);
            let outcome = trial::run(&plan, test, &world.config, recording, &cancel).await;
            if cancel.is_cancelled() {
                return Ok(Exit::Interrupted);
            }
            tally.add(&file, &plan, test, &outcome);
            if !args.json {
                print::data(&describe(&title, &file, test, &outcome))?;
            }
        }
    }
    if args.json {
        print::json(&json!({
            "passed": tally.passed, "failed": tally.failed, "invalid": tally.invalid,
            "without_tests": tally.without_tests, "tests": tally.tests,
        }))?;
    } else {
        print::data(&tally.summary())?;
    }
    Ok(match () {
        () if !tally.invalid.is_empty() => Exit::Invalid,
        () if tally.failed > 0 => Exit::Failed,
        () => Exit::Ok,
    })
}

/// The recording that a test of a flow file names.
fn recording(file: &SourceFile, name: &str) -> Result<Arc<Tape>, String> {
    // Reading it as a prompt checks that it lies beside the flow; recordings are text too.
    Files::beside(Path::new(&file.name)).prompt(name, file)?;
    let folder = Path::new(&file.name).parent().unwrap_or(Path::new(""));
    Tape::load(folder.join(name)).map_err(|error| exit::chain(&error))
}

impl Tally {
    fn add(&mut self, file: &SourceFile, plan: &Plan, test: &TestDecl, tested: &Tested) {
        let passed = tested.as_ref().is_ok_and(Vec::is_empty);
        *(if passed { &mut self.passed } else { &mut self.failed }) += 1;
        let unmet: Vec<Json> = tested
            .iter()
            .flatten()
            .map(|unmet| {
                let (line, column) = file.place(unmet.span.start);
                json!({
                    "what": unmet.what, "expected": unmet.expected, "got": unmet.got,
                    "line": line, "column": column,
                })
            })
            .collect();
        let mut json = json!({
            "file": file.name, "flow": plan.name, "name": test.name.value,
            "line": file.place(test.name.span.start).0, "passed": passed, "unmet": unmet,
        });
        if let (Err(error), Some(object)) = (tested, json.as_object_mut()) {
            object.insert("error".to_owned(), json!(error));
        }
        self.tests.push(json);
    }

    fn summary(&self) -> String {
        let colour = if self.failed > 0 || !self.invalid.is_empty() { RED } else { GREEN };
        let mut parts = vec![format!("{} passed", self.passed), format!("{} failed", self.failed)];
        if !self.invalid.is_empty() {
            parts.push(format!("{} invalid", print::count(self.invalid.len(), "flow")));
        }
        if !self.without_tests.is_empty() {
            parts.push(format!("{} without tests", print::count(self.without_tests.len(), "flow")));
        }
        format!("\n{colour}{}{colour:#}\n", parts.join(", "))
    }
}

fn describe(title: &str, file: &SourceFile, test: &TestDecl, tested: &Tested) -> String {
    match tested {
        Ok(unmet) if unmet.is_empty() => format!("{GREEN}ok{GREEN:#} {title}\n"),
        Ok(unmet) => {
            let mut said = format!("{RED}FAILED{RED:#} {BOLD}{title}{BOLD:#}\n");
            for unmet in unmet {
                let (line, column) = file.place(unmet.span.start);
                writeln!(
                    said,
                    "  {} {DIM}({}:{line}:{column}){DIM:#}\n    expected: {}\n    got:      {}",
                    unmet.what, file.name, unmet.expected, unmet.got
                )
                .ok();
            }
            said
        }
        Err(error) => {
            let (line, _) = file.place(test.name.span.start);
            format!(
                "{RED}FAILED{RED:#} {BOLD}{title}{BOLD:#}\n  it could not be run {DIM}({}:{line}){DIM:#}: {error}\n",
                file.name
            )
        }
    }
}
