//! Nodes: what kind one is, and which keys that kind has.

use crate::diagnostic::{Code, Span, Spanned};
use crate::flow::yaml::Node;
use crate::flow::{Entry, ExprText, KindDecl, Late, NodeDecl};

use super::fields::Fields;
use super::scalar::RESERVED;
use super::{Reader, fields};

/// The keys of which a node has one, and `each`, which goes with a body.
const KINDS: [&str; 6] = ["op", "flow", "loop", "each", "plan", "wait"];
/// What a node is, as far as its keys go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::flow) enum Shape {
    Op,
    Flow,
    Loop,
    EachNodes,
    EachOp,
    EachFlow,
    Plan,
    Wait,
}

impl Shape {
    /// Every shape.
    pub(in crate::flow) const ALL: [Self; 8] = [
        Self::Op,
        Self::Flow,
        Self::Loop,
        Self::EachNodes,
        Self::EachOp,
        Self::EachFlow,
        Self::Plan,
        Self::Wait,
    ];

    /// The keys that make a node this.
    pub(in crate::flow) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Op => &["op"],
            Self::Flow => &["flow"],
            Self::Loop => &["loop"],
            Self::EachNodes => &["each", "nodes"],
            Self::EachOp => &["each", "op"],
            Self::EachFlow => &["each", "flow"],
            Self::Plan => &["plan"],
            Self::Wait => &["wait"],
        }
    }

    /// The keys, for messages.
    fn name(self) -> String {
        self.keys().iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and ")
    }
}

const OPS: &[Shape] = &[Shape::Op, Shape::EachOp];
const READERS: &[Shape] = &[Shape::Op, Shape::Flow, Shape::EachOp, Shape::EachFlow, Shape::Plan, Shape::Wait];
const SPENDERS: &[Shape] =
    &[Shape::Op, Shape::Flow, Shape::Loop, Shape::EachNodes, Shape::EachOp, Shape::EachFlow, Shape::Plan];
const EACHES: &[Shape] = &[Shape::EachNodes, Shape::EachOp, Shape::EachFlow];
const BODIES: &[Shape] = &[Shape::EachNodes];
const GIVERS: &[Shape] = &[Shape::EachNodes, Shape::Plan];
const PLANS: &[Shape] = &[Shape::Plan];

/// The keys that not every node has: who has them, in code and in words.
pub(in crate::flow) const ONLY: &[(&str, &[Shape], &str)] = &[
    ("in", READERS, "`op`, `flow`, `plan` or `wait`"),
    ("with", OPS, "`op`"),
    ("retry", OPS, "`op`"),
    ("timeout", OPS, "`op`"),
    ("idle_timeout", OPS, "`op`"),
    ("cache", OPS, "`op`"),
    ("budget", SPENDERS, "`op`, `flow`, `loop`, `each` or `plan`"),
    ("as", EACHES, "`each`"),
    ("nodes", BODIES, "`each`"),
    ("outputs", GIVERS, "`each` and `nodes`, or with `plan`"),
    ("concurrency", EACHES, "`each`"),
    ("on_item_error", EACHES, "`each`"),
    ("min_success", EACHES, "`each`"),
    ("stop_when", EACHES, "`each`"),
    ("max_items", EACHES, "`each`"),
    ("allow", PLANS, "`plan`"),
    ("max_nodes", PLANS, "`plan`"),
    ("repair", PLANS, "`plan`"),
    ("order", PLANS, "`plan`"),
    ("must", PLANS, "`plan`"),
    ("fallback", PLANS, "`plan`"),
];

