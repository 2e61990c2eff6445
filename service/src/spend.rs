//! What tenants and keys have spent today (UTC), against what they may spend in a day.
//!
//! Every call of a model holds back what it could use, in the account of its key and in that of its tenant, and settles
//! what it has used. What is settled goes to the store once a second, added to what other processes have put there, and
//! the sum is read back. So a ceiling is passed by no more than what was in flight, and what other processes spend within
//! a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anabranch_engine::backend::Usage;
use anabranch_engine::budget::{OverBudget, Purse};
use tokio::sync::RwLock;

use crate::access::Access;
use crate::store::{Ceiling, Spent, Store, StoreError};

/// How often what was spent is written, and what others spent is read.
const EVERY: Duration = Duration::from_secs(1);
/// How long a sum that was read is believed by whoever submits.
const BELIEVED: Duration = Duration::from_secs(1);
/// How long an account that nobody uses is kept in mind.
const IDLE: Duration = Duration::from_mins(10);
/// Days for which sums are kept.
pub const KEPT_DAYS: i64 = 100;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// The accounts of a process. Cheap to clone.
#[derive(Clone)]
pub struct Spending(Arc<Inner>);

struct Inner {
    store: Store,
    access: Access,
    accounts: Mutex<HashMap<Who, Arc<Account>>>,
    /// Held while a sum moves from here to the store, and while one is read there: what is read in between would count
    /// what moves twice.
    moving: RwLock<()>,
}

impl std::fmt::Debug for Spending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spending").finish_non_exhaustive()
    }
}

/// Whose account it is: a key's (empty for jobs that were submitted without one), or all of a tenant's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Who {
    tenant: String,
    key: Option<String>,
}

impl Who {
    fn noun(&self) -> &'static str {
        if self.key.is_some() { "key" } else { "tenant" }
    }
}

/// An account.
#[derive(Debug)]
struct Account {
    who: Who,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ceiling: Ceiling,
    /// The day that the sums are of (unix ms of its beginning).
    day_ms: i64,
    /// What the store has.
    kept: Spent,
    /// What is not in the store yet.
    fresh: Spent,
    /// What was spent on a day that is over, and is not in the store yet.
    late: Vec<(i64, Spent)>,
    /// What calls in flight could use.
    held: Spent,
    /// When the store was read.
    read: Option<Instant>,
    used: Instant,
}

/// A ceiling that was reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Reached {
    /// Whose: `tenant` or `key`.
    pub of: &'static str,
    /// Of what: `tokens` or `cost`.
    pub what: &'static str,
    /// The ceiling.
    pub limit: f64,
    /// Until the next day.
    pub retry_after: Duration,
}

impl Account {
    fn new(who: Who, now_ms: i64) -> Self {
        let state = State {
            ceiling: Ceiling::default(),
            day_ms: day(now_ms),
            kept: Spent::default(),
            fresh: Spent::default(),
            late: Vec::new(),
            held: Spent::default(),
            read: None,
            used: Instant::now(),
        };
        Self { who, state: Mutex::new(state) }
    }

    /// Its sums of the day that it is now.
    fn lock(&self, now_ms: i64) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let today = day(now_ms);
        if state.day_ms != today {
            let (before, fresh) = (state.day_ms, std::mem::take(&mut state.fresh));
            if !fresh.is_none() {
                state.late.push((before, fresh));
            }
            state.kept = Spent::default();
            state.read = None;
            state.day_ms = today;
        }
        state.used = Instant::now();
        state
    }

    fn over(&self, what: &str, limit: &str) -> OverBudget {
        let Who { tenant, key } = &self.who;
        let scope = key.as_ref().map_or_else(|| format!("tenant {tenant}"), |key| format!("key {key}"));
        OverBudget { scope: scope.into(), what: format!("{what}_per_day").into(), limit: limit.into() }
    }

    fn hold(&self, more: Spent) -> Result<(), OverBudget> {
        let mut state = self.lock(crate::access::now_ms());
        match state.ceiling.passed_by(state.total() + more) {
            None => {
                state.held = state.held + more;
                Ok(())
            }
            Some((what, limit)) => Err(self.over(what, &limit.to_string())),
        }
    }

    fn settle(&self, held: Spent, used: Spent) {
        let mut state = self.lock(crate::access::now_ms());
        state.held = state.held - held;
        state.fresh = state.fresh + used;
    }
}

impl State {
    fn total(&self) -> Spent {
        self.kept + self.fresh + self.held
    }

    fn is_idle(&self) -> bool {
        self.fresh.is_none() && self.late.is_empty() && self.held.is_none() && self.used.elapsed() > IDLE
    }
}

