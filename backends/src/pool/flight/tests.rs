//! Flights over a scripted model that counts its calls, on a clock that stands still.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anabranch_engine::backend::{ChatModel, FinishReason};
use anabranch_engine::value::{Message, Role};
use async_trait::async_trait;
use futures::future::join_all;
use tokio::time::sleep;

use super::super::{PoolSettings, PooledChat, Replica, ReplicaSettings};
use super::*;

/// A server that says "one ", "two ", "three", a second each, and counts.
#[derive(Debug, Default)]
struct Counting {
    n_calls: AtomicUsize,
    fails: AtomicBool,
}

#[async_trait]
impl ChatModel for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    async fn chat(&self, _request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let n = self.n_calls.fetch_add(1, Ordering::Relaxed) + 1;
        for (at, word) in ["one ", "two ", "three"].into_iter().enumerate() {
            sleep(Duration::from_secs(1)).await;
            if self.fails.load(Ordering::Relaxed) {
                return Err(Error::Rejected { backend: "counting".into(), message: "no".into() });
            }
            if at == 0 {
                (call.on_first_token)();
            }
            (call.on_delta)(word);
        }
        Ok(ChatResponse {
            text: format!("one two three: {n}"),
            finish_reason: FinishReason::Stop,
            usage: Usage { prompt_tokens: 10, completion_tokens: 3, ..Usage::default() },
            model: "counting".to_owned(),
            tool_calls: Vec::new(),
            logprobs: vec![],
        })
    }
}

struct Pool {
    chat: PooledChat,
    model: Arc<Counting>,
}

fn pool_with(settings: &PoolSettings) -> Pool {
    let model = Arc::new(Counting::default());
    let replica =
        Replica { name: "s".into(), model: model.clone(), probe: None, settings: ReplicaSettings::default() };
    Pool { chat: PooledChat::new("m", settings, vec![replica]), model }
}

fn pool() -> Pool {
    pool_with(&PoolSettings::default())
}

fn caller(tenant: &str, priority: Priority) -> Caller {
    Caller { tenant: Some(tenant.into()), priority, ..Caller::default() }
}

fn request(question: &str) -> ChatRequest {
    let messages = vec![Message { role: Role::User, content: question.into() }];
    ChatRequest { messages, temperature: Some(0.0), ..ChatRequest::default() }
}

/// What a call saw, and what came of it.
struct Seen {
    pieces: Vec<String>,
    n_first: usize,
    result: Result<ChatResponse, Error>,
}

impl Pool {
    async fn ask_as(&self, caller: &Caller, request: &ChatRequest, deadline: Option<Instant>) -> Seen {
        let (pieces, n_first) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
        let on_delta = |piece: &str| pieces.lock().unwrap().push(piece.to_owned());
        let on_first_token = || {
            n_first.fetch_add(1, Ordering::Relaxed);
        };
        let call = Call {
            caller,
            deadline,
            on_delta: &on_delta,
            on_first_token: &on_first_token,
            ..Call::keyed("k")
        };
        let result = self.chat.chat(request, &call).await;
        Seen { pieces: pieces.into_inner().unwrap(), n_first: n_first.into_inner(), result }
    }

    async fn ask(&self, request: &ChatRequest) -> Seen {
        self.ask_as(&caller("a", Priority::Interactive), request, None).await
    }

    fn n_calls(&self) -> usize {
        self.model.n_calls.load(Ordering::Relaxed)
    }
}

fn paid(seen: &Seen) -> Usage {
    seen.result.as_ref().unwrap().usage
}

#[tokio::test(start_paused = true)]
async fn identical_calls_share_one_and_one_of_them_pays() {
    let pool = pool();
    let asked = request("who?");
    let seen = join_all((0..5).map(|_| pool.ask(&asked))).await;
    assert_eq!(pool.n_calls(), 1);
    assert!(seen.iter().all(|seen| seen.result.as_ref().unwrap().text == "one two three: 1"));
    let full = Usage { prompt_tokens: 10, completion_tokens: 3, ..Usage::default() };
    assert_eq!(paid(&seen[0]), full);
    assert!(seen[1..].iter().all(|seen| paid(seen) == Usage { shared_calls: 1, ..Usage::default() }));
    assert_eq!(pool.chat.stats().sharing.single_flight, 4);
    assert_eq!(pool.ask(&asked).await.result.unwrap().text, "one two three: 2", "nothing is kept");
}