impl Reader<'_> {
    pub(super) fn nodes(&mut self, node: &Node) -> Vec<NodeDecl> {
        if node.as_list().is_some() {
            let hint =
                "nodes have names: `nodes: {search: {op: ...}}`; no order is written, references decide it";
            self.wrong_kind(node, "a mapping of names to nodes", Some(hint));
            return Vec::new();
        }
        let nodes = self.entries(node, "a mapping of names to nodes", |reader, name, value| {
            reader.check_name(name, RESERVED);
            Some(reader.node(name, value))
        });
        if nodes.is_empty() && node.as_map().is_some() {
            let hint = Some("for example `answer: {op: read.answer, in: {...}}`".to_owned());
            self.report(Code::MISSING_KEY, self.place(node), "`nodes` has no node", hint);
        }
        nodes.into_iter().map(|entry| entry.value).collect()
    }

    fn node(&mut self, name: &Spanned<String>, node: &Node) -> NodeDecl {
        let fields = self.fields(node, &fields::NODE, name.span);
        let shape = fields.as_ref().and_then(|fields| self.shape(name, fields));
        let mut fields = fields.unwrap_or_default();
        if let Some(shape) = shape {
            self.refuse_keys_of_other_kinds(shape, &mut fields);
        }
        let kind = match shape {
            Some(Shape::Op) => fields.take("op").and_then(|node| self.text(node)).map(KindDecl::Op),
            Some(Shape::Flow) => fields.take("flow").and_then(|node| self.text(node)).map(KindDecl::Flow),
            Some(Shape::Loop) => {
                let span = fields.key("loop").unwrap_or_default();
                fields
                    .take("loop")
                    .and_then(|node| self.loop_decl(span, node))
                    .map(Box::new)
                    .map(KindDecl::Loop)
            }
            Some(Shape::Wait) => {
                let span = fields.key("wait").unwrap_or_default();
                fields
                    .take("wait")
                    .and_then(|node| self.wait_decl(name, span, node))
                    .map(Box::new)
                    .map(KindDecl::Wait)
            }
            Some(Shape::Plan) => self.plan_decl(&mut fields).map(Box::new).map(KindDecl::Plan),
            Some(shape) => self.each(shape, &mut fields).map(Box::new).map(KindDecl::Each),
            None => None,
        };
        let decl = NodeDecl {
            name: name.clone(),
            kind: kind.unwrap_or(KindDecl::Unknown),
            inputs: fields.take("in").map(|node| self.ports(node)).unwrap_or_default(),
            settings: fields.take("with").and_then(|node| self.settings(node)),
            when: fields.take("when").and_then(|node| self.expression(node)),
            after: fields.take("after").map(|node| self.text_or_texts(node)).unwrap_or_default(),
            retry: fields.take("retry").and_then(|node| self.retry(node)),
            timeout: fields
                .take("timeout")
                .and_then(|node| self.late(node, |r, node| r.bound(node, "timeout"))),
            idle_timeout: fields
                .take("idle_timeout")
                .and_then(|node| self.late(node, |r, node| r.bound(node, "idle_timeout"))),
            on_error: fields.take("on_error").and_then(|node| self.on_error(node)),
            cache: fields.take("cache").and_then(|node| self.cache(node)),
            budget: fields.take("budget").and_then(|node| self.budget(node)),
            join: fields.take("join").and_then(|node| self.join(node)),
            about: fields.take("about").and_then(|node| self.text(node)).map(|about| about.value),
        };
        if shape.is_some() {
            fields.done();
        }
        decl
    }

    /// What the node is; `None`, reported, if it cannot be told.
    fn shape(&mut self, name: &Spanned<String>, fields: &Fields<'_>) -> Option<Shape> {
        let given: Vec<(&str, Span)> =
            KINDS.iter().filter_map(|key| fields.key(key).map(|span| (*key, span))).collect();
        let keys: Vec<&str> = given.iter().map(|(key, _)| *key).collect();
        let has_nodes = fields.key("nodes").is_some();
        match (keys.as_slice(), has_nodes) {
            (["op"], _) => Some(Shape::Op),
            (["flow"], _) => Some(Shape::Flow),
            (["loop"], _) => Some(Shape::Loop),
            (["each"], true) => Some(Shape::EachNodes),
            (["op", "each"], false) => Some(Shape::EachOp),
            (["flow", "each"], false) => Some(Shape::EachFlow),
            (["wait"], _) => Some(Shape::Wait),
            (["plan"], _) => Some(Shape::Plan),
            // Which kind was meant is said where the key is reported.
            ([], _) if !KINDS.iter().all(|key| fields.lacks(key)) => None,
            (["each"], false) => {
                let hint = "add `op`, `flow` or `nodes` beside `each`: what runs for every item".to_owned();
                let message = format!("node `{}` goes over a list and does nothing with it", name.value);
                self.report(Code::NODE_KIND, name.span, message, Some(hint));
                None
            }
            ([], _) => {
                let message = format!("node `{}` does not say what it runs", name.value);
                let hint = if fields::NODE.keys.contains(&name.value.as_str()) {
                    "this is a key of a node, and stands a step to the right, below the node's name"
                } else if has_nodes {
                    "put the nodes under `loop`, or add `each: a_list` to run them for every item"
                } else {
                    "give it one of `op`, `flow`, `loop`, `each`, `plan` and `wait`"
                };
                self.report(Code::NODE_KIND, name.span, message, Some(hint.to_owned()));
                None
            }
            _ => {
                let mut listed: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
                if has_nodes && keys.contains(&"each") {
                    listed.push("`nodes`".to_owned());
                }
                let message = format!(
                    "node `{}` has {}, and can be only one of them",
                    name.value,
                    listed.join(" and ")
                );
                let hint = "a node is one of `op`, `flow`, `loop`, `each`, `plan` and `wait`; `each` takes one `op`, `flow` or `nodes`";
                let place = given.get(1).map_or(name.span, |(_, span)| *span);
                self.report(Code::NODE_KIND, place, message, Some(hint.to_owned()));
                None
            }
        }
    }

    /// Reports and drops the keys that a node of this kind does not have.
    fn refuse_keys_of_other_kinds(&mut self, shape: Shape, fields: &mut Fields<'_>) {
        for (key, shapes, whose) in ONLY {
            let Some(span) = fields.key(key).filter(|_| !shapes.contains(&shape)) else { continue };
            fields.take(key);
            let message = format!("`{key}` is for a node with {whose}, and this one has {}", shape.name());
            let hint = match (*key, shape) {
                ("with", Shape::Flow | Shape::EachFlow) => Some("what a flow is given stands under `in`"),
                ("in", Shape::Loop) => {
                    Some("a loop's first values stand under `carry`; its nodes see all names around it")
                }
                ("in", Shape::EachNodes) => Some("the nodes inside see the item and all names around them"),
                ("timeout" | "idle_timeout" | "budget", Shape::Wait) => {
                    Some("`wait: {deadline: 2h}` bounds it")
                }
                ("retry" | "cache" | "with", Shape::Wait) => Some("a wait is a question, asked once"),
                ("with", Shape::Plan) => Some("what the plan is given stands under `in`"),
                ("retry" | "cache", Shape::Plan) => {
                    Some("allow the plan a flow of your own, whose nodes have it")
                }
                ("timeout" | "idle_timeout", _) => Some("`budget: {wall: 30s}` bounds all that runs inside"),
                ("retry" | "cache" | "with", _) => Some("give it to the nodes inside"),
                ("outputs", Shape::EachOp | Shape::EachFlow) => {
                    Some("every output is a list already, with one value for each item")
                }
                _ => None,
            };
            self.report(Code::UNKNOWN_KEY, span, message, hint.map(str::to_owned));
        }
    }

    /// `in:`; which names are right is the operator's affair.
    fn ports(&mut self, node: &Node) -> Vec<Entry<ExprText>> {
        self.entries(node, "a mapping of ports to expressions", |reader, _, value| reader.expression(value))
    }

    fn settings(&mut self, node: &Node) -> Option<Node> {
        if node.as_map().is_none() {
            self.wrong_kind(node, "a mapping of settings", Some("for example `with: {top_k: 8}`"));
            return None;
        }
        Some(node.clone())
    }
}

/// The bound of a value that may be given late, for [`super::each`].
pub(super) fn late_count(reader: &mut Reader<'_>, node: &Node, what: &str, most: u32) -> Option<Late<u32>> {
    reader.late(node, |reader, node| reader.count(node, what, 1..=most))
}
