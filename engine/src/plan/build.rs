//! From a flow to a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity, SourceFile, Span, Spanned, suggest};
use crate::flow::expression::{self, Expr};
use crate::flow::reference::{Frame, Reader, Root, inner_nodes};
use crate::flow::{ExprText, Flow, InputDecl, Library, NodeDecl, parse};
use crate::limits;
use crate::operator::{Names, Port, Registry};
use crate::plan::{Body, Input, Plan, check};
use crate::types::Type;
use crate::value::{Text, Value};

mod body;
mod compound;
mod late;
mod node;
mod on_error;
mod planning;
mod prompt;
mod schema;
mod settings;
mod uses;
mod wiring;

pub(crate) use body::Built;
pub(crate) use schema::{calls_models, named as named_settings};
pub(crate) use settings::holes;
pub(crate) use uses::Uses;

/// What a flow is compiled against.
pub struct Environment<'a> {
    /// The operators.
    pub registry: &'a Registry,
    /// The models and indexes; `None` if they are not known, then names are not checked.
    pub names: Option<&'a Names>,
    /// Sub-flows and prompt files.
    pub library: &'a dyn Library,
}

/// Reads, checks and resolves a flow. `Err` holds every problem, sorted; `Ok` comes with the warnings.
pub fn compile(
    file: &Arc<SourceFile>,
    environment: &Environment<'_>,
) -> Result<(Plan, Diagnostics), Diagnostics> {
    let mut builder = Builder::new(environment);
    let plan = builder.plan(file);
    let mut problems = builder.problems;
    problems.sort();
    match plan {
        Some(plan) if !problems.has_errors() => Ok((plan, problems)),
        _ => Err(problems),
    }
}

/// What compiling a flow and its sub-flows shares.
pub(crate) struct Builder<'e> {
    env: &'e Environment<'e>,
    problems: Diagnostics,
    /// Compiled sub-flows by the name of their file; `None` for one that cannot be used.
    flows: BTreeMap<String, Option<Compiled>>,
    /// The flows that are being compiled, outermost first: name of the file, name of the flow.
    open: Vec<(String, String)>,
    /// Everything that was read, for the hash: what it is, its name, its text.
    texts: BTreeSet<(&'static str, String, String)>,
    indexes: BTreeSet<Text>,
    n_nodes: usize,
}

/// A flow that can be called.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    pub(crate) about: Option<Text>,
    pub(crate) body: Arc<Body>,
    pub(crate) budget: crate::budget::Budget,
    /// How many scopes it opens within one another.
    pub(crate) height: usize,
}

/// Where in the flow the builder is.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The file.
    pub(crate) file: &'a Arc<SourceFile>,
    /// The names of the body.
    pub(crate) frame: &'a Frame<'a>,
    /// How many scopes of this file are around it.
    pub(crate) depth: usize,
}

impl<'e> Builder<'e> {
    fn new(env: &'e Environment<'e>) -> Self {
        Self {
            env,
            problems: Diagnostics::default(),
            flows: BTreeMap::new(),
            open: Vec::new(),
            texts: BTreeSet::new(),
            indexes: BTreeSet::new(),
            n_nodes: 0,
        }
    }

    /// A builder that knows these flows already.
    pub(crate) fn with_flows(env: &'e Environment<'e>, flows: &BTreeMap<String, Compiled>) -> Self {
        let flows = flows.iter().map(|(name, flow)| (name.clone(), Some(flow.clone()))).collect();
        Self { flows, ..Self::new(env) }
    }

    pub(crate) fn add_problems(&mut self, problems: Diagnostics) {
        self.problems.extend(problems);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems.has_errors()
    }

    /// Everything that is wrong, in order, without warnings and without these codes.
    pub(crate) fn into_errors(self, without: &[Code]) -> Diagnostics {
        let mut errors = Diagnostics::default();
        let is_error =
            |problem: &&Diagnostic| problem.severity == Severity::Error && !without.contains(&problem.code);
        for problem in self.problems.iter().filter(is_error) {
            errors.push(problem.clone());
        }
        errors.sort();
        errors
    }

