//! A run as it happens: a live tree on a terminal, a line a notice otherwise, JSON lines for programs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_engine::cx::Progress;
use anabranch_engine::run::{Notice, Observer, Opened};
use anabranch_engine::scope::Scope;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::print::{self, DIM, GREEN, RED, YELLOW};
use super::json;

/// Time between two frames of a spinner.
const TICK: Duration = Duration::from_millis(100);
/// Rows of the tree at once; what more is running is not drawn.
const ROWS_MAX: usize = 20;

/// Shows a run on standard error in the form that fits: nothing, lines, or a tree.
pub(crate) fn on_stderr() -> Option<Arc<dyn Shown>> {
    if print::is_quiet() {
        None
    } else if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        Some(Arc::new(Tree::default()))
    } else {
        Some(Arc::new(Lines))
    }
}

/// An observer that has to clear up when the run is over.
pub(crate) trait Shown: Observer {
    /// The run is over: leave the terminal clean.
    fn end(&self) {}

    /// Somebody is asked at the terminal, or no longer: draw nothing over it.
    fn hide(&self, _is_asked: bool) {}
}

/// Every notice as a line of JSON on standard output.
pub(crate) struct JsonLines;

impl Observer for JsonLines {
    fn notice(&self, notice: &Notice) {
        // A reader that went away is noticed when the result is written.
        drop(print::data(&format!("{}\n", json::notice(notice))));
    }
}

impl Shown for JsonLines {}

/// A line a notice; what only matters while one watches is left out.
struct Lines;

impl Observer for Lines {
    fn notice(&self, notice: &Notice) {
        if let Some(line) = line(notice) {
            print::complain(&line);
        }
    }
}

impl Shown for Lines {}

fn line(notice: &Notice) -> Option<String> {
    Some(match notice {
        Notice::Started { scope, attempt: 1, .. } => format!("started {scope}"),
        Notice::Started { scope, attempt, .. } => format!("started {scope} (attempt {attempt})"),
        Notice::Ended { scope, failure: None, timing, .. } => {
            format!("ended {scope} ({})", short(timing.ran))
        }
        Notice::Ended { scope, failure: Some(failure), retry_in: Some(wait), .. } => {
            format!("failed {scope} ({}), again in {}: {}", failure.kind, short(*wait), failure.message)
        }
        Notice::Ended { scope, failure: Some(failure), .. } => {
            format!("failed {scope} ({}): {}", failure.kind, failure.message)
        }
        Notice::Aborted { scope, .. } => format!("stopped {scope}"),
        Notice::Skipped { scope, why } => format!("skipped {scope}: {why}"),
        Notice::Waiting(wait) => format!("waiting {} for {}", wait.scope, wait.ty),
        Notice::Opened { scope, what, .. } => format!("opened {scope}{}", bound(*what)),
        Notice::Closed { scope, failure: Some(failure), .. } => {
            format!("failed {scope}: {}", failure.message)
        }
        Notice::Closed { scope, parts, .. } if *parts > 0 => {
            format!("closed {scope} ({parts} done)")
        }
        Notice::Closed { scope, .. } => format!("closed {scope}"),
        Notice::Part { .. } | Notice::Progress { .. } => return None,
    })
}

fn bound(what: Opened) -> String {
    match what {
        Opened::Flow => String::new(),
        Opened::Loop(max) => format!(" (at most {})", print::count(max as usize, "turn")),
        Opened::Each(n) => format!(" ({})", print::count(n, "item")),
        Opened::Plan(n) => format!(" ({})", print::count(n, "step")),
    }
}

