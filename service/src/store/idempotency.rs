//! Keys of requests that may be repeated. They are noted by the commit that takes a job or a batch in, and forgotten
//! with it, or after a day.

use super::database::{reading, writing};
use super::{Store, StoreError, limits};
use crate::job::Idempotency;

fn age() -> i64 {
    i64::try_from(limits::IDEMPOTENCY.as_millis()).unwrap_or(i64::MAX)
}

impl Store {
    /// The job or batch that the same request made before, if it did.
    pub async fn made_before(
        &self,
        tenant: &str,
        request: &Idempotency,
    ) -> Result<Option<String>, StoreError> {
        let sql = self.sql(
            "SELECT object_id FROM idempotency WHERE tenant = $1 AND endpoint = $2 AND ikey = $3 \
             AND body_hash = $4 AND at_ms >= {now} - $5",
        );
        Ok(reading!(self.database(), |db| {
            sqlx::query_scalar(sql)
                .bind(tenant)
                .bind(&request.endpoint)
                .bind(&request.key)
                .bind(&request.body_hash)
                .bind(age())
                .fetch_optional(db)
                .await?
        }))
    }

    /// Forgets keys that are too old.
    pub(super) async fn forget_keys(&self) -> Result<(), StoreError> {
        let sql = self.sql("DELETE FROM idempotency WHERE at_ms < {now} - $1");
        writing!(self.database(), |db| {
            sqlx::query(sql).bind(age()).execute(db).await?;
        });
        Ok(())
    }
}
