//! Whole flows through the checker: what loads, and what each mistake is answered with.

use std::sync::Arc;

use crate::diagnostic::{Diagnostics, Severity, SourceFile};
use crate::operator::Names;
use crate::plan::{Environment, Plan, compile};
use crate::testing::MapLibrary;

mod explain;
mod fakes;
mod flows;
mod loads;
mod mistakes;
mod robust;

fn names() -> Names {
    Names::defaults(["docs"])
}

/// Compiles `yaml` with the fakes, beside the files `library`.
fn compile_with(yaml: &str, library: &[(&str, &str)]) -> Result<(Plan, Diagnostics), Diagnostics> {
    let registry = fakes::registry();
    let names = names();
    let library =
        MapLibrary(library.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect());
    let environment = Environment { registry: &registry, names: Some(&names), library: &library };
    compile(&SourceFile::new("flow.yaml", yaml), &environment)
}

/// The plan of a flow that must load without a word.
fn plan(yaml: &str) -> Plan {
    plan_with(yaml, &[])
}

fn plan_with(yaml: &str, library: &[(&str, &str)]) -> Plan {
    let (plan, warnings) = compile_with(yaml, library).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(warnings.is_empty(), "{warnings}");
    plan
}

/// Every problem of a flow as `CODE line: message | hint`.
fn problems(yaml: &str) -> Vec<String> {
    problems_with(yaml, &[])
}

fn problems_with(yaml: &str, library: &[(&str, &str)]) -> Vec<String> {
    let found = match compile_with(yaml, library) {
        Ok((_, warnings)) => {
            assert!(warnings.iter().all(|warning| warning.severity == Severity::Warning));
            warnings
        }
        Err(problems) => problems,
    };
    let line = |file: &Arc<SourceFile>, byte| file.place(byte).0;
    found
        .iter()
        .map(|problem| {
            let hint = problem.hint.as_deref().unwrap_or("-");
            let line = line(&problem.file, problem.span.start);
            let file = if problem.file.name == "flow.yaml" { "" } else { &problem.file.name };
            let start = format!("{} {file}{line}: {} | {hint}", problem.code, problem.message);
            let labels = problem.labels.iter();
            labels.fold(start, |text, label| text + " [" + &label.message + "]")
        })
        .collect()
}

/// Asserts that a flow has exactly one problem, with this beginning and all of these words.
#[track_caller]
fn one(yaml: &str, start: &str, words: &[&str]) {
    one_with(yaml, &[], start, words);
}

#[track_caller]
fn one_with(yaml: &str, library: &[(&str, &str)], start: &str, words: &[&str]) {
    let found = problems_with(yaml, library);
    let [only] = found.as_slice() else { panic!("not one problem: {found:#?}") };
    assert!(only.starts_with(start), "{only}");
    for word in words {
        assert!(only.contains(word), "no `{word}` in: {only}");
    }
}
