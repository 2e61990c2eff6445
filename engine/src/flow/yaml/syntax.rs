//! Syntax errors and tabs in the words of someone who writes a flow, at the place where they are.

use std::sync::Arc;

use serde_yaml::granit_parser::{ErrorKind, Marker, ScanError, Span as Range};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile, Span};
use crate::limits;

use super::layout;

/// The bytes of `file` that the parser means.
pub(super) fn span(file: &SourceFile, range: &Range) -> Span {
    Span::new(offset(file, &range.start), offset(file, &range.end))
}

/// The byte at a marker, on a character's edge whatever the marker says.
fn offset(file: &SourceFile, mark: &Marker) -> usize {
    let byte = mark
        .byte_offset()
        .or_else(|| file.text.char_indices().nth(mark.index()).map(|(byte, _)| byte))
        .unwrap_or(file.text.len());
    file.text.floor_char_boundary(byte)
}

/// The part of `span` that is on its first line: enough to show where a collection begins.
pub(crate) fn first_line(file: &SourceFile, span: Span) -> Span {
    let text = file.text.get(span.start..span.end).unwrap_or_default();
    let line = text.split('\n').next().unwrap_or_default().trim_end();
    Span::new(span.start, span.start + line.len())
}

/// Reports nesting beyond the bound.
pub(super) fn report_depth(file: &Arc<SourceFile>, span: Span, problems: &mut Diagnostics) {
    let message = format!("collections are nested more than {} deep here", limits::YAML_DEPTH);
    problems.push(
        Diagnostic::new(Code::TOO_DEEP, file, first_line(file, span), message)
            .hint("move the inner part into a sub-flow"),
    );
}

/// Reports the error that stopped the parser while `open` was the innermost `{` or `[` still open. A tab that explains it is reported in its place.
pub(super) fn report(
    file: &Arc<SourceFile>,
    error: &ScanError,
    open: Option<Span>,
    literal: &[Span],
    problems: &mut Diagnostics,
) {
    let start = offset(file, error.marker());
    let place = Span::new(start, char_end(&file.text, start));
    if *error.kind() == ErrorKind::RecursionLimitExceeded {
        return report_depth(file, place, problems);
    }
    let before = problems.len();
    report_tabs(file, literal, problems);
    let tabs = problems.iter().skip(before);
    let is_tab = is_tab(error.kind());
    if tabs.clone().next().is_some() && is_tab
        || tabs.clone().any(|tab| same_line(file, tab.span.start, start))
    {
        return;
    }
    if is_tab && *error.kind() != ErrorKind::TabInPlainScalar {
        problems.push(tab_problem(file, place, 0));
        return;
    }
    if let Some(problem) = layout::explain(file, error.kind(), start, open) {
        problems.push(problem);
        return;
    }
    let (message, hint) = words(error);
    problems.push(Diagnostic::new(Code::SYNTAX, file, place, message).maybe_hint(hint.map(str::to_owned)));
}

/// Reports the first line whose indentation holds a tab outside of `literal`, and says how many there are.
pub(super) fn report_tabs(file: &Arc<SourceFile>, literal: &[Span], problems: &mut Diagnostics) {
    let mut literal = literal.to_vec();
    literal.sort_unstable();
    let mut literal = literal.into_iter().peekable();
    // The furthest end of the literal places that begin before the line.
    let mut literal_end = 0;
    let mut line_start = 0;
    let mut places = Vec::new();
    for line in file.text.split_inclusive('\n') {
        while let Some(span) = literal.next_if(|span| span.start < line_start) {
            literal_end = literal_end.max(span.end);
        }
        let content = line.trim_start_matches([' ', '\t']);
        let indent = line.len() - content.len();
        let indentation = line.get(..indent).unwrap_or_default();
        let is_empty = content.trim_end().is_empty() || content.starts_with('#');
        if let Some(tab) = indentation.find('\t').filter(|_| !is_empty && line_start >= literal_end) {
            places.push(Span::new(line_start + tab, line_start + indent));
        }
        line_start += line.len();
    }
    if let Some((first, rest)) = places.split_first() {
        problems.push(tab_problem(file, *first, rest.len()));
    }
}