/// The two accounts that a job's calls draw on.
#[derive(Debug)]
struct Both {
    key: Arc<Account>,
    tenant: Arc<Account>,
}

impl Purse for Both {
    fn hold(&self, usage: Usage) -> Result<(), OverBudget> {
        let more = Spent::of(usage);
        self.key.hold(more)?;
        self.tenant.hold(more).inspect_err(|_| self.key.settle(more, Spent::default()))
    }

    fn settle(&self, held: Usage, used: Usage) {
        for account in [&self.key, &self.tenant] {
            account.settle(Spent::of(held), Spent::of(used));
        }
    }
}

impl Spending {
    /// The accounts of the store, within the ceilings that `access` knows of.
    pub fn new(store: Store, access: Access) -> Self {
        Self(Arc::new(Inner { store, access, accounts: Mutex::default(), moving: RwLock::default() }))
    }

    /// What the calls of a job draw on: a key's and a tenant's.
    pub async fn purse(&self, tenant: &str, key: Option<&str>) -> Arc<dyn Purse> {
        let (key, tenant) = (self.account(tenant, Some(key.unwrap_or_default())), self.account(tenant, None));
        for account in [&key, &tenant] {
            // What cannot be read now is read within a second, and the store is needed for the job anyway.
            if let Err(error) = self.read(account, EVERY).await {
                tracing::warn!(%error, "what was spent today cannot be read");
            }
        }
        Arc::new(Both { key, tenant })
    }

    /// Whether a tenant and a key may begin something that costs; if not, which ceiling is reached.
    pub async fn check(&self, tenant: &str, key: Option<&str>) -> Result<Option<Reached>, StoreError> {
        let now_ms = crate::access::now_ms();
        for account in [self.account(tenant, Some(key.unwrap_or_default())), self.account(tenant, None)] {
            self.read(&account, BELIEVED).await?;
            let state = account.lock(now_ms);
            if let Some((what, limit)) = state.ceiling.reached_by(state.total()) {
                let left = DAY_MS - now_ms.rem_euclid(DAY_MS);
                let retry_after = Duration::from_millis(u64::try_from(left).unwrap_or_default());
                return Ok(Some(Reached { of: account.who.noun(), what, limit, retry_after }));
            }
        }
        Ok(None)
    }

