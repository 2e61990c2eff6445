//! What was spent on each day, by tenants and their keys, and the ceilings of both.

use std::ops::{Add, Sub};

use anabranch_engine::backend::Usage;

use super::database::{reading, writing};
use super::{Store, StoreError};

/// What a tenant or a key may spend in a day (UTC); without a bound where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ceiling {
    /// Most tokens, read and written.
    pub tokens: Option<u64>,
    /// Most money, in the currency of the price table.
    pub cost: Option<f64>,
}

/// What was spent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spent {
    /// Tokens read and written.
    pub tokens: u64,
    /// Money, in the currency of the price table.
    pub cost: f64,
}

impl Ceiling {
    /// Whether it bounds nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// This one, and where it says nothing, `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { tokens: self.tokens.or(other.tokens), cost: self.cost.or(other.cost) }
    }

    /// Which bound a sum passes: `tokens` or `cost`, and the bound.
    pub fn passed_by(&self, sum: Spent) -> Option<(&'static str, f64)> {
        let tokens = self.tokens.filter(|most| sum.tokens > *most).map(|most| ("tokens", most as f64));
        tokens.or_else(|| self.cost.filter(|most| sum.cost > *most).map(|most| ("cost", most)))
    }

    /// Which bound a sum has come to, so that nothing more fits: `tokens` or `cost`, and the bound.
    pub fn reached_by(&self, sum: Spent) -> Option<(&'static str, f64)> {
        let tokens = self.tokens.filter(|most| sum.tokens >= *most).map(|most| ("tokens", most as f64));
        tokens.or_else(|| self.cost.filter(|most| sum.cost >= *most).map(|most| ("cost", most)))
    }
}

impl Spent {
    /// What `usage` counts.
    pub fn of(usage: Usage) -> Self {
        Self { tokens: usage.model_tokens(), cost: usage.cost }
    }

    /// Whether it is nothing.
    pub fn is_none(&self) -> bool {
        self.tokens == 0 && self.cost <= 0.0
    }
}

impl Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_add(other.tokens), cost: self.cost + other.cost }
    }
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_sub(other.tokens), cost: (self.cost - other.cost).max(0.0) }
    }
}

/// The ceiling that goes with a key of the table `keys`, or a tenant of the table `tenants`, as two columns.
pub(super) const OF_KEY: &str = "(SELECT tokens FROM ceilings c WHERE c.tenant = keys.tenant AND c.key_id = keys.key_id) \
     AS day_tokens, (SELECT cost FROM ceilings c WHERE c.tenant = keys.tenant AND c.key_id = keys.key_id) AS day_cost";
pub(super) const OF_TENANT: &str = "(SELECT tokens FROM ceilings c WHERE c.tenant = tenants.tenant AND c.key_id = '') \
     AS day_tokens, (SELECT cost FROM ceilings c WHERE c.tenant = tenants.tenant AND c.key_id = '') AS day_cost";

impl Ceiling {
    pub(super) fn of_columns(tokens: Option<i64>, cost: Option<f64>) -> Self {
        Self { tokens: tokens.map(i64::unsigned_abs), cost }
    }
}

