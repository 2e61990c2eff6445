//! The laws of the queue, over random comings and goings.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;

fn caller(priority: Priority, tenant: usize, run: usize) -> Caller {
    let name = |kind: &str, number: usize| Some(Text::from(format!("{kind}{number}")));
    Caller {
        priority,
        tenant: name("tenant", tenant),
        run: name("run", tenant * 100 + run),
        ..Caller::default()
    }
}

fn interactive(tenant: usize, run: usize) -> Caller {
    caller(Priority::Interactive, tenant, run)
}

/// Adds a call for `caller`.
fn push(queue: &mut Queue<usize>, caller: &Caller, item: usize, now: Instant) -> Ticket {
    let position = queue.position();
    queue.push(caller, position, 10, now, item)
}

fn drain(queue: &mut Queue<usize>, now: Instant) -> Vec<usize> {
    std::iter::from_fn(|| queue.pop(now)).map(|waiting| waiting.item).collect()
}

#[test]
fn a_run_of_one_call_is_not_kept_waiting_by_one_of_a_thousand() {
    let (mut queue, now) = (Queue::new(&QueueSettings::default()), Instant::now());
    for item in 0..1_000 {
        push(&mut queue, &interactive(0, 0), item, now);
    }
    for _ in 0..100 {
        queue.pop(now);
    }
    push(&mut queue, &interactive(0, 1), 7_777, now);
    let next: Vec<usize> = (0..2).map(|_| queue.pop(now).unwrap().item).collect();
    assert!(next.contains(&7_777), "{next:?}");
}

#[test]
fn tenants_share_evenly_however_many_runs_they_have() {
    let (mut queue, now) = (Queue::new(&QueueSettings::default()), Instant::now());
    for run in 0..50 {
        for _ in 0..10 {
            push(&mut queue, &interactive(0, run), 0, now);
        }
    }
    for _ in 0..500 {
        push(&mut queue, &interactive(1, 0), 1, now);
    }
    let n_second: usize = (0..100).map(|_| queue.pop(now).unwrap().item).sum();
    assert_eq!(n_second, 50);
}

#[test]
fn batches_wait_for_the_others_until_they_have_aged() {
    let (mut queue, start) = (Queue::new(&QueueSettings::default()), Instant::now());
    for item in 0..100 {
        push(&mut queue, &caller(Priority::Batch, 0, 0), 1_000 + item, start);
        push(&mut queue, &interactive(0, 1), item, start);
    }
    let young: Vec<usize> = (0..20).map(|_| queue.pop(start).unwrap().item).collect();
    assert!(young.iter().all(|item| *item < 1_000), "{young:?}");
    let later = start + QueueSettings::default().batch_age;
    let aged: Vec<usize> = (0..20).map(|_| queue.pop(later).unwrap().item).collect();
    assert_eq!(aged.iter().filter(|item| **item >= 1_000).count(), 20 / AGED_SHARE as usize, "{aged:?}");
}

#[test]
fn a_full_queue_refuses_and_gives_places_of_batches_to_those_who_are_waited_for() {
    let settings = QueueSettings { max_calls: NonZeroUsize::new(2).unwrap(), ..QueueSettings::default() };
    let (mut queue, now) = (Queue::new(&settings), Instant::now());
    let batch = caller(Priority::Batch, 0, 0);
    push(&mut queue, &batch, 1, now);
    push(&mut queue, &batch, 2, now);
    assert_eq!(queue.full(&batch), Some(Full::Queue(2)));
    assert_eq!(queue.full(&interactive(0, 0)), None);
    assert_eq!(queue.shed().unwrap().item, 2, "the latest");
    push(&mut queue, &interactive(0, 0), 3, now);
    assert_eq!(drain(&mut queue, now), [3, 1]);
}

#[test]
fn one_tenant_cannot_fill_the_queue_for_the_others() {
    let settings = QueueSettings { max_calls_per_tenant: NonZeroUsize::new(1), ..QueueSettings::default() };
    let (mut queue, now) = (Queue::new(&settings), Instant::now());
    push(&mut queue, &interactive(0, 0), 1, now);
    assert_eq!(queue.full(&interactive(0, 5)), Some(Full::Tenant(1)));
    assert_eq!(queue.full(&interactive(1, 0)), None);
}

