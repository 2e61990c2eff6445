//! How far indexing is: a bar on a terminal, lines elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::print;
use crate::indexing::{Progress, Watch};

/// A progress bar on a terminal; otherwise a line at the start, and one every so many documents.
pub(super) struct Bar {
    shown: ProgressBar,
    lines: bool,
    /// Documents of the last line, plus one; 0 before the first line.
    said: AtomicUsize,
    name: String,
}

/// Documents between two plain lines of progress.
const LINE_EVERY: usize = 500;
/// Time between two frames.
const TICK: Duration = Duration::from_millis(120);

impl Bar {
    pub(super) fn new(name: &str) -> Self {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr()) && !print::is_log();
        let bar = if is_terminal && !print::is_quiet() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        let template = "{spinner} indexing {prefix} {wide_bar:.dim} {pos}/{len} files, {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.set_message("listing files");
        bar.enable_steady_tick(TICK);
        Self { shown: bar, lines: !is_terminal, said: AtomicUsize::new(0), name: name.to_owned() }
    }

    pub(super) fn end(&self) {
        self.shown.finish_and_clear();
    }
}

impl Watch for Bar {
    fn listed(&self, files: usize) {
        self.shown.set_length(files as u64);
    }

    fn at(&self, Progress { files, documents, chunks }: Progress) {
        self.shown.set_position(files as u64);
        let done = format!("{}, {}", print::count(documents, "document"), print::count(chunks, "chunk"));
        let said = self.said.load(Ordering::Relaxed);
        // An index that is up to date is not worth a word.
        if self.lines && documents > 0 && said == 0 {
            self.said.store(1, Ordering::Relaxed);
            let total = usize::try_from(self.shown.length().unwrap_or_default()).unwrap_or_default();
            print::remark(&format!("indexing {}: {} to look at", self.name, print::count(total, "file")));
        } else if self.lines && documents >= said.max(1) - 1 + LINE_EVERY {
            self.said.store(documents + 1, Ordering::Relaxed);
            print::remark(&format!("indexing {}: {done} done", self.name));
        }
        self.shown.set_message(format!("{done} indexed"));
    }
}
