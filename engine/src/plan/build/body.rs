//! The nodes of one scope, in an order in which each comes after what it reads.

use std::sync::Arc;

use super::{Builder, Place, Uses};
use crate::diagnostic::{Code, Diagnostic, suggest};
use crate::flow::reference::{Frame, index};
use crate::flow::{JoinDecl, KindDecl, NodeDecl};
use crate::operator::Port;
use crate::plan::{Body, Input, Join, Kind, Node, OnError, Output, check};
use crate::types::Type;
use crate::value::Text;

/// A body with what the checks want to know about it.
#[derive(Debug, Default)]
pub(crate) struct Built {
    pub(crate) nodes: Vec<Node>,
    /// For each node, those without whose values it is skipped.
    pub(crate) requires: Vec<Vec<u32>>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<Output>,
    /// How many scopes are opened within one another.
    pub(crate) height: usize,
}

impl Built {
    /// The body, of the flow `flow` if it is a flow's.
    pub(crate) fn finish(self, flow: Option<Text>) -> Body {
        Body { flow, inputs: self.inputs, nodes: self.nodes, captures: Vec::new(), outputs: self.outputs }
    }

    /// The body of a turn or an item.
    pub(crate) fn finish_inner(self, frame: &Frame<'_>) -> Arc<Body> {
        let captures = frame.captures().into_iter().map(|capture| capture.at).collect();
        Arc::new(Body { captures, ..self.finish(None) })
    }
}

/// What a node runs, with what comes of looking at it.
pub(crate) struct BuiltKind {
    pub(crate) kind: Kind,
    /// `None` if they cannot be known, because something is wrong.
    pub(crate) outputs: Option<Vec<Port>>,
    pub(crate) height: usize,
    /// The budget that comes with it: a sub-flow's own.
    pub(crate) budget: Option<crate::budget::Budget>,
}

impl BuiltKind {
    /// Stands in for a node that is wrong; the flow does not load, so it never runs.
    pub(crate) fn broken() -> Self {
        Self {
            kind: Kind::Flow { body: Arc::default(), inputs: Vec::new() },
            outputs: None,
            height: 0,
            budget: None,
        }
    }
}

impl Builder<'_> {
    /// Compiles the nodes of one scope.
    pub(crate) fn body(&mut self, place: Place<'_>, decls: &[NodeDecl]) -> Built {
        let order = check::order(place.file, decls, &place.frame.shadowed(), &mut self.problems);
        let mut slots: Vec<Option<(Node, Vec<u32>)>> = decls.iter().map(|_| None).collect();
        let mut height = 0;
        for position in order {
            let Some(decl) = decls.get(position) else { continue };
            let (node, uses, node_height, known) = self.node(place, decl);
            height = height.max(node_height);
            uses.mark(place.frame);
            place.frame.define(position, known.then(|| node.outputs.clone()));
            if let Some(slot) = slots.get_mut(position) {
                *slot = Some((node, uses.requires()));
            }
        }
        self.hand_out_kits(place, decls, &mut slots);
        let (mut nodes, requires): (Vec<Node>, Vec<Vec<u32>>) = slots.into_iter().flatten().unzip();
        let edges: Vec<(u32, u32)> = nodes
            .iter()
            .enumerate()
            .flat_map(|(reader, node)| node.needs.iter().map(move |need| (need.node, index(reader))))
            .collect();
        for (read, reader) in edges {
            if let Some(node) = nodes.get_mut(read as usize) {
                node.dependents.push(reader);
            }
        }
        Built { nodes, requires, height, ..Built::default() }
    }

    /// Compiles a node. The last of what comes back says whether its outputs are known.
    fn node(&mut self, place: Place<'_>, decl: &NodeDecl) -> (Node, Uses, usize, bool) {
        let who = format!("node `{}`", decl.name.value);
        let mut uses = Uses::default();
        let when = decl.when.as_ref().map(|when| {
            let expr = self.expr_of(place, when, &who, &Type::Bool, "`when`");
            uses.add(&expr, true);
            expr
        });
        let built = match &decl.kind {
            KindDecl::Unknown => self.unknown_node(place, decl, &mut uses),
            KindDecl::Op(name) => self.operator(place, decl, name, &mut uses),
            KindDecl::Flow(name) => self.flow_node(place, decl, name, &mut uses),
            KindDecl::Loop(inner) => self.looping(place, decl, inner, &mut uses),
            KindDecl::Each(inner) => self.each(place, decl, inner, &mut uses),
            KindDecl::Wait(wait) => self.wait_node(place, decl, wait, &mut uses),
            KindDecl::Plan(plan) => self.planned(place, decl, plan, &mut uses),
        };
        let known = built.outputs.is_some();
        let outputs = built.outputs.unwrap_or_default();
        let on_error = match &decl.on_error {
            None => OnError::Fail,
            Some(on_error) => self.on_error(place, decl, on_error, known.then_some(outputs.as_slice())),
        };
        let reads = uses.needs();
        if let Some(join) = &decl.join {
            check::join(place.file, decl, join.span, &join.value, &reads, &mut self.problems);
        }
        self.after(place, decl, &mut uses);
        let budget = match (decl.budget.as_ref().map(|budget| budget.value), built.budget) {
            (Some(outer), Some(inner)) => Some(smaller(outer, inner)),
            (outer, inner) => outer.or(inner),
        };
        let node = Node {
            name: decl.name.value.as_str().into(),
            about: decl.about.as_deref().map(Text::from),
            kind: built.kind,
            outputs,
            needs: uses.needs(),
            dependents: Vec::new(),
            when,
            join: decl.join.as_ref().map(|join| self::join(&join.value)).unwrap_or_default(),
            on_error,
            budget: budget.filter(|budget| !budget.is_unlimited()),
        };
        (node, uses, built.height, known)
    }

    fn after(&mut self, place: Place<'_>, decl: &NodeDecl, uses: &mut Uses) {
        for name in &decl.after {
            if let Some(position) = place.frame.position(&name.value) {
                uses.add_after(index(position));
                continue;
            }
            let message = format!(
                "node `{}` comes after `{}`, which is no node of the same scope",
                decl.name.value, name.value
            );
            let others = place.frame.node_names().filter(|other| *other != decl.name.value);
            let mut diagnostic = Diagnostic::new(Code::AFTER, place.file, name.span, message)
                .maybe_hint(suggest(&name.value, others, "the nodes here are"));
            if let Some(found) = place.frame.elsewhere(&name.value) {
                diagnostic = diagnostic
                    .label(found.node.name.span, format!("this one is inside `{}`", found.owner.name.value));
            }
            self.problems.push(diagnostic);
        }
    }
}

fn join(decl: &JoinDecl) -> Join {
    Join {
        need: decl.need,
        deadline: decl.deadline.as_ref().map(|deadline| deadline.value),
        cancel_losers: decl.cancel_losers,
    }
}

/// What both budgets allow.
fn smaller(a: crate::budget::Budget, b: crate::budget::Budget) -> crate::budget::Budget {
    fn least<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b < a { b } else { a }),
            (a, b) => a.or(b),
        }
    }
    crate::budget::Budget {
        model_calls: least(a.model_calls, b.model_calls),
        model_tokens: least(a.model_tokens, b.model_tokens),
        cost: least(a.cost, b.cost),
        wall: least(a.wall, b.wall),
    }
}
