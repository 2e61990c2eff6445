//! Which values a node takes, and how badly it needs each.

use crate::flow::expression::Expr;
use crate::flow::reference::{Capture, Frame};
use crate::plan::{Dependency, Ref};

/// The references of one node.
#[derive(Debug, Default)]
pub(crate) struct Uses(Vec<Use>);

#[derive(Debug, Clone, Copy)]
struct Use {
    at: Ref,
    strict: bool,
    /// Whether the node is skipped if the value is absent.
    required: bool,
}

impl Uses {
    /// The references of `expr`; `required` says whether the node can do without its value.
    pub(crate) fn add(&mut self, expr: &Expr, required: bool) {
        self.0.extend(expr.refs.iter().map(|reference| Use {
            at: reference.at,
            strict: required && reference.strict,
            required: required && reference.strict,
        }));
    }

    /// What a body inside the node takes from the scope of the node.
    pub(crate) fn add_captures(&mut self, captures: &[Capture]) {
        self.0.extend(captures.iter().map(|capture| Use {
            at: capture.at,
            strict: capture.strict,
            required: false,
        }));
    }

    /// A node that is waited for without taking a value.
    pub(crate) fn add_after(&mut self, node: u32) {
        self.0.push(Use { at: Ref::Port { node, port: 0 }, strict: true, required: false });
    }

    /// Tells `frame` which of its captures are needed outright.
    pub(crate) fn mark(&self, frame: &Frame<'_>) {
        for used in &self.0 {
            if let (Ref::Capture(position), true) = (used.at, used.strict) {
                frame.mark_strict(position);
            }
        }
    }

    /// The nodes of the same body, each once, in the order of first use.
    pub(crate) fn needs(&self) -> Vec<Dependency> {
        let mut needs: Vec<Dependency> = Vec::new();
        for used in &self.0 {
            let Ref::Port { node, .. } = used.at else { continue };
            match needs.iter_mut().find(|known| known.node == node) {
                Some(known) => known.strict |= used.strict,
                None => needs.push(Dependency { node, strict: used.strict }),
            }
        }
        needs
    }

    /// The nodes without whose values this one is skipped.
    pub(crate) fn requires(&self) -> Vec<u32> {
        let mut nodes: Vec<u32> = self
            .0
            .iter()
            .filter(|used| used.required)
            .filter_map(|used| if let Ref::Port { node, .. } = used.at { Some(node) } else { None })
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}
