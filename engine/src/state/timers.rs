//! What comes of timers that run out.

use super::frame::{Composite, Phase};
use super::{RunState, failure, node_of, tighter};
use crate::event::{FailureKind, Timer};
use crate::limits;
use crate::run::Outcome;

impl RunState {
    /// Whether anything would come of `timer` running out now.
    pub fn awaits(&self, timer: &Timer) -> bool {
        let phase = |scope| self.find(scope).map(|at| &self.frame(at.frame).node(at.node).phase);
        match timer {
            Timer::RunWall => self.result.is_none(),
            // A flow that stands in for the node is in the budget of the scope around.
            Timer::Wall(scope) => phase(scope).is_some_and(|phase| {
                phase.is_active() && !matches!(phase, Phase::Open(Composite::Fallback(_)))
            }),
            Timer::Join(scope) => matches!(phase(scope), Some(Phase::Waiting)),
            Timer::Wait(scope) => matches!(phase(scope), Some(Phase::Asking(_))),
        }
    }

    pub(super) fn timer_fired(&mut self, timer: &Timer) {
        // A timer may race with the end of what it watches: then there is nothing left to do.
        match timer {
            Timer::RunWall => {
                let wall = tighter(self.plan.budget, self.setup.budget).wall.unwrap_or(limits::RUN_WALL);
                let message = format!("the budget of the flow is used up: wall is limited to {wall:?}");
                self.end(Outcome::Failed(self.run_failure(FailureKind::OverBudget, message)));
            }
            _ if !self.awaits(timer) => {}
            Timer::Wall(scope) => {
                let Some(at) = self.find(scope) else { return };
                let body = self.frame(at.frame).body.clone();
                let wall = node_of(&body, at.node).budget.and_then(|budget| budget.wall).unwrap_or_default();
                self.abort(at);
                let message = format!("the budget of `{scope}` is used up: wall is limited to {wall:?}");
                self.fail(at, failure(scope.clone(), FailureKind::OverBudget, message));
            }
            Timer::Join(scope) => {
                if let Some(at) = self.find(scope) {
                    self.enqueue(at);
                }
            }
            Timer::Wait(scope) => self.wait_over(scope),
        }
    }
}
