//! What the service sends by itself: webhooks, signed, tried again over days, and only to where they may go.

pub mod backoff;
mod message;
mod post;
mod sender;
pub mod signature;

use std::sync::Arc;
use std::time::Duration;

pub use message::{MAX_BYTES, as_it_waited, of_job, test};
pub use sender::{Options, Sender};

/// What a webhook can be told of.
pub const EVENTS: [&str; 5] =
    ["job.succeeded", "job.failed", "job.cancelled", "job.timed_out", "job.waiting"];

/// The event of a webhook that is tried out.
pub const TEST_EVENT: &str = "webhook.test";

/// How long the secret before a new one signs, too, unless said otherwise.
pub const OLD_SECRET: Duration = Duration::from_hours(24);

/// Longest time for which two secrets may sign.
pub const OLD_SECRET_MAX: Duration = Duration::from_hours(7 * 24);

/// Tells the time (unix ms); tests tell another.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The clock of this machine.
pub fn system_clock() -> Clock {
    Arc::new(|| jiff::Timestamp::now().as_millisecond())
}
