//! Which of a model's servers gets a call. Pure: what is known of the servers is passed in.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::prefix::{Prefix, Seen};
use super::settings::{AffinitySettings, Policy};

#[cfg(test)]
mod tests;

/// What a server can do for a call right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Take it.
    Free,
    /// Take it later: it has as many as it can, or asked to be left alone.
    Full,
    /// Nothing: it is down.
    Down,
}

/// What is known of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// What it can do for the call.
    pub(crate) room: Room,
    /// Calls in flight.
    pub(crate) in_flight: u32,
    /// How busy it is, 0 to 1, by what is in flight or by what it says of itself.
    pub(crate) busy: f64,
}

/// What a choice goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// How the prompt begins.
    pub(crate) prefix: &'a Prefix,
    /// A name for its session, or its run; of the prompt's beginning if there is none.
    pub(crate) session: u64,
}

/// What was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The server.
    pub(crate) server: usize,
    /// Blocks of the prompt's beginning that it has been sent before.
    pub(crate) sent: usize,
}

/// Chooses servers.
#[derive(Debug)]
pub(crate) struct Chooser {
    policy: Policy,
    affinity: AffinitySettings,
    random: fastrand::Rng,
    servers: Vec<Server>,
    n_chosen: u64,
}

#[derive(Debug)]
struct Server {
    /// The same wherever it stands in the list, so that the others' keys stay when one goes.
    id: u64,
    weight: f64,
    /// How far its turn has come, for `round_robin`.
    turn: f64,
    /// When it was chosen last.
    chosen: u64,
    seen: Seen,
}

impl Chooser {
    /// A chooser among servers by name and weight.
    pub(crate) fn new<'a>(
        policy: Policy,
        affinity: &AffinitySettings,
        servers: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Self {
        let server = |(name, weight): (&str, f64)| Server {
            id: xxh3_64_with_seed(name.as_bytes(), 0),
            weight,
            turn: 0.0,
            chosen: 0,
            seen: Seen::new(affinity.blocks),
        };
        Self {
            policy,
            affinity: affinity.clone(),
            random: fastrand::Rng::with_seed(affinity.seed),
            servers: servers.into_iter().map(server).collect(),
            n_chosen: 0,
        }
    }

    /// The server for a call, among those that have room; `loads` are in the order of the servers.
    pub(crate) fn choose(&mut self, loads: &[Load], wish: Wish<'_>) -> Option<Choice> {
        let n_free = loads.iter().filter(|load| load.room == Room::Free).count();
        let chosen = match n_free {
            0 => None,
            1 => loads.iter().position(|load| load.room == Room::Free),
            _ => match self.policy {
                Policy::RoundRobin | Policy::External => self.next_turn(loads),
                Policy::LeastLoaded => self.least_loaded(loads),
                Policy::Session => self.by_key(loads, wish.session),
                Policy::PrefixAffinity => self.warmest(loads, n_free, wish),
            },
        }?;
        self.n_chosen += 1;
        let server = self.servers.get_mut(chosen)?;
        server.chosen = self.n_chosen;
        // Behind a router nobody knows who reads it.
        let is_known = self.policy != Policy::External;
        let sent = if is_known { server.seen.matched(wish.prefix) } else { 0 };
        if is_known {
            server.seen.note(wish.prefix);
        }
        Some(Choice { server: chosen, sent })
    }

    /// What a server has in its cache is gone.
    pub(crate) fn forget(&mut self, server: usize) {
        if let Some(server) = self.servers.get_mut(server) {
            server.seen = Seen::new(self.affinity.blocks);
        }
    }

    /// How many blocks of prefixes a server is known to have.
    pub(crate) fn n_blocks(&self, server: usize) -> usize {
        self.servers.get(server).map_or(0, |server| server.seen.len())
    }

    /// How much of a prompt a server has read before, 0 to 1.
    pub(crate) fn warmth(&self, server: usize, prefix: &Prefix) -> f64 {
        let n_blocks = prefix.hashes().len().max(1);
        self.servers.get(server).map_or(0.0, |server| server.seen.matched(prefix) as f64 / n_blocks as f64)
    }

