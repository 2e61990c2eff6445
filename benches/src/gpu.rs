//! A model server without a GPU: it takes as long as one, remembers prefixes as one, and breaks as told.
//!
//! What is modelled is what a client of vLLM can notice: answers that are written side by side in a number of slots,
//! a queue before them, prompts that are read one after the other at a rate, a cache of full blocks of prompts and
//! answers that forgets the longest unused, and refusals. What is not: that reading slows writing down, preemption,
//! and what an answer means.
//!
//! Time is tokio's. On a paused clock minutes of serving pass in a moment, by the millisecond that timers are coarse.
//! [`Simulated`] is it as a chat model inside the process, [`Server`] as an OpenAI-compatible server.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_engine::value::{Message, Role};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};

mod cache;
mod chat;
mod fault;
mod http;
mod metrics;
#[cfg(test)]
mod tests;
mod tokens;

pub use chat::{Patience, Simulated};
pub use fault::{Fault, UnknownFault};
pub use http::Server;

use cache::Cache;
use tokens::{Blocks, n_tokens};

/// Tokens of a block of the cache, vLLM's default. Only full ones are shared.
pub const BLOCK_TOKENS: usize = 16;
/// Timers end up to this much late; whoever waits for one that has just ended takes over at the exact time.
const TICK: Duration = Duration::from_millis(1);

/// What the simulated server is like.
#[derive(Debug, Clone)]
pub struct GpuSettings {
    /// The model's name.
    pub model: String,
    /// Answers that are written side by side, vLLM's `--max-num-seqs`.
    pub slots: usize,
    /// Calls that wait for a slot. More are refused with a 429; vLLM itself takes any number.
    pub max_waiting: usize,
    /// Tokens of prompts read a second, whatever else goes on.
    pub prefill_per_sec: f64,
    /// Tokens of one answer written a second, however many are written.
    pub decode_per_sec: f64,
    /// Blocks that the cache holds; all of them if unset.
    pub cache_blocks: Option<NonZeroUsize>,
    /// From when on a block that is being read counts as cached.
    pub shares: Shares,
    /// Tokens of a streamed piece.
    pub piece_tokens: u32,
    /// Tokens of an answer to a call that sets no `max_tokens`.
    pub answer_tokens: u32,
}

/// From when on others can use a block that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shares {
    /// Once it has been read: calls that come together each read what they have in common.
    Read,
    /// Once its call has a slot, as vLLM's scheduler has it when both fall into one step.
    Scheduled,
}

impl Default for GpuSettings {
    /// About what a model of 8 billion weights does on one large GPU.
    fn default() -> Self {
        Self {
            model: "simulated".to_owned(),
            slots: 64,
            max_waiting: 10_000,
            prefill_per_sec: 20_000.0,
            decode_per_sec: 50.0,
            cache_blocks: NonZeroUsize::new(16_384),
            shares: Shares::Read,
            piece_tokens: 16,
            answer_tokens: 128,
        }
    }
}

/// One simulated server.
#[derive(Debug)]
pub struct Gpu {
    settings: GpuSettings,
    slots: Semaphore,
    /// When the reading that is under way ends; held by whoever reads.
    reading: tokio::sync::Mutex<Instant>,
    fault: watch::Sender<Option<Fault>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    cache: Cache,
    stats: GpuStats,
}

/// What the server has done, and is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GpuStats {
    /// Calls with a slot.
    pub running: usize,
    /// Calls that wait for one.
    pub waiting: usize,
    /// Blocks of the calls with a slot.
    pub blocks: usize,
    /// Calls that came.
    pub asked: u64,
    /// Calls that were answered in full.
    pub answered: u64,
    /// Calls that were refused, by a full queue or a fault.
    pub refused: u64,
    /// Tokens of the prompts of calls that got a slot.
    pub prompt_tokens: u64,
    /// Those of them that were in the cache.
    pub cached_tokens: u64,
    /// Tokens written, those of answers that broke off included.
    pub completion_tokens: u64,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text: words that depend on the prompt alone.
    pub text: String,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Those of them that were in the cache.
    pub cached_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// Why a call was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its queue is full.
    #[error("{0} requests wait already")]
    Full(usize),
    /// It is told to refuse.
    #[error("out of order, come back after {0:?}")]
    Unavailable(Duration),
    /// It is told to answer nonsense.
    #[error("the answer is garbled")]
    Garbled,
    /// Its process is gone, or went before the answer was complete.
    #[error("the server is gone")]
    Killed,
}

