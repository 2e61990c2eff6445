//! Budgets: limits that nest, and ledgers that reserve before they spend.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::Usage;
use crate::value::Text;

/// The limits that a flow, loop, each or node sets for what runs inside it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Budget {
    /// Most model calls.
    pub model_calls: Option<u64>,
    /// Most tokens read and written by models.
    pub model_tokens: Option<u64>,
    /// Most money, in the currency of the price table.
    pub cost: Option<f64>,
    /// Longest time.
    pub wall: Option<Duration>,
}

impl Budget {
    /// Whether it limits nothing.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// A budget that ran out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("the budget of {} is used up: {what} is limited to {limit}", Owner(.scope))]
pub struct OverBudget {
    /// Path of the scope whose budget it is; empty for the flow itself.
    pub scope: Text,
    /// Which limit: `model_calls`, `model_tokens`, `cost` or `wall`.
    pub what: Text,
    /// The limit as it was written.
    pub limit: Text,
}

/// A budget that many runs draw on: a tenant's, a key's.
pub trait Purse: std::fmt::Debug + Send + Sync {
    /// Holds back `usage` for a call that is about to be sent, or says whose budget does not have it.
    fn hold(&self, usage: Usage) -> Result<(), OverBudget>;

    /// A call for which `held` was held back has used `used`, or is taken to have.
    fn settle(&self, held: Usage, used: Usage);
}

struct Owner<'a>(&'a str);

impl std::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { f.write_str("the flow") } else { write!(f, "`{}`", self.0) }
    }
}

/// What one scope with a budget has spent and holds back, chained to the ledger of the scope around it.
///
/// `settled` comes from the journal alone, so a rebuilt run knows what it had spent; `held` is what is in flight.
#[derive(Debug)]
pub struct Ledger {
    scope: Text,
    limits: Budget,
    parent: Option<Arc<Ledger>>,
    sums: Mutex<Sums>,
}

/// What one scope may spend, and what it has spent or holds back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Book {
    /// Path of the scope; empty for the flow itself.
    pub scope: Text,
    /// What it may spend.
    pub limits: Budget,
    /// What is no longer to be had.
    pub spent: Usage,
}

#[derive(Debug, Default)]
struct Sums {
    settled: Usage,
    held: Usage,
}

impl Ledger {
    /// The ledger of the scope at path `scope`, inside `parent`.
    pub fn new(scope: Text, limits: Budget, parent: Option<Arc<Ledger>>) -> Arc<Self> {
        Arc::new(Self { scope, limits, parent, sums: Mutex::default() })
    }

    /// What the journal says was spent in this scope.
    pub fn settled(&self) -> Usage {
        self.lock().settled
    }

    /// What was spent or is held back for calls in flight.
    pub fn committed(&self) -> Usage {
        let sums = self.lock();
        let mut total = sums.settled;
        total += sums.held;
        total
    }

    /// Books what an ended attempt has used, in this scope and all around it.
    pub fn settle(&self, usage: Usage) {
        for ledger in self.chain() {
            ledger.lock().settled += usage;
        }
    }

    /// Holds back `usage` in this scope and all around it, or says whose budget does not have it.
    pub fn hold(&self, usage: Usage) -> Result<(), OverBudget> {
        for (n_held, ledger) in self.chain().enumerate() {
            if let Err(over) = ledger.hold_here(usage) {
                self.chain().take(n_held).for_each(|ledger| ledger.release_here(usage));
                return Err(over);
            }
        }
        Ok(())
    }

    /// Holds back what has been used already, whatever the limits say.
    pub fn hold_unchecked(&self, usage: Usage) {
        self.chain().for_each(|ledger| ledger.lock().held += usage);
    }

    /// Gives back what was held, in this scope and all around it.
    pub fn release(&self, usage: Usage) {
        self.chain().for_each(|ledger| ledger.release_here(usage));
    }

