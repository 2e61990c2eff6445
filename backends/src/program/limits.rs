//! What a program may use, and the meter that counts it.

use super::error::{Bound, Step, Stop};

/// What one run of a program may use. Each bound counts the same on every machine: no clock is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps: one for each expression and statement, and for each element, or few bytes of text, that a built-in
    /// function looks at. A million takes about 50 ms. Default 1,000,000.
    pub steps: u64,
    /// Bytes that may be allocated over the whole run, given back or not. Default 64 MiB.
    pub memory_bytes: u64,
    /// Calls of functions inside each other. Default 100.
    pub calls: u32,
    /// Bytes of the program's text. Default 64 KiB.
    pub source_bytes: usize,
    /// Bytes that `print` may write in all. Default 64 KiB.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 1_000_000,
            memory_bytes: 64 << 20,
            calls: 100,
            source_bytes: 64 << 10,
            output_bytes: 64 << 10,
        }
    }
}

/// How deep expressions and blocks may stand in each other, and values in values.
pub(super) const NESTING_MAX: u32 = 50;
/// How deep the interpreter may stand in its own functions; the stack is made for it.
pub(super) const DEPTH_MAX: u32 = 1_500;
/// Digits after the point that a format may ask for.
pub(super) const PRECISION_MAX: usize = 100;

/// Counts what a run uses.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) limits: Limits,
    steps: u64,
    memory_bytes: u64,
    depth: u32,
}

impl Meter {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, steps: 0, memory_bytes: 0, depth: 0 }
    }

    /// Steps taken so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes `n` steps.
    pub(super) fn spend(&mut self, n: usize) -> Step<()> {
        self.steps = self.steps.saturating_add(n as u64);
        if self.steps > self.limits.steps {
            return Err(Stop::Exceeded(Bound::Steps(self.limits.steps)));
        }
        Ok(())
    }

    /// Takes the steps that it costs to look at `bytes` of text.
    pub(super) fn read(&mut self, bytes: usize) -> Step<()> {
        self.spend(1 + bytes / 16)
    }

    /// Allocates `bytes`. To be called before the allocation.
    pub(super) fn hold(&mut self, bytes: usize) -> Step<()> {
        self.memory_bytes = self.memory_bytes.saturating_add(bytes as u64);
        if self.memory_bytes > self.limits.memory_bytes {
            return Err(Stop::Exceeded(Bound::Memory(self.limits.memory_bytes)));
        }
        Ok(())
    }

    /// Gives back `bytes` that were held a moment ago.
    pub(super) fn give_back(&mut self, bytes: usize) {
        self.memory_bytes = self.memory_bytes.saturating_sub(bytes as u64);
    }

    /// One function of the interpreter deeper. Every success is followed by `leave`.
    pub(super) fn enter(&mut self) -> Step<()> {
        if self.depth >= DEPTH_MAX {
            return Err(Stop::Exceeded(Bound::Nesting(DEPTH_MAX)));
        }
        self.depth += 1;
        self.spend(1)
    }

    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}
