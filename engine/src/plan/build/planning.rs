//! Nodes that run a plan which is made while the flow runs, and the planners that make it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};

use super::body::BuiltKind;
use super::wiring::Side;
use super::{Builder, Compiled, Place, Uses, named_settings};
use crate::diagnostic::{Code, Diagnostic, Spanned, suggest};
use crate::flow::{Entry, FallbackDecl, Flow, InputDecl, NodeDecl, PlanDecl};
use crate::limits;
use crate::operator::{Inventory, NameKind, OperatorSpec, Part, Port, Registry};
use crate::plan::kit::part_of_flow;
use crate::plan::{Body, Kind, Kit, Node, Planned, Ref};
use crate::types::Type;
use crate::value::Text;

/// A setting that an operator needs and that a plan may not say: a name of a model, an index or a tool.
fn unsayable(spec: &OperatorSpec) -> Option<&str> {
    let needed = spec.settings.as_value().get("required")?.as_array()?;
    needed.iter().filter_map(Json::as_str).find(|name| {
        // A name, or a list of names.
        [json!({ *name: "-" }), json!({ *name: ["-"] })]
            .iter()
            .any(|settings| named_settings(spec, settings).iter().any(|found| !found.is_default))
    })
}

impl Builder<'_> {
    /// `plan: expr`.
    pub(crate) fn planned(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        inner: &PlanDecl,
        uses: &mut Uses,
    ) -> BuiltKind {
        let who = format!("node `{}`", decl.name.value);
        let plan = self.expr(place, &inner.plan, &who);
        if !matches!(plan.ty.required(), Type::Plan | Type::Json | Type::Any | Type::Map(_)) {
            let message =
                format!("`plan` of {who} must be `plan`, but `{}` is `{}`", inner.plan.text, plan.ty);
            let hint = "an operator such as `plan.llm` gives one";
            self.problems.push(
                Diagnostic::new(Code::EXPRESSION_TYPE, place.file, inner.plan.span, message).hint(hint),
            );
        }
        uses.add(&plan, true);
        let optional = Type::optional(Type::Any);
        let side =
            Side { what: "a plan".to_owned(), span: inner.span, ports: Vec::new(), open: Some(&optional) };
        let wired = self.wire(place, decl, &side, uses);
        let inputs: Vec<_> = wired.exprs.into_iter().flatten().collect();
        let ports = wired.names.iter().zip(&inputs).map(|(name, expr)| port(name, expr.ty.clone(), ""));
        let kit = self.kit(place, inner, ports.collect());
        if place.depth + kit.height + 1 > limits::SCOPE_DEPTH {
            self.too_deep(place.file, inner.span);
        }
        let fallback =
            inner.fallback.as_ref().map(|fallback| self.plan_fallback(place, decl, fallback, &kit));
        let mut outputs = kit.kit.inventory.outputs.clone();
        let own = [
            port("fell_back", Type::Bool, "Whether the fallback ran in the place of the plan."),
            port("problems", Type::list(Type::Text), "What was wrong with the plan; empty if it ran."),
        ];
        for own in own {
            if outputs.iter().any(|output| output.name == own.name) {
                let message = format!("`{}` is an output that every plan has", own.name);
                self.report(place.file, Code::PLAN, inner.span, message);
            }
            outputs.push(own);
        }
        let height = kit.height.max(fallback.as_ref().map_or(0, |fallback| fallback.height)) + 1;
        let kind = Kind::Plan(Planned {
            plan,
            inputs,
            kit: Arc::new(kit.kit),
            fallback: fallback.map(|fallback| fallback.body),
        });
        BuiltKind { kind, outputs: Some(outputs), height, budget: None }
    }

    /// What the plan may be made of.
    fn kit(&mut self, place: Place<'_>, inner: &PlanDecl, inputs: Vec<Port>) -> BuiltKit {
        let mut registry = Registry::default();
        let mut flows: BTreeMap<String, Compiled> = BTreeMap::new();
        let mut parts: Vec<Part> = Vec::new();
        for name in &inner.allow {
            if parts.iter().any(|part| *part.name == name.value) {
                continue;
            }
            let spec = self.env.registry.get(&name.value).cloned();
            if let Some(spec) = spec.filter(|_| name.value.contains('.')) {
                if let Some(setting) = unsayable(&spec) {
                    self.refuse_part(
                        place,
                        name,
                        &format!("needs `{setting}`, which is not for a plan to say"),
                    );
                    continue;
                }
                self.default_indexes(&spec);
                parts.push(Part::of_operator(&spec));
                registry.add(spec);
            } else if self.is_tool(place, &name.value) {
                self.refuse_part(place, name, "is a tool, and the steps of a plan run operators and flows");
            } else if name.value.contains('.') {
                self.unknown_operator(place, name);
            } else if let Some(flow) = self.sub_flow(place.file, name) {
                self.refuse_waits(place, name, &flow.body);
                parts.push(part_of_flow(&name.value, &flow));
                flows.insert(name.value.clone(), flow);
            }
        }
        for input in &inputs {
            self.check_input_name(place, inner, input);
        }
        let is_whole = parts.len() == inner.allow.len();
        let order = inner.order.iter().map(|entry| {
            self.allowed(place, "`order`", &entry.key, &parts, is_whole);
            for first in &entry.value {
                self.allowed(place, "`order`", first, &parts, is_whole);
            }
            (Text::from(entry.key.value.as_str()), entry.value.iter().map(text).collect())
        });
        let order = order.collect();
        for must in &inner.must {
            self.allowed(place, "`must`", must, &parts, is_whole);
        }
        let height = flows.values().map(|flow| flow.height + 1).max().unwrap_or_default();
        let outputs = inner.outputs.iter();
        let inventory = Inventory {
            inputs,
            outputs: outputs.map(|entry| port(&entry.key.value, entry.value.value.clone(), "")).collect(),
            parts,
            max_nodes: inner.max_nodes.as_ref().map_or(limits::PLAN_NODES, |most| most.value),
            repair: inner.repair.as_ref().map_or(limits::PLAN_REPAIRS, |repair| repair.value),
            order,
            must: inner.must.iter().map(text).collect(),
        };
        let names = self.env.names.cloned();
        let kit = Kit { inventory, registry, names, flows, last: Mutex::default() };
        BuiltKit { kit, height }
    }

    /// Something that no step can run as it is.
    fn refuse_part(&mut self, place: Place<'_>, name: &Spanned<String>, why: &str) {
        let message = format!("`{}` {why}", name.value);
        let hint = "write a flow around it, as `op: tool.run` with its `tool`, and allow that flow: its inputs tell the \
                    planner what it takes";
        self.problems.push(Diagnostic::new(Code::PLAN, place.file, name.span, message).hint(hint));
    }

    /// Whether a name is that of a tool, and no flow has it.
    fn is_tool(&self, place: Place<'_>, name: &str) -> bool {
        self.env.names.is_some_and(|names| names.has(NameKind::Tool, name))
            && self.env.library.flow(name, place.file).is_none()
    }

    /// Indexes that an operator reads unless told otherwise, so that they are there when a plan uses it.
    fn default_indexes(&mut self, spec: &OperatorSpec) {
        let index = Some(NameKind::Index);
        let found = named_settings(spec, &json!({}));
        let indexes = found.into_iter().filter(|found| NameKind::of(&found.kind) == index);
        self.indexes.extend(indexes.map(|found| Text::from(found.text.as_str())));
    }

    /// A step of a plan asks nobody: whoever would answer could not be told of it when the flow is loaded.
    fn refuse_waits(&mut self, place: Place<'_>, name: &Spanned<String>, body: &Body) {
        if let Some(first) = body.waits().first() {
            let message = format!("`{}` waits for an answer, at `{first}`, and a step cannot", name.value);
            let hint = "ask before the plan runs, with a `wait` of its own";
            self.problems.push(Diagnostic::new(Code::PLAN, place.file, name.span, message).hint(hint));
        }
    }

    fn check_input_name(&mut self, place: Place<'_>, inner: &PlanDecl, input: &Port) {
        let mut chars = input.name.chars();
        let is_name = chars.next().is_some_and(|c| c.is_ascii_lowercase())
            && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_name {
            let message = format!("a plan cannot read `{}`, which is no name", input.name);
            let hint = "a name has lower-case letters, digits and `_`, a letter first";
            self.problems
                .push(Diagnostic::new(Code::INVALID_NAME, place.file, inner.span, message).hint(hint));
        }
    }

    /// Reports a rule about something that no step can run.
    fn allowed(
        &mut self,
        place: Place<'_>,
        key: &str,
        name: &Spanned<String>,
        parts: &[Part],
        is_whole: bool,
    ) {
        let names = || parts.iter().map(|part| &*part.name);
        // Where something under `allow` is refused, it may be what is meant.
        if !is_whole || names().any(|known| known == name.value) {
            return;
        }
        let message = format!("{key} speaks of `{}`, which is not under `allow`", name.value);
        let hint = suggest(&name.value, names(), "allowed are");
        self.problems.push(Diagnostic::new(Code::PLAN, place.file, name.span, message).maybe_hint(hint));
    }

    /// `fallback:`, which is a flow of its own with the inputs and outputs of the plan.
    fn plan_fallback(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        fallback: &FallbackDecl,
        kit: &BuiltKit,
    ) -> Compiled {
        let span = |name: &str| {
            let entry: Option<&Entry<_>> = decl.inputs.iter().find(|entry| entry.key.value == name);
            entry.map_or(fallback.span, |entry| entry.key.span)
        };
        let input = |port: &Port| InputDecl {
            name: Spanned::new(port.name.to_string(), span(&port.name)),
            ty: Spanned::new(port.ty.clone(), span(&port.name)),
            default: None,
            min: None,
            max: None,
            about: None,
        };
        let flow = Flow {
            file: place.file.clone(),
            name: Spanned::new("fallback".to_owned(), fallback.span),
            about: None,
            inputs: kit.kit.inventory.inputs.iter().map(input).collect(),
            budget: None,
            nodes: fallback.nodes.clone(),
            outputs: fallback.outputs.clone(),
            tests: Vec::new(),
        };
        let compiled = self.flow(&flow);
        if place.depth + compiled.height + 1 > limits::SCOPE_DEPTH {
            self.too_deep(place.file, fallback.span);
        }
        self.refuse_waits(place, &flow.name, &compiled.body);
        let (file, entries) = (place.file, &fallback.outputs);
        kit.kit.check_outputs(
            file,
            fallback.span,
            "the fallback",
            entries,
            &compiled.body,
            &mut self.problems,
        );
        compiled
    }

    /// Gives the planners of a scope what the nodes that run their plans take.
    pub(crate) fn hand_out_kits(
        &mut self,
        place: Place<'_>,
        decls: &[NodeDecl],
        slots: &mut [Option<(Node, Vec<u32>)>],
    ) {
        let kits: Vec<(usize, Vec<usize>, Arc<Kit>)> = slots
            .iter()
            .enumerate()
            .filter_map(|(position, slot)| {
                let Kind::Plan(planned) = &slot.as_ref()?.0.kind else { return None };
                let read = planned.plan.refs.iter().filter_map(|reference| match reference.at {
                    Ref::Port { node, .. } => usize::try_from(node).ok(),
                    _ => None,
                });
                Some((position, read.collect(), planned.kit.clone()))
            })
            .collect();
        for (runner, planners, kit) in kits {
            for planner in planners {
                let Some(Some((node, _))) = slots.get_mut(planner) else { continue };
                let Kind::Op(op) = &mut node.kind else { continue };
                if op.kit.is_none() {
                    op.kit = Some(kit.clone());
                    continue;
                }
                if let Some(decl) = decls.get(runner) {
                    let message = format!(
                        "the plan of `{}` is run by `{}` and by another node",
                        node.name, decl.name.value
                    );
                    let hint = "a planner plans for one node: give each its own";
                    self.problems
                        .push(Diagnostic::new(Code::PLAN, place.file, decl.name.span, message).hint(hint));
                }
            }
        }
        for (slot, decl) in slots.iter().zip(decls) {
            let Some((Node { kind: Kind::Op(op), outputs, .. }, _)) = slot else { continue };
            if op.kit.is_none() && outputs.iter().any(|port| *port.ty.required() == Type::Plan) {
                let message = format!("`{}` makes a plan that no node beside it runs", decl.name.value);
                let hint = format!(
                    "add a node with `plan: {}.plan`, which says what the plan may be made of",
                    decl.name.value
                );
                self.problems
                    .push(Diagnostic::new(Code::PLAN, place.file, decl.name.span, message).hint(hint));
            }
        }
    }
}

struct BuiltKit {
    kit: Kit,
    /// How many scopes its flows open within one another, they themselves among them.
    height: usize,
}

fn port(name: &str, ty: Type, doc: &str) -> Port {
    Port { name: name.into(), ty, doc: doc.into() }
}

fn text(name: &Spanned<String>) -> Text {
    name.value.as_str().into()
}
