//! What a plan may be made of, and the checker that tells whether one is.
//!
//! A plan is a flow without a head: `nodes` and `outputs`, written while a flow runs. It is read and checked as every
//! flow is, against the few operators and flows that its node allows, and then by the rules of plans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value as Json, json};

use super::build::{Builder, Compiled, named_settings};
use super::{Body, Environment, Input};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile, Span, suggest};
use crate::flow::reference::listed;
use crate::flow::{Entry, ExprText, Flow, KindDecl, Library, NodeDecl, parse};
use crate::limits;
use crate::operator::{Inventory, Names, OperatorSpec, Part, PlanKit, Port, Registry};
use crate::types::Type;
use crate::value::Text;

/// The name under which problems of a plan are reported.
const FILE: &str = "plan";
/// The keys of a plan.
const KEYS: [&str; 3] = ["about", "nodes", "outputs"];

/// What a plan may be made of, with the operators and flows themselves: what the node that runs the plan takes.
#[derive(Debug)]
pub struct Kit {
    /// What planners are told of it.
    pub inventory: Inventory,
    pub(crate) registry: Registry,
    pub(crate) names: Option<Names>,
    pub(crate) flows: BTreeMap<String, Compiled>,
    /// The last plan that was taken, with its body: whoever makes one has it checked before it runs.
    pub(crate) last: Mutex<Option<(Json, Arc<Body>)>>,
}

impl PlanKit for Kit {
    fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    fn check(&self, plan: &Json) -> Result<(), Diagnostics> {
        self.compile(plan).map(|_| ())
    }
}

/// A flow as a part of plans.
pub(crate) fn part_of_flow(name: &str, flow: &Compiled) -> Part {
    let input = |input: &Input| {
        let ty = &input.port.ty;
        let ty = if input.default.is_some() { Type::optional(ty.clone()) } else { ty.clone() };
        Port { ty, ..input.port.clone() }
    };
    Part {
        name: name.into(),
        about: flow.about.clone().unwrap_or_default(),
        inputs: flow.body.inputs.iter().map(input).collect(),
        outputs: flow.body.outputs.iter().map(|output| output.port.clone()).collect(),
        settings: None,
    }
}

/// The flows that a plan may call; there are no files beside it.
struct Allowed<'a>(&'a BTreeMap<String, Compiled>);

