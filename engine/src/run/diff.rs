//! Two runs side by side: which node executions only one of them has, and in what the others differ.

use std::collections::HashMap;

use serde::Serialize;

use super::NodeReport;
use crate::backend::Usage;
use crate::event::{Failure, Timing};
use crate::scope::Scope;
use crate::value::{Map, Text, Value};

/// One node execution in two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeDiff {
    /// Which node.
    pub scope: Scope,
    /// Which run has it.
    pub found: Found,
    /// In what the runs differ there; nothing where they agree, or where only one has it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<Change>,
    /// What became of it in the first run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub a: Option<Side>,
    /// What became of it in the second run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b: Option<Side>,
}

impl NodeDiff {
    /// Whether both runs have it and agree, apart from times and what was used.
    pub fn is_same(&self) -> bool {
        self.found == Found::Both && self.changed.is_empty()
    }
}

/// Which of two runs has a node execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Both.
    Both,
    /// The first alone.
    OnlyA,
    /// The second alone.
    OnlyB,
}

/// Something in which two executions of a node differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The operator.
    Op,
    /// Whether it ran, or why it did not.
    Skipped,
    /// What it read.
    Inputs,
    /// What it gave.
    Outputs,
    /// Whether it failed, or how.
    Failure,
    /// How often it was tried; how many turns or items it had.
    Attempts,
}

/// What became of a node execution in one of two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// The operator.
    pub op: Text,
    /// Attempts made; turns or items of a loop or each.
    pub attempts: u32,
    /// Why it did not run, if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Text>,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The inputs that are not the same in the other run; all of them if that has no such execution.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub inputs: Map,
    /// The outputs that are not the same in the other run; all of them if that has no such execution.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub outputs: Map,
    /// What it used, over all attempts.
    pub usage: Usage,
    /// Where the time of its last attempt went.
    pub timing: Timing,
}

/// Compares two runs by scope, in the order of the first; what only the second has stands after what came before it there.
///
/// Times and what was used are told and not compared: no two runs agree in them.
pub fn diff(a: &[NodeReport], b: &[NodeReport]) -> Vec<NodeDiff> {
    let in_b: HashMap<&Scope, &NodeReport> = b.iter().map(|node| (&node.scope, node)).collect();
    let positions: HashMap<&Scope, usize> = a.iter().zip(1..).map(|(node, at)| (&node.scope, at)).collect();
    // Ordered by the place in the first run; the sort is stable, so what only the second has keeps its order.
    let mut found: Vec<(usize, NodeDiff)> = Vec::with_capacity(a.len().max(b.len()));
    for (node, at) in a.iter().zip(1..) {
        found.push((at, compare(Some(node), in_b.get(&node.scope).copied(), &node.scope)));
    }
    let mut after = 0;
    for node in b {
        match positions.get(&node.scope) {
            Some(at) => after = *at,
            None => found.push((after, compare(None, Some(node), &node.scope))),
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, diff)| diff).collect()
}

fn compare(a: Option<&NodeReport>, b: Option<&NodeReport>, scope: &Scope) -> NodeDiff {
    let (found, changed) = match (a, b) {
        (Some(a), Some(b)) => (Found::Both, changes(a, b)),
        (Some(_), None) => (Found::OnlyA, Vec::new()),
        (None, _) => (Found::OnlyB, Vec::new()),
    };
    let (side_a, side_b) = (a.map(|node| side(node, b)), b.map(|node| side(node, a)));
    NodeDiff { scope: scope.clone(), found, changed, a: side_a, b: side_b }
}

fn changes(a: &NodeReport, b: &NodeReport) -> Vec<Change> {
    [
        (Change::Op, a.op != b.op),
        (Change::Skipped, a.skipped != b.skipped),
        (Change::Inputs, !differing(&a.inputs, &b.inputs).is_empty() || a.inputs.len() != b.inputs.len()),
        (
            Change::Outputs,
            !differing(&a.outputs, &b.outputs).is_empty() || a.outputs.len() != b.outputs.len(),
        ),
        (Change::Failure, a.failure != b.failure),
        (Change::Attempts, a.attempts != b.attempts),
    ]
    .into_iter()
    .filter_map(|(change, is_there)| is_there.then_some(change))
    .collect()
}

