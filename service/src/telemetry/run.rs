//! The spans of one run, made of what the engine tells: the job, every scope, turn, item and attempt.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anabranch_engine::cx::{Asking, WatchCall};
use anabranch_engine::event::{Failure, Timing};
use anabranch_engine::run::{Notice, Opened};
use anabranch_engine::scope::Scope;
use anabranch_engine::value::Map;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Event, SpanId, SpanKind};
use serde_json::json;

use super::attributes::{Attributes, Over};
use super::call::{CallSpan, PassedOn};
use super::parent::{Parent, new_span, span_of, traceparent};
use super::steps::{AGENT, WAIT, kind_of, module_of};
use super::{Pipeline, Telemetry, documents, names};
use crate::config::ContentLevel;
use crate::job::End;

/// Turns or items of a node that have spans; what further ones do is told right below the node.
const PARTS: usize = 1_000;
/// Remarks on a run, such as nodes that were skipped.
const REMARKS: usize = 128;

/// What a run's spans say of its job.
#[derive(Debug, Clone, Default)]
pub struct JobOfRun {
    /// The job.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// The flow.
    pub flow: String,
    /// The conversation.
    pub session: Option<String>,
    /// The id of the API key.
    pub user: Option<String>,
    /// The batch.
    pub batch: Option<String>,
    /// Its W3C `traceparent`.
    pub trace: Option<String>,
    /// What it was given.
    pub inputs: serde_json::Map<String, serde_json::Value>,
    /// When it was submitted.
    pub created: Option<SystemTime>,
}

/// The spans of one run in this process.
pub struct RunSpans {
    job: JobOfRun,
    parent: Parent,
    root: SpanId,
    /// What goes along with calls of a run that is not traced: the trace all the same.
    passed_on: Arc<str>,
    start: SystemTime,
    tracing: Option<Tracing>,
}

/// What a traced run needs.
struct Tracing {
    pipeline: Arc<Pipeline>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Sub-flows, loops and eaches that are open.
    open: HashMap<String, Open>,
    /// Their turns and items.
    parts: HashMap<String, Part>,
    running: HashMap<Scope, Running>,
    remarks: Vec<Event>,
}

struct Open {
    what: Opened,
    start: SystemTime,
    indexes: Vec<usize>,
}

struct Part {
    start: SystemTime,
    end: SystemTime,
}

struct Running {
    span: SpanId,
    attempt: u32,
    op: String,
    start: SystemTime,
    inputs: Option<Map>,
}

impl RunSpans {
    /// The spans of a run of `job`.
    pub fn new(telemetry: &Telemetry, job: JobOfRun) -> Self {
        let parent = Parent::read(job.trace.as_deref());
        let root = span_of(&job.id, "");
        let pipeline = telemetry.for_run(&parent, &job.flow);
        let around = parent.span.unwrap_or(root);
        Self {
            start: job.created.unwrap_or_else(SystemTime::now),
            passed_on: traceparent(parent.trace, around, parent.is_sampled && pipeline.is_some()).into(),
            tracing: pipeline.map(|pipeline| Tracing { pipeline, state: Mutex::default() }),
            job,
            parent,
            root,
        }
    }

    /// The trace, as hex.
    pub fn trace_id(&self) -> String {
        self.parent.trace.to_string()
    }

