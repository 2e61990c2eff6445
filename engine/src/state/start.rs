//! Starting a node: its condition, its inputs, and what it runs.

use std::sync::Arc;
use std::time::Duration;

use super::frame::{At, Composite, Phase, Role};
use super::{Action, RunState, Start, absence, failure, node_of};
use crate::budget::Ledger;
use crate::event::{Failure, FailureKind, Timer};
use crate::flow::expression::{Absence, Expr, Slot};
use crate::operator::DynOperator;
use crate::plan::{Body, Input, Kind, Late, Node, Op, Settings};
use crate::run::{Notice, Opened, Stub};
use crate::scope::Scope;
use crate::types::Type;
use crate::value::{Map, Value};

/// Why a node does not start.
pub(super) enum Hindrance {
    /// It is skipped: something it needs is absent.
    Absent(Arc<Absence>),
    /// It fails.
    Failed(Box<Failure>),
}

impl From<Failure> for Hindrance {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl RunState {
    /// Starts a queued node, skips it, or fails it.
    pub(super) fn start(&mut self, at: At) {
        let body = self.frame(at.frame).body.clone();
        let node = node_of(&body, at.node);
        let started = self
            .check_join(at, node)
            .and_then(|()| self.check_when(at, node))
            .and_then(|()| self.start_kind(at, node));
        match started {
            Ok(()) if node.join.cancel_losers => self.cancel_losers(at),
            Ok(()) => {}
            Err(Hindrance::Absent(why)) => self.settle_absent(at, why),
            Err(Hindrance::Failed(failure)) => self.fail(at, *failure),
        }
    }

    fn check_when(&self, at: At, node: &Node) -> Result<(), Hindrance> {
        let Some(when) = &node.when else { return Ok(()) };
        match self.eval(at, when)? {
            Slot::Present(Value::Bool(true)) => Ok(()),
            Slot::Present(Value::Bool(false)) => {
                Err(Hindrance::Absent(absence::when_is_false(&self.scope(at), &when.source)))
            }
            Slot::Present(other) => {
                let message = format!("`when` gave `{}`, not a bool: {}", other.ty(), when.source);
                Err(failure(self.scope(at), FailureKind::Type, message).into())
            }
            missing => Err(Hindrance::Absent(absence::needs(&self.scope(at), "its `when`", &missing))),
        }
    }

    fn start_kind(&mut self, at: At, node: &Node) -> Result<(), Hindrance> {
        match &node.kind {
            Kind::Op(op) => {
                let inputs = self.op_inputs(at, op)?;
                if self.start_stub(at, node)? {
                    return Ok(());
                }
                self.open_budget(at, node);
                self.start_attempt(at, op, inputs, 1, Duration::ZERO)?;
            }
            Kind::Flow { body, inputs } => {
                let slots = self.flow_inputs(at, body, inputs)?;
                if self.start_stub(at, node)? {
                    return Ok(());
                }
                self.open_budget(at, node);
                self.note_opened(at, Opened::Flow);
                let ledger = self.node_ledger(at).clone();
                let path = self.scope(at).sub();
                let frame =
                    self.open(path, body.clone(), Role::Sub { parent: at }, slots, Arc::default(), ledger);
                self.frame_mut(at.frame).node_mut(at.node).phase = Phase::Open(Composite::Sub(frame));
            }
            Kind::Loop(spec) => {
                if self.start_stub(at, node)? {
                    return Ok(());
                }
                self.start_loop(at, node, spec)?;
            }
            Kind::Each(spec) => {
                let items = self.items_of(at, spec)?;
                if self.start_stub(at, node)? {
                    return Ok(());
                }
                self.start_each(at, node, spec, items)?;
            }
            Kind::Plan(spec) => self.start_plan(at, node, spec)?,
            Kind::Wait(wait) => {
                let shown = self.shown(at, wait)?;
                if self.start_stub(at, node)? {
                    return Ok(());
                }
                self.start_wait(at, wait, shown);
            }
        }
        Ok(())
    }

