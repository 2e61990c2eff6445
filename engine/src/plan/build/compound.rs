//! Nodes that open a scope of their own: loops and eaches.

use std::sync::Arc;

use super::body::{Built, BuiltKind};
use super::{Builder, Place, Uses};
use crate::diagnostic::{Code, Diagnostic, Spanned, suggest};
use crate::flow::expression::Expr;
use crate::flow::reference::{Frame, Root, index};
use crate::flow::{EachBody, EachDecl, Entry, ExprText, KindDecl, LoopDecl, NodeDecl, OnItemError};
use crate::limits;
use crate::operator::Port;
use crate::plan::{Each, Kind, Late, Loop, Output, check};
use crate::types::Type;
use crate::value::Text;

impl Builder<'_> {
    /// `loop: {...}`.
    pub(crate) fn looping(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        inner: &LoopDecl,
        uses: &mut Uses,
    ) -> BuiltKind {
        let who = format!("node `{}`", decl.name.value);
        let mut carry = Vec::new();
        let mut first = Vec::new();
        for entry in &inner.carry {
            let expr = self.expr(place, &entry.value, &who);
            uses.add(&expr, true);
            carry.push(port(&entry.key, &expr.ty, "What the last turn left, else the first value."));
            first.push(expr);
        }
        let max_turns = match &inner.max_turns {
            Some(max_turns) => self.count(place, decl, "max_turns", max_turns, uses),
            None => Late::Now(1),
        };
        if place.depth + 1 > limits::SCOPE_DEPTH {
            self.too_deep(place.file, inner.span);
            return BuiltKind::broken();
        }
        let before = self.problems.clone();
        let mut turn = self.turn(place, inner, &carry);
        let widened: Vec<Port> = carry
            .iter()
            .zip(&turn.next)
            .map(|(port, next)| Port { ty: carried(&port.ty, next), ..port.clone() })
            .collect();
        // A first value of `1` and a next value of `0.5`: inside, the carried value is no whole number.
        if carry.iter().zip(&widened).any(|(before, after)| !is_open(&before.ty) && before.ty != after.ty) {
            self.forget_since(before, place.file);
            turn = self.turn(place, inner, &widened);
        }
        self.carries_one_kind(place, inner, &carry, &turn.next);
        let Turn { mut built, next, until, captures } = turn;
        uses.add_captures(&captures);
        built.outputs =
            inner.carry.iter().zip(next).map(|(entry, value)| output(&entry.key.value, value)).collect();
        let mut outputs = widened.clone();
        outputs.push(simple("turns", Type::Int, "How many turns were made."));
        outputs.push(simple("stopped_because", Type::Label, "The reason under `until`, or `max_turns`."));
        let height = built.height + 1;
        let captured = captures.into_iter().map(|capture| capture.at).collect();
        let body = Arc::new(crate::plan::Body { captures: captured, ..built.finish(None) });
        let kind = Kind::Loop(Loop { body, carry: widened, first, max_turns, until });
        BuiltKind { kind, outputs: Some(outputs), height, budget: None }
    }

    /// A carried value is of one kind in every turn: `next` may widen it (`int` to `float`), but not replace it.
    fn carries_one_kind(&mut self, place: Place<'_>, inner: &LoopDecl, carry: &[Port], next: &[Expr]) {
        for ((entry, first), next) in inner.carry.iter().zip(carry).zip(next) {
            let joined = carried(&first.ty, next);
            let is_known = |ty: &Type| !matches!(ty.required(), Type::Any | Type::Json);
            if is_known(&joined) || !is_known(&first.ty) || !is_known(&next.ty) {
                continue;
            }
            let name = &entry.key.value;
            let Some(given) = inner.next.iter().find(|given| given.key.value == *name) else { continue };
            let message = format!(
                "`carry.{name}` is `{}`, but `next.{name}` is `{}`",
                first.ty.required(),
                next.ty.required()
            );
            self.problems.push(
                Diagnostic::new(Code::CARRY, place.file, given.value.span, message)
                    .label(entry.value.span, format!("the first value is `{}`", first.ty.required()))
                    .hint("a carried value has one type in every turn"),
            );
        }
    }

    /// The body of a loop, for carried values of these types.
    fn turn(&mut self, place: Place<'_>, inner: &LoopDecl, carry: &[Port]) -> Turn {
        let frame = Frame::new(Some(place.frame), Root::Turn(carry.to_vec()), &inner.nodes);
        let place = Place { frame: &frame, depth: place.depth + 1, ..place };
        let built = self.body(place, &inner.nodes);
        let mut uses = Uses::default();
        let mut next = Vec::new();
        for entry in &inner.carry {
            let found = inner.next.iter().find(|next| next.key.value == entry.key.value);
            next.push(match found {
                Some(found) => {
                    self.inner_expr(place, &format!("`next.{}`", found.key.value), found, &mut uses)
                }
                // That it is missing is the reader's to report.
                None => Expr::literal(crate::value::Value::Null),
            });
        }
        let mut until = Vec::new();
        for entry in &inner.until {
            let who = format!("`until.{}`", entry.key.value);
            let expr = self.expr_of(place, &entry.value, &who, &Type::Bool, "the condition");
            uses.add(&expr, true);
            until.push((Text::from(entry.key.value.as_str()), expr));
        }
        uses.mark(&frame);
        check::unused(
            place.file,
            &inner.nodes,
            &built,
            inner.next.iter().chain(&inner.until).map(|entry| &entry.value),
            &mut self.problems,
        );
        let results = next.iter().chain(until.iter().map(|(_, condition)| condition));
        check::stand_ins(place.file, &inner.nodes, &built.nodes, results, &mut self.problems);
        check::Absence::of(&built).report_unreachable(place.file, &inner.nodes, &mut self.problems);
        Turn { captures: frame.captures(), built, next, until }
    }

    fn inner_expr(&mut self, place: Place<'_>, who: &str, entry: &Entry<ExprText>, uses: &mut Uses) -> Expr {
        let expr = self.expr(place, &entry.value, who);
        uses.add(&expr, true);
        expr
    }

    /// `each: expr`.
    pub(crate) fn each(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        inner: &EachDecl,
        uses: &mut Uses,
    ) -> BuiltKind {
        let who = format!("node `{}`", decl.name.value);
        let items = self.expr_of(place, &inner.items, &who, &Type::list(Type::Any), "`each`");
        uses.add(&items, true);
        let concurrency = match &inner.concurrency {
            Some(concurrency) => self.count(place, decl, "concurrency", concurrency, uses),
            None => Late::Now(limits::EACH_CONCURRENCY),
        };
        let max_items = match &inner.max_items {
            Some(max_items) => self.count(place, decl, "max_items", max_items, uses),
            None => Late::Now(index(limits::EACH_ITEMS)),
        };
        if place.depth + 1 > limits::SCOPE_DEPTH {
            self.too_deep(place.file, inner.items.span);
            return BuiltKind::broken();
        }
        let ty = if let Type::List(item) = items.ty.required() { (**item).clone() } else { Type::Any };
        let single;
        let nodes: &[NodeDecl] = match &inner.body {
            EachBody::Nodes(nodes) => nodes,
            EachBody::Op(name) | EachBody::Flow(name) => {
                single = [item_node(decl, name, matches!(inner.body, EachBody::Op(_)))];
                &single
            }
        };
        let frame = Frame::new(Some(place.frame), Root::Item { name: &inner.name.value, ty }, nodes);
        let item = Place { frame: &frame, depth: place.depth + 1, ..place };
        let mut built = self.body(item, nodes);
        let known = self.item_outputs(item, inner, nodes, &mut built);
        let captures = frame.captures();
        uses.add_captures(&captures);
        let outputs = known.then(|| each_outputs(inner, &built));
        let quorum = inner.stop_when.as_ref().and_then(|quorum| {
            let names = || built.outputs.iter().map(|output| &*output.port.name);
            let position = names().position(|name| name == quorum.of.value);
            if position.is_none() && known {
                let message =
                    format!("`stop_when` of {who} compares `{}`, which is no output of it", quorum.of.value);
                self.problems.push(
                    Diagnostic::new(Code::UNKNOWN_OUTPUT, place.file, quorum.of.span, message)
                        .maybe_hint(suggest(&quorum.of.value, names(), "its outputs are")),
                );
            }
            Some((index(position?), quorum.agree.value))
        });
        let height = built.height + 1;
        let kind = Kind::Each(Each {
            items,
            body: built.finish_inner(&frame),
            concurrency,
            on_item_error: inner.on_item_error,
            min_success: match (&inner.min_success, inner.on_item_error) {
                (Some(share), _) => share.value,
                (None, OnItemError::Fail) => 1.0,
                (None, OnItemError::Skip | OnItemError::Keep) => 0.0,
            },
            quorum,
            max_items,
        });
        BuiltKind { kind, outputs, height, budget: None }
    }

    /// Gives the body of an each its outputs; false if they cannot be known.
    fn item_outputs(
        &mut self,
        item: Place<'_>,
        inner: &EachDecl,
        nodes: &[NodeDecl],
        built: &mut Built,
    ) -> bool {
        if let EachBody::Nodes(_) = inner.body {
            let mut uses = Uses::default();
            for entry in &inner.outputs {
                let who = format!("output `{}`", entry.key.value);
                let value = self.inner_expr(item, &who, entry, &mut uses);
                built.outputs.push(output(&entry.key.value, value));
            }
            uses.mark(item.frame);
            let read = inner.outputs.iter().map(|entry| &entry.value);
            check::unused(item.file, nodes, built, read, &mut self.problems);
            let results = built.outputs.iter().map(|output| &output.value);
            check::stand_ins(item.file, nodes, &built.nodes, results, &mut self.problems);
            check::Absence::of(built).report_unreachable(item.file, nodes, &mut self.problems);
            return true;
        }
        let Some(node) = built.nodes.first() else { return false };
        built.outputs = (0..)
            .zip(&node.outputs)
            .map(|(position, port)| {
                let at = crate::plan::Ref::Port { node: 0, port: position };
                let source = format!("{}.{}", node.name, port.name);
                Output { port: port.clone(), value: Expr::path(source, at, Vec::new(), port.ty.clone()) }
            })
            .collect();
        !node.outputs.is_empty()
    }
}

