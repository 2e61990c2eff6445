//! One attempt of one node: its time bounds, its panics, its result as the journal has it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{sleep, timeout};

use crate::backend;
use crate::cx::Cx;
use crate::event::{Failure, FailureKind};
use crate::operator::OpError;
use crate::state::Start;
use crate::value::Value;

/// Runs the attempt. Dropping the future aborts it.
pub(super) async fn execute(start: Box<Start>, cx: Arc<Cx>) -> Result<Vec<Option<Value>>, Failure> {
    let Start { scope, attempt, operator, names, inputs, timeout: limit, idle_timeout, .. } = *start;
    let work = AssertUnwindSafe(operator.run(&cx, &names, inputs)).catch_unwind();
    let timed_out = |what: &str, limit: Duration| {
        OpError::Backend(backend::Error::TimedOut {
            backend: format!("node `{}`", scope.node),
            message: format!("{what} within {limit:?}"),
        })
    };
    let result = match (limit, idle_timeout) {
        (None, None) => work.await,
        (Some(limit), None) => {
            timeout(limit, work).await.unwrap_or_else(|_| Ok(Err(timed_out("no result", limit))))
        }
        (limit, Some(idle)) => {
            let watched = async {
                tokio::pin!(work);
                loop {
                    let silent = cx.elapsed().saturating_sub(cx.last_active());
                    match idle.checked_sub(silent) {
                        Some(left) if !left.is_zero() => tokio::select! {
                            biased;
                            result = &mut work => return result,
                            () = sleep(left) => {}
                        },
                        _ => return Ok(Err(timed_out("no sign of life", idle))),
                    }
                }
            };
            match limit {
                None => watched.await,
                Some(limit) => {
                    timeout(limit, watched).await.unwrap_or_else(|_| Ok(Err(timed_out("no result", limit))))
                }
            }
        }
    };
    let error = match result {
        Ok(Ok(outputs)) => return Ok(outputs),
        Ok(Err(error)) => error,
        Err(panic) => {
            let message = panic_text(&*panic);
            return Err(Failure { scope, attempt, kind: FailureKind::Internal, message, retry_after: None });
        }
    };
    let (kind, retry_after) = classify(&error);
    Err(Failure { scope, attempt, kind, message: error.to_string(), retry_after })
}

fn classify(error: &OpError) -> (FailureKind, Option<Duration>) {
    use backend::Error;
    match error {
        OpError::Backend(Error::Overloaded { retry_after, .. }) => (FailureKind::Overloaded, *retry_after),
        OpError::Backend(Error::Unavailable { retry_after, .. }) => (FailureKind::Unavailable, *retry_after),
        OpError::Backend(Error::TimedOut { .. }) => (FailureKind::TimedOut, None),
        OpError::Backend(Error::Rejected { .. }) => (FailureKind::Rejected, None),
        OpError::Backend(Error::Garbled { .. }) => (FailureKind::Garbled, None),
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
