//! Putting an answer together from server-sent events, within limits of size and time.

use std::time::Duration;

use anabranch_engine::backend::{Call, ChatResponse, Error};
use reqwest::Response;

use super::answer::Assembly;
use super::tools::Names;
use super::wire::Completion;
use crate::http::{Events, Failures, parse, pieces};

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
    asked: (&str, &Names),
    limits: StreamLimits,
    call: &Call<'_>,
    failures: &Failures,
) -> Result<ChatResponse, Error> {
    let pieces = std::pin::pin!(pieces(response, limits.max_bytes));
    let mut events = Events::new(pieces);
    let mut assembly = Assembly::streamed();
    let (mut is_first, mut is_begun) = (true, false);
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
            Some(event) => event.map_err(|broken| broken.into_error(failures))?,
            // Some servers leave out `[DONE]`; then the reason for the end tells a whole answer from a cut one.
            None if assembly.is_finished() => break,
            None => return Err(failures.unavailable("the stream broke off before the answer was complete")),
        };
        if event.trim_ascii() == b"[DONE]" {
            break;
        }
        let piece: Completion = parse(&event, failures)?;
        if let Some(delta) = assembly.add(piece, failures)? {
            if !is_begun {
                (call.on_first_token)();
                is_begun = true;
            }
            (call.on_delta)(&delta);
        }
    }
    assembly.finish(asked, failures)
}