struct Turn {
    built: Built,
    next: Vec<Expr>,
    until: Vec<(Text, Expr)>,
    captures: Vec<crate::flow::reference::Capture>,
}

/// Whether a value of this type is taken everywhere, so that knowing better changes nothing inside.
fn is_open(ty: &Type) -> bool {
    match ty.required() {
        Type::Any => true,
        Type::List(item) | Type::Map(item) => **item == Type::Any,
        _ => false,
    }
}

/// The type of a carried value: what both the first and the next one fit.
fn carried(first: &Type, next: &Expr) -> Type {
    match (first.required(), next.ty.required()) {
        // `[]` and `{}` have items of any type: none.
        (Type::List(item), Type::List(_)) | (Type::Map(item), Type::Map(_)) if **item == Type::Any => {
            next.ty.required().clone()
        }
        _ => first.join(&next.ty),
    }
}

/// The outputs of an each: lists in the order of the items, and what failed.
fn each_outputs(inner: &EachDecl, built: &Built) -> Vec<Port> {
    let mut outputs: Vec<Port> = built
        .outputs
        .iter()
        .map(|output| {
            let item = match inner.on_item_error {
                OnItemError::Keep => Type::Any,
                OnItemError::Fail | OnItemError::Skip => output.port.ty.required().clone(),
            };
            Port { ty: Type::list(item), ..output.port.clone() }
        })
        .collect();
    if outputs.iter().all(|port| &*port.name != "errors") {
        outputs.push(simple(
            "errors",
            Type::list(Type::Json),
            "The items that failed: index, hash, attempt and error.",
        ));
    }
    outputs
}

/// The one node of an each that runs an operator or a flow itself: it has what is said of the item.
fn item_node(decl: &NodeDecl, name: &Spanned<String>, is_op: bool) -> NodeDecl {
    let last = name.value.rsplit('.').next().unwrap_or(&name.value).to_owned();
    NodeDecl {
        name: Spanned { value: last, span: decl.name.span },
        kind: if is_op { KindDecl::Op(name.clone()) } else { KindDecl::Flow(name.clone()) },
        when: None,
        after: Vec::new(),
        on_error: None,
        budget: None,
        join: None,
        about: None,
        ..decl.clone()
    }
}

fn port(name: &Spanned<String>, ty: &Type, doc: &str) -> Port {
    simple(&name.value, ty.required().clone(), doc)
}

fn simple(name: &str, ty: Type, doc: &str) -> Port {
    Port { name: name.into(), ty, doc: doc.into() }
}

fn output(name: &str, value: Expr) -> Output {
    Output { port: Port { name: name.into(), ty: value.ty.clone(), doc: value.source.clone() }, value }
}
