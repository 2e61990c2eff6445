//! Calls through a pool of scripted servers, on a clock that stands still.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anabranch_engine::backend::{Call, Caller, ChatModel, ChatRequest, FinishReason, Usage};
use anabranch_engine::value::{Message, Role, Text};
use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::join_all;

use super::super::settings::QueueSettings;
use super::super::stats::BreakerState;
use super::super::{PooledChat, Replica as Server};
use super::*;

/// A server that takes a second for an answer.
#[derive(Debug, Default)]
struct Slow {
    name: String,
    in_flight: AtomicUsize,
    most: AtomicUsize,
    n_calls: AtomicUsize,
    is_dead: AtomicBool,
}

struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl ChatModel for Slow {
    fn name(&self) -> &str {
        &self.name
    }

    async fn chat(&self, _request: &ChatRequest, _call: &Call<'_>) -> Result<ChatResponse, Error> {
        self.n_calls.fetch_add(1, Ordering::Relaxed);
        if self.is_dead.load(Ordering::Relaxed) {
            let (backend, message) = (self.name.clone(), "dead".to_owned());
            return Err(Error::Unavailable { backend, message, retry_after: None });
        }
        let n = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        let _held = InFlight(&self.in_flight);
        self.most.fetch_max(n, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(ChatResponse {
            text: self.name.clone(),
            finish_reason: FinishReason::Stop,
            usage: Usage::default(),
            model: self.name.clone(),
            tool_calls: Vec::new(),
            logprobs: vec![],
        })
    }
}

struct Pool {
    chat: PooledChat,
    servers: Vec<Arc<Slow>>,
}

fn pool(n_servers: usize, max_in_flight: u32, settings: &PoolSettings) -> Pool {
    let servers: Vec<Arc<Slow>> =
        (0..n_servers).map(|n| Arc::new(Slow { name: format!("s{n}"), ..Slow::default() })).collect();
    let replicas = servers.iter().map(|server| Server {
        name: server.name.clone(),
        model: server.clone(),
        probe: None,
        settings: ReplicaSettings {
            max_in_flight: NonZeroU32::new(max_in_flight).unwrap(),
            ..ReplicaSettings::default()
        },
    });
    Pool { chat: PooledChat::new("m", settings, replicas.collect()), servers }
}

impl Pool {
    async fn ask(&self, caller: &Caller, question: &str) -> Result<ChatResponse, Error> {
        let messages = vec![Message { role: Role::User, content: question.into() }];
        let request = ChatRequest { messages, ..ChatRequest::default() };
        self.chat.chat(&request, &Call { caller, ..Call::keyed("k") }).await
    }

    fn n_calls(&self) -> Vec<usize> {
        self.servers.iter().map(|server| server.n_calls.load(Ordering::Relaxed)).collect()
    }
}

fn of_run(run: &str) -> Caller {
    Caller { run: Some(Text::from(run)), ..Caller::default() }
}

fn question(n: usize) -> String {
    format!("{n:04} ").repeat(40)
}

#[tokio::test(start_paused = true)]
async fn no_more_are_in_flight_than_may_and_all_are_answered() {
    let pool = pool(2, 3, &PoolSettings::default());
    let start = Instant::now();
    let caller = of_run("r");
    let questions: Vec<_> = (0..30).map(question).collect();
    let answers = join_all(questions.iter().map(|question| pool.ask(&caller, question))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(pool.servers.iter().all(|server| server.most.load(Ordering::Relaxed) == 3));
    assert_eq!(start.elapsed().as_secs(), 30 / 6, "no place was idle while somebody waited");
    let stats = pool.chat.stats();
    assert_eq!(stats.replicas.iter().map(|replica| replica.outcomes.answered).sum::<u64>(), 30);
    assert_eq!((stats.waits.count, stats.queued_interactive, stats.replicas[0].in_flight), (30, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_of_one_call_waits_for_one_place_behind_a_run_of_a_thousand() {
    let pool = pool(1, 4, &PoolSettings::default());
    let (many, one) = (of_run("many"), of_run("one"));
    let mut thousand = Box::pin(join_all((0..1_000).map(|_| pool.ask(&many, "many")))).fuse();
    let mut last = Box::pin(async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let start = Instant::now();
        pool.ask(&one, "one").await.unwrap();
        start.elapsed()
    })
    .fuse();
    let took = futures::select_biased! { took = last => took, _ = thousand => panic!("starved") };
    assert!(took <= Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_away_frees_its_place_at_once_whether_sent_or_waiting() {
    let pool = pool(1, 1, &PoolSettings::default());
    let caller = of_run("r");
    let mut sent = Box::pin(pool.ask(&caller, "a"));
    let mut waiting = Box::pin(pool.ask(&caller, "b"));
    assert!(futures::poll!(&mut sent).is_pending() && futures::poll!(&mut waiting).is_pending());
    assert_eq!(pool.chat.stats().queued_interactive, 1);
    drop(waiting);
    assert_eq!((pool.chat.stats().queued_interactive, pool.chat.stats().left), (0, 1));
    let mut next = Box::pin(pool.ask(&caller, "c"));
    assert!(futures::poll!(&mut next).is_pending());
    drop(sent);
    assert!(futures::poll!(&mut next).is_pending());
    assert_eq!(pool.n_calls(), [2], "the place of the one that went is taken");
    drop(next);
    let stats = pool.chat.stats();
    assert_eq!((stats.replicas[0].in_flight, stats.replicas[0].outcomes.cancelled), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_sent_and_has_not_heard_of_it_frees_its_place_too() {
    let pool = pool(1, 1, &PoolSettings::default());
    let caller = of_run("r");
    let mut sent = Box::pin(pool.ask(&caller, "a"));
    let mut waiting = Box::pin(pool.ask(&caller, "b"));
    assert!(futures::poll!(&mut sent).is_pending() && futures::poll!(&mut waiting).is_pending());
    drop(sent);
    assert_eq!(pool.chat.stats().replicas[0].in_flight, 1);
    drop(waiting);
    assert_eq!(pool.chat.stats().replicas[0].in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_is_up_is_never_sent() {
    let pool = pool(1, 1, &PoolSettings::default());
    let deadline = Some(Instant::now() + Duration::from_millis(500));
    let caller = of_run("r");
    let request = ChatRequest::default();
    let call = Call { caller: &caller, deadline, ..Call::keyed("k") };
    let (first, late) = tokio::join!(pool.ask(&caller, "a"), pool.chat.chat(&request, &call));
    assert!(first.is_ok() && matches!(late, Err(Error::Unreached { is_late: true, .. })));
    assert_eq!((pool.n_calls(), pool.chat.stats().refused_late), (vec![1], 1));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_with_its_bound() {
    let queue = QueueSettings { max_calls: NonZeroUsize::new(2).unwrap(), ..QueueSettings::default() };
    let pool = pool(1, 1, &PoolSettings { queue, ..PoolSettings::default() });
    let caller = of_run("r");
    let answers = join_all((0..5).map(|_| pool.ask(&caller, "a"))).await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|error| matches!(error, Error::Overloaded { retry_after: Some(_), .. })));
    assert!(refused[0].to_string().contains("2 calls wait for it already"), "{}", refused[0]);
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_dead_server_go_on_to_another_and_it_is_left_alone() {
    let pool = pool(4, 8, &PoolSettings::default());
    pool.servers[1].is_dead.store(true, Ordering::Relaxed);
    let caller = of_run("r");
    let questions: Vec<_> = (0..200).map(question).collect();
    let answers = join_all(questions.iter().map(|question| pool.ask(&caller, question))).await;
    assert!(answers.iter().all(Result::is_ok));
    let stats = pool.chat.stats();
    let n_tried = pool.n_calls()[1];
    assert!((5..=20).contains(&n_tried), "{n_tried}");
    assert_eq!(stats.moved.unavailable, stats.replicas[1].outcomes.unavailable);
    assert_ne!(stats.replicas[1].breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_recovers_is_found_out_by_a_trial() {
    let pool = pool(1, 8, &PoolSettings::default());
    let caller = of_run("r");
    pool.servers[0].is_dead.store(true, Ordering::Relaxed);
    for _ in 0..5 {
        assert!(pool.ask(&caller, "a").await.is_err());
    }
    let Err(Error::Unreached { retry_after: Some(wait), .. }) = pool.ask(&caller, "a").await else {
        panic!("it should be left alone")
    };
    assert_eq!(pool.n_calls(), [5], "the sixth was not sent");
    pool.servers[0].is_dead.store(false, Ordering::Relaxed);
    tokio::time::sleep(wait).await;
    let answers = join_all((0..8).map(|_| pool.ask(&caller, "a"))).await;
    assert!(answers.iter().all(Result::is_ok), "those behind the trial wait for it");
}

#[tokio::test(start_paused = true)]
async fn calls_wait_out_the_time_that_a_server_asks_for() {
    let caller = of_run("r");
    let asked = Asked::new(10, 0, &ChatRequest::default(), &Call { caller: &caller, ..Call::keyed("k") });
    let settings = [("s".to_owned(), ReplicaSettings::default())];
    let scheduler = Scheduler::new("m", &PoolSettings::default(), &settings);
    let permit = scheduler.admit(&asked, &mut Tried::default()).await.unwrap();
    let error = Error::Overloaded {
        backend: "s".into(),
        message: "busy".into(),
        retry_after: Some(Duration::from_secs(7)),
    };
    permit.settle(&Err(error));
    let start = Instant::now();
    drop(scheduler.admit(&asked, &mut Tried::default()).await.unwrap());
    assert_eq!(start.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn conversations_stay_with_their_server_when_every_place_is_taken() {
    let pool = pool(4, 2, &PoolSettings::default());
    let sizes = 0..24;
    let runs = sizes.map(|run| {
        let pool = &pool;
        async move {
            let caller = of_run(&run.to_string());
            let mut servers = Vec::new();
            for _turn in 0..10 {
                servers.push(pool.ask(&caller, &question(run)).await.unwrap().model);
            }
            servers.windows(2).filter(|pair| pair[0] == pair[1]).count()
        }
    });
    let n_stayed: usize = join_all(runs).await.into_iter().sum();
    assert!(n_stayed * 10 >= 24 * 9 * 7, "{n_stayed} of {}", 24 * 9);
}

/// Forty calls a second for servers that can answer four, each worthless after three seconds.
#[tokio::test(start_paused = true)]
async fn calls_that_cannot_be_answered_in_time_make_way_for_those_that_can() {
    let pool = pool(2, 2, &PoolSettings::default());
    let calls = (0..400_u64).map(|n| {
        let pool = &pool;
        async move {
            tokio::time::sleep(Duration::from_millis(n * 25)).await;
            let (caller, deadline) = (of_run(&n.to_string()), Instant::now() + Duration::from_secs(3));
            let call = Call { caller: &caller, deadline: Some(deadline), ..Call::keyed("k") };
            let request = ChatRequest::default();
            tokio::time::timeout_at(deadline, pool.chat.chat(&request, &call)).await
        }
    });
    let ended = join_all(calls).await;
    let n_answered = ended.iter().filter(|end| matches!(end, Ok(Ok(_)))).count();
    assert!(n_answered >= 36, "{n_answered} of the 40 that can be answered in ten seconds");
    let stats = pool.chat.stats();
    let n_given_up: u64 = stats.replicas.iter().map(|replica| replica.outcomes.cancelled).sum();
    assert!(n_given_up <= 8, "{n_given_up} were sent for nothing");
}

#[tokio::test(start_paused = true)]
async fn others_may_go_to_the_server_that_the_first_in_line_was_failed_by() {
    let pool = pool(2, 1, &PoolSettings::default());
    let (caller, later) = (of_run("r"), of_run("s"));
    // One takes the second server's only place.
    let mut long = Box::pin(pool.ask(&caller, "a"));
    assert!(futures::poll!(&mut long).is_pending());
    let (busy, free) = if pool.n_calls() == [1, 0] { (0, 1) } else { (1, 0) };
    pool.servers[free].is_dead.store(true, Ordering::Relaxed);
    let mut failed = Box::pin(pool.ask(&caller, "b"));
    assert!(futures::poll!(&mut failed).is_pending(), "it waits for the other server");
    pool.servers[free].is_dead.store(false, Ordering::Relaxed);
    let mut other = Box::pin(pool.ask(&later, "c"));
    assert!(futures::poll!(&mut other).is_pending());
    assert_eq!(pool.n_calls()[free], 2, "it does not wait behind the one that has to");
    assert_eq!(pool.n_calls()[busy], 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_stays_with_its_server_and_a_run_without_one_too() {
    let pool = pool(4, 8, &PoolSettings { policy: Policy::Session, ..PoolSettings::default() });
    let mut used = std::collections::BTreeSet::new();
    for n in 0..16 {
        let session = Caller { session: Some(format!("s{n}").into()), ..of_run("first") };
        let later = Caller { session: Some(format!("s{n}").into()), ..of_run("second") };
        let (one, two) = tokio::join!(pool.ask(&session, "a"), pool.ask(&later, "something else"));
        assert_eq!(one.as_ref().unwrap().model, two.unwrap().model);
        used.insert(one.unwrap().model);
        let run = of_run(&n.to_string());
        let (one, two) = tokio::join!(pool.ask(&run, "a"), pool.ask(&run, "something else"));
        assert_eq!(one.unwrap().model, two.unwrap().model);
    }
    assert_eq!(used.len(), 4, "sessions are spread");
}
