//! Attempts that are executed in another process. What came of them is written down here, like everything of the run.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::driver::Driver;
use super::execute::execute as execute_here;
use crate::backend::{Caller, Usage};
use crate::budget::{Book, Ledger, Purse};
use crate::cx::{Cx, Resources, RunContext};
use crate::event::{Failure, RunId};
use crate::operator::PlanKit;
use crate::plan::{Kind, Op, Plan, Settings};
use crate::scope::Scope;
use crate::state::Start;
use crate::value::{Text, Value};

#[cfg(test)]
mod tests;
mod wire;

/// Executes attempts elsewhere, for runs whose eaches have many items.
#[async_trait]
pub trait Offload: Send + Sync {
    /// Items that an each must have for its attempts to be offered.
    fn threshold(&self) -> usize;

    /// Has the attempt executed. Dropping the future cancels it.
    ///
    /// Must end: whoever took the task and was lost is the implementation's to notice. An attempt that was not taken,
    /// or whose end is not known, is executed by the run itself; operators with effects are never offered.
    async fn execute(&self, task: Task) -> Result<Done, NotTaken>;
}

/// An attempt to be executed elsewhere: all that it needs beside the plan and the resources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The run.
    pub run: RunId,
    /// Hash of the flow.
    pub plan: Text,
    /// Seed of all randomness.
    pub seed: u64,
    /// Which node execution.
    pub scope: Scope,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Values of the input ports.
    #[serde(with = "wire::slots")]
    pub inputs: Vec<Option<Value>>,
    /// The settings, if they only became known as it started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub settings: Option<serde_json::Value>,
    /// Bound of the attempt.
    pub timeout: Option<Duration>,
    /// Bound of its silence.
    pub idle_timeout: Option<Duration>,
    /// The budgets around it as they stood when it left, the innermost first.
    pub books: Vec<Book>,
    /// How old the run was then.
    pub elapsed: Duration,
    /// On whose behalf.
    #[serde(default)]
    pub caller: Caller,
    /// How long the run's outcome was still wanted then; for ever if unset.
    #[serde(default)]
    pub left: Option<Duration>,
}

/// What came of an attempt that was executed elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The outputs by port, `None` for an absent one; or why there are none.
    #[serde(with = "wire::outcome")]
    pub result: Result<Vec<Option<Value>>, Failure>,
    /// What it used.
    pub usage: Usage,
    /// How long it ran.
    pub ran: Duration,
}

/// Why an attempt was not executed elsewhere, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the task was not taken: {why}")]
pub struct NotTaken {
    /// In words.
    pub why: String,
}

/// Executes an attempt that another process gave away. Dropping the future stops it.
///
/// It spends within what the budgets had left when it left; what others spend meanwhile is not known here.
pub async fn execute_task(plan: &Plan, task: Task, resources: Arc<Resources>) -> Result<Done, NotTaken> {
    execute_task_from(plan, task, resources, None).await
}

/// As [`execute_task`], with calls that draw on `purse`, too.
pub async fn execute_task_from(
    plan: &Plan,
    task: Task,
    resources: Arc<Resources>,
    purse: Option<Arc<dyn Purse>>,
) -> Result<Done, NotTaken> {
    let began = Instant::now();
    let ledger = Ledger::of_books(&task.books);
    let context = RunContext {
        run: task.run.clone(),
        seed: task.seed,
        resources,
        caller: task.caller.clone(),
        deadline: task.left.and_then(|left| began.checked_add(left)),
        purse,
        started: began.checked_sub(task.elapsed).unwrap_or(began),
        rested_ns: AtomicU64::new(0),
        on_progress: None,
        observer: None,
    };
    let cx = Cx::new(Arc::new(context), task.scope.clone(), task.attempt, ledger.clone());
    let start = start_of(plan, task, ledger)?;
    let cx = Arc::new(cx.with_kit(start.kit.clone().map(|kit| kit as Arc<dyn PlanKit>)));
    if start.idle_timeout.is_some() {
        cx.touch();
    }
    let result = execute_here(start, cx.clone()).await;
    Ok(Done { result, usage: cx.close().usage, ran: began.elapsed() })
}

