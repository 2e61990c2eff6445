//! What is wrong with a flow: code, place, words, hint.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

mod codes;
mod render;

pub use codes::{ALL, Code};
pub use render::{render, summary};

/// A half-open range of bytes in a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` up to `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// A part of this span, given relative to its start; clipped to the span.
    #[must_use]
    pub fn part(self, start: usize, end: usize) -> Self {
        Self::new((self.start + start).min(self.end), (self.start + end).min(self.end))
    }
}

/// A value and the place where it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// `value`, written at `span`.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A source text and the name that it is reported under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path as the user gave it.
    pub name: String,
    /// Whole text.
    pub text: String,
}

impl SourceFile {
    /// A source text with its name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }

    /// Line and column of a byte, both counted from 1; columns count characters.
    pub fn place(&self, byte: usize) -> (usize, usize) {
        let mut end = byte.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = self.text.get(..end).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }
}

/// Whether a diagnostic stops the flow from loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The flow does not load.
    Error,
    /// The flow loads; `--strict` refuses it.
    Warning,
}

/// Another place that explains the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The file that it is in.
    pub file: Arc<SourceFile>,
    /// The place.
    pub span: Span,
    /// What is there.
    pub message: String,
}

/// One problem of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its code; `anabranch explain CODE` prints the page.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong: lowercase, no full stop, names in backticks.
    pub message: String,
    /// The file that it is in.
    pub file: Arc<SourceFile>,
    /// The place.
    pub span: Span,
    /// Other places that explain this one.
    pub labels: Vec<Label>,
    /// What would be right.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A problem with the severity that its code has by default.
    pub fn new(code: Code, file: &Arc<SourceFile>, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            message: message.into(),
            file: file.clone(),
            span,
            labels: Vec::new(),
            hint: None,
        }
    }

    /// Says what would be right.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what would be right, if that is known.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// Points at another place in the same file.
    #[must_use]
    pub fn label(mut self, span: Span, message: impl Into<String>) -> Self {
        self.labels.push(Label { file: self.file.clone(), span, message: message.into() });
        self
    }
}

/// Problems found so far. Everything that checks takes one of these and goes on.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Adds a problem.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds all problems of another list.
    pub fn extend(&mut self, other: Diagnostics) {
        self.0.extend(other.0);
    }

    /// Whether one of them stops the flow from loading.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Turns every warning into an error: `--strict`.
    pub fn deny_warnings(&mut self) {
        for diagnostic in &mut self.0 {
            diagnostic.severity = Severity::Error;
        }
    }

    /// Sorted by file, place and code, without repetitions.
    pub fn sort(&mut self) {
        self.0.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.file.name.clone(), d.span, d.code, d.message.clone());
            key(a).cmp(&key(b))
        });
        self.0.dedup();
    }

    /// The problems.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(self, false))
    }
}

impl std::error::Error for Diagnostics {}

/// "did you mean `x`?" for the known name nearest to `name`, else the list of what there is.
pub fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, what: &str) -> Option<String> {
    let mut known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(name, known.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    known.sort_unstable();
    known.dedup();
    (!known.is_empty()).then(|| {
        let listed = known.iter().take(12).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let more = if known.len() > 12 { format!(" and {} more", known.len() - 12) } else { String::new() };
        format!("{what}: {listed}{more}")
    })
}

/// The known name that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            let longer = candidate.chars().count().max(name.chars().count());
            // A name with nothing in common is not near, however short it is.
            *distance <= (longer / 3).max(1) && *distance < longer
        })
        .min_by_key(|(distance, candidate)| (*distance, *candidate))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let file = SourceFile::new("f", "ab\nπc\n");
        assert_eq!(file.place(0), (1, 1));
        assert_eq!(file.place(5), (2, 2), "π is two bytes and one column");
        assert_eq!(file.place(99), (3, 1));
    }

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("retrive", ["retrieve", "rerank"]), Some("retrieve"));
        assert_eq!(nearest("x", ["retrieve", "rerank"]), None);
        assert_eq!(nearest("s", ["q"]), None, "two names of one letter have nothing in common");
    }
}
