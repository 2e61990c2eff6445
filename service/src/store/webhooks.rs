//! Webhooks and their deliveries.
//!
//! A delivery is written in the commit that ends its job ([`NOTE_ENDS`]), so no end goes unsaid; the sender then claims
//! what is due. A claim is a lease: it moves `next_ms` past the time that an attempt can take, so that what a process
//! had in flight when it died is due again by itself.

use super::database::{reading, row, transaction, writing};
use super::{Page, Store, StoreError};

mod deliveries;

pub use deliveries::{Delivery, DeliveryState, Due, Sent};

/// Writes the deliveries of jobs that have just ended or parked: run in the same transaction, after their rows were
/// changed; `{jobs}` stands for a query of their ids. Running it again adds nothing, since a delivery's id follows from
/// the job, its claim and status, and the webhook. What a job waits for is told as it is now: when the message is made, it
/// may have been answered, and nobody could say any more what was asked ([`Delivery::waits`]). A planner that knows nothing of the
/// tables yet would read every job there is: so the jobs are found before the webhooks, and by an outer join, which
/// can only begin with the ids.
pub(super) const NOTE_ENDS: &str = "\
    INSERT INTO deliveries (delivery_id, tenant, webhook_id, job_id, url, event, body, status, attempts, next_ms, \
    created_ms) \
    WITH n(job_id) AS ({jobs}), e AS MATERIALIZED (SELECT j.job_id, j.tenant, j.webhook, \
          CASE j.status WHEN 2 THEN COALESCE(j.waits, '') ELSE '' END AS body, CAST(j.epoch AS TEXT) || '_' || CAST(j.status AS TEXT) AS mark, \
          CASE j.status WHEN 2 THEN 'job.waiting' WHEN 3 THEN 'job.succeeded' WHEN 4 THEN 'job.failed' \
          WHEN 5 THEN 'job.cancelled' ELSE 'job.timed_out' END AS event \
          FROM n LEFT JOIN jobs j ON j.job_id = n.job_id WHERE COALESCE(j.status, 0) >= 2) \
    SELECT 'dlv_' || substr(e.job_id, 5) || '_' || substr(w.webhook_id, 5) || '_' || e.mark, w.tenant, w.webhook_id, \
    e.job_id, w.url, e.event, e.body, 0, 0, {now}, {now} \
    FROM e JOIN webhooks w ON w.tenant = e.tenant AND w.disabled_ms IS NULL \
    WHERE e.webhook = w.webhook_id OR e.webhook = w.url OR (' ' || w.events || ' ') LIKE ('% ' || e.event || ' %') \
    ON CONFLICT DO NOTHING RETURNING delivery_id, created_ms, job_id";

/// Most webhooks of a tenant.
pub(super) const WEBHOOKS_MAX: i64 = 100;

/// Whom to tell of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// `whk_…`.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Where it goes.
    pub url: String,
    /// What it is for.
    pub about: Option<String>,
    /// Which events it is told of: `job.failed`, …; none for one that only single jobs name.
    pub events: Vec<String>,
    /// Since when it is off (unix ms).
    pub disabled_ms: Option<i64>,
    /// Why it is off.
    pub disabled_why: Option<String>,
    /// Until when the secret before this one signs, too (unix ms).
    pub old_until_ms: Option<i64>,
    /// Unix ms.
    pub created_ms: i64,
}

/// What is to be different about a webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookChange {
    /// Where it goes.
    pub url: Option<String>,
    /// What it is for.
    pub about: Option<String>,
    /// Which events it is told of.
    pub events: Option<Vec<String>>,
    /// Whether it is on.
    pub is_enabled: Option<bool>,
}

/// What came of making a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookPut {
    /// It is there.
    Made,
    /// The tenant has as many as it may.
    TooMany,
}

row! {
    struct WebhookRow {
        webhook_id: String,
        tenant: String,
        url: String,
        about: Option<String>,
        events: String,
        disabled_ms: Option<i64>,
        disabled_why: Option<String>,
        old_until_ms: Option<i64>,
        created_ms: i64,
    }
}

const COLUMNS: &str =
    "webhook_id, tenant, url, about, events, disabled_ms, disabled_why, old_until_ms, created_ms";

impl From<WebhookRow> for Webhook {
    fn from(row: WebhookRow) -> Self {
        Self {
            id: row.webhook_id,
            tenant: row.tenant,
            url: row.url,
            about: row.about,
            events: row.events.split_whitespace().map(str::to_owned).collect(),
            disabled_ms: row.disabled_ms,
            disabled_why: row.disabled_why,
            old_until_ms: row.old_until_ms,
            created_ms: row.created_ms,
        }
    }
}

