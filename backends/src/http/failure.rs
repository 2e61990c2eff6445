//! Which typed error a failed call of a model server becomes.

use std::time::Duration;

use anabranch_engine::backend::Error;
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use serde_json::Value;

/// Longest part of a server's own words that goes into an error, in characters.
const MESSAGE_CHARS: usize = 500;

/// Makes errors that name one server and model.
#[derive(Debug, Clone)]
pub(crate) struct Failures {
    /// The model and the host, never the key.
    pub(crate) backend: String,
}

impl Failures {
    pub(crate) fn garbled(&self, message: impl Into<String>) -> Error {
        Error::Garbled { backend: self.backend.clone(), message: message.into() }
    }

    pub(crate) fn timed_out(&self, message: impl Into<String>) -> Error {
        Error::TimedOut { backend: self.backend.clone(), message: message.into() }
    }

    pub(crate) fn unavailable(&self, message: impl Into<String>) -> Error {
        Error::Unavailable { backend: self.backend.clone(), message: message.into(), retry_after: None }
    }

    pub(crate) fn rejected(&self, message: impl Into<String>) -> Error {
        Error::Rejected { backend: self.backend.clone(), message: message.into() }
    }

    /// The request got no answer, or the answer broke off.
    pub(crate) fn transport(&self, error: &reqwest::Error) -> Error {
        let cause = innermost(error);
        let is_late = error.is_timeout();
        if error.is_connect() {
            let message =
                if is_late { "no connection in time".to_owned() } else { format!("cannot connect: {cause}") };
            Error::Unreached { backend: self.backend.clone(), message, retry_after: None, is_late }
        } else if is_late {
            self.timed_out("no answer in time")
        } else if error.is_builder() {
            self.rejected(format!("the request cannot be sent: {cause}"))
        } else {
            self.unavailable(format!("the connection broke: {cause}"))
        }
    }

    /// The server answered with `status`, which is no success.
    pub(crate) fn status(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        let message = match server_message(body) {
            Some(said) => format!("{status}: {said}"),
            None => status.to_string(),
        };
        let retry_after = retry_after(headers, Timestamp::now());
        let backend = self.backend.clone();
        match status {
            StatusCode::TOO_MANY_REQUESTS => Error::Overloaded { backend, message, retry_after },
            StatusCode::SERVICE_UNAVAILABLE if retry_after.is_some() => {
                Error::Overloaded { backend, message, retry_after }
            }
            StatusCode::REQUEST_TIMEOUT => Error::TimedOut { backend, message },
            _ if status.is_server_error() => Error::Unavailable { backend, message, retry_after },
            // Not followed: a redirected POST would lose its body, or take the key elsewhere.
            _ if status.is_redirection() => {
                let target = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("nowhere");
                self.rejected(format!("{status}: it points to {}; use that address", cut(target)))
            }
            _ => Error::Rejected { backend, message },
        }
    }

    /// The server put an error where an answer belongs, or a piece of one; TGI says its kind beside it.
    pub(crate) fn in_body(&self, error: &Value, kind: Option<&Value>) -> Error {
        let said = message_of(error).map_or_else(|| cut(&error.to_string()), |said| cut(&said));
        let code = error.get("code").and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()));
        let kinds = [kind, error.get("type"), error.get("code")];
        let is_kind = |words: &[&str]| {
            let mut kinds = kinds.iter().flatten().filter_map(|kind| kind.as_str());
            kinds.any(|kind| words.iter().any(|word| kind.contains(word)))
        };
        if code == Some(429) || is_kind(&["overloaded", "rate_limit"]) {
            return Error::Overloaded { backend: self.backend.clone(), message: said, retry_after: None };
        }
        match code {
            Some(400..500) => self.rejected(said),
            None if is_kind(&["validation", "invalid_request", "BadRequest"]) => self.rejected(said),
            _ => self.unavailable(said),
        }
    }
}

/// The time in a `Retry-After` header: seconds, or an HTTP date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds.max(0.0)).ok();
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    // A date that has passed means: now.
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// What an error body says: the `message` of `OpenAI`, vLLM, TGI and Ollama, else its text.
fn server_message(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let said = serde_json::from_str(&text).ok().as_ref().and_then(message_of);
    let said = cut(said.as_deref().unwrap_or(&text));
    (!said.is_empty()).then_some(said)
}

fn message_of(json: &Value) -> Option<String> {
    let error = json.get("error").unwrap_or(json);
    let message = error.as_str().or_else(|| error.get("message")?.as_str());
    // FastAPI's own refusals.
    let message = message.or_else(|| json.get("detail")?.as_str());
    // Qdrant's.
    let message = message.or_else(|| json.get("status")?.get("error")?.as_str());
    message.map(str::to_owned)
}

/// At most [`MESSAGE_CHARS`] characters of `text`, on one line.
pub(crate) fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// The cause that all others were wrapped around. Outer layers repeat the address, which may hold a password.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(value: &str) -> Option<Duration> {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]), now)
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(after("Thu, 01 Jan 2026 00:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(after("Thu, 01 Jan 2015 00:00:00 GMT"), Some(Duration::ZERO), "a past date means now");
        assert_eq!(after("soon"), None);
        assert_eq!(after("-3"), Some(Duration::ZERO));
    }

    #[test]
    fn a_servers_words_are_found_in_every_usual_shape_and_cut() {
        let said = |body: &str| server_message(body.as_bytes());
        assert_eq!(said(r#"{"error": {"message": "no such model"}}"#).as_deref(), Some("no such model"));
        assert_eq!(said(r#"{"error": "no such model"}"#).as_deref(), Some("no such model"));
        assert_eq!(said(r#"{"object": "error", "message": "too long"}"#).as_deref(), Some("too long"));
        assert_eq!(said(r#"{"detail": "Not Found"}"#).as_deref(), Some("Not Found"));
        assert_eq!(
            said(r#"{"status": {"error": "Wrong input"}, "time": 0}"#).as_deref(),
            Some("Wrong input")
        );
        assert_eq!(said("<h1>Bad\n gateway</h1>").as_deref(), Some("<h1>Bad gateway</h1>"));
        assert_eq!(said(""), None);
        assert_eq!(said(&"x".repeat(9000)).unwrap().chars().count(), 501);
    }
}