fn side(node: &NodeReport, other: Option<&NodeReport>) -> Side {
    let (inputs, outputs) = match other {
        Some(other) => (differing(&node.inputs, &other.inputs), differing(&node.outputs, &other.outputs)),
        None => (node.inputs.clone(), node.outputs.clone()),
    };
    Side {
        op: node.op.clone(),
        attempts: node.attempts,
        skipped: node.skipped.clone(),
        failure: node.failure.clone(),
        inputs,
        outputs,
        usage: node.usage,
        timing: node.timing,
    }
}

/// The values of `map` that are other or missing in `other`.
fn differing(map: &Map, other: &Map) -> Map {
    let is_other = |name: &Text, value: &Value| other.get(name).is_none_or(|other| !is_same(value, other));
    let values = map.iter().filter(|(name, value)| is_other(name, value));
    values.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A record and the map that it became in a journal are the same.
fn is_same(a: &Value, b: &Value) -> bool {
    a == b || a.to_json() == b.to_json()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::FailureKind;

    fn node(scope: &str, input: i64, output: i64) -> NodeReport {
        NodeReport {
            scope: scope.into(),
            op: "test.work".into(),
            attempts: 1,
            skipped: None,
            failure: None,
            aborted: false,
            inputs: [("a".into(), Value::Int(input)), ("b".into(), Value::Int(0))].into_iter().collect(),
            outputs: [("value".into(), Value::Int(output))].into_iter().collect(),
            usage: Usage::default(),
            timing: Timing::default(),
        }
    }

    #[test]
    fn what_differs_is_named_and_shown_alone() {
        let slow = NodeReport {
            timing: Timing { ran: Duration::from_secs(9), ..Timing::default() },
            ..node("same", 1, 1)
        };
        let failure = Failure {
            scope: "x".into(),
            attempt: 2,
            kind: FailureKind::Rejected,
            message: "no".to_owned(),
            retry_after: None,
        };
        let failed =
            NodeReport { failure: Some(failure), attempts: 2, outputs: Map::new(), ..node("x", 2, 0) };
        let found = diff(&[node("same", 1, 1), node("x", 1, 5)], &[slow, failed]);
        assert!(found[0].is_same(), "times alone are no difference: {found:?}");
        assert_eq!(found[1].changed, [Change::Inputs, Change::Outputs, Change::Failure, Change::Attempts]);
        let (a, b) = (found[1].a.as_ref().unwrap(), found[1].b.as_ref().unwrap());
        assert_eq!(serde_json::to_value(&a.inputs).unwrap(), serde_json::json!({ "a": 1 }));
        assert_eq!(serde_json::to_value(&b.inputs).unwrap(), serde_json::json!({ "a": 2 }));
        assert_eq!(serde_json::to_value(&a.outputs).unwrap(), serde_json::json!({ "value": 5 }));
        assert!(b.outputs.is_empty());
    }

    #[test]
    fn what_one_run_alone_has_stands_where_it_ran() {
        let a = ["start", "hop[1]/w", "only_a", "end"].map(|scope| node(scope, 1, 1));
        let b = ["start", "hop[1]/w", "hop[2]/w", "hop[3]/w", "end"].map(|scope| node(scope, 1, 1));
        let found: Vec<_> =
            diff(&a, &b).into_iter().map(|diff| (diff.scope.to_string(), diff.found)).collect();
        let expected = [
            ("start", Found::Both),
            ("hop[1]/w", Found::Both),
            ("hop[2]/w", Found::OnlyB),
            ("hop[3]/w", Found::OnlyB),
            ("only_a", Found::OnlyA),
            ("end", Found::Both),
        ];
        assert_eq!(found, expected.map(|(scope, found)| (scope.to_owned(), found)));
    }

    #[test]
    fn a_run_does_not_differ_from_itself() {
        let nodes = ["a", "b", "fan[1]/c"].map(|scope| node(scope, 3, 4));
        assert!(diff(&nodes, &nodes).iter().all(NodeDiff::is_same));
    }
}
