//! What happens in a job of this process, for readers of other processes on the same database.
//!
//! No part of the API: only processes have the pass for it, and whoever has none is told that there is no such path.
//! Lines of JSON: first what runs ([`Beginning`]), then each thing that happens ([`Live`]); the end of the answer is
//! the end of the job here.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{interval, timeout};

use super::problem::{Code, Problem};
use super::{App, layers};
use crate::live::Beginning;
use crate::runner::{Heard, Live};

/// Where it is.
pub const PATH: &str = "/internal/jobs/{id}/live";
/// Lines that wait for a slow reader.
const BEHIND: usize = 32;
/// How often something is sent, so that the reader knows that it is still told.
const PING: Duration = Duration::from_secs(5);
/// How long a reader may take nothing before it is given up.
const STUCK: Duration = Duration::from_secs(15);

/// The endpoint, beside those of the API.
pub fn routes() -> Router<App> {
    Router::new().route(PATH, get(live))
}

async fn live(
    State(app): State<App>,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let pass = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if !pass.is_some_and(|pass| app.relay.admits(pass, &id)) {
        return Err(layers::no_route_to(uri.path()));
    }
    let heard = app.runner.hear(&id).ok_or_else(|| Problem::not_found("job", &id))?;
    let permit = app.streams.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Problem::new(Code::Overloaded, "too many streams are open"))?;
    let (to_reader, lines) = mpsc::channel(BEHIND);
    tokio::spawn(tell(app, heard, to_reader, permit));
    let parts = futures::stream::unfold(lines, |mut lines| async move {
        Some((Ok::<_, std::convert::Infallible>(lines.recv().await?), lines))
    });
    let mut response = Body::from_stream(parts).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Tells what happens until the job has left this process; holds its place among the streams until then.
async fn tell(app: App, heard: Heard, to_reader: mpsc::Sender<Bytes>, permit: OwnedSemaphorePermit) {
    let Heard { live: mut told, running, epoch, .. } = heard;
    let send = async |line: Bytes| matches!(timeout(STUCK, to_reader.send(line)).await, Ok(Ok(())));
    let mut is_heard = send(line(&Beginning { epoch, running })).await;
    let mut pings = interval(PING);
    while is_heard {
        // While the process drains, its jobs go on and are told.
        let live = tokio::select! {
            biased;
            () = to_reader.closed() => break,
            told = told.recv() => match told {
                Ok(live) => live,
                Err(RecvError::Lagged(missed)) => Live::Missed(missed),
                Err(RecvError::Closed) => break,
            },
            () = app.handed_over.cancelled() => break,
            _ = pings.tick() => {
                is_heard = send(Bytes::from_static(b"\n")).await;
                continue;
            }
        };
        is_heard = send(line(&live)).await && !matches!(live, Live::Left);
    }
    drop(permit);
}

fn line(told: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(told).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
