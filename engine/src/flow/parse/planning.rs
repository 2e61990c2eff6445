//! `plan` and its companions on the same node.

use crate::diagnostic::Spanned;
use crate::flow::yaml::Node;
use crate::flow::{Entry, FallbackDecl, PlanDecl};
use crate::limits;
use crate::types::Type;

use super::fields::Fields;
use super::scalar::UNSAYABLE;
use super::{Reader, fields};

impl Reader<'_> {
    /// Reads the keys that only a plan has.
    pub(super) fn plan_decl(&mut self, fields: &mut Fields<'_>) -> Option<PlanDecl> {
        let span = fields.key("plan").unwrap_or(fields.place);
        let plan = fields.take("plan").and_then(|node| self.expression(node));
        let allow = self.required(fields, "allow", "allow: [retrieve.bm25, read.answer]");
        let allow = allow.map(|node| self.text_or_texts(node)).unwrap_or_default();
        let outputs = self.required(fields, "outputs", "outputs: {answer: text}");
        let outputs = outputs.map(|node| self.types(node)).unwrap_or_default();
        let max_nodes = fields
            .take("max_nodes")
            .and_then(|node| self.count(node, "max_nodes", 1..=limits::PLAN_NODES_MAX));
        let repair =
            fields.take("repair").and_then(|node| self.count(node, "repair", 0..=limits::PLAN_REPAIRS_MAX));
        let order = fields.take("order").map(|node| {
            let expected = "a mapping of what a step runs to what steps before it run";
            self.entries(node, expected, |reader, _, value| Some(reader.text_or_texts(value)))
        });
        let must = fields.take("must").map(|node| self.text_or_texts(node)).unwrap_or_default();
        let fallback_span = fields.key("fallback").unwrap_or(span);
        let fallback = fields.take("fallback").and_then(|node| {
            let mut fields = self.fields(node, &fields::FALLBACK, fallback_span)?;
            let nodes = self.required(&mut fields, "nodes", "nodes: {...}").map(|node| self.nodes(node));
            let outputs = self.required(&mut fields, "outputs", "outputs: {...}");
            let outputs = outputs.map(|node| self.outputs(node)).unwrap_or_default();
            fields.done();
            Some(FallbackDecl { span: fallback_span, nodes: nodes?, outputs })
        });
        Some(PlanDecl {
            span,
            plan: plan?,
            allow,
            outputs,
            max_nodes,
            repair,
            order: order.unwrap_or_default(),
            must,
            fallback,
        })
    }

    fn types(&mut self, node: &Node) -> Vec<Entry<Spanned<Type>>> {
        self.entries(node, "a mapping of names to types", |reader, name, value| {
            reader.check_name(name, UNSAYABLE);
            if value.as_str().is_none() {
                reader.wrong_kind(value, "a type", Some("`text`, `list<chunk>`, `answer?`"));
                return None;
            }
            reader.ty(value)
        })
    }
}
