//! Flows: their versions, and which version new jobs take.

use super::database::{reading, row, transaction, writing};
use super::{Store, StoreError};

/// A version of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowVersion {
    /// Name of the flow.
    pub name: String,
    /// 1, 2, …
    pub version: i32,
    /// Hash of its bundle.
    pub hash: String,
    /// Hash of the YAML as it was given.
    pub etag: String,
    /// What the flow says about itself.
    pub about: Option<String>,
    /// Unix ms.
    pub created_ms: i64,
    /// The key that put it.
    pub created_by: Option<String>,
    /// Whether new jobs take it.
    pub is_active: bool,
}

/// A version of a flow to be kept.
#[derive(Debug, Clone, Default)]
pub struct NewVersion {
    /// Whose it is.
    pub tenant: String,
    /// Name of the flow.
    pub name: String,
    /// Hash of its bundle, which is kept already.
    pub hash: String,
    /// Hash of the YAML as it was given.
    pub etag: String,
    /// What the flow says about itself.
    pub about: Option<String>,
    /// The key that puts it.
    pub created_by: Option<String>,
    /// What the active version must be for this one to be taken.
    pub expected: Expected,
    /// Whether it is kept without becoming the active one.
    pub is_draft: bool,
}

/// What must be there for a new version to be taken (`If-Match`, `If-None-Match: *`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Expected {
    /// Anything.
    #[default]
    Anything,
    /// No flow of this name.
    Nothing,
    /// An active version with this etag.
    Etag(String),
}

/// What came of putting a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowPut {
    /// The active version is the same: nothing was added.
    Same(i32),
    /// It is a draft that is the newest version already: nothing was added.
    SameDraft(i32),
    /// It is this version, and active unless it is a draft. `true` if there was no flow of its name.
    New(i32, bool),
    /// Something else is active than was expected: this etag.
    Unexpected(Option<String>),
}

/// What `flows.active` is while the row is made; 0 is a flow that has nothing but drafts.
const UNBORN: i32 = -1;

row! {
    struct VersionRow {
        name: String,
        version: i32,
        hash: String,
        etag: String,
        about: Option<String>,
        created_ms: i64,
        created_by: Option<String>,
        active: Option<i32>,
    }
}

impl From<VersionRow> for FlowVersion {
    fn from(row: VersionRow) -> Self {
        Self {
            is_active: row.active == Some(row.version),
            name: row.name,
            version: row.version,
            hash: row.hash,
            etag: row.etag,
            about: row.about,
            created_ms: row.created_ms,
            created_by: row.created_by,
        }
    }
}

impl Store {
    /// Makes a version the active one of its flow, unless it is that already; a draft is only kept. What is the newest
    /// version already, a draft that is now to be active, say, does not become another one.
    pub async fn put_flow_version(&self, new: &NewVersion) -> Result<FlowPut, StoreError> {
        // Writing the row that names the active version comes first: it holds off others who put the same flow.
        let touch = self.sql(
            "INSERT INTO flows (tenant, name, active, updated_ms) VALUES ($1, $2, $3, {now}) \
             ON CONFLICT (tenant, name) DO UPDATE SET updated_ms = excluded.updated_ms RETURNING active",
        );
        let insert = self.sql(
            "INSERT INTO flow_versions (tenant, name, version, hash, etag, about, created_ms, created_by) \
             SELECT $1, $2, COALESCE(MAX(version), 0) + 1, $3, $4, $5, {now}, $6 FROM flow_versions \
             WHERE tenant = $1 AND name = $2 RETURNING version",
        );
        Ok(transaction!(self.database(), |tx| {
            let active: i32 = sqlx::query_scalar(touch)
                .bind(&new.tenant)
                .bind(&new.name)
                .bind(UNBORN)
                .fetch_one(&mut *tx)
                .await?;
            // The newest version first, and the active one.
            let known: Vec<(i32, String, String)> = sqlx::query_as(
                "SELECT version, hash, etag FROM flow_versions WHERE tenant = $1 AND name = $2 AND (version = $3 OR \
                 version = (SELECT MAX(version) FROM flow_versions WHERE tenant = $1 AND name = $2)) \
                 ORDER BY version DESC",
            )
            .bind(&new.tenant)
            .bind(&new.name)
            .bind(active)
            .fetch_all(&mut *tx)
            .await?;
            let now = known.iter().find(|(version, ..)| *version == active);
            let is_expected = match &new.expected {
                Expected::Anything => true,
                Expected::Nothing => now.is_none(),
                Expected::Etag(etag) => now.is_some_and(|(.., now)| now == etag),
            };
            if !is_expected {
                // Leaving early undoes the row that was made above.
                return Ok(FlowPut::Unexpected(now.map(|(.., etag)| etag.clone())));
            }
            if now.is_some_and(|(_, hash, _)| *hash == new.hash) {
                return Ok(FlowPut::Same(active));
            }
            let same = known.first().filter(|(_, hash, _)| *hash == new.hash).map(|(version, ..)| *version);
            let version = match same {
                Some(version) => version,
                None => {
                    sqlx::query_scalar(insert)
                        .bind(&new.tenant)
                        .bind(&new.name)
                        .bind(&new.hash)
                        .bind(&new.etag)
                        .bind(&new.about)
                        .bind(&new.created_by)
                        .fetch_one(&mut *tx)
                        .await?
                }
            };
            let becomes = if new.is_draft { active.max(0) } else { version };
            sqlx::query("UPDATE flows SET active = $3 WHERE tenant = $1 AND name = $2")
                .bind(&new.tenant)
                .bind(&new.name)
                .bind(becomes)
                .execute(&mut *tx)
                .await?;
            match same {
                Some(version) if new.is_draft => FlowPut::SameDraft(version),
                _ => FlowPut::New(version, active == UNBORN),
            }
        }))
    }

