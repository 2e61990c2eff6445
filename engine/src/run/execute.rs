//! One attempt of one node: its time bounds, its panics, its result as the journal has it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::OptionFuture;
use tokio::time::{Instant, sleep};

use crate::backend;
use crate::cx::Cx;
use crate::event::{Failure, FailureKind};
use crate::operator::OpError;
use crate::state::Start;
use crate::value::Value;

/// Runs the attempt. Dropping the future aborts it.
pub(super) async fn execute(start: Box<Start>, cx: Arc<Cx>) -> Result<Vec<Option<Value>>, Failure> {
    let Start { scope, attempt, operator, names, inputs, timeout: limit, idle_timeout, has_effects, .. } =
        *start;
    if has_effects {
        cx.has_effects();
    }
    if let Some(deadline) = limit.and_then(|limit| Instant::now().checked_add(limit)) {
        cx.end_by(deadline);
    }
    let work = AssertUnwindSafe(operator.run(&cx, &names, inputs)).catch_unwind();
    let result = if limit.is_none() && idle_timeout.is_none() {
        work.await
    } else {
        // Boxed: the many executions without bounds need not carry the room for timers.
        Box::pin(bounded(work, limit, idle_timeout, &cx)).await.unwrap_or_else(|(what, limit)| {
            let backend = format!("node `{}`", scope.node);
            Ok(Err(backend::Error::TimedOut { backend, message: format!("{what} within {limit:?}") }.into()))
        })
    };
    let error = match result {
        Ok(Ok(outputs)) => return Ok(outputs),
        Ok(Err(error)) => error,
        Err(panic) => {
            let message = cx.redacted(panic_text(&*panic));
            return Err(Failure { scope, attempt, kind: FailureKind::Internal, message, retry_after: None });
        }
    };
    let (kind, retry_after) = classify(&error);
    Err(Failure { scope, attempt, kind, message: cx.redacted(error.to_string()), retry_after })
}

/// What `work` comes to, unless it takes longer than `limit` or shows no life for `idle`: then which, and the bound.
async fn bounded<T>(
    work: impl Future<Output = T>,
    limit: Option<Duration>,
    idle: Option<Duration>,
    cx: &Cx,
) -> Result<T, (&'static str, Duration)> {
    tokio::pin!(work);
    let deadline = OptionFuture::from(limit.map(sleep));
    tokio::pin!(deadline);
    loop {
        let left = idle.map(|idle| (cx.last_active() + idle).saturating_sub(cx.elapsed()));
        if let (Some(idle), Some(Duration::ZERO)) = (idle, left) {
            return Err(("no sign of life", idle));
        }
        tokio::select! {
            biased;
            result = &mut work => return Ok(result),
            Some(()) = &mut deadline, if limit.is_some() => return Err(("no result", limit.unwrap_or_default())),
            Some(()) = OptionFuture::from(left.map(sleep)), if left.is_some() => {}
        }
    }
}

fn classify(error: &OpError) -> (FailureKind, Option<Duration>) {
    match error {
        OpError::Backend(error) => (error.kind(), error.retry_after()),
        OpError::Budget(_) => (FailureKind::OverBudget, None),
        OpError::Port { .. } => (FailureKind::Type, None),
        OpError::InvalidInput(_) => (FailureKind::InvalidInput, None),
        OpError::InvalidSetting(_) => (FailureKind::InvalidSetting, None),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the operator panicked, which is a bug: {}", text.unwrap_or("no message"))
}
