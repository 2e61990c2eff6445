//! What holds whatever comes, ends, fails, goes away and takes its time: random calls on random servers.

use std::num::{NonZeroU32, NonZeroU64};
use std::pin::Pin;

use anabranch_engine::backend::{Call, Caller, ChatRequest, FinishReason, Usage};
use anabranch_engine::value::{Message, Role};
use futures::FutureExt as _;
use proptest::prelude::*;
use tokio::task::{unconstrained, yield_now};
use tokio::time::advance;

use super::super::stats::{BreakerState, ReplicaStats};
use super::*;

const SERVERS: usize = 3;
const MAX_IN_FLIGHT: u32 = 4;
const MAX_TOKENS: u64 = 300;
/// Longest time that anything keeps a server closed: a pause, a cooldown.
const CLOSED_SECS: usize = 60;

#[derive(Debug, Clone)]
enum Step {
    Come { who: usize, prompt: usize, tokens: u64, is_batch: bool, millis: Option<u64> },
    End { place: usize, how: How },
    Leave { place: usize },
    Wait { millis: u64 },
}

#[derive(Debug, Clone)]
enum How {
    Answered,
    GivenUp,
    Failed(Error),
}

fn step() -> impl Strategy<Value = Step> {
    let (backend, message) = (|| "a".to_owned(), || "b".to_owned());
    let how = prop_oneof![
        6 => Just(How::Answered),
        2 => Just(How::GivenUp),
        3 => Just(How::Failed(Error::Unavailable { backend: backend(), message: message(), retry_after: None })),
        1 => Just(How::Failed(Error::TimedOut { backend: backend(), message: message() })),
        1 => Just(How::Failed(Error::Rejected { backend: backend(), message: message() })),
        1 => (0_u64..20).prop_map(move |secs| How::Failed(Error::Overloaded {
            backend: "a".to_owned(), message: "b".to_owned(), retry_after: Some(Duration::from_secs(secs)),
        })),
    ];
    let come = (0_usize..6, 0_usize..8, 1_u64..400, any::<bool>(), prop::option::weighted(0.2, 1_u64..5_000));
    prop_oneof![
        8 => come.prop_map(|(who, prompt, tokens, is_batch, millis)| Step::Come { who, prompt, tokens, is_batch, millis }),
        6 => (0_usize..16, how).prop_map(|(place, how)| Step::End { place, how }),
        1 => (0_usize..16).prop_map(|place| Step::Leave { place }),
        2 => (1_u64..3_000).prop_map(|millis| Step::Wait { millis }),
    ]
}

type Admission = Pin<Box<dyn Future<Output = Result<Permit, Error>>>>;

/// A scheduler with all of its calls.
struct World {
    scheduler: Arc<Scheduler>,
    waiting: Vec<Admission>,
    sent: Vec<Permit>,
    /// Servers that calls were sent to since it was looked last.
    granted: Vec<usize>,
}

