//! The clock of the world outside a run: what deadlines of waits are set by.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells milliseconds of Unix time. The system's clock by default.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<dyn Fn() -> u64 + Send + Sync>>);

impl Clock {
    /// A clock that shows what `now_ms` says: a database's, or one of a test.
    pub fn of(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now_ms)))
    }

    /// Milliseconds of Unix time.
    pub fn now_ms(&self) -> u64 {
        if let Some(now_ms) = &self.0 {
            return now_ms();
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the deadline of a wait is a date; nothing else reads it"
        )]
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Clock(given)" } else { "Clock(system)" })
    }
}
