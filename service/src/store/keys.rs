//! Keys and tenants: who may call, and how much a tenant may have.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::database::{reading, row, transaction, writing};
use super::spending::{OF_KEY, OF_TENANT};
use super::{Ceiling, Store, StoreError};
use crate::access::Scope;

/// A key as it is kept: without the key itself.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRecord {
    /// `key_…`.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What it is for.
    pub name: String,
    /// Hash of the key.
    pub hash: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// Unix ms.
    pub created_ms: i64,
    /// Not good from then on (unix ms).
    pub expires_ms: Option<i64>,
    /// Not good any more since then (unix ms).
    pub revoked_ms: Option<i64>,
    /// When it was last used, to the minute (unix ms).
    pub used_ms: Option<i64>,
    /// What it may spend in a day; where it says nothing, what holds for all keys.
    pub ceiling: Ceiling,
}

/// What a tenant may have.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Its share of the workers beside the others.
    pub weight: u32,
    /// Jobs that run at once, over all processes; `None` for as many as there are places.
    pub max_running: Option<u32>,
    /// Jobs that wait in the queue; `None` for what holds for all.
    pub max_queued: Option<u32>,
    /// Requests a minute; `None` for what holds for all.
    pub requests_per_minute: Option<NonZeroU32>,
    /// What it may spend in a day; where it says nothing, what holds for all.
    pub ceiling: Ceiling,
}

impl Tenant {
    /// A tenant that nothing was said about.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            weight: 1,
            max_running: None,
            max_queued: None,
            requests_per_minute: None,
            ceiling: Ceiling::default(),
        }
    }
}

row! {
    struct KeyRow {
        key_id: String,
        tenant: String,
        name: String,
        hash: String,
        scopes: String,
        created_ms: i64,
        expires_ms: Option<i64>,
        revoked_ms: Option<i64>,
        used_ms: Option<i64>,
        day_tokens: Option<i64>,
        day_cost: Option<f64>,
    }
}

impl From<KeyRow> for KeyRecord {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.key_id,
            tenant: row.tenant,
            name: row.name,
            hash: row.hash,
            // A scope of a newer build gives nothing here.
            scopes: row.scopes.split_whitespace().filter_map(Scope::parse).collect(),
            created_ms: row.created_ms,
            expires_ms: row.expires_ms,
            revoked_ms: row.revoked_ms,
            used_ms: row.used_ms,
            ceiling: Ceiling::of_columns(row.day_tokens, row.day_cost),
        }
    }
}

row! {
    struct TenantRow {
        tenant: String,
        weight: i32,
        max_running: Option<i32>,
        max_queued: Option<i32>,
        per_minute: Option<i32>,
        day_tokens: Option<i64>,
        day_cost: Option<f64>,
    }
}

impl From<TenantRow> for Tenant {
    fn from(row: TenantRow) -> Self {
        let count = |stored: i32| u32::try_from(stored).unwrap_or_default();
        Self {
            name: row.tenant,
            weight: count(row.weight).max(1),
            max_running: row.max_running.map(count),
            max_queued: row.max_queued.map(count),
            requests_per_minute: row.per_minute.and_then(|rate| NonZeroU32::new(count(rate))),
            ceiling: Ceiling::of_columns(row.day_tokens, row.day_cost),
        }
    }
}

const KEY: &str = "key_id, tenant, name, hash, scopes, created_ms, expires_ms, revoked_ms, used_ms";

impl Store {
    /// Whether there ever was a key.
    pub async fn has_keys(&self) -> Result<bool, StoreError> {
        let one: Option<i32> = reading!(self.database(), |db| {
            sqlx::query_scalar("SELECT 1 FROM keys LIMIT 1").fetch_optional(db).await?
        });
        Ok(one.is_some())
    }

    /// Keeps a new key.
    pub async fn put_key(&self, key: &KeyRecord) -> Result<(), StoreError> {
        let insert = self.sql(INSERT);
        let scopes = words(&key.scopes);
        writing!(self.database(), |db| {
            sqlx::query(insert)
                .bind(&key.id)
                .bind(&key.tenant)
                .bind(&key.name)
                .bind(&key.hash)
                .bind(scopes)
                .bind(key.created_ms)
                .bind(key.expires_ms)
                .execute(db)
                .await?;
        });
        if !key.ceiling.is_none() {
            self.put_ceiling(&key.tenant, &key.id, &key.ceiling).await?;
        }
        Ok(())
    }

    /// Keeps a new key that stands for another one, which is good until `until_ms` at most. `false` if the other one is
    /// not there, or was revoked.
    pub async fn rotate_key(&self, old: &str, until_ms: i64, key: &KeyRecord) -> Result<bool, StoreError> {
        let insert = self.sql(INSERT);
        let scopes = words(&key.scopes);
        let is_rotated = transaction!(self.database(), |tx| {
            let n = sqlx::query(
                "UPDATE keys SET expires_ms = CASE WHEN expires_ms < $3 THEN expires_ms ELSE $3 END \
                 WHERE key_id = $1 AND tenant = $2 AND revoked_ms IS NULL",
            )
            .bind(old)
            .bind(&key.tenant)
            .bind(until_ms)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if n == 0 {
                return Ok(false);
            }
            sqlx::query(insert)
                .bind(&key.id)
                .bind(&key.tenant)
                .bind(&key.name)
                .bind(&key.hash)
                .bind(scopes)
                .bind(key.created_ms)
                .bind(key.expires_ms)
                .execute(&mut *tx)
                .await?;
            // What goes on by itself goes on with the key that takes the place of the old one.
            sqlx::query("UPDATE schedules SET created_by = $2 WHERE tenant = $3 AND created_by = $1")
                .bind(old)
                .bind(&key.id)
                .bind(&key.tenant)
                .execute(&mut *tx)
                .await?;
            true
        });
        if is_rotated && !key.ceiling.is_none() {
            self.put_ceiling(&key.tenant, &key.id, &key.ceiling).await?;
        }
        Ok(is_rotated)
    }

