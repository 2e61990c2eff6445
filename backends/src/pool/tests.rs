//! A pool over real connections: what is given up is closed at its server, and its place is free.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error};
use anabranch_engine::value::{Message, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::settings::{HedgeSettings, Policy};
use super::*;
use crate::chat::{OpenAiChat, OpenAiSettings};

/// How a streamed answer begins.
const BEGINNING: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
    data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one \"}}]}\n\n";
/// And how it ends.
const END: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"two\"},\"finish_reason\":\"stop\"}]}\n\n\
    data: [DONE]\n\n";

/// Somebody to whom calls are sent.
struct Server(TcpListener);

impl Server {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// The next request, read up to its last byte.
    async fn request(&self) -> TcpStream {
        let (mut socket, _) = self.0.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"}") {
            assert!(socket.read_buf(&mut read).await.unwrap() > 0, "it ends with its body");
        }
        socket
    }

    async fn answer(&self) {
        let mut socket = self.request().await;
        socket.write_all(format!("{BEGINNING}{END}").as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
    }
}

/// Waits until the other side has closed, or broken off, the connection.
async fn closed(mut socket: TcpStream) {
    let mut byte = [0];
    while socket.read(&mut byte).await.is_ok_and(|n_read| n_read > 0) {}
}

fn pool(servers: &[&Server], max_in_flight: u32, settings: &PoolSettings) -> Arc<PooledChat> {
    let replicas = servers.iter().map(|server| {
        let url = format!("http://{}", server.0.local_addr().unwrap());
        let settings = OpenAiSettings { model: Some("m".into()), ..OpenAiSettings::new(&url) };
        let settings_of_server = ReplicaSettings {
            max_in_flight: NonZeroU32::new(max_in_flight).unwrap(),
            ..ReplicaSettings::default()
        };
        let model = Arc::new(OpenAiChat::new(settings).unwrap());
        Replica { name: url, model, probe: None, settings: settings_of_server }
    });
    Arc::new(PooledChat::new("m", settings, replicas.collect()))
}

fn question() -> ChatRequest {
    let messages = vec![Message { role: Role::User, content: "who?".into() }];
    ChatRequest { messages, ..ChatRequest::default() }
}

async fn ask(pool: Arc<PooledChat>) -> Result<ChatResponse, Error> {
    pool.chat(&question(), &Call::keyed("k")).await
}

#[tokio::test]
async fn a_call_that_is_given_up_frees_its_place_at_once_and_its_stream_is_closed() {
    let server = Server::start().await;
    let pool = pool(&[&server], 1, &PoolSettings::default());
    let has_begun = Arc::new(Notify::new());
    let first = tokio::spawn({
        let (pool, has_begun) = (pool.clone(), has_begun.clone());
        async move {
            let on_delta = |_: &str| has_begun.notify_one();
            pool.chat(&question(), &Call { on_delta: &on_delta, ..Call::keyed("k") }).await
        }
    });
    let mut socket = server.request().await;
    socket.write_all(BEGINNING.as_bytes()).await.unwrap();
    has_begun.notified().await;
    let second = tokio::spawn(ask(pool.clone()));
    while pool.stats().queued_interactive == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let stats = pool.stats();
    assert_eq!((stats.replicas[0].in_flight, stats.queued_interactive), (1, 0), "the second has its place");
    assert_eq!(stats.replicas[0].outcomes.cancelled, 1);
    // Were the stream still open, this would wait for as long as a call may take.
    closed(socket).await;
    server.answer().await;
    assert_eq!(second.await.unwrap().unwrap().text, "one two");
    assert_eq!(pool.stats().replicas[0].in_flight, 0);
}

#[tokio::test]
async fn the_copy_that_was_not_heard_is_closed_at_its_server() {
    let (quick, slow) = (Server::start().await, Server::start().await);
    let hedge = HedgeSettings {
        percentile: 0.5,
        min_samples: NonZeroUsize::MIN,
        budget: 1.0,
        ..HedgeSettings::default()
    };
    let settings = PoolSettings { hedge: Some(hedge), policy: Policy::RoundRobin, ..PoolSettings::default() };
    let pool = pool(&[&quick, &slow], 8, &settings);
    let seen = tokio::join!(ask(pool.clone()), quick.answer());
    assert!(seen.0.is_ok(), "after it, it is known what late is");
    let call = tokio::spawn(ask(pool.clone()));
    // It goes to the second server first, which never answers.
    let socket = slow.request().await;
    quick.answer().await;
    assert_eq!(call.await.unwrap().unwrap().text, "one two");
    closed(socket).await;
    let stats = pool.stats();
    assert_eq!((stats.sharing.hedges, stats.sharing.hedges_won), (1, 1));
    assert!(stats.replicas.iter().all(|replica| replica.in_flight == 0));
    assert_eq!(stats.replicas[1].outcomes.cancelled, 1);
}