impl World {
    fn new(policy: Policy) -> Self {
        let server = ReplicaSettings {
            max_in_flight: NonZeroU32::new(MAX_IN_FLIGHT).unwrap(),
            max_in_flight_tokens: NonZeroU64::new(MAX_TOKENS),
            ..ReplicaSettings::default()
        };
        let servers: Vec<_> = (0..SERVERS).map(|idx| (format!("s{idx}"), server)).collect();
        let settings = PoolSettings { policy, ..PoolSettings::default() };
        let scheduler = Scheduler::new("m", &settings, &servers);
        Self { scheduler, waiting: Vec::new(), sent: Vec::new(), granted: Vec::new() }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Come { who, prompt, tokens, is_batch, millis } => {
                let caller = Caller {
                    tenant: Some(format!("t{}", who % 2).into()),
                    run: Some(format!("r{who}").into()),
                    priority: if is_batch { Priority::Batch } else { Priority::Interactive },
                    ..Caller::default()
                };
                let content = format!("{prompt:03} ").repeat(100).into();
                let messages = vec![Message { role: Role::User, content }];
                let request = ChatRequest { messages, max_tokens: Some(1), ..ChatRequest::default() };
                let deadline = millis.map(|millis| Instant::now() + Duration::from_millis(millis));
                let call = Call { caller: &caller, deadline, ..Call::keyed("k") };
                let asked = Asked::new(tokens, 0, &request, &call);
                let scheduler = self.scheduler.clone();
                self.waiting
                    .push(Box::pin(async move { scheduler.admit(&asked, &mut Tried::default()).await }));
            }
            Step::End { place, how } if !self.sent.is_empty() => {
                let permit = self.sent.swap_remove(place % self.sent.len());
                match how {
                    How::Answered => permit.settle(&Ok(answer())),
                    How::GivenUp => drop(permit),
                    How::Failed(error) => permit.settle(&Err(error)),
                }
            }
            Step::Leave { place } if !self.waiting.is_empty() => {
                drop(self.waiting.swap_remove(place % self.waiting.len()));
            }
            Step::Wait { millis } => advance(Duration::from_millis(millis)).await,
            Step::End { .. } | Step::Leave { .. } => {}
        }
        self.hear().await;
    }

    /// Whoever has been sent or refused hears of it.
    async fn hear(&mut self) {
        // The task that wakes the queue has its turn first.
        for _ in 0..4 {
            yield_now().await;
        }
        // One that goes, or comes, may change what another that was asked before it hears.
        let mut n_quiet = 0;
        while n_quiet < 2 {
            let n_before = self.waiting.len();
            for mut admission in std::mem::take(&mut self.waiting) {
                match (&mut admission).now_or_never() {
                    None => self.waiting.push(admission),
                    Some(Ok(permit)) => {
                        self.granted.push(permit.replica());
                        self.sent.push(permit);
                    }
                    Some(Err(_)) => {}
                }
            }
            n_quiet = if self.waiting.len() == n_before { n_quiet + 1 } else { 0 };
        }
    }

    /// Servers that could take any call and have none, while calls wait.
    fn idle(&self) -> Vec<usize> {
        let stats = self.scheduler.stats();
        let is_idle = |replica: &ReplicaStats| {
            replica.breaker != BreakerState::Open && !replica.is_paused && replica.in_flight == 0
        };
        if stats.queued_interactive + stats.queued_batch == 0 {
            return Vec::new();
        }
        let replicas = stats.replicas.iter().enumerate();
        replicas.filter(|(_, replica)| is_idle(replica)).map(|(idx, _)| idx).collect()
    }

    fn check_bounds(&mut self) -> Result<(), TestCaseError> {
        let stats = self.scheduler.stats();
        for (idx, replica) in stats.replicas.iter().enumerate() {
            prop_assert!(replica.in_flight <= MAX_IN_FLIGHT && replica.in_flight_tokens <= MAX_TOKENS);
            let n_sent = self.sent.iter().filter(|permit| permit.replica() == idx).count();
            prop_assert_eq!(replica.in_flight as usize, n_sent, "every place is somebody's");
        }
        for idx in self.granted.drain(..) {
            prop_assert_ne!(stats.replicas[idx].breaker, BreakerState::Open, "server {} is down", idx);
        }
        prop_assert_eq!(stats.queued_interactive + stats.queued_batch, self.waiting.len());
        Ok(())
    }

    async fn check(&mut self) -> Result<(), TestCaseError> {
        self.check_bounds()?;
        let idle = self.idle();
        if !idle.is_empty() {
            // What opens by the clock does so up to a millisecond late.
            advance(Duration::from_millis(2)).await;
            self.hear().await;
            let still = self.idle();
            prop_assert!(!still.iter().any(|idx| idle.contains(idx)), "calls wait beside {idle:?}");
            self.check_bounds()?;
        }
        Ok(())
    }
}

fn answer() -> ChatResponse {
    ChatResponse {
        text: String::new(),
        finish_reason: FinishReason::Stop,
        usage: Usage::default(),
        model: "m".into(),
        logprobs: vec![],
        tool_calls: vec![],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Never more calls or tokens in flight at a server than it takes, never a call for one that is down, never a call
    /// that waits beside an idle server; and once the servers answer again, nobody waits for ever.
    #[test]
    fn bounds_hold_nobody_waits_in_vain_and_all_are_served_in_the_end(
        policy in prop_oneof![Just(Policy::PrefixAffinity), Just(Policy::LeastLoaded), Just(Policy::Session)],
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(unconstrained(async {
            let mut world = World::new(policy);
            for step in steps {
                world.take(step).await;
                world.check().await?;
            }
            let rounds = world.waiting.len() + 2 * CLOSED_SECS;
            for _ in 0..rounds {
                for permit in world.sent.drain(..) {
                    permit.settle(&Ok(answer()));
                }
                world.take(Step::Wait { millis: 1_000 }).await;
                world.check().await?;
            }
            prop_assert!(world.waiting.is_empty(), "{} wait", world.waiting.len());
            Ok(())
        }))?;
    }
}
