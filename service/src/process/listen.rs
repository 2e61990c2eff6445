//! Answering connections: how many at once, how long each may take to ask, and how they end when the process does.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Longest time in which the headers of a request must have come, and that a connection may be idle.
const HEADERS: Duration = Duration::from_secs(30);
/// Connections that are open at once; more wait to be accepted.
const CONNECTIONS: usize = 8_192;
/// Pause after a connection could not be accepted, for want of file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers requests until `closing`, and returns once every answer that was under way has left.
pub(super) async fn serve(listener: TcpListener, router: Router, closing: CancellationToken) {
    serve_with(listener, router, closing, HEADERS).await;
}

async fn serve_with(listener: TcpListener, router: Router, closing: CancellationToken, headers: Duration) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(headers);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some((stream, place)) = closing.run_until_cancelled(accept(&listener, &places)).await {
        tokio::spawn(answer(stream, builder.clone(), router.clone(), closing.clone(), place));
    }
    drop(listener);
    // Every connection has a place, so that all of them are free when the last one is closed.
    let _all = places.acquire_many(u32::try_from(CONNECTIONS).unwrap_or(u32::MAX)).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // What is written goes out at once: answers are small, and events should not wait for the next.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps its delay");
                }
                return (stream, place);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(
    stream: TcpStream,
    builder: Builder<TokioExecutor>,
    router: Router,
    closing: CancellationToken,
    place: Option<OwnedSemaphorePermit>,
) {
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Peers come and go; what matters was told where it happened.
        tracing::trace!(%error, "a connection broke off");
    }
    drop(place);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;

    use super::serve_with;

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_client_that_does_not_finish_its_headers_is_closed_and_others_are_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (closing, router) = (CancellationToken::new(), Router::new().route("/", get(async || "here")));
        let serving = tokio::spawn(serve_with(listener, router, closing.clone(), Duration::from_millis(300)));
        let begun = Instant::now();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        let mut quick = TcpStream::connect(address).await.unwrap();
        quick.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        tokio::time::timeout(LIMIT, quick.read_to_string(&mut text)).await.unwrap().unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("here"), "{text}");
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(LIMIT, slow.read_to_end(&mut rest)).await;
        assert!(closed.is_ok() && begun.elapsed() >= Duration::from_millis(300), "{closed:?}: {rest:?}");
        // One that says nothing does not keep the process from ending.
        let silent = TcpStream::connect(address).await.unwrap();
        closing.cancel();
        tokio::time::timeout(LIMIT, serving).await.expect("it ends").unwrap();
        drop(silent);
    }
}