    /// Takes in what the engine tells; `is_old` if it is read from the journal, and was told before.
    pub fn notice(&self, notice: &Notice, is_old: bool) {
        let Some(tracing) = &self.tracing else { return };
        if matches!(notice, Notice::Progress { .. }) {
            // Once a piece of an answer.
            return;
        }
        let mut state = tracing.lock();
        match notice {
            Notice::Started { scope, op, attempt, inputs } if !is_old => {
                let keeps = tracing.pipeline.level() != ContentLevel::None || op.starts_with("rerank.");
                let running = Running {
                    span: new_span(),
                    attempt: *attempt,
                    op: op.to_string(),
                    start: SystemTime::now(),
                    inputs: keeps.then(|| inputs.clone()),
                };
                state.running.insert(scope.clone(), running);
            }
            Notice::Ended { scope, op, attempt, outputs, failure, retry_in, timing, .. } => {
                let running = state.running.remove(scope);
                let end = SystemTime::now();
                state.reached(&scope.frame, end);
                if !is_old {
                    let ended = Ended {
                        scope,
                        op,
                        attempt: *attempt,
                        outputs,
                        failure: failure.as_ref(),
                        retry_in: *retry_in,
                        timing: *timing,
                    };
                    self.attempt(tracing, &state, running, &ended, end);
                }
            }
            Notice::Skipped { scope, why } if !is_old && state.remarks.len() < REMARKS => {
                let about = vec![
                    KeyValue::new(names::SCOPE, scope.to_string()),
                    KeyValue::new("anabranch.why", why.to_string()),
                ];
                state.remarks.push(Event::new("node skipped", SystemTime::now(), about, 0));
            }
            Notice::Opened { scope, what, .. } => {
                let open = Open { what: *what, start: SystemTime::now(), indexes: Vec::new() };
                state.open.insert(scope.to_string(), open);
            }
            Notice::Part { scope, index } => state.part(&scope.to_string(), *index),
            Notice::Closed { scope, parts, failure } => {
                let end = SystemTime::now();
                state.reached(&scope.frame, end);
                let path = scope.to_string();
                let Some(open) = state.open.remove(&path) else { return };
                let parts_of = state.take_parts(&path, &open);
                if !is_old {
                    let failure = failure.as_ref();
                    self.scope(tracing, &state, scope, &open, &parts_of, Some(*parts), failure, end);
                }
            }
            // Told again by a process that takes up the run: it is there that the wait ends.
            Notice::Waiting(wait) => {
                let start = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(wait.since_ms));
                let running = Running {
                    span: new_span(),
                    attempt: 1,
                    op: WAIT.to_owned(),
                    start: start.unwrap_or_else(SystemTime::now),
                    inputs: None,
                };
                state.running.insert(wait.scope.clone(), running);
            }
            Notice::Aborted { scope, .. } => {
                let end = SystemTime::now();
                state.reached(&scope.frame, end);
                let (running, path) = (state.running.remove(scope), scope.to_string());
                let open = state.open.remove(&path);
                let parts = open.as_ref().map(|open| state.take_parts(&path, open)).unwrap_or_default();
                match (running, open) {
                    _ if is_old => {}
                    (Some(running), _) => self.given_up(tracing, &state, scope, running, end),
                    (None, Some(open)) => self.scope(tracing, &state, scope, &open, &parts, None, None, end),
                    (None, None) => {}
                }
            }
            _ => {}
        }
    }

    /// A call is about to be made: its span, or at least the trace that it belongs to.
    pub fn calling(&self, asking: &Asking<'_>) -> Box<dyn WatchCall> {
        let Some(tracing) = &self.tracing else { return Box::new(PassedOn(self.passed_on.clone())) };
        let state = tracing.lock();
        let parent = state.running.get(asking.scope).map(|running| running.span);
        let parent = parent.unwrap_or_else(|| self.around(&state, &asking.scope.frame));
        drop(state);
        Box::new(CallSpan::new(tracing.pipeline.clone(), self.parent.trace, parent, asking))
    }

    /// The job has ended: what is still open is given up, and the run's own span goes out.
    pub fn end(&self, end: &End) {
        let Some(tracing) = &self.tracing else { return };
        let now = SystemTime::now();
        let mut state = std::mem::take(&mut *tracing.lock());
        for (scope, running) in std::mem::take(&mut state.running) {
            self.given_up(tracing, &state, &scope, running, now);
        }
        let mut open: Vec<String> = state.open.keys().cloned().collect();
        open.sort_by_key(|path| std::cmp::Reverse(path.len()));
        for path in open {
            if let Some(one) = state.open.remove(&path) {
                let parts = state.take_parts(&path, &one);
                self.scope(tracing, &state, &Scope::from(path.as_str()), &one, &parts, None, None, now);
            }
        }
        let contents = &tracing.pipeline.contents;
        let mut attributes = Attributes::default();
        attributes.set(names::KIND, "CHAIN");
        attributes.set(names::OPERATION, "invoke_workflow");
        attributes.set(names::WORKFLOW, self.job.flow.clone());
        self.common(&mut attributes);
        attributes.set(names::STATUS, end.status.as_str());
        let metadata = json!({ "job": self.job.id, "tenant": self.job.tenant, "flow": self.job.flow, "batch": self.job.batch });
        attributes.set(names::METADATA, metadata.to_string());
        let inputs = contents.json(|| serde_json::Value::Object(self.job.inputs.clone()));
        attributes.value(names::INPUT, names::INPUT_TYPE, inputs);
        let outputs = contents.json(|| serde_json::Value::Object(end.outputs.clone()));
        attributes.value(names::OUTPUT, names::OUTPUT_TYPE, outputs);
        Over {
            trace: self.parent.trace,
            span: self.root,
            parent: self.parent.span,
            is_parent_remote: true,
            kind: SpanKind::Internal,
            name: format!("invoke_workflow {}", self.job.flow),
            start: self.start,
            end: now,
            attributes,
            events: state.remarks,
            error: end.error.as_ref().map(|error| (error.code.clone(), error.message.clone())),
        }
        .export(&tracing.pipeline);
    }

    /// What every span of the run says.
    fn common(&self, attributes: &mut Attributes) {
        attributes.set(names::JOB, self.job.id.clone());
        attributes.set(names::FLOW, self.job.flow.clone());
        attributes.set(names::TENANT, self.job.tenant.clone());
        if let Some(session) = &self.job.session {
            attributes.set(names::SESSION, session.clone());
            attributes.set(names::CONVERSATION, session.clone());
        }
        attributes.set_some(names::USER, self.job.user.clone());
    }

    /// The span of the innermost scope around what is in `frame` that has one.
    fn around(&self, state: &State, frame: &str) -> SpanId {
        let mut path = frame;
        while !path.is_empty() {
            if state.parts.contains_key(path) || state.open.contains_key(path) {
                return span_of(&self.job.id, path);
            }
            path = above(path);
        }
        self.root
    }

    fn node(&self, attributes: &mut Attributes, scope: &Scope) {
        attributes.set(names::SCOPE, scope.to_string());
        attributes.set(names::NODE_ID, scope.to_string());
        attributes.set(names::NODE_NAME, scope.node.to_string());
        if !scope.frame.is_empty() {
            attributes.set(names::NODE_PARENT, scope.frame.to_string());
        }
        self.common(attributes);
    }

    /// An attempt has ended.
    fn attempt(
        &self,
        tracing: &Tracing,
        state: &State,
        running: Option<Running>,
        ended: &Ended<'_>,
        end: SystemTime,
    ) {
        let contents = &tracing.pipeline.contents;
        let mut attributes = Attributes::default();
        let start = match &running {
            Some(running) if ended.timing.ran.is_zero() => running.start,
            _ => end.checked_sub(ended.timing.ran).unwrap_or(end),
        };
        if ended.op == WAIT {
            let waited = end.duration_since(start).unwrap_or_default();
            attributes.set(names::WAITED, waited.as_secs_f64() * 1e3);
        }
        let module = module_of(ended.op);
        attributes.set(names::KIND, kind_of(ended.op));
        attributes.set(names::OPERATOR, ended.op.to_owned());
        attributes.count(names::ATTEMPT, u64::from(ended.attempt));
        attributes.set(names::QUEUED, ended.timing.queued.as_secs_f64() * 1e3);
        self.node(&mut attributes, ended.scope);
        let given = documents::chunks(ended.outputs);
        let inputs = running.as_ref().and_then(|running| running.inputs.as_ref());
        match module {
            "retrieve" => {
                attributes.set(names::OPERATION, "retrieval");
                documents::tell(&mut attributes, "retrieval.documents", &given, contents);
            }
            "rerank" => {
                let read = inputs.map(documents::chunks).unwrap_or_default();
                documents::tell(&mut attributes, "reranker.input_documents", &read, contents);
                documents::tell(&mut attributes, "reranker.output_documents", &given, contents);
            }
            _ if ended.op == AGENT => {
                attributes.set(names::OPERATION, "invoke_agent");
                attributes.set(names::AGENT, ended.scope.node.to_string());
            }
            _ => {}
        }
        attributes.value(
            names::INPUT,
            names::INPUT_TYPE,
            inputs.and_then(|ports| contents.json(|| of_ports(ports))),
        );
        if !ended.outputs.is_empty() {
            attributes.value(names::OUTPUT, names::OUTPUT_TYPE, contents.json(|| of_ports(ended.outputs)));
        }
        let mut events = Vec::new();
        if let Some(pause) = ended.retry_in {
            let about = vec![KeyValue::new("anabranch.retry_in_ms", pause.as_secs_f64() * 1e3)];
            events.push(Event::new("retry", end, about, 0));
        }
        Over {
            trace: self.parent.trace,
            span: running.map_or_else(new_span, |running| running.span),
            parent: Some(self.around(state, &ended.scope.frame)),
            is_parent_remote: false,
            kind: SpanKind::Internal,
            name: ended.scope.node.to_string(),
            start,
            end,
            attributes,
            events,
            error: ended.failure.map(|failure| (failure.kind.as_str().to_owned(), failure.message.clone())),
        }
        .export(&tracing.pipeline);
    }

    /// An attempt was stopped before its end.
    fn given_up(&self, tracing: &Tracing, state: &State, scope: &Scope, running: Running, end: SystemTime) {
        let mut attributes = Attributes::default();
        attributes.set(names::KIND, kind_of(&running.op));
        attributes.set(names::OPERATOR, running.op);
        attributes.count(names::ATTEMPT, u64::from(running.attempt));
        self.node(&mut attributes, scope);
        Over {
            trace: self.parent.trace,
            span: running.span,
            parent: Some(self.around(state, &scope.frame)),
            is_parent_remote: false,
            kind: SpanKind::Internal,
            name: scope.node.to_string(),
            start: running.start,
            end,
            attributes,
            events: Vec::new(),
            error: Some(("cancelled".to_owned(), "the node was stopped before its end".to_owned())),
        }
        .export(&tracing.pipeline);
    }

    /// A sub-flow, a loop or an each has ended, and its turns or items with it.
    #[expect(clippy::too_many_arguments, reason = "what is known of a scope at its end, in one place")]
    fn scope(
        &self,
        tracing: &Tracing,
        state: &State,
        scope: &Scope,
        open: &Open,
        parts: &[(usize, Part)],
        n_well: Option<usize>,
        failure: Option<&Failure>,
        end: SystemTime,
    ) {
        let path = scope.to_string();
        let id = span_of(&self.job.id, &path);
        let word = if matches!(open.what, Opened::Loop(_)) { "turn" } else { "item" };
        let over = |span, parent, name, start, end, attributes, error| Over {
            trace: self.parent.trace,
            span,
            parent: Some(parent),
            is_parent_remote: false,
            kind: SpanKind::Internal,
            name,
            start,
            end,
            attributes,
            events: Vec::new(),
            error,
        };
        for (index, part) in parts {
            let mut attributes = Attributes::default();
            attributes.set(names::KIND, "CHAIN");
            attributes.set(names::OPERATOR, word);
            attributes.count(names::INDEX, *index as u64);
            let place = format!("{path}[{index}]");
            self.node(&mut attributes, &Scope::from(place.as_str()));
            let span = span_of(&self.job.id, &place);
            let name = format!("{} {word}", scope.node);
            over(span, id, name, part.start, part.end, attributes, None).export(&tracing.pipeline);
        }
        let mut attributes = Attributes::default();
        attributes.set(names::KIND, "CHAIN");
        attributes.set(names::OPERATOR, open.what.name());
        self.node(&mut attributes, scope);
        if let Some(n) = n_well {
            attributes.count(names::PARTS, n as u64);
        }
        let error = match (failure, n_well) {
            (Some(failure), _) => Some((failure.kind.as_str().to_owned(), failure.message.clone())),
            (None, Some(_)) => None,
            (None, None) => Some(("cancelled".to_owned(), "it was stopped before its end".to_owned())),
        };
        let parent = self.around(state, &scope.frame);
        over(id, parent, scope.node.to_string(), open.start, end, attributes, error)
            .export(&tracing.pipeline);
    }
}

