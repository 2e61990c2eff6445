//! The laws of choosing, over random servers, loads and prompts.

use anabranch_engine::value::{Message, Role};
use proptest::prelude::*;

use super::*;

const NAMES: [&str; 5] = ["http://a", "http://b", "http://c", "http://d", "http://e"];

fn prefix(text: &str) -> Prefix {
    Prefix::new(1, &[Message { role: Role::User, content: text.into() }])
}

/// A prompt that shares nothing with one of another number.
fn prompt(number: usize) -> Prefix {
    prefix(&format!("{number:03} ").repeat(100))
}

fn chooser(policy: Policy, n_servers: usize) -> Chooser {
    let affinity = AffinitySettings { exploration: 0.0, ..AffinitySettings::default() };
    Chooser::new(policy, &affinity, NAMES.iter().take(n_servers).map(|name| (*name, 1.0)))
}

fn load(room: Room, in_flight: u32) -> Load {
    Load { room, in_flight, busy: f64::from(in_flight) / 64.0 }
}

fn free(in_flight: &[u32]) -> Vec<Load> {
    in_flight.iter().map(|n| load(Room::Free, *n)).collect()
}

fn wish(prefix: &Prefix) -> Wish<'_> {
    Wish { prefix, session: prefix.first() }
}

impl Chooser {
    fn pick(&mut self, loads: &[Load], wish: Wish<'_>) -> Option<usize> {
        self.choose(loads, wish).map(|choice| choice.server)
    }
}

#[test]
fn turns_follow_the_weights_and_are_spread() {
    let affinity = AffinitySettings::default();
    let mut chooser = Chooser::new(Policy::RoundRobin, &affinity, [("a", 2.0), ("b", 1.0), ("c", 1.0)]);
    let turns: Vec<_> = (0..8).filter_map(|_| chooser.pick(&free(&[0, 0, 0]), wish(&prompt(0)))).collect();
    assert_eq!(turns, [0, 1, 2, 0, 0, 1, 2, 0]);
}

#[test]
fn the_least_loaded_is_so_for_its_weight() {
    let affinity = AffinitySettings::default();
    let mut chooser = Chooser::new(Policy::LeastLoaded, &affinity, [("a", 2.0), ("b", 1.0)]);
    assert_eq!(chooser.pick(&free(&[3, 2]), wish(&prompt(0))), Some(0));
    assert_eq!(chooser.pick(&free(&[5, 2]), wish(&prompt(0))), Some(1));
}

#[test]
fn a_warm_server_is_passed_over_when_it_is_much_busier() {
    let mut chooser = chooser(Policy::PrefixAffinity, 2);
    let prompt = prompt(1);
    let warm = chooser.pick(&free(&[0, 0]), wish(&prompt)).unwrap();
    let busy = |n: u32| if warm == 0 { free(&[n, 0]) } else { free(&[0, n]) };
    assert_eq!(chooser.pick(&busy(7), wish(&prompt)), Some(warm));
    assert_eq!(chooser.pick(&busy(8), wish(&prompt)), Some(1 - warm));
}

#[test]
fn the_next_best_takes_over_when_the_warmest_is_down() {
    let mut chooser = chooser(Policy::PrefixAffinity, 3);
    let (long, short) = (prefix(&"x".repeat(1_000)), prefix(&"x".repeat(500)));
    let mut only = |server: usize, prefix: &Prefix| {
        let loads: Vec<_> =
            (0..3).map(|idx| load(if idx == server { Room::Free } else { Room::Down }, 0)).collect();
        chooser.pick(&loads, wish(prefix));
    };
    only(2, &long);
    only(1, &short);
    let loads = [load(Room::Free, 0), load(Room::Free, 0), load(Room::Down, 0)];
    assert_eq!(chooser.pick(&loads, wish(&long)), Some(1), "half of it is better than nothing");
}

#[test]
fn a_share_of_the_calls_explores_and_the_seed_says_which() {
    let turns = |seed: u64| {
        let affinity = AffinitySettings { exploration: 0.1, seed, ..AffinitySettings::default() };
        let mut chooser = Chooser::new(Policy::PrefixAffinity, &affinity, [("a", 1.0), ("b", 1.0)]);
        let prompt = prompt(1);
        (0..1_000).filter_map(|_| chooser.pick(&free(&[0, 0]), wish(&prompt))).collect::<Vec<_>>()
    };
    let first = turns(1);
    let n_elsewhere = first.iter().filter(|server| **server != first[0]).count();
    assert!((20..=300).contains(&n_elsewhere), "{n_elsewhere}");
    assert_eq!(turns(7), turns(7));
    assert_ne!(turns(7), turns(8));
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::RoundRobin),
        Just(Policy::LeastLoaded),
        Just(Policy::PrefixAffinity),
        Just(Policy::Session),
        Just(Policy::External),
    ]
}

