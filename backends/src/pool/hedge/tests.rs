//! Second copies to scripted servers, on a clock that stands still.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use anabranch_engine::backend::{ChatModel, ChatRequest, ChatResponse, FinishReason, Usage};
use anabranch_engine::value::{Message, Role};
use async_trait::async_trait;
use futures::future::join_all;
use tokio::time::sleep;

use super::super::settings::Policy;
use super::super::{PoolSettings, PooledChat, Replica, ReplicaSettings};
use super::*;

/// Answers after 100 ms, or after as long as its calls are set to take.
#[derive(Debug, Default)]
struct Server {
    name: String,
    /// How long the next calls take until their first token, and whether they fail then.
    next: Mutex<Vec<(u64, bool)>>,
    n_calls: AtomicUsize,
    n_ended: AtomicUsize,
    streams: AtomicBool,
}

#[async_trait]
impl ChatModel for Server {
    fn name(&self) -> &str {
        &self.name
    }

    async fn chat(&self, _request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        self.n_calls.fetch_add(1, Ordering::Relaxed);
        let (wait, fails) = self.next.lock().unwrap().pop().unwrap_or((100, false));
        sleep(Duration::from_millis(wait)).await;
        if fails {
            let (backend, message) = (self.name.clone(), "down".to_owned());
            return Err(Error::Unavailable { backend, message, retry_after: None });
        }
        if self.streams.load(Ordering::Relaxed) {
            (call.on_delta)(&format!("{} ", self.name));
            sleep(Duration::from_secs(3)).await;
            (call.on_delta)("ends");
        }
        self.n_ended.fetch_add(1, Ordering::Relaxed);
        Ok(ChatResponse {
            text: self.name.clone(),
            finish_reason: FinishReason::Stop,
            usage: Usage::default(),
            model: self.name.clone(),
            logprobs: vec![],
            tool_calls: vec![],
        })
    }
}

struct Pool {
    chat: PooledChat,
    servers: Vec<Arc<Server>>,
}

fn pool_with(hedge: Option<HedgeSettings>, max_in_flight: u32) -> Pool {
    let servers: Vec<_> =
        (0..2).map(|n| Arc::new(Server { name: format!("s{n}"), ..Server::default() })).collect();
    let replicas = servers.iter().map(|server| Replica {
        name: server.name.clone(),
        model: server.clone(),
        probe: None,
        settings: ReplicaSettings {
            max_in_flight: NonZeroU32::new(max_in_flight).unwrap(),
            ..ReplicaSettings::default()
        },
    });
    let settings = PoolSettings { hedge, policy: Policy::RoundRobin, ..PoolSettings::default() };
    Pool { chat: PooledChat::new("m", &settings, replicas.collect()), servers }
}

/// A pool that has seen a hundred calls of 100 ms, and sends the next one to the first server.
async fn pool() -> Pool {
    let pool = pool_with(Some(HedgeSettings::default()), 8);
    for _ in 0..50 {
        join_all((0..2).map(|_| pool.ask())).await;
    }
    for server in &pool.servers {
        server.n_calls.store(0, Ordering::Relaxed);
        server.n_ended.store(0, Ordering::Relaxed);
    }
    pool
}

impl Pool {
    async fn ask_as(&self, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let messages = vec![Message { role: Role::User, content: "who?".into() }];
        self.chat.chat(&ChatRequest { messages, ..ChatRequest::default() }, call).await
    }

    async fn ask(&self) -> Result<ChatResponse, Error> {
        self.ask_as(&Call::keyed("k")).await
    }

    /// The next call of the first server takes so long.
    fn slow(&self, millis: u64, fails: bool) {
        self.servers[0].next.lock().unwrap().push((millis, fails));
    }