#[test]
fn who_comes_back_takes_the_place_that_it_had() {
    let (mut queue, now) = (Queue::new(&QueueSettings::default()), Instant::now());
    let first = queue.position();
    push(&mut queue, &interactive(0, 0), 2, now);
    queue.push(&interactive(0, 0), first, 10, now, 1);
    assert_eq!(drain(&mut queue, now), [1, 2]);
}

/// What may happen to a queue.
#[derive(Debug, Clone)]
enum Step {
    Push {
        priority: Priority,
        tenant: usize,
        run: usize,
        tokens: u64,
    },
    Pop,
    /// The call at this place of those that wait goes away.
    Leave(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let priority = prop_oneof![Just(Priority::Interactive), Just(Priority::Batch)];
    prop_oneof![
        4 => (priority, 0_usize..3, 0_usize..3, 0_u64..5_000)
            .prop_map(|(priority, tenant, run, tokens)| Step::Push { priority, tenant, run, tokens }),
        3 => Just(Step::Pop),
        1 => (0_usize..50).prop_map(Step::Leave),
        1 => (0_u64..20).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn every_call_leaves_once_and_those_of_a_run_as_they_came(steps in prop::collection::vec(step(), 1..300)) {
        let mut now = Instant::now();
        let mut queue = Queue::new(&QueueSettings::default());
        let mut waiting: BTreeMap<usize, (Ticket, u64)> = BTreeMap::new();
        let mut popped: HashMap<(Priority, Key, Key), usize> = HashMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push { priority, tenant, run, tokens } => {
                    let position = queue.position();
                    let ticket = queue.push(&caller(priority, tenant, run), position, tokens, now, number);
                    waiting.insert(number, (ticket, tokens));
                }
                Step::Pop => {
                    let head = queue.head(now).map(|head| head.item);
                    let found = queue.pop(now);
                    prop_assert_eq!(head, found.as_ref().map(|found| found.item), "the head is what comes");
                    let Some(found) = found else {
                        prop_assert!(waiting.is_empty());
                        continue;
                    };
                    prop_assert!(waiting.remove(&found.item).is_some());
                    let Ticket { priority, tenant, run, .. } = found.ticket;
                    if let Some(before) = popped.insert((priority, tenant, run), found.item) {
                        prop_assert!(before < found.item, "first come, first served within a run");
                    }
                }
                Step::Leave(place) => {
                    if let Some((number, ticket)) = waiting.iter().nth(place).map(|(number, (ticket, _))| (*number, ticket.clone())) {
                        prop_assert_eq!(queue.remove(&ticket).unwrap().item, number);
                        prop_assert!(queue.remove(&ticket).is_none());
                        waiting.remove(&number);
                    }
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            prop_assert_eq!(queue.len(), waiting.len());
            prop_assert_eq!(queue.tokens(), waiting.values().map(|(_, tokens)| tokens).sum::<u64>());
        }
        prop_assert_eq!(drain(&mut queue, now).len(), waiting.len());
        prop_assert!(queue.by_tenant.is_empty() && queue.interactive.tenants.is_empty() && queue.batch.tenants.is_empty());
    }
}

proptest! {
    // Each case is long: many newcomers have to come. They are drawn from a seed, since there is nothing to shrink.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However others come, a call waits for no more places than there are calls before it in its run, times those who
    /// share, times the share of what has aged.
    #[test]
    fn nobody_starves(
        seed in any::<u64>(),
        most_tokens in 1_u64..40,
        n_before in 0_usize..5,
        priority in prop_oneof![Just(Priority::Interactive), Just(Priority::Batch)],
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let mut queue = Queue::new(&QueueSettings::default());
        let patient = caller(priority, 0, 0);
        for _ in 0..n_before {
            push(&mut queue, &patient, 0, start);
        }
        push(&mut queue, &patient, 1, start);
        let now = start + QueueSettings::default().batch_age;
        let mut n_places = 0;
        loop {
            n_places += 1;
            prop_assert!(n_places < 1_000, "still waiting after {n_places} places");
            let (position, newcomer) = (queue.position(), interactive(random.usize(0..3), n_places));
            queue.push(&newcomer, position, random.u64(1..=most_tokens), now, 2);
            if queue.pop(now).unwrap().item == 1 {
                break;
            }
        }
    }
}
