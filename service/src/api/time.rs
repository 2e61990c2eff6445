//! Times as the API writes and reads them: RFC 3339, in UTC, to the millisecond.

use super::problem::{Mistake, Problem};

/// A time (unix ms) as the API writes it.
pub fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default()
}

/// A time that a body has at `pointer` (unix ms).
pub fn parse(pointer: &str, text: &str) -> Result<i64, Problem> {
    text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).map_err(|_| {
        let message = format!("`{text}` is no time; write one as `2026-01-31T12:00:00Z`");
        Problem::invalid(pointer, message.clone()).errors(vec![Mistake::at(pointer, message)])
    })
}