impl Store {
    /// Says what a tenant (with an empty key), or one of its keys, may spend in a day.
    pub(super) async fn put_ceiling(
        &self,
        tenant: &str,
        key: &str,
        ceiling: &Ceiling,
    ) -> Result<(), StoreError> {
        writing!(self.database(), |db| {
            sqlx::query(
                "INSERT INTO ceilings (tenant, key_id, tokens, cost) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (tenant, key_id) DO UPDATE SET tokens = excluded.tokens, cost = excluded.cost",
            )
            .bind(tenant)
            .bind(key)
            .bind(ceiling.tokens.map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX)))
            .bind(ceiling.cost)
            .execute(db)
            .await?;
        });
        Ok(())
    }

    /// Adds what a key of a tenant has spent on a day; an empty key stands for none.
    pub async fn add_spent(
        &self,
        tenant: &str,
        key: &str,
        day_ms: i64,
        spent: Spent,
    ) -> Result<(), StoreError> {
        writing!(self.database(), |db| {
            sqlx::query(
                "INSERT INTO spending (tenant, key_id, day_ms, tokens, cost) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (tenant, key_id, day_ms) DO UPDATE SET \
                 tokens = spending.tokens + excluded.tokens, cost = spending.cost + excluded.cost",
            )
            .bind(tenant)
            .bind(key)
            .bind(day_ms)
            .bind(i64::try_from(spent.tokens).unwrap_or(i64::MAX))
            .bind(spent.cost)
            .execute(db)
            .await?;
        });
        Ok(())
    }

    /// What a key of a tenant has spent on a day; all of the tenant with `None`.
    pub async fn spent(&self, tenant: &str, key: Option<&str>, day_ms: i64) -> Result<Spent, StoreError> {
        let (tokens, cost): (i64, f64) = reading!(self.database(), |db| {
            sqlx::query_as(
                "SELECT CAST(COALESCE(SUM(tokens), 0) AS BIGINT), CAST(COALESCE(SUM(cost), 0) AS DOUBLE PRECISION) \
                 FROM spending WHERE tenant = $1 AND day_ms = $2 AND key_id = COALESCE($3, key_id)",
            )
            .bind(tenant)
            .bind(day_ms)
            .bind(key)
            .fetch_one(db)
            .await?
        });
        Ok(Spent { tokens: tokens.unsigned_abs(), cost })
    }

    /// Forgets what was spent before a day.
    pub async fn prune_spent(&self, before_ms: i64) -> Result<(), StoreError> {
        writing!(self.database(), |db| {
            sqlx::query("DELETE FROM spending WHERE day_ms < $1").bind(before_ms).execute(db).await?;
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{At, Options};

    #[tokio::test]
    async fn what_processes_spend_adds_up_by_key_and_by_tenant() {
        let store = Store::open(Options::new(At::Memory), true).await.unwrap();
        let spent = |tokens, cost| Spent { tokens, cost };
        for key in ["key_1", "key_1", ""] {
            store.add_spent("acme", key, 0, spent(10, 0.5)).await.unwrap();
        }
        store.add_spent("other", "key_2", 0, spent(7, 0.0)).await.unwrap();
        store.add_spent("acme", "key_1", 86_400_000, spent(1, 0.0)).await.unwrap();
        assert_eq!(store.spent("acme", Some("key_1"), 0).await.unwrap(), spent(20, 1.0));
        assert_eq!(store.spent("acme", Some(""), 0).await.unwrap(), spent(10, 0.5));
        assert_eq!(store.spent("acme", None, 0).await.unwrap(), spent(30, 1.5));
        assert_eq!(store.spent("nobody", None, 0).await.unwrap(), Spent::default());
        store.prune_spent(86_400_000).await.unwrap();
        assert_eq!(store.spent("acme", None, 0).await.unwrap(), Spent::default());
        assert_eq!(store.spent("acme", None, 86_400_000).await.unwrap(), spent(1, 0.0));
    }

    #[test]
    fn a_sum_passes_what_it_exceeds_and_reaches_what_it_equals() {
        let ceiling = Ceiling { tokens: Some(10), cost: Some(1.0) };
        let sum = |tokens, cost| Spent { tokens, cost };
        assert_eq!(ceiling.passed_by(sum(10, 1.0)), None);
        assert_eq!(ceiling.passed_by(sum(11, 0.0)), Some(("tokens", 10.0)));
        assert_eq!(ceiling.passed_by(sum(0, 1.5)), Some(("cost", 1.0)));
        assert_eq!(ceiling.reached_by(sum(10, 0.0)), Some(("tokens", 10.0)));
        assert_eq!(ceiling.reached_by(sum(9, 0.9)), None);
        assert_eq!(Ceiling::default().or(ceiling), ceiling);
    }
}
