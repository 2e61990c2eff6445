//! Taking up a run from its journal.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::{Attached, Driver, Error};
use crate::backend::Usage;
use crate::cx::RunContext;
use crate::event::{Event, Failure, FailureKind, Record, Timer, Timing};
use crate::run::{Notice, aborted};
use crate::scope::Scope;
use crate::state::{Action, Start};
use crate::value::Text;

impl Driver {
    /// Rebuilds the run from its journal. What had begun and not ended is begun again by [`Driver::drive`].
    pub(in crate::run) fn replay(&mut self, records: &[Record]) -> Result<(), Error> {
        let mut begun: Vec<Box<Start>> = Vec::new();
        let mut timers: Vec<(Timer, Duration)> = Vec::new();
        let mut alarms: Vec<(Timer, u64)> = Vec::new();
        let mut asked: Vec<(Scope, Duration)> = Vec::new();
        let mut effects: HashSet<(Scope, u32)> = HashSet::new();
        let spent = aborted::spent(records);
        for record in records {
            if let Event::AttemptEnded { scope, attempt, result, usage, timing } = &record.event
                && let Some(position) = begun.iter().position(|start| start.scope == *scope)
            {
                let start = begun.remove(position);
                let (op, attempt) = (start.op, *attempt);
                let inputs = start.named_inputs();
                self.note(&Notice::Started { scope: scope.clone(), op: op.into(), attempt, inputs });
                self.note_ended(scope, op, attempt, result, *usage, *timing);
            }
            match &record.event {
                Event::EffectBegan { scope, attempt } => {
                    effects.insert((scope.clone(), *attempt));
                }
                Event::WaitOpened { scope, .. } => asked.retain(|(asked, _)| asked != scope),
                _ => {}
            }
            for action in self.state.apply(record)? {
                match action {
                    Action::Ask { scope, deadline } => asked.push((scope, deadline)),
                    Action::SetAlarm { timer, until_ms } => alarms.push((timer, until_ms)),
                    Action::Start(start) => begun.push(start),
                    Action::Abort(scope) => {
                        if let Some(at) = begun.iter().position(|start| start.scope == scope) {
                            for notice in aborted::notices(&begun.remove(at), Duration::ZERO, &spent) {
                                self.note(&notice);
                            }
                        }
                    }
                    Action::SetTimer { timer, after } => timers.push((timer, record.at + after)),
                    Action::Note(notice) => self.note(&notice),
                    Action::Finish => {}
                }
            }
        }
        self.context = Arc::new(RunContext {
            run: self.context.run.clone(),
            seed: self.state.seed(),
            resources: self.context.resources.clone(),
            caller: self.context.caller.clone(),
            deadline: self.context.deadline,
            purse: self.context.purse.clone(),
            started: self.context.started,
            rested_ns: AtomicU64::new(0),
            on_progress: self.context.on_progress.clone(),
            observer: self.context.observer.clone(),
        });
        if let Some(observer) = &self.options.observer {
            observer.replayed();
        }
        let elapsed = self.context.elapsed();
        timers.retain(|(timer, _)| self.state.awaits(timer));
        for (timer, at) in timers {
            self.set_timer(timer, at.saturating_sub(elapsed));
        }
        alarms.retain(|(timer, _)| self.state.awaits(timer));
        for (timer, until_ms) in alarms {
            self.set_alarm(timer, until_ms);
        }
        for (scope, deadline) in asked {
            self.ask(scope, deadline);
        }
        for start in begun {
            if effects.contains(&(start.scope.clone(), start.attempt)) {
                self.interrupted(&start);
            } else {
                self.begin(start);
            }
        }
        Ok(())
    }

    /// Writes down who has the run now. Whoever lost it in the same moment does nothing: what follows waits for this.
    pub(in crate::run) async fn take_up(&mut self, by: Text, epoch: u64) -> Result<(), Error> {
        if self.state.result().is_some() {
            return Ok(());
        }
        self.inbox.push_front((Event::TakenUp { by, epoch }, Attached::Nothing));
        self.take_in()?;
        while !self.behind.is_empty() {
            let safe = self.behind.next().await?;
            self.release(safe);
        }
        Ok(())
    }

    /// An attempt with effects had begun and has no end: whether they happened is not known.
    fn interrupted(&mut self, start: &Start) {
        let (scope, attempt, op) = (start.scope.clone(), start.attempt, start.op);
        let message = format!("`{op}` was interrupted, and its effects may have happened");
        let kind = FailureKind::Interrupted;
        let failure = Failure { scope: scope.clone(), attempt, kind, message, retry_after: None };
        let (result, usage, timing) = (Err(failure), Usage::default(), Timing::default());
        let inputs = start.named_inputs();
        self.note(&Notice::Started { scope: scope.clone(), op: op.into(), attempt, inputs });
        self.note_ended(&scope, op, attempt, &result, usage, timing);
        self.happened(Event::AttemptEnded { scope, attempt, result, usage, timing });
    }
}