fn tab_problem(file: &Arc<SourceFile>, place: Span, more: usize) -> Diagnostic {
    let also = match more {
        0 => String::new(),
        1 => ", and so is one line below".to_owned(),
        more => format!(", and so are {more} lines below"),
    };
    Diagnostic::new(Code::TAB, file, place, format!("the line is indented with a tab{also}"))
        .hint("YAML is indented with spaces; replace each tab by two of them")
}

fn same_line(file: &SourceFile, a: usize, b: usize) -> bool {
    let (from, to) = (a.min(b), a.max(b));
    !file.text.get(from..to).unwrap_or_default().contains('\n')
}

/// The end of the character at `start`; `start` itself at the end of the file.
fn char_end(text: &str, start: usize) -> usize {
    let next = text.get(start..).and_then(|rest| rest.chars().next());
    start + next.map_or(0, char::len_utf8)
}

fn is_tab(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar
    )
}

/// Message and hint of an error, for those that writers meet; the parser's own words for the rest.
fn words(error: &ScanError) -> (String, Option<&'static str>) {
    let quoted = "a text with `: `, ` #`, `{` or `[` in it needs quotes";
    let apart = "a `,` stands between two entries; a text with `: `, `, `, `{` or `[` in it needs quotes";
    let known = |message: &str, hint| (message.to_owned(), Some(hint));
    match error.kind() {
        ErrorKind::UnclosedQuotedScalar => known("a quote is never closed", "write the closing quote"),
        ErrorKind::UnclosedFlowCollection { open } => {
            (format!("`{open}` is never closed"), Some("write the closing bracket"))
        }
        ErrorKind::UnexpectedEofFlowMapping | ErrorKind::UnexpectedEofImplicitFlowMapping => {
            known("a `{` is never closed", "write the closing `}`")
        }
        ErrorKind::UnexpectedEofFlowSequence => known("a `[` is never closed", "write the closing `]`"),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            (format!("`{open}` is closed by `{close}`"), Some("close each bracket by its own kind"))
        }
        ErrorKind::MisplacedFlowCollectionEnd => known(
            "a bracket is closed that was never opened",
            "remove it, or quote the text that it belongs to",
        ),
        ErrorKind::ExpectedFlowMappingSeparator => known("`,` or `}` is expected here", apart),
        ErrorKind::ExpectedFlowSequenceSeparator => known("`,` or `]` is expected here", apart),
        ErrorKind::UnknownAnchor => {
            known("there is no such anchor before this alias", "`&name` before a value makes it `*name`")
        }
        ErrorKind::MissingAnchorOrAliasName => {
            known("`*` and `&` need a name here", "put a text that begins with `*` or `&` in quotes")
        }
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            known("a `:` cannot stand here", quoted)
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey | ErrorKind::ExpectedBlockMappingKey => {
            known(
                "a key with a `:` after it is expected here",
                "each line of a mapping is `key: value`, and all keys of one mapping begin in the same column",
            )
        }
        ErrorKind::ExpectedBlockSequenceEntry => known(
            "a list item is expected here",
            "each item begins with `- `, in the same column as the others",
        ),
        ErrorKind::InvalidIndentation => known(
            "the indentation fits no line above",
            "lines of one mapping or list begin in the same column",
        ),
        ErrorKind::UnexpectedCharacter { character: '`' } => {
            known("a backtick cannot begin a value", "put the text in quotes")
        }
        ErrorKind::TabInPlainScalar => known("a tab stands within a text", "quote the text, or use spaces"),
        ErrorKind::BlockSequenceEntryNotAllowed => {
            known("a list item cannot stand here", "begin the list on a line of its own, below its key")
        }
        ErrorKind::UnexpectedCharacter { character } => {
            (format!("`{}` cannot begin a value", character.escape_default()), Some("put the text in quotes"))
        }
        ErrorKind::InvalidTrailingDoubleQuotedScalar | ErrorKind::InvalidTrailingSingleQuotedScalar => known(
            "there is something after the closing quote",
            "quote the whole value, with the other kind of quotes around it if need be",
        ),
        ErrorKind::UnknownQuotedScalarEscape => known(
            "there is no such escape",
            "in double quotes a backslash is written `\\\\`; in single quotes it stands for itself",
        ),
        _ => (error.info(), None),
    }
}