    fn free<'a>(&'a self, loads: &'a [Load]) -> impl Iterator<Item = (usize, &'a Server, &'a Load)> {
        let all = self.servers.iter().zip(loads).enumerate();
        all.filter(|(_, (_, load))| load.room == Room::Free).map(|(idx, (server, load))| (idx, server, load))
    }

    /// Smooth weighted round robin, as nginx does it: turns are spread, not bunched.
    fn next_turn(&mut self, loads: &[Load]) -> Option<usize> {
        let total: f64 = self.free(loads).map(|(_, server, _)| server.weight).sum();
        for (server, load) in self.servers.iter_mut().zip(loads) {
            if load.room == Room::Free {
                server.turn += server.weight;
            }
        }
        // The first of equals: `max_by` would take the last.
        let next =
            self.free(loads).reduce(|best, other| if other.1.turn > best.1.turn { other } else { best });
        let next = next.map(|(idx, _, _)| idx)?;
        self.servers.get_mut(next)?.turn -= total;
        Some(next)
    }

    fn least_loaded(&self, loads: &[Load]) -> Option<usize> {
        let key = |server: &Server, load: &Load| (per_weight(server, load), server.chosen);
        let least = self.free(loads).min_by(|left, right| {
            let (left, right) = (key(left.1, left.2), key(right.1, right.2));
            left.0.total_cmp(&right.0).then(left.1.cmp(&right.1))
        });
        least.map(|(idx, _, _)| idx)
    }

    /// Weighted rendezvous hashing: a key's first server depends on no other, so that one that goes takes its keys only.
    fn by_key(&self, loads: &[Load], key: u64) -> Option<usize> {
        let best = self
            .free(loads)
            .max_by(|left, right| rendezvous(left.1, key).total_cmp(&rendezvous(right.1, key)));
        best.map(|(idx, _, _)| idx)
    }

    /// The server that has most of the prompt's beginning, unless it is much busier than another.
    fn warmest(&mut self, loads: &[Load], n_free: usize, wish: Wish<'_>) -> Option<usize> {
        let exploration = self.affinity.exploration;
        if exploration > 0.0 && self.random.f64() < exploration {
            let pick = self.random.usize(..n_free);
            return self.free(loads).nth(pick).map(|(idx, _, _)| idx);
        }
        let AffinitySettings { match_weight, load_weight, imbalance_abs, imbalance_rel, .. } = self.affinity;
        let score = |idx: usize, load: &Load| {
            match_weight * self.warmth(idx, wish.prefix) + load_weight * (1.0 - load.busy)
        };
        // Of equals the one that another process would choose, too.
        let scored = self.free(loads).map(|(idx, server, load)| {
            (idx, per_weight(server, load), score(idx, load), rendezvous(server, wish.prefix.first()))
        });
        let mut best: Option<(usize, f64, f64, f64)> = None;
        let mut idlest: Option<(usize, f64, f64)> = None;
        for (idx, load, score, tie) in scored {
            if best.is_none_or(|best| (score, tie) > (best.2, best.3)) {
                best = Some((idx, load, score, tie));
            }
            if idlest.is_none_or(|idlest| load < idlest.1 || (load <= idlest.1 && score > idlest.2)) {
                idlest = Some((idx, load, score));
            }
        }
        let (best, idlest) = (best?, idlest?);
        let is_imbalanced =
            best.1 - idlest.1 >= f64::from(imbalance_abs).max(1.0) && best.1 > imbalance_rel * idlest.1;
        Some(if is_imbalanced { idlest.0 } else { best.0 })
    }
}

fn per_weight(server: &Server, load: &Load) -> f64 {
    f64::from(load.in_flight) / server.weight
}

/// The higher, the nearer a key is to a server.
fn rendezvous(server: &Server, key: u64) -> f64 {
    const BITS: u32 = 53;
    let hash = xxh3_64_with_seed(&key.to_le_bytes(), server.id);
    // Strictly between 0 and 1.
    let uniform = ((hash >> (u64::BITS - BITS)) as f64 + 0.5) / (1_u64 << BITS) as f64;
    -server.weight / uniform.ln()
}
