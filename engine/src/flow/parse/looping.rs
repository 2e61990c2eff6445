//! Loops: their bound, what they carry, and why they end.

use crate::diagnostic::{Code, Span, Spanned, nearest};
use crate::flow::yaml::Node;
use crate::flow::{Entry, ExprText, LoopDecl};
use crate::limits;

use super::scalar::UNSAYABLE;
use super::{Reader, fields};

/// Outputs that every loop has.
const LOOP_OUTPUTS: &[&str] = &["turns", "stopped_because", "true", "false", "null", "in"];

impl Reader<'_> {
    pub(super) fn loop_decl(&mut self, span: Span, node: &Node) -> Option<LoopDecl> {
        let mut fields = self.fields(node, &fields::LOOP, span)?;
        if fields.lacks("max_turns") {
            let hint = Some("add `max_turns: 4`, or `max_turns: ${ inputs.turns }`".to_owned());
            self.report(Code::NO_MAX_TURNS, span, "the loop has no `max_turns`, so nothing bounds it", hint);
        }
        let max_turns = fields.take("max_turns").and_then(|node| {
            self.late(node, |reader, node| reader.count(node, "max_turns", 1..=limits::MAX_TURNS))
        });
        let carry = fields.take("carry").map(|node| (self.expressions(node, LOOP_OUTPUTS), node));
        let next = fields.take("next").map(|node| (self.expressions(node, UNSAYABLE), node));
        self.check_carry(carry.as_ref().map(|(_, node)| *node), next.as_ref().map(|(_, node)| *node));
        let nodes = self.required(&mut fields, "nodes", "nodes: {...}").map(|node| self.nodes(node));
        let until = fields.take("until").map(|node| self.until(node)).unwrap_or_default();
        fields.done();
        Some(LoopDecl {
            span,
            max_turns,
            carry: carry.map(|(entries, _)| entries).unwrap_or_default(),
            nodes: nodes.unwrap_or_default(),
            next: next.map(|(entries, _)| entries).unwrap_or_default(),
            until,
        })
    }

    /// Every carried value needs its next one, and the other way round.
    fn check_carry(&mut self, carry: Option<&Node>, next: Option<&Node>) {
        let keys = |node: Option<&Node>| -> Vec<Spanned<String>> {
            let entries = node.and_then(Node::as_map).unwrap_or_default();
            entries
                .iter()
                .map(|(key, _)| Spanned::new(key.raw().unwrap_or_default().to_owned(), key.span))
                .collect()
        };
        // What is no mapping has been reported; comparing with it would only repeat that.
        if carry.or(next).is_none() || [carry, next].iter().flatten().any(|node| node.as_map().is_none()) {
            return;
        }
        let (carried, nexts) = (keys(carry), keys(next));
        for name in carried.iter().filter(|name| !nexts.iter().any(|next| next.value == name.value)) {
            let name_text = &name.value;
            let message = format!("the loop carries `{name_text}`, and `next` does not say its next value");
            let hint = format!("add `{name_text}: carry.{name_text}` to `next` if it stays the same");
            self.report(Code::CARRY, name.span, message, Some(hint));
        }
        for name in nexts.iter().filter(|name| !carried.iter().any(|carry| carry.value == name.value)) {
            let message = format!("`next` gives `{}`, which the loop does not carry", name.value);
            let near = nearest(&name.value, carried.iter().map(|carry| carry.value.as_str()));
            let hint = near.map_or_else(
                || format!("give its first value under `carry`: `{}: ...`", name.value),
                |near| format!("did you mean `{near}`?"),
            );
            self.report(Code::CARRY, name.span, message, Some(hint));
        }
    }

    fn until(&mut self, node: &Node) -> Vec<Entry<ExprText>> {
        if node.raw().is_some() && !node.is_null() {
            let hint = format!("name the reason: `until: {{done: {}}}`", node.raw().unwrap_or_default());
            self.wrong_kind(node, "a mapping of reasons to conditions", Some(&hint));
            return Vec::new();
        }
        self.entries(node, "a mapping of reasons to conditions", |reader, reason, value| {
            if reason.value == "max_turns" {
                let message = "`max_turns` is the reason that the loop gives when its turns run out";
                let hint = Some("give the condition another name".to_owned());
                reader.report(Code::INVALID_NAME, reason.span, message, hint);
            } else {
                reader.check_name(reason, &[]);
            }
            reader.expression(value)
        })
    }
}