impl Library for Allowed<'_> {
    fn flow(&self, name: &str, _: &SourceFile) -> Option<Arc<SourceFile>> {
        self.0.contains_key(name).then(|| SourceFile::new(name, ""))
    }

    fn prompt(&self, path: &str, _: &SourceFile) -> Result<String, String> {
        Err(format!("a plan has no files, so there is no `{path}`"))
    }

    fn flows(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

impl Kit {
    /// Reads and checks a plan; its body, or everything that is wrong with it, in order. Warnings do not count.
    pub fn compile(&self, plan: &Json) -> Result<Arc<Body>, Diagnostics> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, body)) = last().as_ref().filter(|(known, _)| known == plan) {
            return Ok(body.clone());
        }
        let body = self.compile_anew(plan)?;
        *last() = Some((plan.clone(), body.clone()));
        Ok(body)
    }

    fn compile_anew(&self, plan: &Json) -> Result<Arc<Body>, Diagnostics> {
        let file = self.file(plan)?;
        let library = Allowed(&self.flows);
        let environment =
            Environment { registry: &self.registry, names: self.names.as_ref(), library: &library };
        let mut builder = Builder::with_flows(&environment, &self.flows);
        let mut problems = Diagnostics::default();
        let body = parse::parse(&file, &mut problems).and_then(|flow| {
            builder.add_problems(std::mem::take(&mut problems));
            let compiled = builder.flow(&flow);
            let mut rules = Rules { kit: self, file: &file, flow: &flow, problems: Diagnostics::default() };
            rules.check(&compiled);
            builder.add_problems(rules.problems);
            (!builder.has_errors()).then_some(compiled.body)
        });
        builder.add_problems(problems);
        body.ok_or_else(|| {
            // What is not allowed is said by the rules, with what is.
            builder.into_errors(&[Code::UNKNOWN_OPERATOR, Code::UNKNOWN_FLOW])
        })
    }

    /// The plan as the text of a flow.
    fn file(&self, plan: &Json) -> Result<Arc<SourceFile>, Diagnostics> {
        let refuse = |code: Code, message: String, hint: &str| {
            let file = SourceFile::new(FILE, plan.to_string().chars().take(200).collect::<String>());
            let mut problems = Diagnostics::default();
            let span = Span::new(0, file.text.len());
            problems.push(Diagnostic::new(code, &file, span, message).hint(hint));
            problems
        };
        let shape = "write `{\"nodes\": {...}, \"outputs\": {...}}`";
        let Json::Object(given) = plan else {
            return Err(refuse(Code::WRONG_KIND, "the plan is no mapping".to_owned(), shape));
        };
        if let Some(other) = given.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(refuse(Code::UNKNOWN_KEY, format!("a plan has no key `{other}`"), shape));
        }
        let inputs: serde_json::Map<String, Json> = self
            .inventory
            .inputs
            .iter()
            .map(|port| (port.name.to_string(), json!(port.ty.to_string())))
            .collect();
        let mut whole = serde_json::Map::new();
        whole.insert("flow".to_owned(), json!(FILE));
        whole.insert("inputs".to_owned(), inputs.into());
        whole.extend(given.clone());
        let text = serde_json::to_string_pretty(&whole).unwrap_or_default();
        if text.len() > limits::PLAN_BYTES {
            let message =
                format!("the plan has {} bytes, at most {} are read", text.len(), limits::PLAN_BYTES);
            return Err(refuse(Code::TOO_LARGE, message, "write fewer or shorter steps"));
        }
        Ok(SourceFile::new(FILE, text))
    }

    /// Position of each output of the plan's node in a body that gives them; `None` for one that it leaves out.
    pub(crate) fn positions(&self, body: &Body) -> Vec<Option<usize>> {
        let position = |port: &Port| body.outputs.iter().position(|output| output.port.name == port.name);
        self.inventory.outputs.iter().map(position).collect()
    }

    /// What is wrong with the outputs of a body that gives `entries`; `what` it is, and where it stands.
    pub(crate) fn check_outputs(
        &self,
        file: &Arc<SourceFile>,
        span: Span,
        what: &str,
        entries: &[Entry<ExprText>],
        body: &Body,
        problems: &mut Diagnostics,
    ) {
        for (port, position) in self.inventory.outputs.iter().zip(self.positions(body)) {
            let found = position.and_then(|position| body.outputs.get(position));
            let Some(output) = found else {
                if !port.ty.is_optional() {
                    let message =
                        format!("{what} does not give `{}`, which must be `{}`", port.name, port.ty);
                    let hint = format!("add `{}` to its `outputs`", port.name);
                    problems.push(Diagnostic::new(Code::PLAN, file, span, message).hint(hint));
                }
                continue;
            };
            if !output.port.ty.fits(&port.ty) {
                let at = entries.iter().find(|entry| entry.key.value == *port.name);
                let message = format!(
                    "{what} gives `{}` as `{}`, and it must be `{}`",
                    port.name,
                    output.port.ty.required(),
                    port.ty.required()
                );
                let span = at.map_or(span, |entry| entry.value.span);
                problems.push(Diagnostic::new(Code::TYPE_MISMATCH, file, span, message));
            }
        }
        for entry in entries {
            if self.inventory.outputs.iter().all(|port| *port.name != entry.key.value) {
                let message =
                    format!("{what} gives `{}`, which is none of the outputs asked for", entry.key.value);
                let names = self.inventory.outputs.iter().map(|port| &*port.name);
                let hint = suggest(&entry.key.value, names, "asked for are");
                problems.push(Diagnostic::new(Code::PLAN, file, entry.key.span, message).maybe_hint(hint));
            }
        }
    }
}

/// The rules that a plan keeps beyond those of every flow.
struct Rules<'a> {
    kit: &'a Kit,
    file: &'a Arc<SourceFile>,
    flow: &'a Flow,
    problems: Diagnostics,
}

