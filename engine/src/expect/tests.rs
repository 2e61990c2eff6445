//! Tests of the comparison of a test with a run.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::backend::Usage;
use crate::event::{Failure, FailureKind, Timing};
use crate::flow::{Entry, ExpectDecl};
use crate::run::NodeReport;
use crate::value::{Map, Value};

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned::new(value, Span::new(3, 7))
}

fn names(names: &[&str]) -> Vec<Spanned<String>> {
    names.iter().map(|name| spanned((*name).to_owned())).collect()
}

fn test(expect: ExpectDecl) -> TestDecl {
    TestDecl {
        name: spanned("t".to_owned()),
        inputs: vec![],
        stub: vec![],
        replay: None,
        script: vec![],
        expect,
    }
}

fn node(scope: &str, skipped: Option<&str>) -> NodeReport {
    NodeReport {
        scope: scope.into(),
        op: "x.y".into(),
        attempts: u32::from(skipped.is_none()),
        skipped: skipped.map(Into::into),
        failure: None,
        aborted: false,
        inputs: Map::new(),
        outputs: Map::new(),
        usage: Usage::default(),
        timing: Timing::default(),
    }
}

fn report() -> Report {
    Report {
        outcome: Outcome::Succeeded,
        outputs: [("answer".into(), Value::text("do not know"))].into_iter().collect(),
        absent: BTreeMap::new(),
        usage: Usage::default(),
        nodes: vec![
            node("triage", None),
            node("once", Some("`when` was false")),
            node("hop[1]/search", None),
            node("hop[2]/search", Some("`when` was false")),
        ],
        elapsed: Duration::ZERO,
    }
}

#[test]
fn ran_is_the_exact_set_of_the_top_level_in_any_order() {
    let ran = |list: &[&str]| {
        unmet(&test(ExpectDecl { ran: Some(names(list)), ..ExpectDecl::default() }), &report())
    };
    assert!(ran(&["hop", "triage"]).is_empty());
    assert!(ran(&["hop/search", "triage"]).is_empty());
    assert_eq!(ran(&["triage"])[0].got, "`hop` ran too");
    assert_eq!(ran(&["hop", "triage", "once"])[0].got, "skipped: `when` was false");
    assert_eq!(ran(&["hop", "triage", "hop/think"])[0].got, "the run never came to it");
}

#[test]
fn skipped_means_that_it_never_ran_in_any_turn() {
    let skipped =
        |list: &[&str]| unmet(&test(ExpectDecl { skipped: names(list), ..ExpectDecl::default() }), &report());
    assert!(skipped(&["once"]).is_empty());
    assert_eq!(skipped(&["hop/search"])[0].got, "it ran");
}

#[test]
fn an_output_that_differs_is_shown_with_its_place() {
    let outputs = vec![
        Entry { key: spanned("answer".to_owned()), value: spanned(json!({"contains": "know"})) },
        Entry { key: spanned("other".to_owned()), value: spanned(json!(1)) },
    ];
    let found = unmet(&test(ExpectDecl { outputs, ..ExpectDecl::default() }), &report());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].what.as_str(), found[0].got.as_str()), ("output `other`", "nothing"));
    assert_eq!(found[0].span, Span::new(3, 7));
}

#[test]
fn a_failed_run_meets_nothing_but_fails() {
    let failed = Report {
        outcome: Outcome::Failed(Failure {
            scope: "hop[1]/search".into(),
            attempt: 1,
            kind: FailureKind::TimedOut,
            message: "too slow".to_owned(),
            retry_after: None,
        }),
        ..report()
    };
    assert_eq!(unmet(&test(ExpectDecl::default()), &failed).len(), 1);
    let fails = |json| test(ExpectDecl { fails: Some(spanned(json)), ..ExpectDecl::default() });
    assert!(unmet(&fails(json!({"node": "hop/search", "kind": "timed_out"})), &failed).is_empty());
    assert_eq!(unmet(&fails(json!({"kind": "rejected"})), &failed)[0].expected, "it fails (rejected)");
    assert_eq!(unmet(&fails(json!({})), &report())[0].got, "it succeeded");
}
