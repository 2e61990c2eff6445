//! Putting an answer together from server-sent events, within limits of size and time.

use std::time::Duration;

use anabranch_engine::backend::{Call, ChatResponse, Error};
use eventsource_stream::{EventStreamError, Eventsource};
use futures::StreamExt;
use reqwest::Response;

use super::wire::{Assembly, Completion};
use crate::http::{Failures, parse, pieces};

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
            Some(Err(EventStreamError::Transport(broken))) => return Err(broken.into_error(failures)),
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
