//! Does what is asked of running jobs from outside: cancels, answers.

use std::sync::Arc;

use anabranch_engine::scope::Scope;
use anabranch_engine::value::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::held::Held;
use super::{Inner, POLL, jittered};
use crate::store::{StoreError, Wake};

/// Looks at what is wanted when there is news, and every now and then.
pub(super) async fn attend(inner: Arc<Inner>) {
    let mut wakes = inner.store.wakes();
    let mut is_deaf = false;
    loop {
        let woken = async {
            loop {
                match wakes.recv().await {
                    Ok(Wake::Wanted) | Err(RecvError::Lagged(_)) => return true,
                    Ok(_) => {}
                    Err(RecvError::Closed) => return false,
                }
            }
        };
        let _elapsed = timeout(jittered(POLL / 2), async {
            tokio::select! {
                () = inner.desk.looked() => {}
                is_heard = woken, if !is_deaf => is_deaf = !is_heard,
            }
        })
        .await;
        if inner.desk.is_empty() {
            continue;
        }
        if let Err(error) = look(&inner).await {
            tracing::debug!(%error, "what is wanted of the jobs cannot be read");
        }
    }
}

async fn look(inner: &Arc<Inner>) -> Result<(), StoreError> {
    for (id, wanted) in inner.store.wanted(&inner.lease.worker()).await? {
        let Some(held) = inner.desk.get(&id) else { continue };
        held.obey(wanted);
        if wanted.answers {
            inner.pass_answers(&held).await?;
        }
    }
    Ok(())
}

impl Inner {
    /// Passes on the answers to a job's waits that were not passed on before.
    pub(super) async fn pass_answers(&self, held: &Held) -> Result<(), StoreError> {
        for answer in self.store.answers(&held.id).await? {
            if held.is_first_answer(&answer.wait) {
                let scope = Scope::from(answer.wait.as_str());
                let by = answer.by.map(Into::into);
                // Whether the run still wants it is told by the job itself.
                drop(held.inbox.answer(scope, Value::from_json(answer.value), by));
            }
        }
        Ok(())
    }
}
