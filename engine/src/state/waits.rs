//! Waits: questions to somebody outside, their answers, and what becomes of them without one.

use std::collections::HashMap;
use std::time::Duration;

use super::frame::{At, Phase};
use super::start::Hindrance;
use super::{Action, RunState, failure, node_of};
use crate::backend::Usage;
use crate::event::{Failure, FailureKind, Timer, Timing};
use crate::flow::expression::Slot;
use crate::flow::parse::written;
use crate::plan::{Kind, Wait};
use crate::run::{AnswerError, Notice, OpenWait};
use crate::scope::Scope;
use crate::types::Type;
use crate::value::{Map, Value};

/// What an open wait keeps.
pub(super) struct Asked {
    pub(super) shown: Map,
    /// Until when it waits, in Unix milliseconds; not known before the clock outside the run was looked at.
    until_ms: Option<u64>,
}

/// The waits of a run, in the order in which they began. What has been answered is not forgotten with its scope.
#[derive(Default)]
pub(super) struct Waits {
    open: Vec<Scope>,
    /// Whether it was answered.
    closed: HashMap<Scope, bool>,
}

impl Waits {
    pub(super) fn closed(&mut self, scope: &Scope, is_answered: bool) {
        self.open.retain(|open| open != scope);
        self.closed.insert(scope.clone(), is_answered);
    }
}

impl RunState {
    /// Waits that have no answer.
    pub fn n_waits(&self) -> usize {
        self.waits.open.len()
    }

    /// The waits that have no answer, in the order in which they began.
    pub fn open_waits(&self) -> Vec<OpenWait> {
        self.waits.open.iter().filter_map(|scope| self.open_wait(scope)).collect()
    }