#[tokio::test(start_paused = true)]
async fn the_pieces_reach_all_and_whoever_comes_late_gets_what_was_missed() {
    let pool = pool();
    let asked = request("who?");
    let late = async {
        sleep(Duration::from_millis(2_500)).await;
        pool.ask(&asked).await
    };
    let (first, second, late) = tokio::join!(pool.ask(&asked), pool.ask(&asked), late);
    assert_eq!(first.pieces, ["one ", "two ", "three"]);
    assert_eq!(second.pieces, first.pieces);
    assert_eq!(late.pieces, ["one two ", "three"]);
    assert!([&first, &second, &late].iter().all(|seen| seen.n_first == 1));
    assert_eq!(pool.n_calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_follows_one_that_is_cancelled_loses_nothing() {
    let pool = pool();
    let asked = request("who?");
    let start = Instant::now();
    let mut first = Box::pin(pool.ask(&asked));
    assert!(futures::poll!(&mut first).is_pending());
    let goes = async {
        tokio::select! {
            _ = &mut first => panic!("it should go"),
            () = sleep(Duration::from_millis(1_500)) => {}
        }
        drop(first);
    };
    let ((), second, third) = tokio::join!(goes, pool.ask(&asked), pool.ask(&asked));
    assert_eq!((pool.n_calls(), start.elapsed().as_secs()), (1, 3), "the same call went on");
    assert_eq!(second.pieces, ["one ", "two ", "three"]);
    assert_eq!(paid(&second).prompt_tokens, 10, "somebody pays");
    assert_eq!(paid(&third).shared_calls, 1);
    assert_eq!(pool.chat.stats().replicas[0].outcomes.cancelled, 0);
}

#[tokio::test(start_paused = true)]
async fn when_the_last_one_goes_the_call_is_given_up() {
    let pool = pool();
    let asked = request("who?");
    let (mut first, mut second) = (Box::pin(pool.ask(&asked)), Box::pin(pool.ask(&asked)));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    drop(first);
    assert_eq!(pool.chat.stats().replicas[0].in_flight, 1);
    drop(second);
    let stats = pool.chat.stats();
    assert_eq!((stats.replicas[0].in_flight, stats.replicas[0].outcomes.cancelled), (0, 1));
    assert!(pool.ask(&asked).await.result.is_ok(), "and the next one begins anew");
    assert_eq!(pool.n_calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn tenants_share_nothing() {
    let pool = pool();
    let (one, other) = (caller("a", Priority::Interactive), caller("b", Priority::Interactive));
    let asked = request("who?");
    let seen = tokio::join!(pool.ask_as(&one, &asked, None), pool.ask_as(&other, &asked, None));
    assert_eq!(pool.n_calls(), 2);
    assert_eq!((paid(&seen.0).shared_calls, paid(&seen.1).shared_calls), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_follows_whom_somebody_waits_for_and_never_the_other_way_round() {
    let pool = pool();
    let (batch, waited) = (caller("a", Priority::Batch), caller("a", Priority::Interactive));
    let asked = request("who?");
    tokio::join!(pool.ask_as(&waited, &asked, None), pool.ask_as(&batch, &asked, None));
    assert_eq!(pool.n_calls(), 1);
    tokio::join!(pool.ask_as(&batch, &asked, None), pool.ask_as(&waited, &asked, None));
    assert_eq!(pool.n_calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_same_or_not_deterministic_is_asked_for_itself() {
    let asks = |change: fn(&mut ChatRequest)| {
        let mut asked = request("who?");
        change(&mut asked);
        asked
    };
    let plain = request("who?");
    for (other, n_calls) in [
        (asks(|_| ()), 1),
        (asks(|asked| asked.max_tokens = Some(5)), 2),
        (asks(|asked| asked.response_schema = Some(serde_json::json!({ "type": "object" }))), 2),
        (asks(|asked| asked.stop = vec!["x".into()]), 2),
        (request("when?"), 2),
    ] {
        let pool = pool();
        tokio::join!(pool.ask(&plain), pool.ask(&other));
        assert_eq!(pool.n_calls(), n_calls, "{other:?}");
    }
    for (change, n_calls) in [
        ((|asked| asked.temperature = Some(0.7)) as fn(&mut ChatRequest), 2),
        (|asked| asked.temperature = None, 2),
        (|asked| (asked.temperature, asked.seed) = (Some(0.7), Some(1)), 1),
    ] {
        let pool = pool();
        let asked = asks(change);
        tokio::join!(pool.ask(&asked), pool.ask(&asked));
        assert_eq!(pool.n_calls(), n_calls, "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_operators_with_effects_and_pools_without_single_flight_share_nothing() {
    let asked = request("who?");
    let pool = pool();
    let call = Call { is_idempotent: false, ..Call::keyed("k") };
    let (one, two) = tokio::join!(pool.chat.chat(&asked, &call), pool.chat.chat(&asked, &call));
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(pool.n_calls(), 2);
    let pool = pool_with(&PoolSettings { single_flight: false, ..PoolSettings::default() });
    tokio::join!(pool.ask(&asked), pool.ask(&asked));
    assert_eq!(pool.n_calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_reaches_all_of_a_flight() {
    let pool = pool();
    pool.model.fails.store(true, Ordering::Relaxed);
    let asked = request("who?");
    let (one, two) = tokio::join!(pool.ask(&asked), pool.ask(&asked));
    assert!(matches!(one.result, Err(Error::Rejected { .. })));
    assert_eq!(one.result, two.result);
    assert_eq!(pool.n_calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_follower_keeps_its_own_deadline() {
    let pool = pool();
    let asked = request("who?");
    let (tenant, soon) = (caller("a", Priority::Interactive), Instant::now() + Duration::from_millis(1_500));
    let (first, second) = tokio::join!(pool.ask(&asked), pool.ask_as(&tenant, &asked, Some(soon)));
    assert!(first.result.is_ok());
    assert_eq!(second.pieces, ["one "]);
    assert!(matches!(second.result, Err(Error::TimedOut { .. })), "{:?}", second.result);
}

#[tokio::test(start_paused = true)]
async fn a_follower_with_more_time_than_the_first_goes_on_alone() {
    let settings = ReplicaSettings { max_in_flight: std::num::NonZeroU32::MIN, ..ReplicaSettings::default() };
    let model = Arc::new(Counting::default());
    let replica = Replica { name: "s".into(), model: model.clone(), probe: None, settings };
    let pool = Pool { chat: PooledChat::new("m", &PoolSettings::default(), vec![replica]), model };
    let (blocking, asked) = (request("first?"), request("who?"));
    let (tenant, soon) = (caller("a", Priority::Interactive), Instant::now() + Duration::from_secs(1));
    let (_, first, second) =
        tokio::join!(pool.ask(&blocking), pool.ask_as(&tenant, &asked, Some(soon)), pool.ask(&asked),);
    assert!(matches!(first.result, Err(Error::Unreached { is_late: true, .. })), "{:?}", first.result);
    assert_eq!(paid(&second).prompt_tokens, 10);
    assert_eq!(pool.n_calls(), 2);
}