    /// Whether the flow with this hash is what was last taken from the folder under its name. Of a store that did not
    /// note that yet, every version counts as taken.
    pub async fn is_taken(&self, tenant: &str, name: &str, hash: &str) -> Result<bool, StoreError> {
        let taken: Option<String> = reading!(self.database(), |db| {
            sqlx::query_scalar("SELECT hash FROM folder_flows WHERE tenant = $1 AND name = $2")
                .bind(tenant)
                .bind(name)
                .fetch_optional(db)
                .await?
        });
        if let Some(taken) = taken {
            return Ok(taken == hash);
        }
        let version: Option<i32> = reading!(self.database(), |db| {
            sqlx::query_scalar(
                "SELECT version FROM flow_versions WHERE tenant = $1 AND name = $2 AND hash = $3 LIMIT 1",
            )
            .bind(tenant)
            .bind(name)
            .bind(hash)
            .fetch_optional(db)
            .await?
        });
        Ok(version.is_some())
    }

    /// Notes what was taken from the folder, whatever becomes of that version later.
    pub async fn note_taken(&self, tenant: &str, name: &str, hash: &str) -> Result<(), StoreError> {
        let sql = self.sql(
            "INSERT INTO folder_flows (tenant, name, hash, taken_ms) VALUES ($1, $2, $3, {now}) \
             ON CONFLICT (tenant, name) DO UPDATE SET hash = excluded.hash, taken_ms = excluded.taken_ms",
        );
        writing!(self.database(), |db| {
            sqlx::query(sql).bind(tenant).bind(name).bind(hash).execute(db).await?;
        });
        Ok(())
    }

    /// Makes another version the active one; `false` if there is none such.
    pub async fn activate(&self, tenant: &str, name: &str, version: i32) -> Result<bool, StoreError> {
        let sql = self.sql(
            "UPDATE flows SET active = $3, updated_ms = {now} WHERE tenant = $1 AND name = $2 AND EXISTS \
             (SELECT 1 FROM flow_versions v WHERE v.tenant = $1 AND v.name = $2 AND v.version = $3)",
        );
        let n = writing!(self.database(), |db| {
            sqlx::query(sql).bind(tenant).bind(name).bind(version).execute(db).await?.rows_affected()
        });
        Ok(n > 0)
    }

    /// Takes a flow off the list; its versions and jobs stay. `false` if there is none such.
    pub async fn remove_flow(&self, tenant: &str, name: &str) -> Result<bool, StoreError> {
        let n = writing!(self.database(), |db| {
            sqlx::query("DELETE FROM flows WHERE tenant = $1 AND name = $2")
                .bind(tenant)
                .bind(name)
                .execute(db)
                .await?
                .rows_affected()
        });
        Ok(n > 0)
    }

    /// A version of a flow; the active one with `None`.
    pub async fn flow(
        &self,
        tenant: &str,
        name: &str,
        version: Option<i32>,
    ) -> Result<Option<FlowVersion>, StoreError> {
        let row: Option<VersionRow> = reading!(self.database(), |db| {
            sqlx::query_as(
                "SELECT v.name, v.version, v.hash, v.etag, v.about, v.created_ms, v.created_by, f.active \
                 FROM flow_versions v JOIN flows f ON f.tenant = v.tenant AND f.name = v.name \
                 WHERE v.tenant = $1 AND v.name = $2 AND v.version = COALESCE($3, f.active)",
            )
            .bind(tenant)
            .bind(name)
            .bind(version)
            .fetch_optional(db)
            .await?
        });
        Ok(row.map(Into::into))
    }

    /// The active versions of all flows of a tenant, by name.
    pub async fn flows(&self, tenant: &str) -> Result<Vec<FlowVersion>, StoreError> {
        let rows: Vec<VersionRow> = reading!(self.database(), |db| {
            sqlx::query_as(
                "SELECT v.name, v.version, v.hash, v.etag, v.about, v.created_ms, v.created_by, f.active \
                 FROM flows f JOIN flow_versions v \
                 ON v.tenant = f.tenant AND v.name = f.name AND v.version = f.active \
                 WHERE f.tenant = $1 ORDER BY v.name",
            )
            .bind(tenant)
            .fetch_all(db)
            .await?
        });
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// All versions of a flow, newest first.
    pub async fn versions(&self, tenant: &str, name: &str) -> Result<Vec<FlowVersion>, StoreError> {
        let rows: Vec<VersionRow> = reading!(self.database(), |db| {
            sqlx::query_as(
                "SELECT v.name, v.version, v.hash, v.etag, v.about, v.created_ms, v.created_by, f.active \
                 FROM flow_versions v JOIN flows f ON f.tenant = v.tenant AND f.name = v.name \
                 WHERE v.tenant = $1 AND v.name = $2 ORDER BY v.version DESC",
            )
            .bind(tenant)
            .bind(name)
            .fetch_all(db)
            .await?
        });
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Jobs of a flow that have not ended; of one version, or of all with `None`.
    pub async fn in_flight(&self, tenant: &str, flow: &str, version: Option<i32>) -> Result<u64, StoreError> {
        let n: i64 = reading!(self.database(), |db| {
            sqlx::query_scalar(
                "SELECT COUNT(*) FROM jobs WHERE tenant = $1 AND status IN (0, 1, 2) AND flow = $2 \
                 AND ($3 IS NULL OR version = $3)",
            )
            .bind(tenant)
            .bind(flow)
            .bind(version)
            .fetch_one(db)
            .await?
        });
        Ok(n.unsigned_abs())
    }
}
