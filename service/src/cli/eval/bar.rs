//! How far an evaluation is: a bar on a terminal, now and then a line elsewhere.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::print;

/// Questions between two plain lines.
const QUESTIONS_EVERY: usize = 100;
/// Documents between two plain lines.
const DOCUMENTS_EVERY: usize = 5_000;
/// Time between two frames.
const TICK: Duration = Duration::from_millis(120);

fn bar(template: &str) -> ProgressBar {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let bar = if is_terminal && !print::is_quiet() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

fn says_lines() -> bool {
    !std::io::IsTerminal::is_terminal(&std::io::stderr())
}

/// Questions as they end.
pub(super) struct Bar {
    shown: ProgressBar,
    label: String,
    total: usize,
    counts: Mutex<Counts>,
}

struct Counts {
    done: usize,
    failed: usize,
}

impl Bar {
    /// `there` of `total` questions have been asked before.
    pub(super) fn new(label: &str, there: usize, total: usize) -> Self {
        let shown = bar("{spinner} asking {prefix} {wide_bar:.dim} {pos}/{len} questions, {msg}{eta} left");
        shown.set_prefix(label.to_owned());
        shown.set_length(total as u64);
        shown.set_position(there as u64);
        // What was done before says nothing about how fast this is.
        shown.reset_eta();
        if says_lines() {
            let before = if there > 0 { format!(", {there} of them done before") } else { String::new() };
            print::remark(&format!("asking {label}: {}{before}", print::count(total, "question")));
        }
        Self { shown, label: label.to_owned(), total, counts: Mutex::new(Counts { done: there, failed: 0 }) }
    }

    /// Another question has ended.
    pub(super) fn ended(&self, is_failed: bool) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.done += 1;
        counts.failed += usize::from(is_failed);
        self.shown.set_position(counts.done as u64);
        let failed = if counts.failed > 0 { format!("{} failed, ", counts.failed) } else { String::new() };
        if says_lines() && counts.done.is_multiple_of(QUESTIONS_EVERY) && counts.done < self.total {
            print::remark(&format!("asking {}: {failed}{} of {} done", self.label, counts.done, self.total));
        }
        self.shown.set_message(failed);
    }

    pub(super) fn end(&self) {
        self.shown.finish_and_clear();
    }
}

/// Documents of the corpus as they are indexed.
pub(super) struct Documents {
    shown: ProgressBar,
    set: String,
}

impl Documents {
    pub(super) fn new(set: &str) -> Self {
        let shown = bar("{spinner} indexing {prefix} {wide_bar:.dim} {pos}/{len} documents");
        shown.set_prefix(set.to_owned());
        Self { shown, set: set.to_owned() }
    }

    /// So many are done, of all.
    pub(super) fn at(&self, done: usize, total: usize) {
        self.shown.set_length(total as u64);
        let before = usize::try_from(self.shown.position()).unwrap_or_default();
        self.shown.set_position(done as u64);
        let is_due = done == 0 || done / DOCUMENTS_EVERY > before / DOCUMENTS_EVERY;
        if says_lines() && is_due {
            print::remark(&format!("indexing {}: {done} of {}", self.set, print::count(total, "document")));
        }
    }

    pub(super) fn end(&self) {
        self.shown.finish_and_clear();
    }
}
