//! Deliveries: what is to be sent, what is due, what came of it.

use super::super::database::{reading, row, transaction, writing};
use super::{Page, Store, StoreError};

/// Where a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It will be attempted, for the first time or again.
    Pending,
    /// It was taken.
    Delivered,
    /// It will not be attempted again.
    GivenUp,
}

impl DeliveryState {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
        }
    }
}

/// An event on its way to a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `dlv_…`: the `webhook-id` that it is sent with, the same at every attempt.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// The webhook.
    pub webhook_id: String,
    /// The job that it is about.
    pub job_id: Option<String>,
    /// Where it goes.
    pub url: String,
    /// What happened.
    pub event: String,
    /// What is sent; empty before the first attempt.
    pub body: String,
    /// Before the first attempt at `job.waiting`: the waits that were open when the job parked, as they are kept.
    pub waits: Option<String>,
    /// Where it is.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: i32,
    /// When it is attempted next (unix ms).
    pub next_ms: i64,
    /// Status of the last answer.
    pub last_status: Option<i32>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// Unix ms.
    pub created_ms: i64,
    /// Unix ms.
    pub done_ms: Option<i64>,
}

/// A delivery that was claimed, with all that sending it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The delivery; its `attempts` counts the one to be made.
    pub delivery: Delivery,
    /// The webhook's secrets that sign, newest first; none if it was switched off.
    pub secrets: Vec<String>,
    /// Whether the webhook is on.
    pub is_enabled: bool,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// It was taken, with this status.
    Delivered(u16),
    /// It was not.
    Failed {
        /// Status of the answer, if there was one.
        status: Option<u16>,
        /// Why.
        why: String,
        /// When to try again (unix ms); never with `None`.
        next_ms: Option<i64>,
    },
}

row! {
    struct DeliveryRow {
        delivery_id: String,
        tenant: String,
        webhook_id: String,
        job_id: Option<String>,
        url: String,
        event: String,
        body: String,
        status: i16,
        attempts: i32,
        next_ms: i64,
        last_status: Option<i32>,
        last_error: Option<String>,
        created_ms: i64,
        done_ms: Option<i64>,
    }
}

row! {
    struct SignerRow {
        webhook_id: String,
        url: String,
        secret: String,
        old_secret: Option<String>,
        old_until_ms: Option<i64>,
        disabled_ms: Option<i64>,
    }
}

const COLUMNS: &str = "delivery_id, tenant, webhook_id, job_id, url, event, body, status, attempts, next_ms, \
                       last_status, last_error, created_ms, done_ms";

impl From<DeliveryRow> for Delivery {
    fn from(row: DeliveryRow) -> Self {
        // A body is an object. Until there is one, its column has what only that moment knew: a list of waits.
        let (body, waits) =
            if row.body.starts_with('[') { (String::new(), Some(row.body)) } else { (row.body, None) };
        Self {
            id: row.delivery_id,
            tenant: row.tenant,
            webhook_id: row.webhook_id,
            job_id: row.job_id,
            url: row.url,
            event: row.event,
            body,
            waits,
            state: match row.status {
                0 => DeliveryState::Pending,
                1 => DeliveryState::Delivered,
                _ => DeliveryState::GivenUp,
            },
            attempts: row.attempts,
            next_ms: row.next_ms,
            last_status: row.last_status,
            last_error: row.last_error,
            created_ms: row.created_ms,
            done_ms: row.done_ms,
        }
    }
}

impl Store {
    /// Keeps a delivery that is due at its `next_ms`.
    pub async fn put_delivery(&self, delivery: &Delivery) -> Result<(), StoreError> {
        writing!(self.database(), |db| {
            sqlx::query(
                "INSERT INTO deliveries (delivery_id, tenant, webhook_id, job_id, url, event, body, status, attempts, \
                 next_ms, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8, $9) ON CONFLICT DO NOTHING",
            )
            .bind(&delivery.id)
            .bind(&delivery.tenant)
            .bind(&delivery.webhook_id)
            .bind(&delivery.job_id)
            .bind(&delivery.url)
            .bind(&delivery.event)
            .bind(&delivery.body)
            .bind(delivery.next_ms)
            .bind(delivery.created_ms)
            .execute(db)
            .await?;
        });
        Ok(())
    }

