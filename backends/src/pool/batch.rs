//! Calls of encoders from all runs, gathered into batches: texts that come within a few milliseconds go out together.
//!
//! A batch is one future that all of its members hold and poll: whoever goes away leaves it, and takes its texts along
//! if they have not been sent yet. Nothing is spawned.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anabranch_engine::backend::{Call, Error, Usage};
use anabranch_engine::value::Text;
use async_trait::async_trait;
use futures::future::{BoxFuture, Shared, WeakShared};
use futures::{FutureExt, StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::flight::OwnedCall;
use super::settings::duration;

mod encoders;
#[cfg(test)]
mod tests;

pub use encoders::{BatchedEmbedder, BatchedReranker};

/// Most calls of a refused batch that are asked again at the same time.
const SPLIT_CONCURRENCY: usize = 8;

/// How calls of an encoder are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// Most texts that are gathered. A call with as many goes by itself: with 1 nothing is gathered.
    pub max_texts: NonZeroUsize,
    /// Longest wait for others.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub max_wait: Duration,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            max_texts: NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN),
            max_wait: Duration::from_millis(5),
        }
    }
}

/// How calls of an encoder have been gathered, up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct BatchStats {
    /// Calls that were made.
    pub calls: u64,
    /// Their texts.
    pub texts: u64,
    /// Batches that were sent, of one call or of several.
    pub batches: u64,
    /// Calls that went out together with others.
    pub gathered: u64,
    /// Calls that went away before their batch was sent.
    pub left: u64,
    /// Batches that were refused, and whose calls were then sent one by one.
    pub split: u64,
}

/// An encoder of texts.
#[async_trait]
pub(super) trait Encode: Send + Sync + fmt::Debug + 'static {
    /// What texts of a batch must have in common.
    type Key: Clone + Eq + Hash + Send + Sync + fmt::Debug + 'static;
    /// What becomes of a text.
    type Item: Clone + Send + Sync + 'static;

    /// What becomes of `texts`, in their order.
    async fn encode(
        &self,
        key: &Self::Key,
        texts: &[Text],
        call: &Call<'_>,
    ) -> Result<(Vec<Self::Item>, Usage), Error>;
}

type Encoded<T> = Result<(Vec<T>, Usage), Error>;
/// What came of each call of a batch, by its place.
type Outcome<T> = Arc<HashMap<usize, Encoded<T>>>;
type Work<T> = BoxFuture<'static, Outcome<T>>;

/// Gathers the calls of an encoder.
#[derive(Debug)]
pub(super) struct Gatherer<E: Encode> {
    encoder: E,
    settings: BatchSettings,
    open: Mutex<HashMap<E::Key, Open<E>>>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    calls: AtomicU64,
    texts: AtomicU64,
    batches: AtomicU64,
    gathered: AtomicU64,
    left: AtomicU64,
    split: AtomicU64,
}

/// A batch that still takes texts.
struct Open<E: Encode> {
    batch: Weak<Batch>,
    work: WeakShared<Work<E::Item>>,
}

impl<E: Encode> fmt::Debug for Open<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

/// Texts that go out together.
#[derive(Debug, Default)]
struct Batch {
    gathered: Mutex<Gathered>,
    full: Notify,
    /// Somebody went away, and another one has to poll.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Gathered {
    calls: Vec<Option<Gather>>,
    n_texts: usize,
    is_closed: bool,
}

/// A call of a batch.
#[derive(Debug)]
struct Gather {
    place: usize,
    texts: Vec<Text>,
    call: OwnedCall,
}

impl Batch {
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a call if there is room for it, and says which place it has.
    fn add(&self, texts: &[Text], call: &Call<'_>, max_texts: usize) -> Option<usize> {
        let mut gathered = self.lock();
        if gathered.is_closed {
            return None;
        }
        if gathered.n_texts + texts.len() > max_texts {
            gathered.is_closed = true;
            self.full.notify_one();
            return None;
        }
        let place = gathered.calls.len();
        gathered.calls.push(Some(Gather { place, texts: texts.to_vec(), call: OwnedCall::of(call) }));
        gathered.n_texts += texts.len();
        if gathered.n_texts == max_texts {
            gathered.is_closed = true;
            self.full.notify_one();
        }
        Some(place)
    }

