//! `each` and its companions on the same node.

use crate::diagnostic::Spanned;
use crate::flow::yaml::Node;
use crate::flow::{EachBody, EachDecl, OnItemError, QuorumDecl};
use crate::limits;

use super::fields::Fields;
use super::node::{Shape, late_count};
use super::scalar::RESERVED;
use super::{Reader, fields};

/// The name of an item that has no `as`.
const ITEM: &str = "item";

impl Reader<'_> {
    /// Reads the keys that only an each has, and its body.
    pub(super) fn each(&mut self, shape: Shape, fields: &mut Fields<'_>) -> Option<EachDecl> {
        let place = fields.key("each").unwrap_or(fields.place);
        let items = fields.take("each").and_then(|node| self.expression(node));
        let name = fields.take("as").and_then(|node| {
            let name = self.text(node)?;
            if name.value != ITEM {
                self.check_name(&name, RESERVED);
            }
            Some(name)
        });
        let body = match shape {
            Shape::EachOp => fields.take("op").and_then(|node| self.text(node)).map(EachBody::Op),
            Shape::EachFlow => fields.take("flow").and_then(|node| self.text(node)).map(EachBody::Flow),
            _ => fields.take("nodes").map(|node| EachBody::Nodes(self.nodes(node))),
        };
        let outputs = fields.take("outputs").map(|node| self.outputs(node)).unwrap_or_default();
        let concurrency = fields
            .take("concurrency")
            .and_then(|node| late_count(self, node, "concurrency", limits::EACH_CONCURRENCY_MAX));
        let on_item_error = fields.take("on_item_error").and_then(|node| {
            let words =
                [("fail", OnItemError::Fail), ("skip", OnItemError::Skip), ("keep", OnItemError::Keep)];
            self.word(node, &words)
        });
        let min_success =
            fields.take("min_success").and_then(|node| self.number(node, "min_success", 0.0..=1.0));
        let stop_when = fields.take("stop_when").and_then(|node| self.stop_when(node));
        let most = u32::try_from(limits::EACH_ITEMS).unwrap_or(u32::MAX);
        let max_items = fields.take("max_items").and_then(|node| late_count(self, node, "max_items", most));
        Some(EachDecl {
            items: items?,
            name: name.unwrap_or_else(|| Spanned::new(ITEM.to_owned(), place)),
            body: body?,
            outputs,
            concurrency,
            on_item_error: on_item_error.unwrap_or_default(),
            min_success,
            stop_when,
            max_items,
        })
    }

    fn stop_when(&mut self, node: &Node) -> Option<QuorumDecl> {
        let place = self.place(node);
        let example = "quorum: {of: answer, agree: 3}";
        let mut outer = self.fields(node, &fields::STOP_WHEN, place)?;
        let quorum = self.required(&mut outer, "quorum", example);
        outer.done();
        let quorum = quorum?;
        let mut fields = self.fields(quorum, &fields::QUORUM, self.place(quorum))?;
        let of = self.required(&mut fields, "of", "of: answer").and_then(|node| self.text(node));
        let agree = self
            .required(&mut fields, "agree", "agree: 3")
            .and_then(|node| self.count(node, "agree", 1..=u32::MAX));
        fields.done();
        Some(QuorumDecl { of: of?, agree: agree? })
    }
}
