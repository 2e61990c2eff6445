//! One server of a pool: what is in flight there, what it can take, and what has come of its calls. Pure.

use std::time::Duration;

use anabranch_engine::backend::{Error, Usage};
use tokio::time::Instant;

use super::aimd::Limit;
use super::breaker::{Breaker, Stretch};
use super::policy::{Load, Room};
use super::settings::{AdmissionSettings, PoolSettings, ReplicaSettings};
use super::stats::{BreakerState, Outcomes, ReplicaStats, Times};

/// Seconds that rates are taken over.
const RATE_SLOTS: usize = 10;
const RATE_SECS: u64 = RATE_SLOTS as u64;

/// One server.
#[derive(Debug)]
pub(crate) struct Replica {
    name: String,
    settings: ReplicaSettings,
    max_pause: Duration,
    in_flight: u32,
    tokens: u64,
    limit: Limit,
    breaker: Breaker,
    paused_until: Option<Instant>,
    outcomes: Outcomes,
    answers: Times,
    read: Usage,
    read_rate: Rate,
    written_rate: Rate,
    seen: Option<Gauges>,
}

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Gauges {
    /// Calls that wait there.
    pub(crate) waiting: u64,
    /// How full its cache is, 0 to 1.
    pub(crate) cache_usage: f64,
    /// After which the numbers are too old.
    pub(crate) until: Instant,
}

/// A call at a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    tokens: u64,
    /// Since when.
    pub(crate) at: Instant,
    stretch: Stretch,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End<'a> {
    Answered(Usage),
    Failed(&'a Error),
    GivenUp,
}

impl Replica {
    pub(crate) fn new(name: &str, settings: ReplicaSettings, pool: &PoolSettings, now: Instant) -> Self {
        let AdmissionSettings { max_pause, .. } = pool.admission;
        Self {
            name: name.to_owned(),
            settings,
            max_pause,
            in_flight: 0,
            tokens: 0,
            limit: Limit::new(&pool.admission, settings.max_in_flight.get()),
            breaker: Breaker::new(pool.breaker.clone()),
            paused_until: None,
            outcomes: Outcomes::default(),
            answers: Times::default(),
            read: Usage::default(),
            read_rate: Rate::new(now),
            written_rate: Rate::new(now),
            seen: None,
        }
    }

    /// What it can do for a call of `tokens`.
    pub(crate) fn load(&self, tokens: u64, now: Instant) -> Load {
        Load { room: self.room(tokens, now), in_flight: self.in_flight, busy: self.busy(now) }
    }

    /// Whether no call is sent to it for its failures.
    pub(crate) fn is_down(&self, now: Instant) -> bool {
        self.breaker.state(now) == BreakerState::Open
    }