impl Rules<'_> {
    fn check(&mut self, compiled: &Compiled) {
        let flow = self.flow;
        let most = self.kit.inventory.max_nodes as usize;
        if flow.nodes.len() > most {
            let message = format!("the plan has {} steps, at most {most} are allowed", flow.nodes.len());
            self.push(flow.name.span, message, Some("do more in one step, or leave steps out".to_owned()));
        }
        for node in &flow.nodes {
            self.step(node);
        }
        self.order(&compiled.body);
        self.must();
        let (kit, file) = (self.kit, self.file);
        kit.check_outputs(
            file,
            flow.name.span,
            "the plan",
            &flow.outputs,
            &compiled.body,
            &mut self.problems,
        );
    }

    /// A step runs an operator or a flow, and leaves the rest to the author of the flow around.
    fn step(&mut self, node: &NodeDecl) {
        let name = &node.name.value;
        match &node.kind {
            KindDecl::Op(what) | KindDecl::Flow(what) => {
                if self.kit.inventory.parts.iter().all(|part| *part.name != what.value) {
                    let message = format!("step `{name}` runs `{}`, which is not allowed", what.value);
                    let names = self.kit.inventory.parts.iter().map(|part| &*part.name);
                    self.push(what.span, message, suggest(&what.value, names, "allowed are"));
                }
                if let Some(spec) = self.kit.registry.get(&what.value) {
                    self.settings(node, spec);
                }
            }
            KindDecl::Unknown => {}
            KindDecl::Loop(_) | KindDecl::Each(_) | KindDecl::Wait(_) | KindDecl::Plan(_) => {
                let message = format!("step `{name}` runs neither an operator nor a flow");
                let names = listed(self.kit.inventory.parts.iter().map(|part| part.name.to_string()));
                self.push(node.name.span, message, names.map(|names| format!("steps may run {names}")));
            }
        }
        let others = [
            ("retry", node.retry.is_some()),
            ("timeout", node.timeout.is_some()),
            ("idle_timeout", node.idle_timeout.is_some()),
            ("on_error", node.on_error.is_some()),
            ("cache", node.cache.is_some()),
            ("budget", node.budget.is_some()),
            ("join", node.join.is_some()),
        ];
        for (key, _) in others.into_iter().filter(|(_, is_given)| *is_given) {
            let message = format!("step `{name}` has `{key}`, which is not for a plan to say");
            let hint = "a step has `op` or `flow`, and `in`, `with`, `when`, `after` and `about`";
            self.push(node.name.span, message, Some(hint.to_owned()));
        }
    }

    /// Models, indexes and prompts are chosen by the author of the flow around.
    fn settings(&mut self, node: &NodeDecl, spec: &OperatorSpec) {
        let Some(settings) = &node.settings else { return };
        for found in named_settings(spec, &settings.to_json()).into_iter().filter(|found| !found.is_default) {
            let setting = found.pointer.trim_start_matches('/').replace('/', ".");
            let message =
                format!("step `{}` sets `{setting}`, which is not for a plan to say", node.name.value);
            let hint =
                "leave it out; models, indexes, namespaces and prompts are chosen by whoever wrote the flow";
            self.push(settings.at_pointer(&found.pointer).span, message, Some(hint.to_owned()));
        }
    }

    /// Every step comes after those that what it runs must come after.
    fn order(&mut self, body: &Body) {
        let runs: BTreeMap<&str, &str> =
            self.flow.nodes.iter().filter_map(|node| Some((node.name.value.as_str(), runs(node)?))).collect();
        let runs_at =
            |position: usize| body.nodes.get(position).and_then(|node| runs.get(&*node.name).copied());
        for (position, node) in body.nodes.iter().enumerate() {
            let Some(what) = runs_at(position) else { continue };
            let before: BTreeSet<&str> = earlier(body, position).into_iter().filter_map(runs_at).collect();
            let rules = self.kit.inventory.order.iter().filter(|(later, _)| **later == *what);
            let missing: Vec<&Text> =
                rules.flat_map(|(_, first)| first).filter(|first| !before.contains(&***first)).collect();
            for first in missing {
                let message =
                    format!("step `{}` runs `{what}` before any step that runs `{first}`", node.name);
                let decl = self.flow.nodes.iter().find(|decl| decl.name.value == *node.name);
                let span = decl.map_or(self.flow.name.span, |decl| decl.name.span);
                let hint = format!("read from a step that runs `{first}`, or name it under `after`");
                self.push(span, message, Some(hint));
            }
        }
    }

    fn must(&mut self) {
        let run: BTreeSet<&str> = self.flow.nodes.iter().filter_map(runs).collect();
        for must in self.kit.inventory.must.iter().filter(|must| !run.contains(&***must)) {
            let message = format!("no step of the plan runs `{must}`");
            self.push(self.flow.name.span, message, Some(format!("add a step that runs `{must}`")));
        }
    }

    fn push(&mut self, span: Span, message: String, hint: Option<String>) {
        self.problems.push(Diagnostic::new(Code::PLAN, self.file, span, message).maybe_hint(hint));
    }
}

/// The operator or flow that a step runs.
fn runs(node: &NodeDecl) -> Option<&str> {
    match &node.kind {
        KindDecl::Op(name) | KindDecl::Flow(name) => Some(&name.value),
        _ => None,
    }
}

/// The nodes that the one at `position` waits for, at whatever distance.
fn earlier(body: &Body, position: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = vec![position];
    while let Some(at) = open.pop() {
        let needs = body.nodes.get(at).map(|node| node.needs.as_slice()).unwrap_or_default();
        open.extend(needs.iter().map(|need| need.node as usize).filter(|need| found.insert(*need)));
    }
    found
}

#[cfg(test)]
mod tests;
