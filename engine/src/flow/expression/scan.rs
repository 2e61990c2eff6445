//! Looks an expression over before it is parsed: is it short and shallow enough, and are its brackets and quotes closed?

use std::ops::Range;

use super::Problem;
use crate::diagnostic::Code;
use crate::limits;

/// What a scan finds.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// Where each bracket opens, and where it has ended.
    pub(super) brackets: Vec<Range<usize>>,
    /// Whether it needs a stack of its own.
    pub(super) deep: bool,
}

/// Whether `c` can be within a name.
pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A problem of what is written.
pub(super) fn problem(range: Range<usize>, message: impl Into<String>, hint: Option<&str>) -> Problem {
    Problem { code: Code::EXPRESSION_SYNTAX, range, message: message.into(), hint: hint.map(str::to_owned) }
}

fn too_large(range: Range<usize>, message: String) -> Problem {
    let hint = Some("do a part of it in a node of its own".to_owned());
    Problem { code: Code::EXPRESSION_SIZE, range, message, hint }
}

/// The shape of `source`; refuses what would take the parser too deep, and what it would explain badly.
pub(super) fn scan(source: &str) -> Result<Shape, Problem> {
    let (mut brackets, mut deepest) = (Vec::new(), 0);
    let mut open: Vec<(usize, u8)> = Vec::new();
    let (mut operators, mut choices) = (0, 0);
    let bytes = source.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let mut at = 0;
    // The last byte that is neither space nor comment: what comes next may belong to it.
    let mut last = 0;
    while at < bytes.len() {
        let c = byte(at);
        match c {
            b'\'' | b'"' => {
                at = text(source, at)?;
                last = c;
                continue;
            }
            b'/' if byte(at + 1) == b'/' => {
                at += source.get(at..).and_then(|rest| rest.find('\n')).unwrap_or(bytes.len() - at);
                continue;
            }
            b'(' | b'[' | b'{' => {
                // What is called or indexed is one deeper in the tree.
                let belongs = is_word(char::from(last)) || matches!(last, b')' | b']' | b'}' | b'\'' | b'"');
                operators += usize::from(belongs);
                open.push((at, c));
            }
            b')' | b']' | b'}' => match open.pop() {
                Some((start, by)) if closer(by) == c => brackets.push(start..at + 1),
                Some((start, by)) => return Err(unclosed(start, by, &format!("`{}`", char::from(c)))),
                None => return Err(problem(at..at + 1, format!("`{}` closes nothing", char::from(c)), None)),
            },
            b'=' if byte(at + 1) == b'=' => {
                operators += 1;
                at += 1;
            }
            b'=' if at == 0 || !matches!(byte(at - 1), b'!' | b'<' | b'>') => {
                return Err(problem(at..at + 1, "`=` means nothing here", Some("compare with `==`")));
            }
            b'&' | b'|' if byte(at + 1) == c => {
                operators += 1;
                at += 1;
            }
            b'?' => {
                operators += 1;
                choices += 1;
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'!' | b'.' => operators += 1,
            // Also where it ends a name: `1in` is two words to the parser, and one too many counted does no harm.
            b'i' if byte(at + 1) == b'n' && !is_word(char::from(byte(at + 2))) => {
                operators += 1;
            }
            b',' | b':' | b'=' => {}
            _ if c.is_ascii_whitespace() || is_word(char::from(c)) => {}
            // The parser would pass over it, and this scan could no longer tell what it makes of the rest.
            _ => return Err(nothing(source, at)),
        }
        if !c.is_ascii_whitespace() {
            last = c;
        }
        at += 1;
        deepest = deepest.max(open.len() + choices);
        if deepest > limits::EXPRESSION_DEPTH {
            let most = limits::EXPRESSION_DEPTH;
            return Err(too_large(at - 1..at, format!("the expression is nested deeper than {most} levels")));
        }
        if operators > limits::EXPRESSION_OPERATORS {
            let most = limits::EXPRESSION_OPERATORS;
            return Err(too_large(at - 1..at, format!("the expression has more than {most} operators")));
        }
    }
    if let Some((start, by)) = open.pop() {
        return Err(unclosed(start, by, "the end"));
    }
    // Inner ones first, so that what an inner one adds can reach an outer one.
    brackets.sort_by_key(|pair| pair.end - pair.start);
    Ok(Shape { brackets, deep: 4 * deepest + operators > limits::EXPRESSION_SHALLOW })
}

/// The character at `at` is none of the language's.
fn nothing(source: &str, at: usize) -> Problem {
    let c = source.get(at..).and_then(|rest| rest.chars().next()).unwrap_or_default();
    let hint = match c {
        '&' => Some("write `&&` for and"),
        '|' => Some("write `||` for or"),
        _ => Some("a text needs quotes"),
    };
    problem(at..at + c.len_utf8(), format!("`{c}` means nothing here"), hint)
}

fn closer(open: u8) -> u8 {
    match open {
        b'(' => b')',
        b'[' => b']',
        _ => b'}',
    }
}

fn unclosed(at: usize, by: u8, found: &str) -> Problem {
    let (open, close) = (char::from(by), char::from(closer(by)));
    problem(at..at + 1, format!("the bracket `{open}` needs `{close}`, but there is {found}"), None)
}

/// The end of the text that begins at `start`.
fn text(source: &str, start: usize) -> Result<usize, Problem> {
    let rest = source.get(start..).unwrap_or_default();
    let quote = rest.get(..1).unwrap_or_default();
    let close = if rest.starts_with(&quote.repeat(3)) { quote.repeat(3) } else { quote.to_owned() };
    let prefix = source.get(..start).unwrap_or_default();
    let word = prefix.get(prefix.trim_end_matches(is_word).len()..).unwrap_or_default();
    let raw = matches!(word.to_ascii_lowercase().as_str(), "r" | "br" | "rb");
    let mut at = start + close.len();
    loop {
        let rest = source.get(at..).unwrap_or_default();
        if rest.starts_with(&close) {
            return Ok(at + close.len());
        }
        match rest.chars().next() {
            Some('\\') if !raw => {
                at += 1 + rest.chars().nth(1).map_or(0, char::len_utf8);
            }
            Some(c) if close.len() == 3 || !matches!(c, '\n' | '\r') => at += c.len_utf8(),
            _ => {
                let hint = format!("close it with `{close}`");
                return Err(problem(start..source.len(), "the text has no end", Some(&hint)));
            }
        }
    }
}