/// The attempt as the run itself would start it.
fn start_of(plan: &Plan, task: Task, ledger: Arc<Ledger>) -> Result<Box<Start>, NotTaken> {
    let refuse = |why: String| NotTaken { why };
    if task.plan != plan.hash {
        return Err(refuse(format!("it belongs to flow {}, not {}", task.plan, plan.hash)));
    }
    let node = plan.node(&task.scope).map(|node| &node.kind);
    let Some(Kind::Op(op)) = node else {
        return Err(refuse(format!("the flow has no operator at `{}`", task.scope)));
    };
    let operator = match (&op.settings, task.settings) {
        (Settings::Ready(operator), None) => operator.clone(),
        (Settings::Late { .. }, Some(settings)) => {
            op.spec.build(settings).map_err(|error| refuse(format!("settings: {error}")))?
        }
        (_, settings) => {
            let has = if settings.is_some() { "settings" } else { "no settings" };
            return Err(refuse(format!("it has {has}, which does not fit `{}`", task.scope)));
        }
    };
    Ok(Box::new(Start {
        scope: task.scope,
        attempt: task.attempt,
        delay: Duration::ZERO,
        op: op.spec.name,
        has_effects: operator.has_effects(),
        operator,
        settings: None,
        names: op.names.clone(),
        inputs: typed(op, task.inputs)?,
        timeout: task.timeout,
        idle_timeout: task.idle_timeout,
        cache: None,
        ledger,
        kit: op.kit.clone(),
    }))
}

/// The inputs as their ports want them.
fn typed(op: &Op, inputs: Vec<Option<Value>>) -> Result<Vec<Option<Value>>, NotTaken> {
    if inputs.len() != op.types.len() {
        let why = format!("it has {} inputs, `{}` has {}", inputs.len(), op.spec.name, op.types.len());
        return Err(NotTaken { why });
    }
    let ports = inputs.into_iter().zip(&op.types).zip(op.names.iter());
    ports
        .map(|((value, ty), name)| {
            let typed = value.map(|value| value.into_type(ty)).transpose();
            typed.map_err(|mismatch| NotTaken { why: format!("input `{name}`: {mismatch}") })
        })
        .collect()
}

/// Executes an attempt elsewhere, or here if it is not taken there. How long it ran, if it did so elsewhere.
pub(super) async fn execute(
    offload: &dyn Offload,
    task: Task,
    start: Box<Start>,
    cx: Arc<Cx>,
) -> (Result<Vec<Option<Value>>, Failure>, Option<Duration>) {
    if let Ok(Done { result, usage, ran }) = offload.execute(task).await {
        cx.book(usage);
        // It is this attempt that failed, whatever the other process called it.
        let Start { scope, attempt, .. } = *start;
        return (result.map_err(|failure| Failure { scope, attempt, ..failure }), Some(ran));
    }
    if start.idle_timeout.is_some() {
        cx.touch();
    }
    (execute_here(start, cx).await, None)
}

impl Driver {
    /// Who may execute the attempt elsewhere, and what is to be told of it; `None` if it has to stay.
    pub(super) fn offload_for(&self, start: &Start) -> Option<(Arc<dyn Offload>, Task)> {
        let offload = self.options.offload.as_ref()?;
        let plan = self.state.plan();
        let Kind::Op(_) = &plan.node(&start.scope)?.kind else { return None };
        if start.operator.has_effects()
            || self.state.n_items_around(&start.scope) < offload.threshold().max(1)
        {
            return None;
        }
        let task = Task {
            run: self.context.run.clone(),
            plan: plan.hash.clone(),
            seed: self.context.seed,
            scope: start.scope.clone(),
            attempt: start.attempt,
            inputs: start.inputs.clone(),
            settings: start.settings.clone(),
            timeout: start.timeout,
            idle_timeout: start.idle_timeout,
            books: start.ledger.books(),
            elapsed: self.context.elapsed(),
            caller: self.context.caller.clone(),
            left: self.context.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())),
        };
        Some((offload.clone(), task))
    }
}
