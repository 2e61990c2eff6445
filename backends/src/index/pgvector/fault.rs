//! What went wrong with the database, as the engine's errors: whether trying again can help is in the variant.

use std::time::Duration;

use anabranch_engine::backend::Error;
use anabranch_engine::value::Chunk;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// Names the index in errors, and bounds how long its database may take.
#[derive(Debug)]
pub(super) struct Faults {
    backend: String,
}

/// How much longer than the server we wait: its own limit tells more than ours.
const GRACE: Duration = Duration::from_millis(200);

impl Faults {
    pub(super) fn new(name: &str) -> Self {
        Self { backend: format!("index `{name}`") }
    }

    pub(super) fn backend(&self) -> &str {
        &self.backend
    }

    /// What `work` gives, unless it takes longer than `limit`.
    pub(super) async fn in_time<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::time::timeout(limit + GRACE, work).await.unwrap_or_else(|_| Err(self.no_answer(limit)))
    }

    pub(super) fn no_answer(&self, limit: Duration) -> Error {
        self.timed_out(format!("the database did not answer within {limit:?}"))
    }

    pub(super) fn rejected(&self, message: impl Into<String>) -> Error {
        Error::Rejected { backend: self.backend.clone(), message: message.into() }
    }

    pub(super) fn no_connection(&self, limit: Duration) -> Error {
        self.timed_out(format!("no connection to the database within {limit:?}"))
    }

    fn timed_out(&self, message: String) -> Error {
        Error::TimedOut { backend: self.backend.clone(), message }
    }

    fn unavailable(&self, message: String) -> Error {
        Error::Unavailable { backend: self.backend.clone(), message, retry_after: None }
    }

    fn garbled(&self, message: String) -> Error {
        Error::Garbled { backend: self.backend.clone(), message }
    }

    /// The chunk that the first column of a row holds.
    pub(super) fn chunk(&self, row: &PgRow) -> Result<Chunk, Error> {
        let record: Vec<u8> = row.try_get(0).map_err(|error| self.of(&error))?;
        serde_json::from_slice(&record)
            .map_err(|error| self.garbled(format!("a chunk cannot be read ({error})")))
    }

    /// What an error of the driver means.
    pub(super) fn of(&self, error: &sqlx::Error) -> Error {
        match error {
            sqlx::Error::Database(error) => {
                self.of_server(error.code().as_deref().unwrap_or(""), error.message())
            }
            sqlx::Error::PoolTimedOut => self.timed_out("no connection was free in time".to_owned()),
            sqlx::Error::Configuration(error) => self.rejected(error.to_string()),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => self.unavailable(error.to_string()),
            error => self.garbled(error.to_string()),
        }
    }

    /// What the server said, by the class of its code.
    fn of_server(&self, code: &str, message: &str) -> Error {
        match code {
            "57014" => self.timed_out(message.to_owned()),
            // No resources left; starting, stopping, crashed; serialisation failures and deadlocks.
            _ if code.starts_with("53") => Error::Overloaded {
                backend: self.backend.clone(),
                message: message.to_owned(),
                retry_after: None,
            },
            _ if ["08", "40", "57", "58", "XX"].iter().any(|class| code.starts_with(class)) => {
                self.unavailable(message.to_owned())
            }
            _ => self.rejected(format!("{message} (code {code})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_the_server_says_whether_trying_again_can_help() {
        let faults = Faults::new("notes");
        assert!(matches!(faults.of_server("57014", ""), Error::TimedOut { .. }));
        assert!(matches!(faults.of_server("53300", ""), Error::Overloaded { .. }));
        assert!(matches!(faults.of_server("57P03", ""), Error::Unavailable { .. }));
        assert!(matches!(faults.of_server("28P01", ""), Error::Rejected { .. }));
        assert!(matches!(faults.of_server("42501", ""), Error::Rejected { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_says_nothing_times_out() {
        let faults = Faults::new("notes");
        let error = faults.in_time::<()>(Duration::from_secs(3), std::future::pending()).await.unwrap_err();
        assert_eq!(error.to_string(), "index `notes` timed out: the database did not answer within 3s");
    }
}