    fn plan(&mut self, file: &Arc<SourceFile>) -> Option<Plan> {
        let flow = parse::parse(file, &mut self.problems)?;
        let compiled = self.flow(&flow);
        if self.n_nodes > limits::FLOW_NODES {
            let message = format!("the flow has {} nodes, more than {}", self.n_nodes, limits::FLOW_NODES);
            self.report(file, Code::TOO_MANY_NODES, flow.name.span, message);
        }
        check::tests(&flow, &compiled.body, &mut self.problems);
        Some(Plan {
            name: flow.name.value.as_str().into(),
            hash: self.hash(),
            about: flow.about.as_deref().map(Text::from),
            root: compiled.body,
            budget: compiled.budget,
            tests: flow.tests,
            indexes: self.indexes.iter().cloned().collect(),
        })
    }

    /// Compiles one file; its problems are reported in that file.
    pub(crate) fn flow(&mut self, flow: &Flow) -> Compiled {
        let file = &flow.file;
        self.texts.insert(("flow", flow.name.value.clone(), file.text.clone()));
        self.open.push((file.name.clone(), flow.name.value.clone()));
        self.n_nodes += count(&flow.nodes);
        let inputs = flow.inputs.iter().map(input).collect();
        let gaps = check::has_gaps(flow, &self.problems);
        let frame = Frame::new(None, Root::Flow(&flow.inputs), &flow.nodes).with_gaps(gaps);
        let place = Place { file, frame: &frame, depth: 0 };
        let mut built = self.body(place, &flow.nodes);
        let mut outputs = Vec::with_capacity(flow.outputs.len());
        for entry in &flow.outputs {
            let who = format!("output `{}`", entry.key.value);
            let value = self.expr(place, &entry.value, &who);
            outputs.push((&entry.key, &entry.value, value));
        }
        if flow.outputs.is_empty() {
            let message =
                format!("the flow `{}` has no outputs, so a run of it gives nothing", flow.name.value);
            self.problems.push(
                Diagnostic::new(Code::NO_OUTPUTS, file, flow.name.span, message)
                    .hint("add `outputs:` with a name and an expression for each result"),
            );
        } else {
            check::unused(
                file,
                &flow.nodes,
                &built,
                flow.outputs.iter().map(|entry| &entry.value),
                &mut self.problems,
            );
        }
        let results = outputs.iter().map(|(_, _, value)| value);
        check::stand_ins(file, &flow.nodes, &built.nodes, results, &mut self.problems);
        let absence = check::Absence::of(&built);
        absence.report_unreachable(file, &flow.nodes, &mut self.problems);
        absence.report_outputs(file, &flow.nodes, &outputs, &mut self.problems);
        built.outputs =
            outputs.into_iter().map(|(name, _, value)| absence.output(&name.value, value)).collect();
        built.inputs = inputs;
        self.open.pop();
        Compiled {
            about: flow.about.as_deref().map(|about| about.trim().into()),
            height: built.height,
            budget: flow.budget.as_ref().map(|budget| budget.value).unwrap_or_default(),
            body: Arc::new(built.finish(Some(flow.name.value.as_str().into()))),
        }
    }

    /// The flow called `name` from `file`, compiled once however often it is called.
    fn sub_flow(&mut self, file: &Arc<SourceFile>, name: &Spanned<String>) -> Option<Compiled> {
        let Some(source) = self.env.library.flow(&name.value, file) else {
            let known = self.env.library.flows();
            let message = format!("there is no flow `{}`", name.value);
            let hint = suggest(&name.value, known.iter().map(String::as_str), "there are")
                .or_else(|| Some(format!("put it beside this file, as `{}.yaml`", name.value)));
            self.problems
                .push(Diagnostic::new(Code::UNKNOWN_FLOW, file, name.span, message).maybe_hint(hint));
            return None;
        };
        if let Some(start) = self.open.iter().position(|(open, _)| *open == source.name) {
            let mut chain: Vec<&str> = self.open.iter().skip(start).map(|(_, flow)| flow.as_str()).collect();
            chain.extend(chain.first().copied());
            let message = format!("flow `{}` calls itself: `{}`", name.value, chain.join(" -> "));
            self.problems.push(
                Diagnostic::new(Code::RECURSION, file, name.span, message)
                    .hint("a flow that works in rounds is a `loop` with `max_turns`"),
            );
            return None;
        }
        if let Some(known) = self.flows.get(&source.name) {
            return known.clone();
        }
        if self.open.len() > limits::SCOPE_DEPTH {
            self.too_deep(file, name.span);
            return None;
        }
        let compiled = parse::parse(&source, &mut self.problems).map(|flow| self.flow(&flow));
        self.flows.insert(source.name.clone(), compiled.clone());
        compiled
    }