impl Tracing {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn part(&mut self, path: &str, index: usize) {
        let Some(open) = self.open.get_mut(path) else { return };
        if open.indexes.len() >= PARTS {
            return;
        }
        open.indexes.push(index);
        let now = SystemTime::now();
        self.parts.insert(format!("{path}[{index}]"), Part { start: now, end: now });
    }

    /// Something in `frame` has ended: the turn or item around it has lasted until now.
    fn reached(&mut self, frame: &str, end: SystemTime) {
        if let Some(part) = self.parts.get_mut(frame) {
            part.end = end;
        }
    }

    fn take_parts(&mut self, path: &str, open: &Open) -> Vec<(usize, Part)> {
        let part = |index: &usize| Some((*index, self.parts.remove(&format!("{path}[{index}]"))?));
        open.indexes.iter().filter_map(part).collect()
    }
}

/// An attempt at its end.
struct Ended<'a> {
    scope: &'a Scope,
    op: &'a str,
    attempt: u32,
    outputs: &'a Map,
    failure: Option<&'a Failure>,
    retry_in: Option<Duration>,
    timing: Timing,
}

/// The scope around `path`: of `hop[2]` that is `hop`, of `hop/on_error` too.
fn above(path: &str) -> &str {
    let cut = if path.ends_with(']') { path.rfind('[') } else { path.rfind('/') };
    cut.and_then(|at| path.get(..at)).unwrap_or_default()
}

fn of_ports(ports: &Map) -> serde_json::Value {
    serde_json::Value::Object(ports.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect())
}
