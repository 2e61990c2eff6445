//! What is cut out of a run: the places that are done again, and what depends on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ForkError;
use crate::diagnostic::suggest;
use crate::plan::{Body, Kind, Node};

/// What ran as plans that were made at run time, by the paths of their nodes.
type Plans = BTreeMap<String, Arc<Body>>;

/// The cut through one open scope, and those inside it.
pub(super) struct Cut<'p> {
    body: &'p Body,
    plans: &'p Plans,
    nodes: BTreeMap<u32, NodeCut<'p>>,
    /// Nodes that wait for a cut one, at whatever distance.
    downstream: BTreeSet<u32>,
}

/// How a node is cut.
#[derive(Default)]
struct NodeCut<'p> {
    /// All of it is done again.
    is_whole: bool,
    /// Only its end is another; what ended inside stays.
    is_reopened: bool,
    parts: BTreeMap<Part, PartCut<'p>>,
}

/// What can be open inside a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Flow,
    Index(usize),
    OnError,
}

enum PartCut<'p> {
    Whole,
    Inner(Cut<'p>),
}

/// A piece of a path: `hop[2]`.
struct Segment<'a> {
    name: &'a str,
    index: Option<usize>,
}

impl<'p> Cut<'p> {
    pub(super) fn new(body: &'p Body, plans: &'p Plans) -> Self {
        Self { body, plans, nodes: BTreeMap::new(), downstream: BTreeSet::new() }
    }

