//! Answers on their way to the waits of a run.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::{Notify, oneshot};

use crate::limits;
use crate::scope::Scope;
use crate::types::Type;
use crate::value::{Text, Value};

/// Why an answer to a wait was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// There is no such wait, or it does not wait yet.
    #[error("nothing waits at `{scope}`")]
    NoSuchWait {
        /// Where it was looked for.
        scope: Scope,
    },
    /// Somebody was faster.
    #[error("`{scope}` has been answered already")]
    AlreadyAnswered {
        /// The wait.
        scope: Scope,
    },
    /// It waits no more: its deadline has passed, or the run went on without it.
    #[error("`{scope}` waits no more: its deadline has passed, or the run went on without it")]
    Closed {
        /// The wait.
        scope: Scope,
    },
    /// The answer has another type than the wait asks for.
    #[error("`{scope}` waits for `{ty}`: {message}")]
    Type {
        /// The wait.
        scope: Scope,
        /// What it waits for.
        ty: Type,
        /// What is wrong with the answer.
        message: String,
    },
    /// The run ended, or its process left it, before the answer was safe: ask again what became of it.
    #[error("the run did not take the answer to `{scope}`")]
    NotTaken {
        /// The wait.
        scope: Scope,
    },
}

/// An answer that was put in.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) scope: Scope,
    pub(crate) value: Value,
    pub(crate) by: Option<Text>,
    pub(crate) reply: Reply,
}

/// Where it is told what became of an answer. Dropped, it tells that the answer was not taken.
pub(crate) type Reply = oneshot::Sender<Result<(), AnswerError>>;

/// Takes answers to the waits of one run, from wherever they come. Clones are the same inbox.
#[derive(Clone, Default)]
pub struct Inbox(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<VecDeque<Answer>>,
    // What the driver looks at on every round, instead of the lock.
    n_queued: AtomicUsize,
    arrived: Notify,
}

impl Inbox {
    /// Puts in an answer. It may be there before the run is taken up; a run looks at it once, when it sees it.
    ///
    /// The result comes once the answer is as safe as the journal makes it; it need not be waited for.
    pub fn answer(&self, scope: Scope, value: Value, by: Option<Text>) -> Answering {
        let (reply, told) = oneshot::channel();
        let answering = Answering { scope: scope.clone(), told };
        let mut queue = self.lock();
        // A full inbox drops the answer, and with it the reply: it was not taken.
        if queue.len() < limits::INBOX_ANSWERS {
            queue.push_back(Answer { scope, value, by, reply });
            self.0.n_queued.store(queue.len(), Ordering::Release);
        }
        drop(queue);
        self.0.arrived.notify_one();
        answering
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.n_queued.load(Ordering::Acquire) == 0
    }

    pub(crate) fn pop(&self) -> Option<Answer> {
        if self.is_empty() {
            return None;
        }
        let mut queue = self.lock();
        let answer = queue.pop_front();
        self.0.n_queued.store(queue.len(), Ordering::Release);
        answer
    }

    /// Resolves when an answer has been put in since the last time.
    pub(crate) async fn arrived(&self) {
        self.0.arrived.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Answer>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({} queued)", self.0.n_queued.load(Ordering::Relaxed))
    }
}

/// A run that looks into its inbox. When it is gone, what lies there is refused, unless the run only rests.
pub(crate) struct Looking(pub(crate) Option<Inbox>);

impl Drop for Looking {
    fn drop(&mut self) {
        while self.0.as_ref().is_some_and(|inbox| inbox.pop().is_some()) {}
    }
}

/// What becomes of an answer.
#[derive(Debug)]
pub struct Answering {
    scope: Scope,
    told: oneshot::Receiver<Result<(), AnswerError>>,
}

impl Future for Answering {
    type Output = Result<(), AnswerError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let told = std::task::ready!(Pin::new(&mut self.told).poll(cx));
        Poll::Ready(told.unwrap_or_else(|_| Err(AnswerError::NotTaken { scope: self.scope.clone() })))
    }
}