    /// When it may be able to take a call again without anything else happening.
    pub(crate) fn opens_at(&self, now: Instant) -> Option<Instant> {
        let times = [self.breaker.opened_until(), self.paused_until];
        times.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// A call goes to it.
    pub(crate) fn send(&mut self, tokens: u64, now: Instant) -> Sent {
        let tokens = self.cost(tokens);
        self.in_flight += 1;
        self.tokens += tokens;
        self.outcomes.sent += 1;
        Sent { tokens, at: now, stretch: self.breaker.sent(now) }
    }

    /// A call has ended there. Whether this has opened its breaker.
    pub(crate) fn end(&mut self, sent: Sent, end: End<'_>, now: Instant) -> bool {
        let in_flight = self.in_flight;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.tokens = self.tokens.saturating_sub(sent.tokens);
        let error = match end {
            End::GivenUp => {
                self.outcomes.cancelled += 1;
                self.breaker.given_up(sent.stretch);
                return false;
            }
            End::Answered(usage) => {
                self.outcomes.answered += 1;
                self.answers.add(now.saturating_duration_since(sent.at));
                self.read += usage;
                self.read_rate.add(usage.prompt_tokens, now);
                self.written_rate.add(usage.completion_tokens, now);
                self.limit.answered();
                self.breaker.answered(sent.stretch);
                return false;
            }
            End::Failed(error) => error,
        };
        match error {
            Error::Overloaded { retry_after, .. } => {
                self.outcomes.overloaded += 1;
                self.limit.overloaded(sent.at, in_flight, now);
                self.pause(*retry_after, now);
                // It is well, and says so.
                self.breaker.answered(sent.stretch);
                false
            }
            Error::TimedOut { .. } | Error::Unreached { is_late: true, .. } => {
                self.outcomes.timed_out += 1;
                self.limit.overloaded(sent.at, in_flight, now);
                self.breaker.failed(sent.stretch, now)
            }
            Error::Unavailable { retry_after, .. } | Error::Unreached { retry_after, .. } => {
                self.outcomes.unavailable += 1;
                self.pause(*retry_after, now);
                self.breaker.failed(sent.stretch, now)
            }
            Error::Garbled { .. } => {
                self.outcomes.garbled += 1;
                self.breaker.failed(sent.stretch, now)
            }
            Error::Rejected { .. } => {
                self.outcomes.rejected += 1;
                self.breaker.answered(sent.stretch);
                false
            }
        }
    }

    /// A look at it between calls. Whether this has opened its breaker.
    pub(crate) fn probed(&mut self, is_well: bool, gauges: Option<Gauges>, now: Instant) -> bool {
        if gauges.is_some() {
            self.seen = gauges;
        }
        self.breaker.probed(is_well, now)
    }

    pub(crate) fn stats(&self, prefix_blocks: usize, now: Instant) -> ReplicaStats {
        ReplicaStats {
            name: self.name.clone(),
            weight: self.settings.weight,
            breaker: self.breaker.state(now),
            is_paused: self.paused_until.is_some_and(|until| now < until),
            in_flight: self.in_flight,
            in_flight_tokens: self.tokens,
            limit: self.limit.get(),
            max_in_flight: self.settings.max_in_flight.get(),
            max_in_flight_tokens: self.settings.max_in_flight_tokens.map(std::num::NonZero::get),
            outcomes: self.outcomes,
            answers: self.answers,
            prompt_tokens: self.read.prompt_tokens,
            cached_tokens: self.read.cached_tokens,
            completion_tokens: self.read.completion_tokens,
            prompt_tokens_per_sec: self.read_rate.per_sec(now),
            completion_tokens_per_sec: self.written_rate.per_sec(now),
            prefix_blocks,
            waiting_there: self.seen.map(|seen| seen.waiting),
            cache_usage: self.seen.map(|seen| seen.cache_usage),
        }
    }

    fn room(&self, tokens: u64, now: Instant) -> Room {
        if self.is_down(now) {
            return Room::Down;
        }
        let has_tokens = self
            .settings
            .max_in_flight_tokens
            .is_none_or(|max| self.tokens.saturating_add(self.cost(tokens)) <= max.get());
        let is_paused = self.paused_until.is_some_and(|until| now < until);
        let is_free =
            self.in_flight < self.limit.get() && has_tokens && !is_paused && self.breaker.may_send(now);
        if is_free { Room::Free } else { Room::Full }
    }

    /// What a call counts: one that is larger than the bound takes all of it, and so runs alone.
    fn cost(&self, tokens: u64) -> u64 {
        self.settings.max_in_flight_tokens.map_or(tokens, |max| tokens.min(max.get()))
    }

    fn busy(&self, now: Instant) -> f64 {
        // As llm-d has it: five calls waiting there, or four fifths of the cache, is a full server.
        const WAITING: f64 = 5.0;
        const CACHE: f64 = 0.8;
        let ours = f64::from(self.in_flight) / f64::from(self.settings.max_in_flight.get());
        let theirs = self.seen.map_or(0.0, |seen| {
            if now >= seen.until {
                return 1.0;
            }
            (seen.waiting as f64 / WAITING).max(seen.cache_usage / CACHE)
        });
        ours.max(theirs).min(1.0)
    }

    fn pause(&mut self, retry_after: Option<Duration>, now: Instant) {
        let Some(pause) = retry_after.filter(|pause| !pause.is_zero()) else { return };
        let until = now + pause.min(self.max_pause);
        self.paused_until = Some(self.paused_until.map_or(until, |before| before.max(until)));
    }
}

/// How much there is of something a second, lately.
#[derive(Debug)]
struct Rate {
    start: Instant,
    seconds: [u64; RATE_SLOTS],
    second: u64,
}

impl Rate {
    fn new(start: Instant) -> Self {
        Self { start, seconds: [0; RATE_SLOTS], second: 0 }
    }

    fn add(&mut self, n: u64, now: Instant) {
        let second = now.saturating_duration_since(self.start).as_secs();
        // The seconds that have passed without anything take over slots of ten seconds before.
        for passed in (self.second + 1..=second).rev().take(RATE_SLOTS) {
            *self.slot(passed) = 0;
        }
        self.second = self.second.max(second);
        *self.slot(second) += n;
    }