    /// Begins an attempt of an operator. The same call begins the next attempt after a failure.
    pub(super) fn start_attempt(
        &mut self,
        at: At,
        op: &Op,
        inputs: Vec<Option<Value>>,
        attempt: u32,
        delay: Duration,
    ) -> Result<(), Failure> {
        let (operator, settings) = self.operator(at, op)?;
        let timeout = self.duration(at, op.timeout.as_ref())?;
        let idle_timeout = self.duration(at, op.idle_timeout.as_ref())?;
        let start = Start {
            scope: self.scope(at),
            attempt,
            delay,
            op: op.spec.name,
            has_effects: operator.has_effects(),
            operator,
            settings,
            names: op.names.clone(),
            timeout,
            idle_timeout,
            cache: op.cache.map(|ttl| (ttl, self.cache_key(at, op, &inputs))),
            ledger: self.node_ledger(at).clone(),
            kit: op.kit.clone(),
            inputs,
        };
        let node = self.frame_mut(at.frame).node_mut(at.node);
        node.phase = Phase::Running(attempt);
        // Kept, not evaluated again: under a join that did not wait, later values must not change a retried attempt.
        node.retry_inputs = (attempt < op.retry.attempts).then(|| start.inputs.clone());
        self.actions.push(Action::Start(Box::new(start)));
        Ok(())
    }

