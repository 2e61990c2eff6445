//! Who leads and who follows; and fan-outs through a pool whose servers say what they had to read.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anabranch_engine::backend::{
    Call, Caller, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Usage,
};
use anabranch_engine::value::{Message, Role};
use async_trait::async_trait;
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::super::settings::Policy;
use super::super::{PoolSettings, PooledChat, Replica, ReplicaSettings};
use super::*;

const PREFIX_BYTES: usize = 8_000;

/// Reads a prefix in a second, unless it has it; then writes for a second.
#[derive(Debug, Default)]
struct Reading {
    name: String,
    /// Prefixes that have been read.
    cached: Mutex<BTreeSet<String>>,
    /// How often each was read.
    read: Mutex<BTreeMap<String, usize>>,
    n_calls: AtomicUsize,
    /// Calls that fail after half a second.
    fail_first: AtomicUsize,
    /// Whether it says when it begins to write.
    streams: bool,
}

#[async_trait]
impl ChatModel for Reading {
    fn name(&self) -> &str {
        &self.name
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let n = self.n_calls.fetch_add(1, Ordering::Relaxed);
        if n < self.fail_first.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(500)).await;
            return Err(Error::Rejected { backend: self.name.clone(), message: "no".into() });
        }
        let prefix = request.messages[0].content.to_string();
        if !self.cached.lock().unwrap().contains(&prefix) {
            *self.read.lock().unwrap().entry(prefix.clone()).or_default() += 1;
            sleep(Duration::from_secs(1)).await;
            self.cached.lock().unwrap().insert(prefix);
        }
        if self.streams {
            (call.on_first_token)();
        }
        sleep(Duration::from_secs(1)).await;
        Ok(ChatResponse {
            text: "done".into(),
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
    servers: Vec<Arc<Reading>>,
}

fn pool(n_servers: usize, streams: bool, settings: &PoolSettings) -> Pool {
    let servers: Vec<_> = (0..n_servers)
        .map(|n| Arc::new(Reading { name: format!("s{n}"), streams, ..Reading::default() }))
        .collect();
    let replicas = servers.iter().map(|server| Replica {
        name: server.name.clone(),
        model: server.clone(),
        probe: None,
        settings: ReplicaSettings::default(),
    });
    Pool { chat: PooledChat::new("m", settings, replicas.collect()), servers }
}

fn long(name: &str) -> String {
    name.repeat(PREFIX_BYTES / name.len())
}

impl Pool {
    async fn ask(&self, prefix: &str, question: usize) -> Result<ChatResponse, Error> {
        let messages = vec![
            Message { role: Role::System, content: prefix.into() },
            Message { role: Role::User, content: format!("question {question}").into() },
        ];
        let caller = Caller::default();
        let call = Call { caller: &caller, ..Call::keyed("k") };
        self.chat.chat(&ChatRequest { messages, ..ChatRequest::default() }, &call).await
    }

    async fn fan_out(&self, prefix: &str, n: usize) -> Vec<Result<ChatResponse, Error>> {
        join_all((0..n).map(|question| self.ask(prefix, question))).await
    }

    /// How often any prefix was read, by server.
    fn n_read(&self) -> Vec<usize> {
        self.servers.iter().map(|server| server.read.lock().unwrap().values().sum()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_reads_its_prefix_once_a_server_and_takes_no_longer() {
    for (n_servers, streams) in [(1, true), (4, true), (1, false)] {
        let pool = pool(n_servers, streams, &PoolSettings::default());
        let start = Instant::now();
        let answers = pool.fan_out(&long("p"), 32).await;
        assert!(answers.iter().all(Result::is_ok));
        let n_used = pool.servers.iter().filter(|server| server.n_calls.load(Ordering::Relaxed) > 0).count();
        assert_eq!(pool.n_read().iter().sum::<usize>(), n_used, "{:?}", pool.n_read());
        // Without a first token, the leader's end is what the others wait for, up to the bound.
        let expected = if streams { 2 } else { 3 };
        assert_eq!(start.elapsed().as_secs(), expected);
        let sharing = pool.chat.stats().sharing;
        assert_eq!((sharing.led, sharing.followed), (n_used as u64, 32 - n_used as u64));
    }
}

#[tokio::test(start_paused = true)]
async fn without_it_every_call_reads_the_prefix() {
    let warmup = WarmupSettings { enabled: false, ..WarmupSettings::default() };
    let pool = pool(1, true, &PoolSettings { warmup, ..PoolSettings::default() });
    pool.fan_out(&long("p"), 32).await;
    assert_eq!(pool.n_read(), [32]);
    assert_eq!(pool.chat.stats().sharing.led, 0);
}

#[tokio::test(start_paused = true)]
async fn a_prefix_that_is_warm_or_short_or_another_is_not_waited_for() {
    let pool = pool(1, true, &PoolSettings::default());
    pool.fan_out(&long("p"), 2).await;
    let start = Instant::now();
    pool.fan_out(&long("p"), 8).await;
    assert_eq!(start.elapsed(), Duration::from_secs(1), "it has been read before");
    // 512 tokens are 2,048 bytes.
    pool.fan_out(&"s".repeat(2_000), 4).await;
    assert_eq!(pool.n_read(), [1 + 4]);
    let start = Instant::now();
    let (one, two) = (long("x"), long("y"));
    let answers = tokio::join!(pool.ask(&one, 0), pool.ask(&two, 0));
    assert!(answers.0.is_ok() && answers.1.is_ok());
    assert_eq!(start.elapsed(), Duration::from_secs(2), "side by side");
    assert_eq!(pool.chat.stats().sharing.followed, 1);
}

#[tokio::test(start_paused = true)]
async fn each_server_has_a_leader_of_its_own_whatever_the_policy() {
    let settings = PoolSettings { policy: Policy::RoundRobin, ..PoolSettings::default() };
    let pool = pool(4, true, &settings);
    pool.fan_out(&long("p"), 32).await;
    assert_eq!(pool.n_read(), [1, 1, 1, 1]);
    let settings = PoolSettings { policy: Policy::External, ..PoolSettings::default() };
    let external = self::pool(1, true, &settings);
    external.fan_out(&long("p"), 4).await;
    assert_eq!(external.n_read(), [4], "nobody knows which server a router chooses");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_fails_or_goes_away_is_followed_by_another() {
    let pool = pool(1, true, &PoolSettings::default());
    pool.servers[0].fail_first.store(2, Ordering::Relaxed);
    let start = Instant::now();
    let answers = pool.fan_out(&long("p"), 8).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 2);
    assert_eq!(pool.n_read(), [1]);
    assert_eq!(start.elapsed(), Duration::from_secs(3), "twice half a second, then as always");
    let prefix = long("q");
    let mut leader = Box::pin(pool.ask(&prefix, 0));
    let mut follower = Box::pin(pool.ask(&prefix, 1));
    assert!(futures::poll!(&mut leader).is_pending() && futures::poll!(&mut follower).is_pending());
    drop(leader);
    assert!(follower.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_no_longer_than_it_may() {
    let max_wait = Duration::from_millis(300);
    let warmup = WarmupSettings { max_wait, ..WarmupSettings::default() };
    let pool = pool(1, true, &PoolSettings { warmup, ..PoolSettings::default() });
    let start = Instant::now();
    pool.fan_out(&long("p"), 4).await;
    assert_eq!(start.elapsed(), Duration::from_millis(2_300));
    assert_eq!((pool.n_read(), pool.chat.stats().sharing.followed_late), (vec![4], 3));
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_goes_away_frees_its_place() {
    let pool = pool(1, true, &PoolSettings::default());
    let prefix = long("p");
    let mut leader = Box::pin(pool.ask(&prefix, 0));
    let mut follower = Box::pin(pool.ask(&prefix, 1));
    assert!(futures::poll!(&mut leader).is_pending() && futures::poll!(&mut follower).is_pending());
    assert_eq!(pool.chat.stats().replicas[0].in_flight, 2);
    drop(follower);
    assert_eq!(pool.chat.stats().replicas[0].in_flight, 1);
    assert!(leader.await.is_ok());
}

fn prefix(text: &str) -> Prefix {
    Prefix::new(7, &[Message { role: Role::User, content: text.into() }])
}

#[test]
fn what_is_waited_for_is_what_the_leader_is_the_first_to_read() {
    let settings = WarmupSettings { min_tokens: NonZeroU32::new(64).unwrap(), ..WarmupSettings::default() };
    let mut warmups = Warmups::new(&settings, 1);
    let blocks = |letters: &str| -> Prefix {
        let text: String = letters.chars().map(|letter| letter.to_string().repeat(64)).collect();
        prefix(&text)
    };
    // Four blocks are warm, of eight.
    let Standing::Leads(id) = warmups.stand(0, &blocks("aaaabcde"), 4) else { panic!() };
    assert!(matches!(warmups.stand(0, &blocks("aaaaxyz"), 4), Standing::Free), "shares the warm part alone");
    assert!(
        matches!(warmups.stand(0, &blocks("aaaabcx"), 7), Standing::Free),
        "shares too little of the rest"
    );
    // Although it was sent, it has not been read.
    let Standing::Follows(following) = warmups.stand(0, &blocks("aaaabcdefg"), 8) else { panic!() };
    assert_eq!(following.common, 8);
    warmups.end(0, id, true);
    warmups.end(0, id, false);
    assert!(matches!(warmups.stand(0, &blocks("aaaabcdefg"), 8), Standing::Free));
    assert!(warmups.warming[0].is_empty());
}