    fn per_sec(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.start).as_secs();
        let passed = elapsed.saturating_sub(self.second);
        // Seconds that are older than the window by now have slots of their own.
        let recent = (0..RATE_SECS.saturating_sub(passed)).filter(|back| *back <= self.second);
        let total: u64 = recent.filter_map(|back| self.seconds.get(slot_of(self.second - back))).sum();
        total as f64 / (elapsed + 1).min(RATE_SECS) as f64
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder by the length")]
    fn slot(&mut self, second: u64) -> &mut u64 {
        &mut self.seconds[slot_of(second)]
    }
}

fn slot_of(second: u64) -> usize {
    usize::try_from(second % RATE_SECS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use proptest::prelude::*;

    use super::*;

    fn replica(max_in_flight: u32, max_tokens: u64) -> (Replica, Instant) {
        let settings = ReplicaSettings {
            max_in_flight: NonZeroU32::new(max_in_flight).unwrap(),
            max_in_flight_tokens: NonZeroU64::new(max_tokens),
            ..ReplicaSettings::default()
        };
        let now = Instant::now();
        (Replica::new("http://a", settings, &PoolSettings::default(), now), now)
    }

    fn overloaded(retry_after: Option<Duration>) -> Error {
        Error::Overloaded { backend: "a".into(), message: "busy".into(), retry_after }
    }

    #[test]
    fn it_is_left_alone_for_as_long_as_it_asks_up_to_a_bound() {
        let (mut replica, now) = replica(8, 0);
        let sent = replica.send(1, now);
        replica.end(sent, End::Failed(&overloaded(Some(Duration::from_secs(7)))), now);
        assert_eq!(replica.load(1, now + Duration::from_secs(6)).room, Room::Full);
        assert_eq!(replica.load(1, now + Duration::from_secs(7)).room, Room::Free);
        let sent = replica.send(1, now);
        replica.end(sent, End::Failed(&overloaded(Some(Duration::from_hours(1)))), now);
        assert_eq!(replica.opens_at(now), Some(now + Duration::from_mins(1)));
    }

    #[test]
    fn a_call_that_is_larger_than_the_bound_runs_alone() {
        let (mut replica, now) = replica(8, 100);
        assert_eq!(replica.load(1_000, now).room, Room::Free);
        let sent = replica.send(1_000, now);
        assert_eq!(replica.load(1, now).room, Room::Full);
        replica.end(sent, End::GivenUp, now);
        assert_eq!(replica.load(1, now).room, Room::Free);
    }

    #[test]
    fn rates_are_of_the_last_ten_seconds() {
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        let mut rate = Rate::new(start);
        for second in 0..20 {
            rate.add(50, at(second));
        }
        assert!((rate.per_sec(at(19)) - 50.0).abs() < 1e-9);
        assert!((rate.per_sec(at(24)) - 25.0).abs() < 1e-9, "{}", rate.per_sec(at(24)));
        assert!(rate.per_sec(at(40)).abs() < 1e-9);
        rate.add(100, at(60));
        assert!((rate.per_sec(at(60)) - 10.0).abs() < 1e-9, "{}", rate.per_sec(at(60)));
    }

    proptest! {
        #[test]
        fn what_is_in_flight_stays_within_every_bound_and_comes_back_to_nothing(
            steps in prop::collection::vec((0_u64..200, 0_u8..6, 0_usize..16), 1..300),
        ) {
            let (mut replica, mut now) = replica(8, 300);
            let mut in_flight = Vec::new();
            for (tokens, what, place) in steps {
                now += Duration::from_millis(tokens);
                if what < 3 {
                    if replica.load(tokens, now).room == Room::Free {
                        in_flight.push(replica.send(tokens, now));
                    }
                } else if !in_flight.is_empty() {
                    let sent = in_flight.swap_remove(place % in_flight.len());
                    let error = overloaded(None);
                    let end = match what {
                        3 => End::GivenUp,
                        4 => End::Failed(&error),
                        _ => End::Answered(Usage::default()),
                    };
                    replica.end(sent, end, now);
                }
                let stats = replica.stats(0, now);
                prop_assert!(stats.in_flight <= 8 && stats.in_flight_tokens <= 300);
                prop_assert_eq!(stats.in_flight as usize, in_flight.len());
            }
            for sent in in_flight {
                replica.end(sent, End::GivenUp, now);
            }
            let stats = replica.stats(0, now);
            prop_assert_eq!((stats.in_flight, stats.in_flight_tokens), (0, 0));
        }
    }
}