    /// Writes and reads until the process ends.
    pub async fn keep(self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.flush().await {
                tracing::debug!(%error, "what was spent cannot be written");
            }
        }
    }

    /// Writes what was spent, and reads what others spent.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let now_ms = crate::access::now_ms();
        let accounts: Vec<Arc<Account>> = {
            let mut accounts = self.accounts();
            accounts
                .retain(|_, account| !account.state.lock().unwrap_or_else(PoisonError::into_inner).is_idle());
            accounts.values().cloned().collect()
        };
        for account in accounts.iter().filter(|account| account.who.key.is_some()) {
            self.write(account, now_ms).await?;
        }
        for account in &accounts {
            self.read(account, EVERY / 2).await?;
        }
        Ok(())
    }

    /// Writes what a key has spent. What cannot be written stays for the next time.
    async fn write(&self, account: &Account, now_ms: i64) -> Result<(), StoreError> {
        let Who { tenant, key: Some(key) } = &account.who else { return Ok(()) };
        let (today, fresh, late) = {
            let used = account.state.lock().unwrap_or_else(PoisonError::into_inner).used;
            let mut state = account.lock(now_ms);
            // Looking after it is no use of it.
            state.used = used;
            (state.day_ms, state.fresh, state.late.clone())
        };
        let of_tenant = self.account(tenant, None);
        for (day_ms, spent) in late.into_iter().chain([(today, fresh)]) {
            if spent.is_none() {
                continue;
            }
            let _moves = self.0.moving.write().await;
            self.0.store.add_spent(tenant, key, day_ms, spent).await?;
            for account in [account, &*of_tenant] {
                let mut state = account.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.day_ms == day_ms {
                    state.fresh = state.fresh - spent;
                    state.kept = state.kept + spent;
                }
                state.late.retain(|(late, _)| *late != day_ms);
            }
        }
        Ok(())
    }

    /// Reads the ceiling and the sum of an account, if they are older than `age`.
    async fn read(&self, account: &Account, age: Duration) -> Result<(), StoreError> {
        let Who { tenant, key } = &account.who;
        // Kept in mind there, and forgotten when somebody changes it: a new ceiling holds at once.
        let ceiling = match key {
            Some(key) => self.0.access.key_ceiling(tenant, key).await?,
            None => self.0.access.tenant_ceiling(tenant).await?,
        };
        let day_ms = {
            let mut state = account.state.lock().unwrap_or_else(PoisonError::into_inner);
            let is_summed = !state.ceiling.is_none() || ceiling.is_none();
            state.ceiling = ceiling;
            if is_summed && state.read.is_some_and(|read| read.elapsed() < age) {
                return Ok(());
            }
            state.day_ms
        };
        let asked = Instant::now();
        // Without a ceiling nobody asks for the sum.
        let (kept, _stays) = if ceiling.is_none() {
            (None, None)
        } else {
            let stays = self.0.moving.read().await;
            (Some(self.0.store.spent(tenant, key.as_deref(), day_ms).await?), Some(stays))
        };
        let mut state = account.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.read = Some(asked);
        if let Some(kept) = kept.filter(|_| state.day_ms == day_ms) {
            state.kept = kept;
        }
        Ok(())
    }

    fn account(&self, tenant: &str, key: Option<&str>) -> Arc<Account> {
        let who = Who { tenant: tenant.to_owned(), key: key.map(str::to_owned) };
        let mut accounts = self.accounts();
        let new = || Arc::new(Account::new(who.clone(), crate::access::now_ms()));
        accounts.entry(who.clone()).or_insert_with(new).clone()
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<Who, Arc<Account>>> {
        self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of the day of a moment (unix ms).
fn day(ms: i64) -> i64 {
    ms.div_euclid(DAY_MS) * DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(tokens: u64) -> Account {
        let account = Account::new(Who { tenant: "acme".into(), key: None }, crate::access::now_ms());
        account.state.lock().unwrap().ceiling = Ceiling { tokens: Some(tokens), cost: None };
        account
    }

    fn tokens(tokens: u64) -> Spent {
        Spent { tokens, cost: 0.0 }
    }

    #[test]
    fn calls_in_flight_count_until_they_settle_what_they_used() {
        let account = account(100);
        account.hold(tokens(60)).unwrap();
        let over = account.hold(tokens(60)).unwrap_err().to_string();
        assert_eq!(over, "the budget of `tenant acme` is used up: tokens_per_day is limited to 100");
        account.settle(tokens(60), tokens(10));
        account.hold(tokens(60)).unwrap();
        account.settle(tokens(60), tokens(90));
        assert!(account.hold(tokens(1)).is_err(), "100 are spent");
    }

    #[test]
    fn a_new_day_begins_with_nothing_and_the_old_one_is_still_written() {
        let account = account(100);
        let now_ms = crate::access::now_ms();
        account.settle(Spent::default(), tokens(100));
        let state = account.lock(now_ms + DAY_MS);
        assert_eq!(state.total(), Spent::default());
        assert_eq!(state.late, [(day(now_ms), tokens(100))]);
    }

    fn spending(store: &Store, tokens: u64) -> Spending {
        let ceiling = Ceiling { tokens: Some(tokens), cost: None };
        let defaults = crate::access::Defaults {
            key_rate: None,
            tenant_rate: None,
            queued: 100,
            key_ceiling: Ceiling::default(),
            tenant_ceiling: ceiling,
        };
        let here = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        Spending::new(store.clone(), Access::new(store.clone(), None, here, defaults))
    }

    fn usage(tokens: u64) -> Usage {
        Usage { prompt_tokens: tokens, ..Usage::default() }
    }

    #[tokio::test]
    async fn processes_hear_of_what_the_others_spent_and_a_restart_forgets_nothing() {
        let store = Store::open(crate::store::Options::new(crate::store::At::Memory), true).await.unwrap();
        let (one, two) = (spending(&store, 100), spending(&store, 100));
        let purse = one.purse("acme", Some("key_1")).await;
        purse.hold(usage(80)).unwrap();
        purse.settle(usage(80), usage(70));
        assert_eq!(two.check("acme", None).await.unwrap(), None);
        one.flush().await.unwrap();
        let other = spending(&store, 100).purse("acme", None).await;
        other.hold(usage(30)).unwrap();
        let over = other.hold(usage(1)).unwrap_err();
        assert_eq!((&*over.scope, &*over.what), ("tenant acme", "tokens_per_day"));
        purse.hold(usage(30)).unwrap();
        purse.settle(usage(30), usage(30));
        one.flush().await.unwrap();
        let reached = spending(&store, 100).check("acme", Some("key_2")).await.unwrap().unwrap();
        assert_eq!((reached.of, reached.what, reached.limit), ("tenant", "tokens", 100.0));
        assert!(reached.retry_after <= Duration::from_hours(24));
        assert_eq!(spending(&store, 100).check("other", None).await.unwrap(), None);
    }
}
