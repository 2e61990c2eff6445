//! Answers to deterministic calls, kept: in memory, and on disk if wanted. Bounded in entries, bytes and age; what tenants
//! have is apart.

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anabranch_engine::backend::{ChatResponse, FinishReason};
use anabranch_engine::value::Text;
use lru::LruCache;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::duration;
use disk::Disk;

mod disk;
#[cfg(test)]
mod tests;

pub use disk::DiskSettings;

/// How answers are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseCacheSettings {
    /// How long an answer is kept.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub ttl: Duration,
    /// Most answers in memory; the one that has not been asked for longest makes room.
    pub max_entries: NonZeroUsize,
    /// Most bytes of answers in memory; 64 MiB if unset.
    pub max_bytes: NonZeroU64,
    /// Whether answers are kept in the folder `responses` of `data` too, and how many; they are not if unset.
    pub disk: Option<DiskSettings>,
}

impl Default for ResponseCacheSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_hours(1),
            max_entries: NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MIN),
            max_bytes: NonZeroU64::new(64 << 20).unwrap_or(NonZeroU64::MIN),
            disk: None,
        }
    }
}

/// How answers have been kept, and what is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CacheStats {
    /// Calls that were answered from memory.
    pub hits: u64,
    /// Calls that were answered from disk.
    pub disk_hits: u64,
    /// Calls whose answer was not kept, or no longer.
    pub misses: u64,
    /// Answers in memory.
    pub entries: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were no answers, or could not be read or written.
    pub disk_errors: u64,
}

/// Whose answer, and to what: a hash of the model and the request in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    tenant: Option<Text>,
    request: [u8; blake3::OUT_LEN],
}

impl Key {
    pub(crate) fn new(tenant: Option<Text>, request: blake3::Hash) -> Self {
        Self { tenant, request: *request.as_bytes() }
    }
}

/// What says how late it is.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Answers that are kept.
pub(crate) struct ResponseCache {
    settings: ResponseCacheSettings,
    clock: Clock,
    memory: Mutex<Memory>,
    disk: Option<Arc<Disk>>,
    hits: AtomicU64,
    disk_hits: AtomicU64,
    misses: AtomicU64,
}

impl fmt::Debug for ResponseCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache").field("settings", &self.settings).finish_non_exhaustive()
    }
}

struct Memory {
    entries: LruCache<Key, Entry>,
    bytes: u64,
}

struct Entry {
    response: Arc<ChatResponse>,
    bytes: u64,
    since: SystemTime,
}

/// An answer as it is written to disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    since: SystemTime,
    response: ChatResponse,
}

impl ResponseCache {
    /// An empty one. Nothing is read before the first call.
    pub(crate) fn new(settings: ResponseCacheSettings) -> Self {
        Self::with_clock(settings, Arc::new(SystemTime::now))
    }

    fn with_clock(settings: ResponseCacheSettings, clock: Clock) -> Self {
        Self {
            disk: settings.disk.clone().map(|disk| Arc::new(Disk::new(disk))),
            settings,
            clock,
            memory: Mutex::new(Memory { entries: LruCache::unbounded(), bytes: 0 }),
            hits: AtomicU64::new(0),
            disk_hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The answer, if it is kept and not too old.
    pub(crate) async fn get(&self, key: &Key) -> Option<Arc<ChatResponse>> {
        let found = self.lock().get(key, |since| self.is_fresh(since));
        if found.is_some() {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return found;
        }
        if let Some(disk) = self.disk.clone() {
            let wanted = key.clone();
            let read = tokio::task::spawn_blocking(move || disk.get(&wanted)).await.ok().flatten();
            if let Some((kept, bytes)) = read.filter(|(kept, _)| self.is_fresh(kept.since)) {
                self.disk_hits.fetch_add(1, Ordering::Relaxed);
                let response = Arc::new(kept.response);
                self.keep(key.clone(), Entry { response: response.clone(), bytes, since: kept.since });
                return Some(response);
            }
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Keeps an answer, unless it was withheld: that may have had a reason outside.
    pub(crate) fn put(&self, key: &Key, response: &ChatResponse) {
        if response.finish_reason == FinishReason::ContentFilter {
            return;
        }
        let kept = Kept { since: (self.clock)(), response: response.clone() };
        let Ok(text) = serde_json::to_vec(&kept) else { return };
        let Kept { since, response } = kept;
        self.keep(key.clone(), Entry { response: Arc::new(response), bytes: text.len() as u64, since });
        if let Some(disk) = self.disk.clone() {
            let key = key.clone();
            // Whoever waits for the answer does not wait for the disk.
            drop(tokio::task::spawn_blocking(move || disk.put(&key, &text)));
        }
    }

    /// Numbers of this moment.
    pub(crate) fn stats(&self) -> CacheStats {
        let memory = self.lock();
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            disk_hits: self.disk_hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            entries: memory.entries.len(),
            bytes: memory.bytes,
            disk_errors: self.disk.as_ref().map_or(0, |disk| disk.n_errors()),
        }
    }

    /// Whether what was answered then may still be given. What is from the future is not: somebody has set the clock.
    fn is_fresh(&self, since: SystemTime) -> bool {
        (self.clock)().duration_since(since).is_ok_and(|age| age < self.settings.ttl)
    }

    fn keep(&self, key: Key, entry: Entry) {
        let ResponseCacheSettings { max_entries, max_bytes, .. } = self.settings;
        if entry.bytes <= max_bytes.get() {
            self.lock().put(key, entry, max_entries.get(), max_bytes.get());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn get(&mut self, key: &Key, is_fresh: impl Fn(SystemTime) -> bool) -> Option<Arc<ChatResponse>> {
        let entry = self.entries.get(key)?;
        if is_fresh(entry.since) {
            return Some(entry.response.clone());
        }
        let old = self.entries.pop(key)?;
        self.bytes -= old.bytes;
        None
    }

    fn put(&mut self, key: Key, entry: Entry, max_entries: usize, max_bytes: u64) {
        self.bytes += entry.bytes;
        if let Some((_, old)) = self.entries.push(key, entry) {
            self.bytes -= old.bytes;
        }
        while self.entries.len() > max_entries || self.bytes > max_bytes {
            let Some((_, old)) = self.entries.pop_lru() else { return };
            self.bytes -= old.bytes;
        }
    }
}