    /// The key with this hash.
    pub async fn key_by_hash(&self, hash: &str) -> Result<Option<KeyRecord>, StoreError> {
        let sql = self.sql(&format!("SELECT {KEY}, {OF_KEY} FROM keys WHERE hash = $1"));
        let row: Option<KeyRow> =
            reading!(self.database(), |db| sqlx::query_as(sql).bind(hash).fetch_optional(db).await?);
        Ok(row.map(Into::into))
    }

    /// A key of a tenant; of any with `None`.
    pub async fn key(&self, tenant: Option<&str>, id: &str) -> Result<Option<KeyRecord>, StoreError> {
        let sql = self.sql(&format!(
            "SELECT {KEY}, {OF_KEY} FROM keys WHERE key_id = $1 AND tenant = COALESCE($2, tenant)"
        ));
        let row: Option<KeyRow> = reading!(self.database(), |db| sqlx::query_as(sql)
            .bind(id)
            .bind(tenant)
            .fetch_optional(db)
            .await?);
        Ok(row.map(Into::into))
    }

    /// Keys of a tenant, or of all, newest first; those before the key `before` in that order, at most `limit`.
    pub async fn keys(
        &self,
        tenant: Option<&str>,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        // Ids sort by time.
        let sql = self.sql(&format!(
            "SELECT {KEY}, {OF_KEY} FROM keys WHERE tenant = COALESCE($1, tenant) AND ($2 IS NULL OR key_id < $2) \
             ORDER BY key_id DESC LIMIT $3"
        ));
        let rows: Vec<KeyRow> = reading!(self.database(), |db| {
            sqlx::query_as(sql).bind(tenant).bind(before).bind(i64::from(limit)).fetch_all(db).await?
        });
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Ends a key for good. `false` if there is none such.
    pub async fn revoke_key(&self, tenant: Option<&str>, id: &str) -> Result<bool, StoreError> {
        let sql = self.sql(
            "UPDATE keys SET revoked_ms = COALESCE(revoked_ms, {now}) \
             WHERE key_id = $1 AND tenant = COALESCE($2, tenant)",
        );
        let n = writing!(self.database(), |db| {
            sqlx::query(sql).bind(id).bind(tenant).execute(db).await?.rows_affected()
        });
        Ok(n > 0)
    }

    /// Notes that a key was used.
    pub async fn key_used(&self, id: &str, at_ms: i64) -> Result<(), StoreError> {
        writing!(self.database(), |db| {
            sqlx::query("UPDATE keys SET used_ms = $2 WHERE key_id = $1")
                .bind(id)
                .bind(at_ms)
                .execute(db)
                .await?;
        });
        Ok(())
    }

    /// What a tenant may have, if something was said about it.
    pub async fn tenant(&self, name: &str) -> Result<Option<Tenant>, StoreError> {
        let sql = self.sql(&format!(
            "SELECT tenants.tenant, weight, l.max_running, l.max_queued, per_minute, {OF_TENANT} \
             FROM tenants LEFT JOIN tenant_limits l ON l.tenant = tenants.tenant WHERE tenants.tenant = $1"
        ));
        let row: Option<TenantRow> =
            reading!(self.database(), |db| { sqlx::query_as(sql).bind(name).fetch_optional(db).await? });
        Ok(row.map(Into::into))
    }

    /// The tenants that something was said about, or that have a key, by name: at most `limit` after the name `after`.
    pub async fn tenants(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        Ok(reading!(self.database(), |db| {
            sqlx::query_scalar(
                "SELECT tenant FROM (SELECT tenant FROM tenants UNION SELECT tenant FROM keys) AS t \
                 WHERE tenant > $1 ORDER BY tenant LIMIT $2",
            )
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(db)
            .await?
        }))
    }

    /// Says what a tenant may have.
    pub async fn put_tenant(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let stored = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        transaction!(self.database(), |tx| {
            // In the order in which a claim takes them, so that neither waits for the other.
            sqlx::query(
                "INSERT INTO tenant_limits (tenant, max_running, max_queued) VALUES ($1, $2, $3) \
                 ON CONFLICT (tenant) DO UPDATE SET max_running = excluded.max_running, \
                 max_queued = excluded.max_queued",
            )
            .bind(&tenant.name)
            .bind(tenant.max_running.map(stored))
            .bind(tenant.max_queued.map(stored))
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "INSERT INTO tenants (tenant, weight, per_minute) VALUES ($1, $2, $3) \
                 ON CONFLICT (tenant) DO UPDATE SET weight = excluded.weight, per_minute = excluded.per_minute",
            )
            .bind(&tenant.name)
            .bind(stored(tenant.weight))
            .bind(tenant.requests_per_minute.map(|rate| stored(rate.get())))
            .execute(&mut *tx)
            .await?;
        });
        self.put_ceiling(&tenant.name, "", &tenant.ceiling).await
    }
}

const INSERT: &str = "INSERT INTO keys (key_id, tenant, name, hash, scopes, created_ms, expires_ms) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7)";

fn words(scopes: &BTreeSet<Scope>) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
}
