//! Reading the body of an answer, whole or as server-sent events, within limits of size and time.

use std::time::Duration;

use anabranch_engine::backend::{Call, ChatResponse, Error};
use bytes::Bytes;
use eventsource_stream::{EventStreamError, Eventsource};
use futures::{Stream, StreamExt};
use reqwest::Response;

use super::failure::Failures;
use super::wire::{Assembly, Completion, parse};

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the connection broke")]
    Transport(#[source] reqwest::Error),
    #[error("too large")]
    TooLarge,
}

/// The pieces of a body, until they are more than `max_bytes`.
fn pieces(response: Response, max_bytes: usize) -> impl Stream<Item = Result<Bytes, Broken>> {
    let mut left = max_bytes;
    response.bytes_stream().map(move |piece| {
        let piece = piece.map_err(Broken::Transport)?;
        left = left.checked_sub(piece.len()).ok_or(Broken::TooLarge)?;
        Ok(piece)
    })
}

fn broken(broken: &Broken, max_bytes: usize, failures: &Failures) -> Error {
    match broken {
        Broken::Transport(error) => failures.transport(error),
        Broken::TooLarge => failures.garbled(format!("the answer is larger than {max_bytes} bytes")),
    }
}

/// The whole body, if it has at most `max_bytes`.
pub(super) async fn read_body(
    response: Response,
    max_bytes: usize,
    failures: &Failures,
) -> Result<Vec<u8>, Error> {
    if response.content_length().is_some_and(|length| length > max_bytes as u64) {
        return Err(broken(&Broken::TooLarge, max_bytes, failures));
    }
    let mut body = Vec::new();
    let mut pieces = std::pin::pin!(pieces(response, max_bytes));
    while let Some(piece) = pieces.next().await {
        body.extend_from_slice(&piece.map_err(|error| broken(&error, max_bytes, failures))?);
    }
    Ok(body)
}

/// As much of the body as fits into `max_bytes`; what breaks off is taken as it is.
pub(super) async fn read_start(response: Response, max_bytes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let mut pieces = std::pin::pin!(pieces(response, max_bytes));
    while let Some(Ok(piece)) = pieces.next().await {
        body.extend_from_slice(&piece);
    }
    body
}

/// What bounds the reading of a stream.
#[derive(Clone, Copy)]
pub(super) struct StreamLimits {
    /// Most bytes of the whole stream.
    pub(super) max_bytes: usize,
    /// Longest wait after an event for the next. The first one may take longer: the server may queue the request.
    pub(super) idle: Duration,
}

/// Puts an answer together from server-sent events.
pub(super) async fn read_events(
    response: Response,
    asked: &str,
    limits: StreamLimits,
    call: &Call<'_>,
    failures: &Failures,
) -> Result<ChatResponse, Error> {
    let mut events = std::pin::pin!(pieces(response, limits.max_bytes).eventsource());
    let mut assembly = Assembly::default();
    let mut is_first = true;
    loop {
        let next = if is_first {
            events.next().await
        } else {
            tokio::time::timeout(limits.idle, events.next()).await.map_err(|_| {
                failures.timed_out(format!("the stream stood still for {:?} (`idle_timeout`)", limits.idle))
            })?
        };
        is_first = false;
        let event = match next {
            Some(Ok(event)) => event,
            Some(Err(EventStreamError::Transport(error))) => {
                return Err(broken(&error, limits.max_bytes, failures));
            }
            Some(Err(error)) => return Err(failures.garbled(format!("no event stream: {error}"))),
            // Some servers leave out `[DONE]`; then the reason for the end tells a whole answer from a cut one.
            None if assembly.is_finished() => break,
            None => return Err(failures.unavailable("the stream broke off before the answer was complete")),
        };
        if event.data.trim() == "[DONE]" {
            break;
        }
        let piece: Completion = parse(event.data.as_bytes(), failures)?;
        if let Some(delta) = assembly.add(piece, failures)? {
            (call.on_delta)(&delta);
        }
    }
    assembly.finish(asked, failures)
}