impl Store {
    /// Keeps a webhook with the secret that signs for it.
    pub async fn put_webhook(&self, hook: &Webhook, secret: &str) -> Result<WebhookPut, StoreError> {
        let sql = self.sql(
            "INSERT INTO webhooks (webhook_id, tenant, url, about, events, secret, created_ms) \
             SELECT $1, $2, $3, $4, $5, $6, $7 WHERE (SELECT COUNT(*) FROM webhooks WHERE tenant = $2) < $8",
        );
        let n = writing!(self.database(), |db| {
            sqlx::query(sql)
                .bind(&hook.id)
                .bind(&hook.tenant)
                .bind(&hook.url)
                .bind(&hook.about)
                .bind(hook.events.join(" "))
                .bind(secret)
                .bind(hook.created_ms)
                .bind(WEBHOOKS_MAX)
                .execute(db)
                .await?
                .rows_affected()
        });
        Ok(if n > 0 { WebhookPut::Made } else { WebhookPut::TooMany })
    }

    /// A webhook.
    pub async fn webhook(&self, tenant: &str, id: &str) -> Result<Option<Webhook>, StoreError> {
        let sql = self.sql(&format!("SELECT {COLUMNS} FROM webhooks WHERE tenant = $1 AND webhook_id = $2"));
        let row: Option<WebhookRow> = reading!(self.database(), |db| {
            sqlx::query_as(sql).bind(tenant).bind(id).fetch_optional(db).await?
        });
        Ok(row.map(Into::into))
    }

    /// The webhooks of a tenant, oldest first: no more than [`WEBHOOKS_MAX`].
    pub async fn webhooks(&self, tenant: &str) -> Result<Vec<Webhook>, StoreError> {
        let sql = self.sql(&format!(
            "SELECT {COLUMNS} FROM webhooks WHERE tenant = $1 ORDER BY created_ms, webhook_id LIMIT $2"
        ));
        let rows: Vec<WebhookRow> = reading!(self.database(), |db| {
            sqlx::query_as(sql).bind(tenant).bind(WEBHOOKS_MAX).fetch_all(db).await?
        });
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// The webhook of a tenant that a job means by an id or an address.
    pub async fn find_webhook(&self, tenant: &str, named: &str) -> Result<Option<String>, StoreError> {
        Ok(reading!(self.database(), |db| {
            sqlx::query_scalar(
                "SELECT webhook_id FROM webhooks WHERE tenant = $1 AND (webhook_id = $2 OR url = $2) \
                 ORDER BY created_ms LIMIT 1",
            )
            .bind(tenant)
            .bind(named)
            .fetch_optional(db)
            .await?
        }))
    }

    /// Changes a webhook; `false` if there is none such.
    pub async fn change_webhook(
        &self,
        tenant: &str,
        id: &str,
        change: &WebhookChange,
    ) -> Result<bool, StoreError> {
        let sql = self.sql(
            "UPDATE webhooks SET url = COALESCE($3, url), about = COALESCE($4, about), \
             events = COALESCE($5, events), \
             disabled_ms = CASE $6 WHEN 1 THEN NULL WHEN 0 THEN COALESCE(disabled_ms, {now}) ELSE disabled_ms END, \
             disabled_why = CASE $6 WHEN 1 THEN NULL ELSE disabled_why END \
             WHERE tenant = $1 AND webhook_id = $2",
        );
        // -1 leaves it as it is.
        let switch = change.is_enabled.map_or(-1, i32::from);
        let n = writing!(self.database(), |db| {
            sqlx::query(sql)
                .bind(tenant)
                .bind(id)
                .bind(&change.url)
                .bind(&change.about)
                .bind(change.events.as_ref().map(|events| events.join(" ")))
                .bind(switch)
                .execute(db)
                .await?
                .rows_affected()
        });
        Ok(n > 0)
    }

    /// Switches a webhook off, and says why.
    pub async fn disable_webhook(&self, id: &str, why: &str) -> Result<(), StoreError> {
        let sql = self.sql(
            "UPDATE webhooks SET disabled_ms = {now}, disabled_why = $2 WHERE webhook_id = $1 AND disabled_ms IS NULL",
        );
        writing!(self.database(), |db| {
            sqlx::query(sql).bind(id).bind(why).execute(db).await?;
        });
        Ok(())
    }

    /// Gives a webhook another secret; the one before signs too until `old_until_ms`. `false` if there is none such.
    pub async fn rotate_webhook(
        &self,
        tenant: &str,
        id: &str,
        secret: &str,
        old_until_ms: i64,
    ) -> Result<bool, StoreError> {
        let n = writing!(self.database(), |db| {
            sqlx::query(
                "UPDATE webhooks SET old_secret = secret, secret = $3, old_until_ms = $4 \
                 WHERE tenant = $1 AND webhook_id = $2",
            )
            .bind(tenant)
            .bind(id)
            .bind(secret)
            .bind(old_until_ms)
            .execute(db)
            .await?
            .rows_affected()
        });
        Ok(n > 0)
    }

    /// Forgets a webhook with its deliveries; `false` if there is none such.
    pub async fn delete_webhook(&self, tenant: &str, id: &str) -> Result<bool, StoreError> {
        Ok(transaction!(self.database(), |tx| {
            let n = sqlx::query("DELETE FROM webhooks WHERE tenant = $1 AND webhook_id = $2")
                .bind(tenant)
                .bind(id)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if n > 0 {
                sqlx::query("DELETE FROM deliveries WHERE webhook_id = $1")
                    .bind(id)
                    .execute(&mut *tx)
                    .await?;
            }
            n > 0
        }))
    }
}