    fn too_deep(&mut self, file: &Arc<SourceFile>, span: Span) {
        let message =
            format!("sub-flows, loops and eaches are nested more than {} deep here", limits::SCOPE_DEPTH);
        self.report(file, Code::TOO_MANY_NODES, span, message);
    }

    /// Compiles an expression of `who`; problems are reported, and something harmless stands in.
    fn expr(&mut self, place: Place<'_>, text: &ExprText, who: &str) -> Expr {
        let reader = Reader { frame: place.frame, who };
        match expression::compile(&text.text, &reader) {
            Ok(expr) => {
                for nodes in place.frame.scopes() {
                    check::impossible_labels(place.file, self.env.registry, nodes, text, &mut self.problems);
                }
                expr
            }
            Err(problems) => {
                for problem in problems {
                    let span = text.part(problem.range.start, problem.range.end);
                    let mut diagnostic = Diagnostic::new(problem.code, place.file, span, problem.message)
                        .maybe_hint(problem.hint);
                    if problem.code == Code::OTHER_SCOPE {
                        let path = text.text.get(problem.range).unwrap_or_default();
                        let name = path.split('.').next().unwrap_or_default().trim();
                        if let Some(found) = place.frame.elsewhere(name) {
                            let label = format!("`{name}` is inside `{}`", found.owner.name.value);
                            diagnostic = diagnostic.label(found.node.name.span, label);
                        }
                    }
                    self.problems.push(diagnostic);
                }
                let mut stand_in = Expr::literal(Value::Null);
                stand_in.ty = Type::Any;
                stand_in
            }
        }
    }

    /// As [`Builder::expr`], of a type that fits `ty`.
    fn expr_of(&mut self, place: Place<'_>, text: &ExprText, who: &str, ty: &Type, role: &str) -> Expr {
        let expr = self.expr(place, text, who);
        if !expr.ty.fits(ty) {
            let message = format!("{role} of {who} must be `{ty}`, but `{}` is `{}`", text.text, expr.ty);
            let mut diagnostic = Diagnostic::new(Code::EXPRESSION_TYPE, place.file, text.span, message);
            if let Some((span, label)) = place.frame.origin(&text.text) {
                diagnostic = diagnostic.label(span, label);
            }
            self.problems.push(diagnostic);
        }
        expr
    }

    /// Takes back what was said of `file` since `before`. Sub-flows are compiled once, so what was said of them stays.
    fn forget_since(&mut self, before: Diagnostics, file: &Arc<SourceFile>) {
        let since = std::mem::replace(&mut self.problems, before);
        for problem in since.iter().filter(|problem| !Arc::ptr_eq(&problem.file, file)) {
            self.problems.push(problem.clone());
        }
    }

    fn report(&mut self, file: &Arc<SourceFile>, code: Code, span: Span, message: impl Into<String>) {
        self.problems.push(Diagnostic::new(code, file, span, message));
    }

    fn hash(&self) -> Text {
        let mut hasher = blake3::Hasher::new();
        for (kind, name, text) in &self.texts {
            for part in [kind, name.as_str(), text.as_str()] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
        }
        hasher.finalize().to_hex().as_str().into()
    }
}

fn input(decl: &InputDecl) -> Input {
    let ty = &decl.ty.value;
    // A default that does not fit has been reported by the reader; `null` is how an optional input has none.
    let default = decl
        .default
        .as_ref()
        .filter(|default| !default.value.is_null() || !ty.is_optional())
        .and_then(|default| Value::from_json(default.value.clone()).into_type(ty).ok());
    Input {
        port: Port {
            name: decl.name.value.as_str().into(),
            ty: ty.clone(),
            doc: decl.about.as_deref().unwrap_or_default().into(),
        },
        default,
        min: decl.min.as_ref().map(|min| min.value),
        max: decl.max.as_ref().map(|max| max.value),
    }
}

/// How many nodes there are, with those inside loops and eaches.
fn count(nodes: &[NodeDecl]) -> usize {
    nodes.iter().map(|node| 1 + count(inner_nodes(node))).sum()
}
