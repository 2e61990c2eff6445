//! What the lines around a syntax error say about it: a bracket left open, a `:` left out, a key in the wrong column.
//!
//! A parser notices these only later, often on a line that is right.

use std::sync::Arc;

use serde_yaml::granit_parser::ErrorKind;

use crate::diagnostic::{Code, Diagnostic, SourceFile, Span};

/// A line that is neither empty nor a comment.
#[derive(Clone, Copy)]
struct Line<'a> {
    start: usize,
    indent: usize,
    /// Without the space around it and a comment at its end.
    text: &'a str,
}

impl Line<'_> {
    /// The place of its text.
    fn span(self) -> Span {
        let start = self.start + self.indent;
        Span::new(start, start + self.text.len())
    }

    fn column(self) -> usize {
        self.indent + 1
    }

    /// Whether it begins with `key:`.
    fn has_key(self) -> bool {
        self.text.ends_with(':') || self.text.contains(": ")
    }

    /// Whether it is plain words, as a key without its `:` is.
    fn is_words(self) -> bool {
        let begins = self.text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        begins && !self.has_key() && !self.text.contains(['{', '[', '}', ']', '"', '\''])
    }
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut start = 0;
    let mut lines = Vec::new();
    for raw in text.split_inclusive('\n') {
        let content = raw.trim_start_matches(' ');
        let cut = content.find(" #").map_or(content, |comment| content.get(..comment).unwrap_or(content));
        let line = Line { start, indent: raw.len() - content.len(), text: cut.trim() };
        start += raw.len();
        if !line.text.is_empty() && !line.text.starts_with('#') {
            lines.push(line);
        }
    }
    lines
}

/// A better account of the error of `kind` at byte `at`; `open` is the innermost `{` or `[` still open there.
pub(super) fn explain(
    file: &Arc<SourceFile>,
    kind: &ErrorKind,
    at: usize,
    open: Option<Span>,
) -> Option<Diagnostic> {
    let lines = lines(&file.text);
    let position = lines.iter().rposition(|line| line.start <= at)?;
    let (here, above) = (*lines.get(position)?, lines.get(..position)?);
    if *kind == ErrorKind::UnclosedQuotedScalar {
        return None;
    }
    if *kind == ErrorKind::ExpectedFlowMappingSeparator && file.text.get(..at)?.ends_with('$') {
        let problem = Diagnostic::new(
            Code::SYNTAX,
            file,
            Span::new(at - 1, at + 1),
            "`${ }` needs quotes between `{` and `}`",
        );
        return Some(
            problem.hint("for example `top_k: \"${ inputs.n }\"`; under `in`, write the expression alone"),
        );
    }
    if let Some(open) = open {
        return left_open(file, open, here, above, at);
    }
    let is_layout = matches!(
        kind,
        ErrorKind::MappingValueNotAllowed
            | ErrorKind::InvalidColonPlacement
            | ErrorKind::SimpleKeyExpected
            | ErrorKind::InvalidSimpleKey
            | ErrorKind::ExpectedBlockMappingKey
            | ErrorKind::InvalidIndentation
    );
    if !is_layout {
        return None;
    }
    no_colon(file, here, above, at).or_else(|| wrong_column(file, here, above, at))
}

/// A bracket that is open when a line begins that belongs outside of it.
fn left_open(
    file: &Arc<SourceFile>,
    open: Span,
    here: Line<'_>,
    above: &[Line<'_>],
    at: usize,
) -> Option<Diagnostic> {
    let opener = above.iter().rev().find(|line| line.start <= open.start)?;
    if open.start >= here.start || here.indent > opener.indent || !here.has_key() {
        return None;
    }
    let bracket = file.text.get(open.start..)?.chars().next().filter(|c| matches!(c, '{' | '['))?;
    let close = if bracket == '{' { '}' } else { ']' };
    Some(
        Diagnostic::new(
            Code::SYNTAX,
            file,
            Span::new(open.start, open.start + 1),
            format!("`{bracket}` is never closed"),
        )
        .label(Span::new(at, at), "noticed here, where it no longer fits")
        .hint(if file.text.get(open.start..here.start).is_some_and(|text| text.contains(" #")) {
            format!("write the closing `{close}`; what follows ` #` is a comment, unless it stands in quotes")
        } else {
            format!("write the closing `{close}`")
        }),
    )
}

/// A line of words where a key belongs: its `:` is missing, or the space after it.
///
/// With the line below it, it is one text to the parser, which then stops at the `:` of that line.
fn no_colon(file: &Arc<SourceFile>, here: Line<'_>, above: &[Line<'_>], at: usize) -> Option<Diagnostic> {
    let joined =
        || above.last().filter(|line| here.has_key() && line.is_words() && line.indent >= here.indent);
    let alone = here.is_words() && at == here.start + here.indent;
    let line = if alone { here } else { *joined()? };
    let (message, hint) = if let Some((key, value)) = line.text.split_once(':') {
        ("a space is missing after the `:`".to_owned(), format!("`{}: {}`", key.trim(), value.trim()))
    } else {
        let (key, value) = line.text.split_once(' ').unwrap_or((line.text, ""));
        (
            format!("`{}` has no `:`", line.text),
            format!("`{}`", format!("{key}: {}", value.trim_start_matches(['=', ' '])).trim_end()),
        )
    };
    Some(Diagnostic::new(Code::SYNTAX, file, line.span(), message).hint(hint))
}

/// A key that begins in another column than those beside it.
fn wrong_column(file: &Arc<SourceFile>, here: Line<'_>, above: &[Line<'_>], at: usize) -> Option<Diagnostic> {
    let parent = above.iter().rposition(|line| line.indent < here.indent)?;
    let beside = *above.get(parent + 1)?;
    let is_first = at <= here.start + here.indent;
    if !is_first || !here.has_key() || beside.indent == here.indent {
        return None;
    }
    let message = format!(
        "the line begins in column {}, and the one that it should stand beside in column {}",
        here.column(),
        beside.column()
    );
    Some(
        Diagnostic::new(Code::SYNTAX, file, here.span(), message)
            .label(beside.span(), format!("column {}", beside.column()))
            .hint("all keys of one mapping begin in the same column"),
    )
}