    fn n_calls(&self) -> [usize; 2] {
        [0, 1].map(|at: usize| self.servers[at].n_calls.load(Ordering::Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_call_is_asked_of_another_server_and_the_first_answer_is_heard() {
    let pool = pool().await;
    pool.slow(5_000, false);
    let start = Instant::now();
    assert_eq!(pool.ask().await.unwrap().text, "s1");
    assert_eq!(start.elapsed(), Duration::from_millis(200), "late after 100 ms, answered 100 ms later");
    let stats = pool.chat.stats();
    assert_eq!((stats.sharing.hedges, stats.sharing.hedges_won), (1, 1));
    assert_eq!(
        (stats.replicas[0].in_flight, stats.replicas[0].outcomes.cancelled),
        (0, 1),
        "given up at once"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_copy_may_still_be_the_first_to_answer() {
    let pool = pool().await;
    pool.slow(150, false);
    let start = Instant::now();
    assert_eq!(pool.ask().await.unwrap().text, "s0");
    assert_eq!(start.elapsed(), Duration::from_millis(150));
    let stats = pool.chat.stats();
    assert_eq!((stats.sharing.hedges, stats.sharing.hedges_won), (1, 0));
    assert_eq!((stats.replicas[1].in_flight, stats.replicas[1].outcomes.cancelled), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn of_two_streams_one_is_shown() {
    for (wait, shown) in [(5_000, ["s1 ", "ends"]), (150, ["s0 ", "ends"])] {
        let pool = pool().await;
        pool.servers.iter().for_each(|server| server.streams.store(true, Ordering::Relaxed));
        pool.slow(wait, false);
        let pieces = Mutex::new(Vec::new());
        let on_delta = |piece: &str| pieces.lock().unwrap().push(piece.to_owned());
        let answer = pool.ask_as(&Call { on_delta: &on_delta, ..Call::keyed("k") }).await.unwrap();
        assert_eq!(*pieces.lock().unwrap(), shown);
        assert_eq!(answer.text, shown[0].trim());
        assert_eq!(
            pool.servers.iter().map(|server| server.n_ended.load(Ordering::Relaxed)).sum::<usize>(),
            1
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_begun_is_not_late_however_long_it_takes() {
    let pool = pool().await;
    pool.servers[0].streams.store(true, Ordering::Relaxed);
    assert_eq!(pool.ask().await.unwrap().text, "s0");
    assert_eq!(pool.n_calls(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn when_one_copy_fails_the_other_is_waited_for() {
    let pool = pool().await;
    pool.slow(150, true);
    assert_eq!(pool.ask().await.unwrap().text, "s1");
    let pool = self::pool().await;
    pool.slow(300, false);
    pool.servers[1].next.lock().unwrap().push((50, true));
    assert_eq!(pool.ask().await.unwrap().text, "s0");
    let pool = self::pool().await;
    pool.slow(150, true);
    pool.servers[1].next.lock().unwrap().push((100, true));
    assert!(matches!(pool.ask().await, Err(Error::Unavailable { backend, .. }) if backend == "s0"));
    assert_eq!(pool.n_calls(), [1, 1], "there is no third server");
}

#[tokio::test(start_paused = true)]
async fn calls_with_effects_are_never_asked_twice_and_neither_is_any_call_unless_it_is_turned_on() {
    let pool = pool().await;
    pool.slow(5_000, false);
    assert_eq!(pool.ask_as(&Call { is_idempotent: false, ..Call::keyed("k") }).await.unwrap().text, "s0");
    assert_eq!(pool.n_calls(), [1, 0]);
    let pool = pool_with(None, 8);
    for _ in 0..50 {
        join_all((0..2).map(|_| pool.ask())).await;
    }
    pool.slow(5_000, false);
    assert_eq!(pool.ask().await.unwrap().text, "s0");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_late_before_enough_has_been_seen() {
    let pool = pool_with(Some(HedgeSettings::default()), 8);
    pool.slow(5_000, false);
    assert_eq!(pool.ask().await.unwrap().text, "s0");
}

#[tokio::test(start_paused = true)]
async fn no_more_second_copies_are_sent_than_the_budget_allows() {
    let pool = pool().await;
    pool.servers.iter().for_each(|server| *server.next.lock().unwrap() = vec![(5_000, false); 400]);
    let answers = join_all((0..8).map(|_| pool.ask())).await;
    assert!(answers.iter().all(Result::is_ok));
    let sharing = pool.chat.stats().sharing;
    // A hundred calls and these have saved up five.
    assert_eq!((sharing.hedges, sharing.hedges_denied), (5, 3));
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_waits_for_no_place() {
    let pool = pool_with(Some(HedgeSettings::default()), 1);
    for _ in 0..50 {
        join_all((0..2).map(|_| pool.ask())).await;
    }
    pool.servers.iter().for_each(|server| *server.next.lock().unwrap() = vec![(5_000, false)]);
    let start = Instant::now();
    join_all((0..2).map(|_| pool.ask())).await;
    assert_eq!(start.elapsed().as_secs(), 5);
    let sharing = pool.chat.stats().sharing;
    assert_eq!((sharing.hedges, sharing.hedges_denied), (0, 2));
}

#[test]
fn what_is_late_follows_the_latest_calls() {
    let settings = HedgeSettings { window: NonZeroUsize::new(100).unwrap(), ..HedgeSettings::default() };
    let hedger = Hedger::new(settings);
    for millis in 1..=49 {
        hedger.waited(Duration::from_millis(millis));
        assert_eq!(hedger.begin(), None);
    }
    for millis in 50..=116 {
        hedger.waited(Duration::from_millis(millis));
    }
    // Worked out after the 50th and every 16th after it; the last time of 17 to 114.
    let late = hedger.begin().unwrap().as_millis();
    assert!((105..=112).contains(&late), "{late}");
    for _ in 0..200 {
        hedger.waited(Duration::from_secs(1));
    }
    assert_eq!(hedger.begin(), Some(Duration::from_secs(1)));
}
