//! Whether a run gave what a flow's test expects: a pure comparison of a [`TestDecl`] with a [`Report`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::diagnostic::{Span, Spanned};
use crate::flow::TestDecl;
use crate::run::{Outcome, Report};

mod matcher;
#[cfg(test)]
mod tests;

pub(crate) use matcher::NAMES as MATCHERS;

/// One expectation that was not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Where in the flow file the expectation stands.
    pub span: Span,
    /// What was looked at: `ran`, "output `answer`".
    pub what: String,
    /// What the test asks for.
    pub expected: String,
    /// What the run gave.
    pub got: String,
}

/// Every expectation of `test` that `report` does not meet, in the order in which they are written.
///
/// * `ran` is the exact set of top-level nodes that ran; a path such as `hop/search` only has to be among them.
/// * `skipped` nodes must have been skipped and never have run.
/// * `outputs` must be there and match; `absent` ones must not be there.
/// * A run that fails meets nothing but `fails`.
pub fn unmet(test: &TestDecl, report: &Report) -> Vec<Unmet> {
    let expect = &test.expect;
    let nodes = Nodes::of(report);
    let mut found = Vec::new();
    found.extend(check_end(test, report));
    if let Some(ran) = &expect.ran {
        found.extend(check_ran(ran, &nodes, test.name.span));
    }
    for path in &expect.skipped {
        if !nodes.was_skipped(&path.value) {
            let got = if nodes.ran(&path.value) { "it ran" } else { "the run never came to it" };
            found.push(Unmet {
                span: path.span,
                what: format!("skipped: node `{}`", path.value),
                expected: "skipped".to_owned(),
                got: got.to_owned(),
            });
        }
    }
    for entry in &expect.outputs {
        let name = entry.key.value.as_str();
        let what = format!("output `{name}`");
        match report.outputs.get(name) {
            Some(value) => {
                found.extend(matcher::unmet(&entry.value.value, value).into_iter().map(|differs| Unmet {
                    span: entry.value.span,
                    what: what.clone(),
                    expected: differs.expected,
                    got: differs.got,
                }));
            }
            None => found.push(Unmet {
                span: entry.value.span,
                what,
                expected: matcher::describe(&entry.value.value),
                got: report
                    .absent
                    .get(name)
                    .map_or_else(|| "nothing".to_owned(), |absence| format!("absent: {}", absence.why)),
            }),
        }
    }
    for name in &expect.absent {
        if let Some(value) = report.outputs.get(name.value.as_str()) {
            found.push(Unmet {
                span: name.span,
                what: format!("output `{}`", name.value),
                expected: "absent".to_owned(),
                got: matcher::show(value),
            });
        }
    }
    found
}

/// Whether the run ended as it should: well, or with the failure that `fails` names.
fn check_end(test: &TestDecl, report: &Report) -> Option<Unmet> {
    let got = match &report.outcome {
        Outcome::Succeeded => "it succeeded".to_owned(),
        Outcome::Failed(failure) => failure.to_string(),
        Outcome::Cancelled { reason } => format!("it was cancelled: {reason}"),
        Outcome::Paused => "it was paused".to_owned(),
        Outcome::Waiting { waits } => {
            let scopes: Vec<String> = waits.iter().map(|wait| wait.scope.to_string()).collect();
            format!("it waits for an answer at {}; stub it", scopes.join(", "))
        }
    };
    let Some(fails) = &test.expect.fails else {
        return (report.outcome != Outcome::Succeeded).then(|| Unmet {
            span: test.name.span,
            what: "the run".to_owned(),
            expected: "it succeeds".to_owned(),
            got,
        });
    };
    let field = |name: &str| fails.value.get(name).and_then(Json::as_str);
    let met = match &report.outcome {
        Outcome::Failed(failure) => {
            let scope = failure.scope.to_string();
            field("node").is_none_or(|node| node == scope || node == without_indexes(&scope))
                && field("kind").is_none_or(|kind| kind == failure.kind.as_str())
        }
        _ => false,
    };
    (!met).then(|| Unmet {
        span: fails.span,
        what: "the run".to_owned(),
        expected: match (field("node"), field("kind")) {
            (Some(node), Some(kind)) => format!("node `{node}` fails ({kind})"),
            (Some(node), None) => format!("node `{node}` fails"),
            (None, Some(kind)) => format!("it fails ({kind})"),
            (None, None) => "it fails".to_owned(),
        },
        got,
    })
}

fn check_ran(expected: &[Spanned<String>], nodes: &Nodes, test: Span) -> Vec<Unmet> {
    let mut found: Vec<Unmet> = expected
        .iter()
        .filter(|path| !nodes.ran(&path.value))
        .map(|path| Unmet {
            span: path.span,
            what: format!("ran: node `{}`", path.value),
            expected: "it runs".to_owned(),
            got: nodes.why_not(&path.value),
        })
        .collect();
    // The list is a statement about the whole top level; below it only what is named counts.
    let top: BTreeSet<&str> = expected.iter().map(|path| first_segment(&path.value)).collect();
    let extra: Vec<String> =
        nodes.top_level().filter(|name| !top.contains(name)).map(|name| format!("`{name}`")).collect();
    if !extra.is_empty() {
        let span = match (expected.first(), expected.last()) {
            (Some(first), Some(last)) => Span::new(first.span.start, last.span.end),
            _ => test,
        };
        found.push(Unmet {
            span,
            what: "ran".to_owned(),
            expected: format!("only {}", list(expected)),
            got: format!("{} ran too", extra.join(", ")),
        });
    }
    found
}

fn list(paths: &[Spanned<String>]) -> String {
    if paths.is_empty() {
        return "nothing".to_owned();
    }
    paths.iter().map(|path| format!("`{}`", path.value)).collect::<Vec<_>>().join(", ")
}

/// What became of the nodes of a run, by path without indexes.
struct Nodes {
    ran: BTreeSet<String>,
    skipped: BTreeMap<String, String>,
}

impl Nodes {
    fn of(report: &Report) -> Self {
        let mut nodes = Self { ran: BTreeSet::new(), skipped: BTreeMap::new() };
        for node in &report.nodes {
            let path = without_indexes(&node.scope.to_string());
            if let Some(why) = &node.skipped {
                nodes.skipped.insert(path, why.to_string());
                continue;
            }
            // A node inside a loop or sub-flow ran, so what holds it ran.
            nodes.ran.extend(path.match_indices('/').filter_map(|(at, _)| path.get(..at)).map(str::to_owned));
            nodes.ran.insert(path);
        }
        nodes
    }

    fn ran(&self, path: &str) -> bool {
        self.ran.contains(&without_indexes(path))
    }

    fn was_skipped(&self, path: &str) -> bool {
        !self.ran(path) && self.skipped.contains_key(&without_indexes(path))
    }

    fn why_not(&self, path: &str) -> String {
        match self.skipped.get(&without_indexes(path)) {
            Some(why) => format!("skipped: {why}"),
            None => "the run never came to it".to_owned(),
        }
    }

    fn top_level(&self) -> impl Iterator<Item = &str> {
        self.ran.iter().map(String::as_str).filter(|path| !path.contains('/'))
    }
}

fn first_segment(path: &str) -> &str {
    path.split(['/', '[']).next().unwrap_or(path)
}

/// `hop[2]/search` as `hop/search`.
fn without_indexes(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ if !inside => plain.push(c),
            _ => {}
        }
    }
    plain
}
