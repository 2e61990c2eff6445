//! Request headers that several endpoints read: `Prefer`, `Idempotency-Key`, `Accept`, `Last-Event-ID`.

use std::time::Duration;

use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

use super::problem::{Code, Problem};

/// Longest time that a request may wait for the end of its job.
pub const WAIT_MAX: Duration = Duration::from_mins(5);
/// Longest `Idempotency-Key`.
const KEY_BYTES: usize = 255;

/// How long the caller would like to wait (`Prefer: wait=30`, RFC 7240), at most [`WAIT_MAX`].
///
/// What cannot be understood is not preferred: a preference is never an error.
pub fn prefer_wait(headers: &HeaderMap) -> Option<Duration> {
    let all = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let seconds: u64 = all
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|part| part.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse().ok())?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

/// Says how long it was waited for at most.
pub fn preference_applied(wait: Duration, response: &mut Response) {
    if let Ok(applied) = HeaderValue::from_str(&format!("wait={}", wait.as_secs())) {
        response.headers_mut().insert("preference-applied", applied);
    }
}

/// The `Idempotency-Key`, if there is one.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().unwrap_or_default().trim();
    // Both forms are in use: bare, and quoted as a structured field.
    let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    if key.is_empty()
        || key.len() > KEY_BYTES
        || !key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        return Err(Problem::new(
            Code::BadHeader,
            format!("`Idempotency-Key` must be 1 to {KEY_BYTES} visible ASCII characters"),
        ));
    }
    Ok(Some(key.to_owned()))
}

/// What the caller would rather have: a document, or a stream of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// JSON.
    Document,
    /// `text/event-stream`.
    Stream,
}

/// What `Accept` asks for; `usual` if it leaves the choice.
pub fn wanted(headers: &HeaderMap, usual: Wanted) -> Result<Wanted, Problem> {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if accept.is_empty() {
        return Ok(usual);
    }
    let mut best: Option<(f32, Wanted)> = None;
    for part in accept.iter().flat_map(|value| value.split(',')) {
        let mut parts = part.split(';');
        let kind = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let quality = parts
            .filter_map(|parameter| parameter.trim().strip_prefix("q="))
            .find_map(|quality| quality.parse::<f32>().ok())
            .unwrap_or(1.0);
        let found = match kind.as_str() {
            "text/event-stream" => Wanted::Stream,
            "*/*" | "text/*" => usual,
            "application/json" | "application/problem+json" | "application/*" => Wanted::Document,
            _ => continue,
        };
        if quality > 0.0 && best.is_none_or(|(known, _)| quality > known) {
            best = Some((quality, found));
        }
    }
    best.map(|(_, wanted)| wanted).ok_or_else(|| {
        Problem::new(Code::NotAcceptable, format!("`{}` cannot be given", accept.join(", ")))
            .hint("there are `application/json` and `text/event-stream`")
    })
}

/// The last event that the caller has seen: `Last-Event-ID`.
pub fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let id = id.to_str().unwrap_or_default().trim();
    if id.is_empty() {
        return Ok(None);
    }
    id.parse()
        .map(Some)
        .map_err(|_| Problem::new(Code::BadHeader, format!("`Last-Event-ID: {id}` is no number of an event")))
}
