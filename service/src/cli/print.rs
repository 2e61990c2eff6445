//! Printing: data to standard output, everything else to standard error.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::exit;

/// How remarks look.
pub(crate) const DIM: Style = Style::new().dimmed();
/// How what went wrong looks.
pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
/// How what went well looks.
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
/// How what wants attention looks.
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
/// How headings and names look.
pub(crate) const BOLD: Style = Style::new().bold();

// One process, one command line: `--quiet` holds for all of it.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Sets what [`remark`] does from here on.
pub(crate) fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

// A log that programs read is all that standard error has.
static LOGS: AtomicBool = AtomicBool::new(false);

/// Has everything that is said on standard error go to the log, where it becomes JSON.
pub(crate) fn say_in_log() {
    LOGS.store(true, Ordering::Relaxed);
}

/// Whether standard error is a log that programs read.
pub(crate) fn is_log() -> bool {
    LOGS.load(Ordering::Relaxed)
}

/// Whether `--quiet` was given.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Writes data, as it is, to standard output.
pub(crate) fn data(text: &str) -> Result<(), exit::Error> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a value as JSON, indented, to standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), exit::Error> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| exit::Error::caused(exit::Exit::Failed, "cannot write the output", &error))?;
    data(&format!("{text}\n"))
}

/// Says something on standard error, unless `--quiet`.
pub(crate) fn remark(text: &str) {
    if is_log() {
        tracing::info!("{}", plain(text));
    } else if !is_quiet() {
        complain(text);
    }
}

/// Says something on standard error, `--quiet` or not.
pub(crate) fn complain(text: &str) {
    if is_log() {
        return tracing::warn!("{}", plain(text));
    }
    // There is nobody left to tell if standard error is closed.
    drop(writeln!(anstream::stderr().lock(), "{text}"));
}

/// A text without colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// Says why a command failed, with its hint.
pub(crate) fn error(error: &exit::Error) {
    if error.message.is_empty() {
        return;
    }
    if is_log() {
        return tracing::error!(hint = error.hint, "{}", plain(&error.message));
    }
    complain(&format!("{RED}error{RED:#}: {}", error.message));
    if let Some(hint) = &error.hint {
        complain(&format!("{BOLD}hint{BOLD:#}: {hint}"));
    }
}

/// `1 flow`, `2 flows`.
pub(crate) fn count(n: usize, word: &str) -> String {
    count_u64(n as u64, word)
}

/// As [`count`], of what an index counts.
pub(crate) fn count_u64(n: u64, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}
