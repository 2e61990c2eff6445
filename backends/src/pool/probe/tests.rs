//! What looks at servers change: on a clock that stands still.

use std::sync::Mutex;
use std::time::Duration;

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Usage};
use anabranch_engine::value::{Message, Role};
use tokio::time::sleep;

use super::super::settings::{AffinitySettings, Policy};
use super::super::stats::BreakerState;
use super::super::{PoolSettings, PooledChat, Replica, ReplicaSettings};
use super::*;

/// Answers at once, and is looked at.
#[derive(Debug, Default)]
struct Server {
    is_away: AtomicBool,
    /// What its metrics are, if it has any.
    metrics: Mutex<Option<String>>,
    n_calls: std::sync::atomic::AtomicUsize,
}

#[async_trait]
impl Probe for Server {
    async fn look(&self, path: &str, _: usize) -> Option<Vec<u8>> {
        if self.is_away.load(Ordering::Relaxed) {
            // It takes the connection in, and says nothing.
            std::future::pending::<()>().await;
        }
        if path == METRICS { self.metrics.lock().unwrap().clone().map(Into::into) } else { Some(vec![]) }
    }
}

#[async_trait]
impl ChatModel for Server {
    fn name(&self) -> &'static str {
        "m"
    }

    async fn chat(&self, _: &ChatRequest, _: &Call<'_>) -> Result<ChatResponse, Error> {
        self.n_calls.fetch_add(1, Ordering::Relaxed);
        Ok(ChatResponse {
            text: String::new(),
            finish_reason: FinishReason::Stop,
            usage: Usage::default(),
            model: "m".into(),
            logprobs: vec![],
            tool_calls: vec![],
        })
    }
}

struct Pool {
    chat: PooledChat,
    servers: [Arc<Server>; 2],
    n_asked: std::sync::atomic::AtomicUsize,
}

/// Two servers that have been looked at once.
async fn pool(policy: Policy, metrics: [Option<&str>; 2]) -> Pool {
    let servers = metrics.map(|metrics| {
        Arc::new(Server { metrics: Mutex::new(metrics.map(str::to_owned)), ..Server::default() })
    });
    let replicas = servers.iter().enumerate().map(|(idx, server)| Replica {
        name: format!("s{idx}"),
        model: server.clone(),
        probe: Some(server.clone()),
        settings: ReplicaSettings::default(),
    });
    let settings = PoolSettings {
        policy,
        affinity: AffinitySettings { exploration: 0.0, ..AffinitySettings::default() },
        probe: Some(ProbeSettings { metrics: true, ..ProbeSettings::default() }),
        ..PoolSettings::default()
    };
    let chat = PooledChat::new("m", &settings, replicas.collect());
    let pool = Pool { chat, servers, n_asked: 0.into() };
    // Looks begin with the first call.
    pool.ask(1).await;
    sleep(Duration::from_millis(1)).await;
    pool
}

impl Pool {
    /// How many of `n` calls, each about something else, each server got.
    async fn ask(&self, n: usize) -> [usize; 2] {
        let count = || self.servers.each_ref().map(|server| server.n_calls.load(Ordering::Relaxed));
        let before = count();
        for _ in 0..n {
            let number = self.n_asked.fetch_add(1, Ordering::Relaxed);
            let content = format!("{number:04} ").repeat(100).into();
            let messages = vec![Message { role: Role::User, content }];
            let request = ChatRequest { messages, ..ChatRequest::default() };
            self.chat.chat(&request, &Call::keyed("k")).await.unwrap();
        }
        let after = count();
        [after[0] - before[0], after[1] - before[1]]
    }

    fn breaker(&self) -> BreakerState {
        self.chat.stats().replicas[0].breaker
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stands_still_is_found_out_before_a_call_waits_for_it_and_so_is_its_return() {
    let pool = pool(Policy::RoundRobin, [None, None]).await;
    assert_eq!(pool.ask(8).await, [4, 4]);
    pool.servers[0].is_away.store(true, Ordering::Relaxed);
    // The next look, and as long as it may take.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(pool.breaker(), BreakerState::Open);
    assert_eq!(pool.ask(8).await, [0, 8]);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(pool.ask(8).await, [0, 8], "it is not tried as long as looks fail");
    pool.servers[0].is_away.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(pool.breaker(), BreakerState::HalfOpen);
    let [n_there, _] = pool.ask(8).await;
    assert!(n_there >= 1 && pool.breaker() == BreakerState::Closed, "the first call has closed it");
}

#[tokio::test(start_paused = true)]
async fn a_server_with_a_queue_of_its_own_or_with_old_numbers_counts_as_full() {
    let waiting = |n: u32| format!("vllm:num_requests_waiting 0{n}\nvllm:kv_cache_usage_perc 0.0\n");
    let (busy, idle) = (waiting(5), waiting(0));
    let pool = pool(Policy::PrefixAffinity, [Some(&busy), Some(&idle)]).await;
    assert_eq!(pool.ask(20).await, [0, 20]);
    assert_eq!(pool.chat.stats().replicas[0].waiting_there, Some(5));
    *pool.servers[0].metrics.lock().unwrap() = Some(idle);
    sleep(Duration::from_secs(2)).await;
    let [n_there, _] = pool.ask(20).await;
    assert!((1..20).contains(&n_there), "{n_there}: new prompts are spread again");
    *pool.servers[0].metrics.lock().unwrap() = None;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(pool.ask(20).await, [0, 20], "nobody knows how full it is");
}

#[test]
fn what_vllm_says_of_its_queue_and_cache_is_read() {
    let now = Instant::now();
    let text = "# TYPE vllm:num_requests_waiting gauge\n\
                vllm:num_requests_waiting{engine=\"0\",model_name=\"qwen\"} 3.0\n\
                vllm:num_requests_waiting_by_reason{engine=\"0\"} 9.0\n\
                vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"qwen\"} 0.25\n";
    assert_eq!(gauges(text, now), Some(Gauges { waiting: 3, cache_usage: 0.25, until: now }));
    assert_eq!(gauges("process_cpu_seconds_total 12\n", now), None);
}