/// `340 µs`, `12 ms`, `3.4 s`.
pub(super) fn short(duration: Duration) -> String {
    match duration.as_micros() {
        micros if micros < 1_000 => format!("{micros} µs"),
        micros if micros < 10_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// What is running, indented by where it is; top-level nodes stay with a mark once they have ended.
#[derive(Default)]
struct Tree {
    bars: MultiProgress,
    rows: Mutex<BTreeMap<Scope, Row>>,
}

struct Row {
    bar: ProgressBar,
    tokens: usize,
}

impl Tree {
    fn open(&self, scope: &Scope, message: String) {
        let mut rows = self.lock();
        if rows.len() >= ROWS_MAX && !rows.contains_key(scope) {
            return;
        }
        let depth = scope.to_string().matches('/').count();
        let parent = parent(scope).and_then(|parent| rows.get(&parent)).map(|row| row.bar.clone());
        let row = rows.entry(scope.clone()).or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            let bar = match parent {
                Some(parent) => self.bars.insert_after(&parent, bar),
                None => self.bars.add(bar),
            };
            let template = format!("{}{{spinner}} {{prefix}} {{msg:.dim}}", "  ".repeat(depth));
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style);
            }
            bar.set_prefix(if depth == 0 { scope.to_string() } else { last(scope) });
            bar.enable_steady_tick(TICK);
            Row { bar, tokens: 0 }
        });
        row.bar.set_message(message);
    }

    fn close(&self, scope: &Scope, said: Option<String>) {
        let row = self.lock().remove(scope);
        if let Some(row) = row {
            row.bar.finish_and_clear();
            self.bars.remove(&row.bar);
        }
        if let Some(said) = said {
            // Nothing is lost if the terminal has gone.
            drop(self.bars.println(said));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Scope, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Tree {
    fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Started { scope, op, attempt, .. } => {
                let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                self.open(scope, format!("{op}{again}"));
            }
            Notice::Ended { scope, failure: Some(failure), retry_in: Some(wait), .. } => {
                self.open(scope, format!("{}; again in {}", failure.kind, short(*wait)));
            }
            Notice::Ended { scope, failure: Some(failure), .. } => {
                let said = format!("{RED}✗{RED:#} {scope}  {}: {}", failure.kind, failure.message);
                self.close(scope, Some(said));
            }
            Notice::Ended { scope, timing, .. } => {
                let said = format!("{GREEN}✓{GREEN:#} {scope}  {DIM}{}{DIM:#}", short(timing.ran));
                self.close(scope, scope.frame.is_empty().then_some(said));
            }
            Notice::Aborted { scope, .. } => {
                let said = format!("{YELLOW}-{YELLOW:#} {scope}  {DIM}stopped{DIM:#}");
                self.close(scope, scope.frame.is_empty().then_some(said));
            }
            Notice::Skipped { scope, why } => {
                let said = format!("{YELLOW}-{YELLOW:#} {scope}  {DIM}skipped: {why}{DIM:#}");
                self.close(scope, scope.frame.is_empty().then_some(said));
            }
            Notice::Waiting(wait) => self.open(&wait.scope, format!("waits for {}", wait.ty)),
            Notice::Opened { scope, what, .. } => self.open(scope, bound(*what).trim().to_owned()),
            Notice::Part { scope, index } => {
                self.open(scope, format!("at {index}"));
            }
            Notice::Closed { scope, failure: Some(failure), .. } => {
                self.close(scope, Some(format!("{RED}✗{RED:#} {scope}  {}", failure.message)));
            }
            Notice::Closed { scope, parts, .. } => {
                let parts = if *parts > 0 { format!("{parts} done") } else { String::new() };
                let said = format!("{GREEN}✓{GREEN:#} {scope}  {DIM}{parts}{DIM:#}");
                self.close(scope, scope.frame.is_empty().then_some(said));
            }
            Notice::Progress { scope, progress: Some(progress) } => {
                let mut rows = self.lock();
                let Some(row) = rows.get_mut(scope) else { return };
                match progress {
                    Progress::Delta(_) => {
                        // A server sends about one token a piece.
                        row.tokens += 1;
                        row.bar.set_message(print::count(row.tokens, "token"));
                    }
                    Progress::Note(note) => row.bar.set_message(note.clone()),
                }
            }
            Notice::Progress { progress: None, .. } => {}
        }
    }
}

impl Shown for Tree {
    fn end(&self) {
        for row in std::mem::take(&mut *self.lock()).into_values() {
            row.bar.finish_and_clear();
        }
        drop(self.bars.clear());
    }

    fn hide(&self, is_asked: bool) {
        if is_asked {
            drop(self.bars.clear());
        }
        self.bars.set_draw_target(if is_asked {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        });
    }
}

/// The node whose turn, item or sub-flow `scope` is in.
fn parent(scope: &Scope) -> Option<Scope> {
    let frame = &*scope.frame;
    let path = frame.strip_suffix(']').and_then(|f| f.rsplit_once('[')).map_or(frame, |(path, _)| path);
    (!path.is_empty()).then(|| Scope::from(path))
}

/// The last two steps of a path: `hop[2]/search`.
fn last(scope: &Scope) -> String {
    let frame = scope.frame.rsplit('/').next().unwrap_or_default();
    format!("{frame}/{}", scope.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_inside_the_node_that_loops() {
        assert_eq!(parent(&"hop[2]/search".into()), Some("hop".into()));
        assert_eq!(parent(&"fan[1]/hop[2]/think".into()), Some("fan[1]/hop".into()));
        assert_eq!(parent(&"once/search".into()), Some("once".into()));
        assert_eq!(parent(&"search".into()), None);
    }

    #[test]
    fn a_line_says_what_happened_where() {
        let started = Notice::Started {
            scope: "hop[1]/search".into(),
            op: "x.y".into(),
            attempt: 1,
            inputs: anabranch_engine::value::Map::new(),
        };
        assert_eq!(line(&started).unwrap(), "started hop[1]/search");
        let opened = Notice::Opened {
            scope: "hop".into(),
            what: Opened::Loop(4),
            inputs: anabranch_engine::value::Map::new(),
        };
        assert_eq!(line(&opened).unwrap(), "opened hop (at most 4 turns)");
    }
}