impl Gpu {
    /// A server as `settings` say, with an empty cache.
    pub fn new(settings: GpuSettings) -> Self {
        Self {
            slots: Semaphore::new(settings.slots),
            reading: tokio::sync::Mutex::new(Instant::now()),
            fault: watch::Sender::new(None),
            state: Mutex::new(State { cache: Cache::new(settings.cache_blocks), stats: GpuStats::default() }),
            settings,
        }
    }

    /// What it is like.
    pub fn settings(&self) -> &GpuSettings {
        &self.settings
    }

    /// Breaks it, or makes it well again. One that is killed loses its cache, and the calls that it was working on.
    pub fn set_fault(&self, fault: Option<Fault>) {
        if fault == Some(Fault::Killed) {
            self.lock().cache = Cache::new(self.settings.cache_blocks);
        }
        self.fault.send_replace(fault);
    }

    /// How it is broken.
    pub fn fault(&self) -> Option<Fault> {
        *self.fault.borrow()
    }

    /// What it has done, and is doing.
    pub fn stats(&self) -> GpuStats {
        self.lock().stats
    }

    /// Answers `messages` with `max_tokens` tokens, and gives each piece to `on_piece` as it is written. Dropping the
    /// future frees its slot.
    pub async fn answer(
        &self,
        messages: &[Message],
        max_tokens: Option<u32>,
        on_piece: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Answer, Refusal> {
        self.lock().stats.asked += 1;
        let result = tokio::select! {
            biased;
            () = self.until(|fault| fault == Some(Fault::Killed)) => Err(Refusal::Killed),
            result = self.work(messages, max_tokens, on_piece) => result,
        };
        let mut state = self.lock();
        match &result {
            Ok(_) => state.stats.answered += 1,
            Err(_) => state.stats.refused += 1,
        }
        result
    }

    /// Waits while it is stalled; `false` if it is killed meanwhile.
    pub async fn goes_on(&self) -> bool {
        self.until(|fault| fault != Some(Fault::Stalled)).await;
        self.fault() != Some(Fault::Killed)
    }

    /// Waits until it is killed.
    pub(super) async fn killed(&self) {
        self.until(|fault| fault == Some(Fault::Killed)).await;
    }

    async fn work(
        &self,
        messages: &[Message],
        max_tokens: Option<u32>,
        on_piece: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Answer, Refusal> {
        self.goes_on().await;
        match self.fault() {
            Some(Fault::Unavailable { retry_after }) => return Err(Refusal::Unavailable(retry_after)),
            Some(Fault::Garbled) => return Err(Refusal::Garbled),
            _ => {}
        }
        let prompt = tokens::prompt(messages);
        let n_written = max_tokens.unwrap_or(self.settings.answer_tokens).max(1);
        let _slot = self.slot().await?;
        let blocks = Blocks::of(&prompt);
        let n_blocks = (n_tokens(&prompt) + n_written as usize).div_ceil(BLOCK_TOKENS);
        let _running = Running::new(self, n_blocks);
        let (n_read, n_cached) = self.look_up(&prompt, &blocks);
        let read = self.read(n_read - n_cached, &blocks).await;
        let text = self.write(&prompt, n_written, read, on_piece).await;
        // What it has written is in its cache as well: the next turn of a conversation begins with it.
        self.lock().cache.note(&Blocks::of(&format!("{prompt}{text}")));
        let (prompt_tokens, cached_tokens) = (n_read as u64, n_cached as u64);
        Ok(Answer { text, prompt_tokens, cached_tokens, completion_tokens: u64::from(n_written) })
    }

    async fn slot(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Refusal> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let _waiting = {
            let mut state = self.lock();
            if state.stats.waiting >= self.settings.max_waiting {
                return Err(Refusal::Full(state.stats.waiting));
            }
            state.stats.waiting += 1;
            Counted { gpu: self, end: |stats| stats.waiting -= 1 }
        };
        // First come, first served. It is never closed.
        self.slots.acquire().await.map_err(|_closed| Refusal::Killed)
    }

    /// Tokens of the prompt, and those of them in the cache.
    fn look_up(&self, prompt: &str, blocks: &Blocks) -> (usize, usize) {
        let n_tokens = n_tokens(prompt);
        let mut state = self.lock();
        // One token has to be read in any case: what comes next follows from it.
        let most = n_tokens.saturating_sub(1) / BLOCK_TOKENS;
        let n_cached = state.cache.matched(blocks).min(most) * BLOCK_TOKENS;
        if self.settings.shares == Shares::Scheduled {
            state.cache.note(blocks);
        }
        state.stats.prompt_tokens += n_tokens as u64;
        state.stats.cached_tokens += n_cached as u64;
        (n_tokens, n_cached)
    }

    /// Reads `n` tokens; the exact time when that was done.
    async fn read(&self, n: usize, blocks: &Blocks) -> Instant {
        let mut reading = self.reading.lock().await;
        let now = Instant::now();
        let start = (*reading).max(now.checked_sub(TICK).unwrap_or(now));
        let end = start + Duration::from_secs_f64(n as f64 / self.settings.prefill_per_sec);
        sleep_until(end).await;
        self.goes_on().await;
        *reading = end;
        self.lock().cache.note(blocks);
        end
    }

    async fn write(
        &self,
        prompt: &str,
        n_tokens: u32,
        start: Instant,
        on_piece: &(dyn Fn(&str) + Send + Sync),
    ) -> String {
        let mut words = tokens::Words::after(prompt);
        let mut text = String::new();
        let mut start = start;
        let mut n = 0;
        while n < n_tokens {
            // The first token goes out by itself: whoever waits for it should not wait for more.
            let n_piece = if n == 0 { 1 } else { self.settings.piece_tokens.clamp(1, n_tokens - n) };
            n += n_piece;
            let due = start + Duration::from_secs_f64(f64::from(n) / self.settings.decode_per_sec);
            sleep_until(due).await;
            if self.fault() == Some(Fault::Stalled) {
                self.goes_on().await;
                start += Instant::now() - due;
            }
            let piece: String = words.by_ref().take(n_piece as usize).collect();
            self.lock().stats.completion_tokens += u64::from(n_piece);
            on_piece(&piece);
            text += &piece;
        }
        text
    }

    async fn until(&self, is: impl Fn(Option<Fault>) -> bool) {
        let mut fault = self.fault.subscribe();
        // The sender is this server's own, so that waiting does not fail.
        if fault.wait_for(|fault| is(*fault)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Undoes a count when it is dropped.
struct Counted<'a> {
    gpu: &'a Gpu,
    end: fn(&mut GpuStats),
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        (self.end)(&mut self.gpu.lock().stats);
    }
}

/// A call with a slot.
struct Running<'a> {
    gpu: &'a Gpu,
    n_blocks: usize,
}

impl<'a> Running<'a> {
    fn new(gpu: &'a Gpu, n_blocks: usize) -> Self {
        let mut state = gpu.lock();
        state.stats.running += 1;
        state.stats.blocks += n_blocks;
        drop(state);
        Self { gpu, n_blocks }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.gpu.lock();
        state.stats.running -= 1;
        state.stats.blocks -= self.n_blocks;
    }
}

/// The role's name in a rendered prompt.
fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}