    /// What this scope and all around it may spend and have spent or hold back, the innermost first.
    pub fn books(&self) -> Vec<Book> {
        let book = |ledger: &Ledger| Book {
            scope: ledger.scope.clone(),
            limits: ledger.limits,
            spent: ledger.committed(),
        };
        self.chain().map(book).collect()
    }

    /// The innermost ledger of such books, for somebody who spends elsewhere.
    pub fn of_books(books: &[Book]) -> Arc<Self> {
        let open = |parent: Option<Arc<Self>>, book: &Book| {
            let sums = Sums { settled: book.spent, held: Usage::default() };
            let (scope, limits, sums) = (book.scope.clone(), book.limits, Mutex::new(sums));
            Some(Arc::new(Self { scope, limits, parent, sums }))
        };
        let innermost = books.iter().rev().fold(None, open);
        innermost.unwrap_or_else(|| Self::new("".into(), Budget::default(), None))
    }

    fn chain(&self) -> impl Iterator<Item = &Ledger> {
        std::iter::successors(Some(self), |ledger| ledger.parent.as_deref())
    }

    fn hold_here(&self, usage: Usage) -> Result<(), OverBudget> {
        let mut sums = self.lock();
        let mut total = sums.settled;
        total += sums.held;
        total += usage;
        let over = |what: &str, limit: String| {
            Err(OverBudget { scope: self.scope.clone(), what: what.into(), limit: limit.into() })
        };
        match self.limits {
            Budget { model_calls: Some(limit), .. } if total.model_calls > limit => {
                return over("model_calls", limit.to_string());
            }
            Budget { model_tokens: Some(limit), .. } if total.model_tokens() > limit => {
                return over("model_tokens", limit.to_string());
            }
            Budget { cost: Some(limit), .. } if total.cost > limit => return over("cost", limit.to_string()),
            _ => {}
        }
        sums.held += usage;
        Ok(())
    }

    fn release_here(&self, usage: Usage) {
        let mut sums = self.lock();
        let held = &mut sums.held;
        held.model_calls = held.model_calls.saturating_sub(usage.model_calls);
        held.encoder_calls = held.encoder_calls.saturating_sub(usage.encoder_calls);
        held.prompt_tokens = held.prompt_tokens.saturating_sub(usage.prompt_tokens);
        held.cached_tokens = held.cached_tokens.saturating_sub(usage.cached_tokens);
        held.shareable_tokens = held.shareable_tokens.saturating_sub(usage.shareable_tokens);
        held.unanswered_calls = held.unanswered_calls.saturating_sub(usage.unanswered_calls);
        held.completion_tokens = held.completion_tokens.saturating_sub(usage.completion_tokens);
        held.shared_calls = held.shared_calls.saturating_sub(usage.shared_calls);
        held.cost = (held.cost - usage.cost).max(0.0);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sums> {
        // Sums are plain numbers: a panic elsewhere cannot have left them half-written.
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(model_calls: u64) -> Usage {
        Usage { model_calls, ..Usage::default() }
    }

    #[test]
    fn an_inner_call_counts_in_every_budget_around_it() {
        let flow = Ledger::new("".into(), Budget { model_calls: Some(3), ..Budget::default() }, None);
        let hop = Ledger::new(
            "hop".into(),
            Budget { model_calls: Some(2), ..Budget::default() },
            Some(flow.clone()),
        );
        hop.hold(calls(2)).unwrap();
        assert_eq!(&*hop.hold(calls(1)).unwrap_err().scope, "hop");
        assert_eq!(flow.committed().model_calls, 2, "a refused hold leaves nothing behind");
        hop.release(calls(2));
        hop.settle(calls(2));
        flow.hold(calls(1)).unwrap();
        assert_eq!(
            flow.hold(calls(1)).unwrap_err().to_string(),
            "the budget of the flow is used up: model_calls is limited to 3"
        );
    }
}