fn rooms() -> impl Strategy<Value = Vec<(Room, u32)>> {
    let room = prop_oneof![2 => Just(Room::Free), 1 => Just(Room::Full), 1 => Just(Room::Down)];
    prop::collection::vec((room, 0_u32..40), 5)
}

proptest! {
    #[test]
    fn only_a_server_with_room_is_chosen_and_one_always_is(
        policy in policies(),
        steps in prop::collection::vec((rooms(), 0_usize..6), 1..60),
    ) {
        let affinity = AffinitySettings { exploration: 0.2, ..AffinitySettings::default() };
        let mut chooser = Chooser::new(policy, &affinity, NAMES.map(|name| (name, 1.0)));
        for (rooms, number) in steps {
            let loads: Vec<_> = rooms.into_iter().map(|(room, n)| load(room, n)).collect();
            let has_room = loads.iter().any(|load| load.room == Room::Free);
            let chosen = chooser.pick(&loads, wish(&prompt(number)));
            prop_assert_eq!(chosen.is_some(), has_room);
            prop_assert!(chosen.is_none_or(|chosen| loads[chosen].room == Room::Free));
        }
    }

    /// Whatever else is sent in between, as long as no server is much busier than another.
    #[test]
    fn the_same_prefix_goes_to_the_same_server_while_load_is_balanced(
        steps in prop::collection::vec((0_usize..20, prop::array::uniform4(0_u32..8)), 1..200),
    ) {
        let mut chooser = chooser(Policy::PrefixAffinity, 4);
        let mut home = std::collections::HashMap::new();
        for (number, in_flight) in steps {
            let chosen = chooser.pick(&free(&in_flight), wish(&prompt(number))).unwrap();
            prop_assert_eq!(*home.entry(number).or_insert(chosen), chosen);
        }
    }

    /// Calls that only come, or come and go: no server gets far ahead of another.
    #[test]
    fn load_stays_balanced_whatever_is_asked(
        steps in prop::collection::vec((0_usize..3, any::<bool>(), 0_usize..4), 1..400),
    ) {
        let mut chooser = chooser(Policy::PrefixAffinity, 4);
        let mut in_flight = [0_u32; 4];
        for (number, comes, place) in steps {
            if !comes {
                // The busiest ends first or any other: only those that come can unbalance.
                let busiest = (0..4).max_by_key(|idx| in_flight[(idx + place) % 4]).map(|idx| (idx + place) % 4);
                let busiest = busiest.unwrap();
                in_flight[busiest] = in_flight[busiest].saturating_sub(1);
                continue;
            }
            let chosen = chooser.pick(&free(&in_flight), wish(&prompt(number))).unwrap();
            in_flight[chosen] += 1;
            let least = *in_flight.iter().min().unwrap();
            prop_assert!(
                in_flight[chosen] - least <= 8 || f64::from(in_flight[chosen] - 1) <= 1.5 * f64::from(least),
                "{in_flight:?} after {chosen}"
            );
        }
    }

    #[test]
    fn a_server_that_goes_takes_its_own_keys_and_no_others(keys in prop::collection::vec(any::<u64>(), 1..200), gone in 0_usize..5) {
        let empty = Prefix::default();
        let all_of = |names: &[&str]| {
            let servers = names.iter().map(|name| (*name, 1.0));
            Chooser::new(Policy::Session, &AffinitySettings::default(), servers)
        };
        let left: Vec<&str> = NAMES.into_iter().filter(|name| *name != NAMES[gone]).collect();
        let (mut before, mut after) = (all_of(&NAMES), all_of(&left));
        for key in keys {
            let wish = Wish { prefix: &empty, session: key };
            let home = NAMES[before.pick(&free(&[0; 5]), wish).unwrap()];
            let then = left[after.pick(&free(&[0; 4]), wish).unwrap()];
            prop_assert!(home == NAMES[gone] || home == then);
        }
    }

    #[test]
    fn warm_prefixes_stay_where_they_are_when_another_server_goes(gone in 0_usize..4) {
        let mut chooser = chooser(Policy::PrefixAffinity, 4);
        let home: Vec<usize> = (0..40)
            .map(|number| chooser.pick(&free(&[0; 4]), wish(&prompt(number))).unwrap())
            .collect();
        let loads: Vec<_> = (0..4).map(|idx| load(if idx == gone { Room::Down } else { Room::Free }, 0)).collect();
        for (number, home) in home.into_iter().enumerate() {
            let chosen = chooser.pick(&loads, wish(&prompt(number))).unwrap();
            prop_assert!(home == gone || chosen == home);
        }
    }
}
