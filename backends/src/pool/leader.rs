//! Leader, then followers: of calls that begin alike and that a server has not read before, one goes first, and the others
//! wait until it has been read. Sent all at once, each would be read from its first token. Pure.

use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;

use super::prefix::Prefix;
use super::settings::duration;

#[cfg(test)]
mod tests;

/// Tokens of a block of a prefix.
const BLOCK_TOKENS: u32 = 16;

/// How calls that begin alike wait for the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WarmupSettings {
    /// Whether they do.
    pub enabled: bool,
    /// Tokens that prompts have in common, and that the server has not read yet, from which on it is worth it: an
    /// estimate, four bytes a token.
    pub min_tokens: NonZeroU32,
    /// Longest wait for the first one's first token.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub max_wait: Duration,
}

impl Default for WarmupSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            min_tokens: NonZeroU32::new(512).unwrap_or(NonZeroU32::MIN),
            max_wait: Duration::from_secs(2),
        }
    }
}

/// The prefixes that servers are reading for the first time.
#[derive(Debug)]
pub(crate) struct Warmups {
    /// Blocks from which on it is worth it.
    min_blocks: usize,
    /// By server.
    warming: Vec<Vec<Warming>>,
    next: u64,
}

/// A prefix that a server is reading.
#[derive(Debug)]
struct Warming {
    id: u64,
    prefix: Prefix,
    /// Blocks of it that the server had read before.
    warm: usize,
    /// Becomes true once it has been read; closed without if the call failed before.
    read: watch::Sender<bool>,
}

/// How a call stands to the others at its server.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It has nothing to wait for, and nobody waits for it.
    Free,
    /// It goes first, under this name.
    Leads(u64),
    /// It waits for another one.
    Follows(Following),
}

/// A wait for another call.
#[derive(Debug)]
pub(crate) struct Following {
    /// See [`Warming::read`].
    read: watch::Receiver<bool>,
    /// Blocks that both have in common.
    common: usize,
    /// Blocks that the server had read before either: what is left if the other one fails.
    pub(crate) warm: usize,
}

impl Following {
    /// Waits for the other call, and says how many blocks have been read by it: none if it failed.
    pub(crate) async fn wait(mut self) -> usize {
        // An end without a word is a failure.
        let _closed = self.read.wait_for(|is_read| *is_read).await.is_err();
        if *self.read.borrow() { self.common } else { 0 }
    }
}

impl Warmups {
    pub(crate) fn new(settings: &WarmupSettings, n_servers: usize) -> Self {
        let min_blocks = settings.min_tokens.get().div_ceil(BLOCK_TOKENS).max(1) as usize;
        Self { min_blocks, warming: (0..n_servers).map(|_| Vec::new()).collect(), next: 0 }
    }

    /// How a call with `prefix` stands at `server`, which has been sent `sent` blocks of it before.
    pub(crate) fn stand(&mut self, server: usize, prefix: &Prefix, sent: usize) -> Standing {
        let Some(warming) = self.warming.get_mut(server) else { return Standing::Free };
        let hashes = prefix.hashes();
        // A hash is over all blocks before it too: where two are equal, so are all before them.
        let shares = |other: &Warming, n_blocks: usize| {
            hashes.get(n_blocks).is_some_and(|hash| other.prefix.hashes().get(n_blocks) == Some(hash))
        };
        // What was sent is not what has been read.
        let read = warming.iter().filter(|other| shares(other, other.warm)).map(|other| other.warm);
        let warm = read.fold(sent, usize::min);
        let enough = self.min_blocks - 1;
        let leaders = warming.iter().filter(|other| shares(other, other.warm + enough));
        let common = leaders.map(|other| (common(hashes, other.prefix.hashes()), other));
        if let Some((common, other)) = common.max_by_key(|(common, _)| *common) {
            return Standing::Follows(Following { read: other.read.subscribe(), common, warm });
        }
        if hashes.len().saturating_sub(warm) < self.min_blocks {
            return Standing::Free;
        }
        self.next += 1;
        let (id, read) = (self.next, watch::Sender::new(false));
        warming.push(Warming { id, prefix: prefix.clone(), warm, read });
        Standing::Leads(id)
    }

    /// The leader `id` has been read, or never will be: whoever waits for it goes on.
    pub(crate) fn end(&mut self, server: usize, id: u64, is_read: bool) {
        let Some(warming) = self.warming.get_mut(server) else { return };
        let Some(at) = warming.iter().position(|warming| warming.id == id) else { return };
        let ended = warming.swap_remove(at);
        if is_read {
            // Nobody may be waiting.
            ended.read.send_replace(true);
        }
    }
}

fn common(left: &[u64], right: &[u64]) -> usize {
    let n = left.len().min(right.len());
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = usize::midpoint(low, high);
        if left.get(middle) == right.get(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