    /// Names a result that may be used again: the same node of the same flow, the same settings, the same inputs.
    pub(super) fn cache_key(&self, at: At, op: &Op, inputs: &[Option<Value>]) -> String {
        let mut hasher = blake3::Hasher::new();
        let place = without_indexes(&self.scope(at).to_string());
        hasher.update(self.plan.hash.as_bytes()).update(b"\0").update(place.as_bytes());
        if let Some(salt) = &self.frame(at.frame).salt {
            hasher.update(b"\0").update(salt.as_bytes());
        }
        if let Settings::Late { holes, .. } = &op.settings {
            for (_, expr) in holes {
                if let Ok(Slot::Present(value)) = self.eval(at, expr) {
                    hasher.update(b"\0").update(value.to_json().to_string().as_bytes());
                }
            }
        }
        for input in inputs {
            let json = input.as_ref().map(|value| value.to_json().to_string());
            hasher.update(b"\0").update(json.unwrap_or_default().as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The operator, with its settings if they only became known now.
    fn operator(
        &self,
        at: At,
        op: &Op,
    ) -> Result<(Arc<dyn DynOperator>, Option<serde_json::Value>), Failure> {
        let (template, holes) = match &op.settings {
            Settings::Ready(operator) => return Ok((operator.clone(), None)),
            Settings::Late { template, holes } => (template, holes),
        };
        let invalid = |message: String| failure(self.scope(at), FailureKind::InvalidSetting, message);
        let mut settings = template.clone();
        for (pointer, expr) in holes {
            let value = match self.eval(at, expr)? {
                Slot::Present(value) => value.to_json(),
                missing => {
                    return Err(invalid(absence::needs(&self.scope(at), pointer, &missing).why.to_string()));
                }
            };
            if let Some(hole) = settings.pointer_mut(pointer) {
                *hole = value;
            }
        }
        if let Some(error) = op.spec.validator.iter_errors(&settings).next() {
            return Err(invalid(format!("setting `{}`: {error}", error.instance_path())));
        }
        let operator = op.spec.build(settings.clone());
        let operator =
            operator.map_err(|error| invalid(format!("settings of `{}`: {error}", op.spec.name)))?;
        Ok((operator, Some(settings)))
    }

    fn duration(&self, at: At, late: Option<&Late<Duration>>) -> Result<Option<Duration>, Failure> {
        match late {
            None => Ok(None),
            Some(Late::Now(duration)) => Ok(Some(*duration)),
            Some(Late::Later(expr)) => match self.eval(at, expr)? {
                Slot::Present(Value::Text(text)) => crate::flow::parse::duration(&text)
                    .map(Some)
                    .map_err(|error| failure(self.scope(at), FailureKind::InvalidSetting, error)),
                Slot::Present(other) => {
                    let message =
                        format!("`{}` gave `{}`, not a duration such as `30s`", expr.source, other.ty());
                    Err(failure(self.scope(at), FailureKind::InvalidSetting, message))
                }
                missing => {
                    let why = absence::needs(&self.scope(at), "its timeout", &missing).why.to_string();
                    Err(failure(self.scope(at), FailureKind::InvalidSetting, why))
                }
            },
        }
    }

    /// The bound of a loop or each: a number of the plan, or one that is only known now.
    pub(super) fn bound(&self, at: At, late: &Late<u32>, most: u32, what: &str) -> Result<u32, Failure> {
        let expr = match late {
            Late::Now(number) => return Ok(*number),
            Late::Later(expr) => expr,
        };
        let value = self.eval(at, expr)?;
        match &value {
            Slot::Present(Value::Int(int)) => u32::try_from(*int).ok().filter(|n| (1..=most).contains(n)),
            _ => None,
        }
        .ok_or_else(|| {
            let got =
                if let Slot::Present(value) = &value { value.to_string() } else { "nothing".to_owned() };
            let message =
                format!("`{what}: ${{ {} }}` gave {got}, not a whole number from 1 to {most}", expr.source);
            failure(self.scope(at), FailureKind::InvalidSetting, message)
        })
    }

    pub(super) fn op_inputs(&self, at: At, op: &Op) -> Result<Vec<Option<Value>>, Hindrance> {
        let mut values = Vec::with_capacity(op.inputs.len());
        for ((expr, ty), name) in op.inputs.iter().zip(&op.types).zip(op.names.iter()) {
            values.push(match expr {
                Some(expr) => self.port_value(at, expr, ty, name)?,
                None => None,
            });
        }
        Ok(values)
    }

    /// The value for an input port; `None` for an optional port whose value is absent.
    pub(super) fn port_value(
        &self,
        at: At,
        expr: &Expr,
        ty: &Type,
        name: &str,
    ) -> Result<Option<Value>, Hindrance> {
        match self.eval(at, expr)? {
            Slot::Present(value) if expr.ty == *ty => Ok(Some(value)),
            Slot::Present(value) => value.into_type(ty).map(Some).map_err(|mismatch| {
                let message = format!("port `{name}`: `{}`: {mismatch}", expr.source);
                failure(self.scope(at), FailureKind::Type, message).into()
            }),
            _ if ty.is_optional() => Ok(None),
            missing => Err(Hindrance::Absent(absence::needs(
                &self.scope(at),
                &format!("its port `{name}`"),
                &missing,
            ))),
        }
    }

    /// The inputs of a flow that runs as a node.
    fn flow_inputs(&self, at: At, body: &Body, exprs: &[Option<Expr>]) -> Result<Vec<Slot>, Hindrance> {
        let mut slots = Vec::with_capacity(body.inputs.len());
        for (position, input) in body.inputs.iter().enumerate() {
            let given = match exprs.get(position).and_then(Option::as_ref) {
                // An input that can do without takes an absent value as not given.
                Some(expr) if input.default.is_some() => {
                    self.port_value(at, expr, &Type::optional(input.port.ty.clone()), &input.port.name)?
                }
                Some(expr) => self.port_value(at, expr, &input.port.ty, &input.port.name)?,
                None => None,
            };
            let slot = match given.or_else(|| input.default.clone()) {
                Some(value) => {
                    check_bounds(input, &value)
                        .map_err(|problem| failure(self.scope(at), FailureKind::InvalidInput, problem))?;
                    Slot::Present(value)
                }
                None => Slot::Absent(absence::not_given(&input.port.name)),
            };
            slots.push(slot);
        }
        Ok(slots)
    }

    /// Runs the flow that stands in for a failed node.
    pub(super) fn start_fallback(
        &mut self,
        at: At,
        body: &Arc<Body>,
        inputs: &[Option<Expr>],
        cause: Failure,
    ) {
        match self.flow_inputs(at, body, inputs) {
            Ok(slots) => {
                self.note_opened(at, Opened::Flow);
                // In the budget of the scope around: the node's own may be what ran out.
                let ledger = self.frame(at.frame).ledger.clone();
                let path = format!("{}/on_error", self.scope(at)).into();
                let role = Role::Fallback { parent: at };
                let frame = self.open(path, body.clone(), role, slots, Arc::default(), ledger);
                self.frame_mut(at.frame).node_mut(at.node).phase = Phase::Open(Composite::Fallback(frame));
            }
            Err(Hindrance::Absent(_)) => self.fail_frame(at.frame, cause),
            Err(Hindrance::Failed(failure)) => self.fail_frame(at.frame, *failure),
        }
    }

    /// Gives a node its result that has one already, by the journal or as a stub; false if it has to run.
    pub(super) fn start_stub(&mut self, at: At, node: &Node) -> Result<bool, Hindrance> {
        if self.start_given(at, node)? {
            return Ok(true);
        }
        if self.setup.stubs.is_empty() {
            return Ok(false);
        }
        let scope = self.scope(at);
        let Some(stub) = self.setup.stubs.get(&without_indexes(&scope.to_string())).cloned() else {
            return Ok(false);
        };
        let started =
            Notice::Started { scope: scope.clone(), op: "stub".into(), attempt: 1, inputs: Map::new() };
        self.note(|| started);
        let slots = match stub {
            Stub::Fails(kind, message) => Err(failure(scope.clone(), kind, message)),
            Stub::Outputs(outputs) => stub_slots(&scope, &outputs, node)
                .map_err(|message| failure(scope.clone(), FailureKind::Type, message)),
        };
        let failure = slots.as_ref().err().cloned();
        let outputs = if let Ok(slots) = &slots { named(node, slots) } else { Map::new() };
        self.note(|| Notice::Ended {
            scope,
            op: "stub".into(),
            attempt: 1,
            outputs,
            failure,
            retry_in: None,
            usage: crate::backend::Usage::default(),
            timing: crate::event::Timing::default(),
        });
        self.settle(at, slots?);
        Ok(true)
    }

    /// Opens the ledger and sets the timer of a node's own budget.
    pub(super) fn open_budget(&mut self, at: At, node: &Node) {
        let Some(budget) = node.budget else { return };
        let scope = self.scope(at);
        let parent = self.frame(at.frame).ledger.clone();
        self.frame_mut(at.frame).node_mut(at.node).ledger =
            Some(Ledger::new(scope.sub(), budget, Some(parent)));
        if let Some(after) = budget.wall {
            self.actions.push(Action::SetTimer { timer: Timer::Wall(scope), after });
        }
    }

    pub(super) fn note_opened(&mut self, at: At, what: Opened) {
        self.note_opened_with(at, what, Map::new());
    }

    /// As [`RunState::note_opened`], with what the scope was opened with.
    pub(super) fn note_opened_with(&mut self, at: At, what: Opened, inputs: Map) {
        if self.setup.notes {
            let scope = self.scope(at);
            self.note(|| Notice::Opened { scope, what, inputs });
        }
    }

    /// The values that a body takes from the scope of the node that opens it.
    pub(super) fn captures(&self, at: At, body: &Body) -> Arc<[Slot]> {
        use crate::flow::expression::Env;
        let frame = self.frame(at.frame);
        body.captures.iter().map(|capture| frame.slot(*capture)).collect()
    }
}

fn stub_slots(scope: &Scope, outputs: &Map, node: &Node) -> Result<Vec<Slot>, String> {
    node.outputs
        .iter()
        .map(|port| match outputs.get(&port.name) {
            Some(value) => match value.clone().into_type(&port.ty) {
                Ok(value) => Ok(Slot::Present(value)),
                Err(mismatch) => Err(format!("stub output `{}`: {mismatch}", port.name)),
            },
            None => Ok(Slot::Absent(absence::not_put_out(scope, &port.name))),
        })
        .collect()
}

pub(super) fn named(node: &Node, slots: &[Slot]) -> Map {
    let values = node.outputs.iter().zip(slots);
    values
        .filter_map(|(port, slot)| match slot {
            Slot::Present(value) => Some((port.name.clone(), value.clone())),
            _ => None,
        })
        .collect()
}

/// `hop[2]/search` as tests write it: `hop/search`.
pub(crate) fn without_indexes(path: &str) -> String {
    path.split('/').map(|part| part.split('[').next().unwrap_or(part)).collect::<Vec<_>>().join("/")
}

/// Whether an input is inside its `min` and `max`; the problem in words if not.
pub(crate) fn check_bounds(input: &Input, value: &Value) -> Result<(), String> {
    let (size, what) = match value {
        Value::Int(int) => (*int as f64, "is"),
        Value::Float(float) => (*float, "is"),
        Value::Text(text) => (text.chars().count() as f64, "has a length of"),
        Value::List(items) => (items.len() as f64, "has a length of"),
        _ => return Ok(()),
    };
    let name = &input.port.name;
    match (input.min, input.max) {
        (Some(min), _) if size < min => {
            Err(format!("input `{name}` {what} {size}, less than its least, {min}"))
        }
        (_, Some(max)) if size > max => {
            Err(format!("input `{name}` {what} {size}, more than its most, {max}"))
        }
        _ => Ok(()),
    }
}