    /// A delivery of a webhook.
    pub async fn delivery(
        &self,
        tenant: &str,
        webhook: &str,
        id: &str,
    ) -> Result<Option<Delivery>, StoreError> {
        let sql = self.sql(&format!(
            "SELECT {COLUMNS} FROM deliveries WHERE tenant = $1 AND webhook_id = $2 AND delivery_id = $3"
        ));
        let row: Option<DeliveryRow> = reading!(self.database(), |db| {
            sqlx::query_as(sql).bind(tenant).bind(webhook).bind(id).fetch_optional(db).await?
        });
        Ok(row.map(Into::into))
    }

    /// The deliveries of a webhook, newest first; a cursor is what the page before gave.
    pub async fn deliveries(
        &self,
        tenant: &str,
        webhook: &str,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<Delivery>, StoreError> {
        // `MS.ID` of the last one on the page before; what is none begins at the start.
        let (before_ms, before_id) = cursor
            .and_then(|cursor| cursor.split_once('.'))
            .and_then(|(ms, id)| Some((ms.parse::<i64>().ok()?, id.to_owned())))
            .unwrap_or((i64::MAX, String::new()));
        let sql = self.sql(&format!(
            "SELECT {COLUMNS} FROM deliveries WHERE tenant = $1 AND webhook_id = $2 \
             AND (created_ms < $3 OR (created_ms = $3 AND delivery_id < $4)) \
             ORDER BY created_ms DESC, delivery_id DESC LIMIT $5"
        ));
        let mut rows: Vec<DeliveryRow> = reading!(self.database(), |db| {
            sqlx::query_as(sql)
                .bind(tenant)
                .bind(webhook)
                .bind(before_ms)
                .bind(before_id)
                .bind(i64::from(limit) + 1)
                .fetch_all(db)
                .await?
        });
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next =
            rows.last().filter(|_| has_more).map(|row| format!("{}.{}", row.created_ms, row.delivery_id));
        Ok(Page { items: rows.into_iter().map(Into::into).collect(), next })
    }

    /// Makes a delivery that was taken or given up due again, with all its attempts; `false` if there is none such.
    pub async fn redeliver(
        &self,
        tenant: &str,
        webhook: &str,
        id: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let n = writing!(self.database(), |db| {
            sqlx::query(
                "UPDATE deliveries SET status = 0, attempts = 0, next_ms = $4, owner = NULL, done_ms = NULL \
                 WHERE tenant = $1 AND webhook_id = $2 AND delivery_id = $3",
            )
            .bind(tenant)
            .bind(webhook)
            .bind(id)
            .bind(now_ms)
            .execute(db)
            .await?
            .rows_affected()
        });
        Ok(n > 0)
    }

    /// Claims deliveries that are due, for `lease_ms`; not those of the webhooks in `busy`.
    pub async fn claim_deliveries(
        &self,
        owner: &str,
        now_ms: i64,
        lease_ms: i64,
        limit: u32,
        busy: &[String],
    ) -> Result<Vec<Due>, StoreError> {
        let claim = self.sql(&format!(
            "UPDATE deliveries SET owner = $1, next_ms = $3, attempts = attempts + 1 WHERE delivery_id IN \
             (SELECT delivery_id FROM deliveries WHERE status = 0 AND next_ms <= $2 \
             AND webhook_id NOT IN ({{list:$5}}) ORDER BY next_ms LIMIT $4 {{skip locked}}) RETURNING {COLUMNS}"
        ));
        let signers = self.sql(
            "SELECT webhook_id, url, secret, old_secret, old_until_ms, disabled_ms FROM webhooks \
             WHERE webhook_id IN ({list:$1})",
        );
        let busy = serde_json::to_string(busy)?;
        Ok(transaction!(self.database(), |tx| {
            let rows: Vec<DeliveryRow> = sqlx::query_as(claim)
                .bind(owner)
                .bind(now_ms)
                .bind(now_ms.saturating_add(lease_ms))
                .bind(i64::from(limit))
                .bind(busy)
                .fetch_all(&mut *tx)
                .await?;
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let hooks: Vec<&str> = rows.iter().map(|row| row.webhook_id.as_str()).collect();
            let hooks = serde_json::to_string(&hooks)?;
            let signers: Vec<SignerRow> = sqlx::query_as(signers).bind(hooks).fetch_all(&mut *tx).await?;
            rows.into_iter().map(|row| due(row, &signers, now_ms)).collect()
        }))
    }

    /// Keeps what is sent, so that every attempt sends the same.
    pub async fn write_delivery(&self, id: &str, body: &str) -> Result<(), StoreError> {
        writing!(self.database(), |db| {
            sqlx::query(
                "UPDATE deliveries SET body = $2 WHERE delivery_id = $1 AND (body = '' OR body LIKE '[%')",
            )
            .bind(id)
            .bind(body)
            .execute(db)
            .await?;
        });
        Ok(())
    }

    /// Keeps what came of an attempt; nothing if somebody else has claimed the delivery since.
    pub async fn sent(&self, due: &Due, owner: &str, sent: &Sent, now_ms: i64) -> Result<(), StoreError> {
        let (state, status, why, next_ms) = match sent {
            Sent::Delivered(status) => (1_i16, Some(*status), None, None),
            Sent::Failed { status, why, next_ms: None } => (2, *status, Some(why.as_str()), None),
            Sent::Failed { status, why, next_ms } => (0, *status, Some(why.as_str()), *next_ms),
        };
        writing!(self.database(), |db| {
            sqlx::query(
                "UPDATE deliveries SET status = $4, last_status = $5, last_error = $6, url = $9, \
                 next_ms = COALESCE($7, next_ms), owner = NULL, done_ms = CASE $4 WHEN 0 THEN NULL ELSE $8 END \
                 WHERE delivery_id = $1 AND owner = $2 AND attempts = $3",
            )
            .bind(&due.delivery.id)
            .bind(owner)
            .bind(due.delivery.attempts)
            .bind(state)
            .bind(status.map(i32::from))
            .bind(why)
            .bind(next_ms)
            .bind(now_ms)
            .bind(&due.delivery.url)
            .execute(db)
            .await?;
        });
        Ok(())
    }

    /// Forgets deliveries that were taken or given up before `before_ms`, at most `limit` at once; how many.
    pub async fn prune_deliveries(&self, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
        Ok(writing!(self.database(), |db| {
            sqlx::query(
                "DELETE FROM deliveries WHERE delivery_id IN \
                 (SELECT delivery_id FROM deliveries WHERE done_ms < $1 ORDER BY done_ms LIMIT $2)",
            )
            .bind(before_ms)
            .bind(i64::from(limit))
            .execute(db)
            .await?
            .rows_affected()
        }))
    }
}

/// A claimed row with what its webhook says now: the address may have been put right since.
fn due(row: DeliveryRow, signers: &[SignerRow], now_ms: i64) -> Due {
    let signer = signers.iter().find(|signer| signer.webhook_id == row.webhook_id);
    let mut delivery = Delivery::from(row);
    let Some(signer) = signer else {
        return Due { delivery, secrets: Vec::new(), is_enabled: false };
    };
    delivery.url.clone_from(&signer.url);
    let old = signer.old_secret.clone().filter(|_| signer.old_until_ms.is_some_and(|until| until > now_ms));
    let secrets = std::iter::once(signer.secret.clone()).chain(old).collect();
    Due { delivery, secrets, is_enabled: signer.disabled_ms.is_none() }
}