    /// Takes out a call that has not been sent.
    fn leave(&self, place: usize) -> bool {
        let mut gathered = self.lock();
        let left = gathered.calls.get_mut(place).and_then(Option::take);
        gathered.n_texts -= left.as_ref().map_or(0, |left| left.texts.len());
        left.is_some()
    }

    /// Takes out all calls, to be sent.
    fn close(&self) -> Vec<Gather> {
        let mut gathered = self.lock();
        gathered.is_closed = true;
        gathered.n_texts = 0;
        std::mem::take(&mut gathered.calls).into_iter().flatten().collect()
    }
}

impl<E: Encode> Gatherer<E> {
    pub(super) fn new(encoder: E, settings: BatchSettings) -> Arc<Self> {
        Arc::new(Self { encoder, settings, open: Mutex::default(), counts: Counts::default() })
    }

    pub(super) fn encoder(&self) -> &E {
        &self.encoder
    }

    pub(super) fn stats(&self) -> BatchStats {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { calls, texts, batches, gathered, left, split } = &self.counts;
        BatchStats {
            calls: get(calls),
            texts: get(texts),
            batches: get(batches),
            gathered: get(gathered),
            left: get(left),
            split: get(split),
        }
    }

    /// What becomes of `texts`, which may go out together with those of others that have `key` in common.
    pub(super) async fn encode(
        self: &Arc<Self>,
        key: E::Key,
        texts: &[Text],
        call: &Call<'_>,
    ) -> Encoded<E::Item> {
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
        self.counts.texts.fetch_add(texts.len() as u64, Ordering::Relaxed);
        if texts.is_empty() || texts.len() >= self.settings.max_texts.get() {
            self.counts.batches.fetch_add(1, Ordering::Relaxed);
            return self.encoder.encode(&key, texts, call).await;
        }
        let member = self.join(&key, texts, call);
        let mut work = member.work.clone();
        loop {
            let mut changed = std::pin::pin!(member.batch.changed.notified());
            changed.as_mut().enable();
            tokio::select! {
                biased;
                outcome = &mut work => {
                    // Each place that was sent has an outcome, and ours was: we are still here.
                    let missing = || Err(garbled("the batch has no answer for the call".to_owned()));
                    return outcome.get(&member.place).cloned().unwrap_or_else(missing);
                }
                () = &mut changed => {}
            }
        }
    }

    fn join(self: &Arc<Self>, key: &E::Key, texts: &[Text], call: &Call<'_>) -> Member<E> {
        let max_texts = self.settings.max_texts.get();
        let mut open = self.lock();
        let found = open.get(key).and_then(|open| open.batch.upgrade().zip(open.work.upgrade()));
        if let Some((batch, work)) = found {
            if let Some(place) = batch.add(texts, call, max_texts) {
                return Member { gatherer: self.clone(), batch, work, place };
            }
            // If all others have gone, this was the last to hold it: its end takes the lock that is held here.
            drop(open);
            drop(work);
            open = self.lock();
        }
        let batch = Arc::new(Batch::default());
        // There is room in an empty one.
        let place = batch.add(texts, call, max_texts).unwrap_or_default();
        let landing = Landing { gatherer: Arc::downgrade(self), key: key.clone(), batch: batch.clone() };
        let (encoder, key) = (Arc::downgrade(self), key.clone());
        let work: Work<E::Item> = Box::pin({
            let key = key.clone();
            async move {
                let Some(gatherer) = encoder.upgrade() else { return Outcome::default() };
                let waits = gatherer.settings.max_wait;
                tokio::select! {
                    biased;
                    () = landing.batch.full.notified() => {}
                    () = sleep(waits) => {}
                }
                let calls = landing.batch.close();
                drop(landing);
                Arc::new(gatherer.send(&key, calls).await)
            }
        });
        let work = work.shared();
        if let Some(weak) = work.downgrade() {
            open.insert(key, Open { batch: Arc::downgrade(&batch), work: weak });
        }
        Member { gatherer: self.clone(), batch, work, place }
    }