    /// Cuts out the node, turn or item at `path`; gives the node, if it is one.
    pub(super) fn add(&mut self, path: &str) -> Result<Option<&'p Node>, ForkError> {
        self.add_at(path, "", path, false)
    }

    /// Lets the node at `path` end anew; what ended inside it stays.
    pub(super) fn reopen(&mut self, path: &str) -> Result<(), ForkError> {
        self.add_at(path, "", path, true).map(|_| ())
    }

    fn add_at(
        &mut self,
        whole: &str,
        frame: &str,
        rest: &str,
        reopen: bool,
    ) -> Result<Option<&'p Node>, ForkError> {
        let (segment, rest) = split(rest);
        let (position, node) = self.find(whole, frame, &segment)?;
        let unknown = |problem: String, hint: &str| ForkError::UnknownScope {
            scope: whole.to_owned(),
            problem,
            hint: (!hint.is_empty()).then(|| hint.to_owned()),
        };
        let path = join(frame, &segment);
        let cut = self.nodes.entry(position).or_default();
        let (part, body, rest) = match (segment.index, rest) {
            (None, None) => {
                if reopen {
                    cut.is_reopened = true;
                } else {
                    cut.is_whole = true;
                }
                return Ok(Some(node));
            }
            (None, Some(rest)) => match (node.fallback(rest), &node.kind) {
                (Some((body, rest)), _) => (Part::OnError, body, Some(rest)),
                (None, Kind::Flow { body, .. }) => (Part::Flow, &**body, Some(rest)),
                (None, Kind::Plan(_)) => match self.plans.get(&path) {
                    Some(body) => (Part::Flow, &**body, Some(rest)),
                    None => return Err(ForkError::DidNotRun { scope: whole.to_owned() }),
                },
                (None, Kind::Loop(_) | Kind::Each(_)) => {
                    let example = format!("write `{path}[1]/{rest}`");
                    return Err(unknown(
                        format!("`{path}` has turns or items, and `{whole}` says none"),
                        &example,
                    ));
                }
                (None, _) => return Err(unknown(format!("`{path}` has no nodes in it"), "")),
            },
            (Some(index), rest) => match &node.kind {
                Kind::Loop(spec) => (Part::Index(index), &*spec.body, rest),
                Kind::Each(spec) => (Part::Index(index), &*spec.body, rest),
                _ => return Err(unknown(format!("`{}` has neither turns nor items", node.name), "")),
            },
        };
        let plans = self.plans;
        let inner = cut.parts.entry(part).or_insert_with(|| PartCut::Inner(Cut::new(body, plans)));
        let Some(rest) = rest else {
            *inner = PartCut::Whole;
            return Ok(None);
        };
        let frame = if part == Part::OnError { format!("{path}/on_error") } else { path };
        match inner {
            PartCut::Inner(inner) => inner.add_at(whole, &frame, rest, reopen),
            // Found all the same, for its node.
            PartCut::Whole => Cut::new(body, plans).add_at(whole, &frame, rest, reopen),
        }
    }

    fn find(&self, whole: &str, frame: &str, segment: &Segment<'_>) -> Result<(u32, &'p Node), ForkError> {
        let found = self.body.nodes.iter().zip(0..).find(|(node, _)| *node.name == *segment.name);
        if let Some((node, position)) = found {
            return Ok((position, node));
        }
        let place = if frame.is_empty() { "the flow".to_owned() } else { format!("`{frame}`") };
        Err(ForkError::UnknownScope {
            scope: whole.to_owned(),
            problem: format!("{place} has no node `{}`", segment.name),
            hint: suggest(segment.name, self.body.nodes.iter().map(|node| &*node.name), "there are"),
        })
    }

    /// Finds what depends on the cuts, once they are made.
    pub(super) fn close(&mut self) {
        let mut open: Vec<u32> = self.nodes.keys().copied().collect();
        while let Some(node) = open.pop() {
            let dependents = self.body.nodes.get(node as usize).map(|node| node.dependents.as_slice());
            for &dependent in dependents.unwrap_or_default() {
                if self.downstream.insert(dependent) {
                    open.push(dependent);
                }
            }
        }
        for part in self.nodes.values_mut().flat_map(|cut| cut.parts.values_mut()) {
            if let PartCut::Inner(inner) = part {
                inner.close();
            }
        }
    }

    /// Whether what happened at the node `path` is cut out: it is at, inside or downstream of a cut.
    pub(super) fn affects(&self, path: &str) -> bool {
        let (segment, rest) = split(path);
        let found = self.body.nodes.iter().zip(0..).find(|(node, _)| *node.name == *segment.name);
        let Some((node, position)) = found else { return false };
        if self.downstream.contains(&position) {
            return true;
        }
        let Some(cut) = self.nodes.get(&position) else { return false };
        // The node ends after what is cut inside it.
        let Some(rest) = rest else { return true };
        if cut.is_whole {
            return true;
        }
        let (part, rest) = match (segment.index, node.fallback(rest)) {
            (None, Some((_, rest))) => (Part::OnError, rest),
            (None, None) => (Part::Flow, rest),
            (Some(index), _) => (Part::Index(index), rest),
        };
        let before = match (part, &node.kind) {
            // A fallback depends on how its node fails, a turn on the turns before it.
            (Part::OnError, _) => cut.is_reopened || cut.parts.keys().any(|cut| *cut != Part::OnError),
            (Part::Index(index), Kind::Loop(_)) => {
                cut.parts.keys().any(|cut| matches!(cut, Part::Index(cut) if *cut < index))
            }
            _ => false,
        };
        before
            || match cut.parts.get(&part) {
                None => false,
                Some(PartCut::Whole) => true,
                Some(PartCut::Inner(inner)) => inner.affects(rest),
            }
    }
}

fn split(path: &str) -> (Segment<'_>, Option<&str>) {
    let (first, rest) = match path.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    let indexed = first.strip_suffix(']').and_then(|first| first.split_once('['));
    let indexed = indexed.and_then(|(name, index)| Some((name, index.parse().ok()?)));
    let segment = match indexed {
        Some((name, index)) => Segment { name, index: Some(index) },
        None => Segment { name: first, index: None },
    };
    (segment, rest)
}

fn join(frame: &str, segment: &Segment<'_>) -> String {
    let index = segment.index.map(|index| format!("[{index}]")).unwrap_or_default();
    let slash = if frame.is_empty() { "" } else { "/" };
    format!("{frame}{slash}{}{index}", segment.name)
}
