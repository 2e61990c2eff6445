//! What flows are made of, by the hash of the plan: kept for as long as a version or a job needs it.

use std::time::Duration;

use super::database::{reading, row, writing};
use super::{Store, StoreError, limits};
use crate::flows::Bundle;

row! {
    struct LookedRow { hash: String, is_free: i32 }
}

/// Whether no version of a flow and no job needs a bundle. A job whose flow has a version needs no look: versions stay.
const IS_FREE: &str = "b.created_ms < {now} - $1 \
     AND NOT EXISTS (SELECT 1 FROM flow_versions v WHERE v.hash = b.hash) \
     AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.hash = b.hash AND j.version IS NULL)";

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Store {
    /// Keeps what a flow is made of. Whoever is about to submit a job of it has [`limits::BUNDLE_GRACE`] for that, by half
    /// at least.
    pub async fn put_bundle(&self, hash: &str, bundle: &Bundle) -> Result<(), StoreError> {
        let fresh = self.sql("SELECT 1 FROM bundles WHERE hash = $1 AND created_ms >= {now} - $2");
        let half = ms(limits::BUNDLE_GRACE / 2);
        // A flow that is sent along again and again is written once.
        let found: Option<i32> = reading!(self.database(), |db| {
            sqlx::query_scalar(fresh).bind(hash).bind(half).fetch_optional(db).await?
        });
        if found.is_some() {
            return Ok(());
        }
        let sources = serde_json::to_string(bundle)?;
        let sql = self.sql(
            "INSERT INTO bundles (hash, name, sources, created_ms) VALUES ($1, $2, $3, {now}) \
             ON CONFLICT (hash) DO UPDATE SET created_ms = excluded.created_ms",
        );
        writing!(self.database(), |db| {
            sqlx::query(sql).bind(hash).bind(&bundle.name).bind(sources).execute(db).await?;
        });
        Ok(())
    }

    /// What a flow is made of, by its hash.
    pub async fn bundle(&self, hash: &str) -> Result<Option<Bundle>, StoreError> {
        let sources: Option<String> = reading!(self.database(), |db| {
            sqlx::query_scalar("SELECT sources FROM bundles WHERE hash = $1")
                .bind(hash)
                .fetch_optional(db)
                .await?
        });
        Ok(sources.map(|sources| serde_json::from_str(&sources)).transpose()?)
    }

    /// Looks through at most `limit` bundles after the hash `after` and forgets those that nothing needs, and that nobody
    /// has put for [`limits::BUNDLE_GRACE`]; how many, and after which hash to go on: an empty one at the end.
    pub async fn prune_bundles(&self, after: &str, limit: u32) -> Result<(u64, String), StoreError> {
        let look = self.sql(&format!(
            "SELECT b.hash, CASE WHEN {IS_FREE} THEN 1 ELSE 0 END AS is_free \
             FROM bundles b WHERE b.hash > $2 ORDER BY b.hash LIMIT $3"
        ));
        let grace = ms(limits::BUNDLE_GRACE);
        let rows: Vec<LookedRow> = reading!(self.database(), |db| {
            sqlx::query_as(look).bind(grace).bind(after).bind(i64::from(limit)).fetch_all(db).await?
        });
        let is_all = rows.len() < limit as usize;
        let next = rows.last().filter(|_| !is_all).map(|row| row.hash.clone()).unwrap_or_default();
        let free: Vec<String> = rows.into_iter().filter(|row| row.is_free != 0).map(|row| row.hash).collect();
        let mut n_forgotten = 0;
        for some in free.chunks(limits::PRUNE_STEP as usize) {
            // Looked at again: a job may have come meanwhile.
            let sql = self.sql(&format!(
                "DELETE FROM bundles WHERE hash IN \
                 (SELECT b.hash FROM bundles b WHERE b.hash IN ({{list:$2}}) AND {IS_FREE})"
            ));
            let some = serde_json::to_string(some)?;
            n_forgotten += writing!(self.database(), |db| {
                sqlx::query(sql).bind(grace).bind(some).execute(db).await?.rows_affected()
            });
            // Between two steps the writer has its turn.
            tokio::task::yield_now().await;
        }
        Ok((n_forgotten, next))
    }
}