    /// Sends a batch; if it is refused for what is in it, once more call by call, so that only the bad one fails.
    async fn send(&self, key: &E::Key, calls: Vec<Gather>) -> HashMap<usize, Encoded<E::Item>> {
        let n_calls = calls.len() as u64;
        self.counts.batches.fetch_add(1, Ordering::Relaxed);
        if let [only] = calls.as_slice() {
            let call = only.call.with(&|_| {}, &|| {});
            return HashMap::from([(only.place, self.checked(key, &only.texts, &call).await)]);
        }
        self.counts.gathered.fetch_add(n_calls, Ordering::Relaxed);
        let texts: Vec<Text> = calls.iter().flat_map(|gather| &gather.texts).cloned().collect();
        let batch_key = batch_key(&calls);
        match self.checked(key, &texts, &Call::keyed(&batch_key)).await {
            Ok((items, usage)) => distribute(&calls, items, usage).collect(),
            Err(Error::Rejected { .. } | Error::Garbled { .. }) => {
                self.counts.split.fetch_add(1, Ordering::Relaxed);
                self.counts.batches.fetch_add(n_calls, Ordering::Relaxed);
                let each = calls.iter().map(|gather| async move {
                    let call = gather.call.with(&|_| {}, &|| {});
                    (gather.place, self.checked(key, &gather.texts, &call).await)
                });
                // Boxed: the compiler cannot see that borrowed calls live long enough within a stream.
                let each: Vec<_> = each.map(FutureExt::boxed).collect();
                stream::iter(each).buffer_unordered(SPLIT_CONCURRENCY).collect().await
            }
            Err(error) => calls.iter().map(|gather| (gather.place, Err(error.clone()))).collect(),
        }
    }

    async fn checked(&self, key: &E::Key, texts: &[Text], call: &Call<'_>) -> Encoded<E::Item> {
        let (items, usage) = self.encoder.encode(key, texts, call).await?;
        if items.len() != texts.len() {
            return Err(garbled(format!("{} results for {} texts", items.len(), texts.len())));
        }
        Ok((items, usage))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<E::Key, Open<E>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives each call its part of what came of a batch. What it took is divided by bytes: nobody counts tokens of a text.
fn distribute<T>(calls: &[Gather], items: Vec<T>, usage: Usage) -> impl Iterator<Item = (usize, Encoded<T>)> {
    let weight = |gather: &Gather| gather.texts.iter().map(|text| text.len() as u64 + 1).sum::<u64>();
    let total: u64 = calls.iter().map(weight).sum::<u64>().max(1);
    let part = move |of: u64, before: u64, after: u64| {
        let up_to = |n: u64| u128::from(of) * u128::from(n) / u128::from(total);
        u64::try_from(up_to(after) - up_to(before)).unwrap_or_default()
    };
    let mut items = items.into_iter();
    let mut before = 0;
    calls.iter().map(move |gather| {
        let after = before + weight(gather);
        let share = Usage {
            prompt_tokens: part(usage.prompt_tokens, before, after),
            cached_tokens: part(usage.cached_tokens, before, after),
            ..Usage::default()
        };
        before = after;
        (gather.place, Ok((items.by_ref().take(gather.texts.len()).collect(), share)))
    })
}

/// Names a batch by the calls in it.
fn batch_key(calls: &[Gather]) -> String {
    let mut hasher = blake3::Hasher::new();
    for gather in calls {
        hasher.update(gather.call.key().as_bytes()).update(b"\0");
    }
    hasher.finalize().to_hex().to_string()
}

fn garbled(message: String) -> Error {
    Error::Garbled { backend: "the encoder".to_owned(), message }
}

/// Part of a batch: dropped when it is sent, or with it, so that nobody comes in any more.
struct Landing<E: Encode> {
    gatherer: Weak<Gatherer<E>>,
    key: E::Key,
    batch: Arc<Batch>,
}

impl<E: Encode> Drop for Landing<E> {
    fn drop(&mut self) {
        let Some(gatherer) = self.gatherer.upgrade() else { return };
        let mut open = gatherer.lock();
        let is_own = open
            .get(&self.key)
            .is_some_and(|open| std::ptr::eq(open.batch.as_ptr(), Arc::as_ptr(&self.batch)));
        if is_own {
            open.remove(&self.key);
        }
    }
}

/// A call that waits for its batch.
struct Member<E: Encode> {
    gatherer: Arc<Gatherer<E>>,
    batch: Arc<Batch>,
    work: Shared<Work<E::Item>>,
    place: usize,
}

impl<E: Encode> Drop for Member<E> {
    fn drop(&mut self) {
        if self.batch.leave(self.place) {
            self.gatherer.counts.left.fetch_add(1, Ordering::Relaxed);
        }
        self.batch.changed.notify_waiters();
    }
}