    /// When the next of them ends without one, in Unix milliseconds.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.waits.open.iter().filter_map(|scope| self.asked(scope)?.until_ms).min()
    }

    fn asked(&self, scope: &Scope) -> Option<&Asked> {
        let at = self.find(scope)?;
        match &self.frame(at.frame).node(at.node).phase {
            Phase::Asking(asked) => Some(asked),
            _ => None,
        }
    }

    fn open_wait(&self, scope: &Scope) -> Option<OpenWait> {
        let at = self.find(scope)?;
        let asked = self.asked(scope)?;
        let node = node_of(&self.frame(at.frame).body, at.node);
        let Kind::Wait(wait) = &node.kind else { return None };
        let until_ms = asked.until_ms?;
        let deadline_ms = u64::try_from(wait.deadline.as_millis()).unwrap_or(u64::MAX);
        Some(OpenWait {
            scope: scope.clone(),
            ty: wait.ty.clone(),
            about: wait.about.clone().or_else(|| node.about.clone()),
            shown: asked.shown.clone(),
            since_ms: until_ms.saturating_sub(deadline_ms),
            until_ms,
        })
    }

    /// Whether the wait at `scope` would take `value` for an answer.
    pub fn check_answer(&self, scope: &Scope, value: &Value) -> Result<(), AnswerError> {
        let scope = || scope.clone();
        match self.waits.closed.get(&scope()) {
            Some(true) => return Err(AnswerError::AlreadyAnswered { scope: scope() }),
            Some(false) => return Err(AnswerError::Closed { scope: scope() }),
            None => {}
        }
        let wait = self.open_wait(&scope()).ok_or_else(|| AnswerError::NoSuchWait { scope: scope() })?;
        value.clone().into_type(&wait.ty).map(drop).map_err(|mismatch| AnswerError::Type {
            scope: scope(),
            ty: wait.ty,
            message: mismatch.to_string(),
        })
    }

    /// What the one who answers is shown.
    pub(super) fn shown(&self, at: At, wait: &Wait) -> Result<Map, Hindrance> {
        let mut shown = Map::new();
        for (name, expr) in &wait.shown {
            if let Some(value) = self.port_value(at, expr, &Type::Any, name)? {
                shown.insert(name.clone(), value);
            }
        }
        Ok(shown)
    }

    pub(super) fn start_wait(&mut self, at: At, wait: &Wait, shown: Map) {
        let scope = self.scope(at);
        let asked = Box::new(Asked { shown, until_ms: None });
        self.frame_mut(at.frame).node_mut(at.node).phase = Phase::Asking(asked);
        self.waits.open.push(scope.clone());
        self.actions.push(Action::Ask { scope, deadline: wait.deadline });
    }

    /// Whether the wait at `scope` has begun and is not open yet.
    pub(super) fn is_asking(&self, scope: &Scope) -> bool {
        self.asked(scope).is_some_and(|asked| asked.until_ms.is_none())
    }

    pub(super) fn wait_opened(&mut self, scope: &Scope, until_ms: u64) -> Result<(), String> {
        let at = self.find(scope).ok_or_else(|| format!("there is no node {scope:?} in an open scope"))?;
        match &mut self.frame_mut(at.frame).node_mut(at.node).phase {
            Phase::Asking(asked) if asked.until_ms.is_none() => asked.until_ms = Some(until_ms),
            other => return Err(format!("{scope:?} is {}", other.name())),
        }
        if self.setup.notes
            && let Some(wait) = self.open_wait(scope)
        {
            self.note(|| Notice::Waiting(wait));
        }
        self.actions.push(Action::SetAlarm { timer: Timer::Wait(scope.clone()), until_ms });
        Ok(())
    }

    pub(super) fn wait_answered(&mut self, scope: &Scope, value: &Value) -> Result<(), String> {
        self.check_answer(scope, value).map_err(|error| error.to_string())?;
        let Some((at, wait)) = self.wait_at(scope) else { return Err(format!("{scope:?} is no wait")) };
        // From a journal that keeps JSON, records come as maps.
        let value = value.clone().into_type(&wait).map_err(|mismatch| mismatch.to_string())?;
        self.end_wait(at, scope, Ok((value, true)));
        Ok(())
    }

    /// The deadline of a wait has passed.
    pub(super) fn wait_over(&mut self, scope: &Scope) {
        let Some(at) = self.find(scope) else { return };
        let body = self.frame(at.frame).body.clone();
        let Kind::Wait(wait) = &node_of(&body, at.node).kind else { return };
        let result = wait.default.clone().map(|value| (value, false)).ok_or_else(|| {
            let message =
                format!("nobody answered within {}, and the wait has no `default`", written(wait.deadline));
            failure(scope.clone(), FailureKind::TimedOut, message)
        });
        self.end_wait(at, scope, result);
    }

    fn wait_at(&self, scope: &Scope) -> Option<(At, Type)> {
        let at = self.find(scope)?;
        match &node_of(&self.frame(at.frame).body, at.node).kind {
            Kind::Wait(wait) => Some((at, wait.ty.clone())),
            _ => None,
        }
    }

    /// A wait ends with its value and whether that is an answer, or fails.
    fn end_wait(&mut self, at: At, scope: &Scope, result: Result<(Value, bool), Failure>) {
        self.waits.closed(scope, matches!(result, Ok((_, true))));
        let outputs: Map = match &result {
            Ok((value, is_answer)) => {
                [("value".into(), value.clone()), ("answered".into(), Value::Bool(*is_answer))].into()
            }
            Err(_) => Map::new(),
        };
        let ended = Notice::Ended {
            scope: scope.clone(),
            op: "wait".into(),
            attempt: 1,
            outputs,
            failure: result.as_ref().err().cloned(),
            retry_in: None,
            usage: Usage::default(),
            timing: Timing { queued: Duration::ZERO, ran: Duration::ZERO },
        };
        self.note(|| ended);
        match result {
            Ok((value, is_answer)) => {
                let slots = vec![Slot::Present(value), Slot::Present(Value::Bool(is_answer))];
                self.settle(at, slots);
            }
            Err(failure) => self.fail(at, failure),
        }
    }
}
