//! Reads expressions with `cel`'s parser, once a scan has found them short and shallow enough for it.

use std::ops::Range;
use std::sync::LazyLock;

use cel::Env;
use cel::common::ast::{EntryExpr, Expr, IdedExpr, SourceInfo};
use cel::parser::ParseError;

use super::Problem;
use crate::diagnostic::Code;
use crate::limits;

/// Leaves `map`, `has` and their like as they are written: for checking.
static PLAIN: LazyLock<Env> = LazyLock::new(|| Env::default().with_optional_support(false));

/// An expression, and where each part of it is written.
pub(super) struct Read<'a> {
    /// As it is written.
    pub(super) source: &'a str,
    /// As it was parsed.
    pub(super) root: IdedExpr,
    places: SourceInfo,
    /// Where each bracket opens, and where it has ended.
    brackets: Vec<Range<usize>>,
}

/// Reads `source` as it is written.
pub(super) fn plain(source: &str) -> Result<Read<'_>, Problem> {
    read(source, &PLAIN)
}

/// Reads `source` with the macros of `env`.
pub(super) fn read<'a>(source: &'a str, env: &Env) -> Result<Read<'a>, Problem> {
    let brackets = scan(source)?;
    match env.parser().parse_with_source_info(source) {
        Ok((root, places)) => Ok(Read { source, root, places, brackets }),
        Err(errors) => Err(errors.errors.first().map_or_else(
            || problem(0..source.len(), "the expression cannot be read", None),
            |error| explain(source, error),
        )),
    }
}

impl<'a> Read<'a> {
    /// Where `ast` is written.
    pub(super) fn range(&self, ast: &IdedExpr) -> Range<usize> {
        let (mut start, mut end) = (self.source.len(), 0);
        visit(ast, &mut |part| {
            let place = match &part.expr {
                Expr::Select(_) => self.token(part).start..self.field(part).end,
                Expr::Call(call) if call.target.is_none() && is_name(&call.func_name) => {
                    self.callee(part).start..self.token(part).end
                }
                _ => self.token(part),
            };
            start = start.min(place.start);
            end = end.max(place.end);
        });
        // A bracket that is half inside is inside: that of a call, or one that only groups.
        for pair in &self.brackets {
            if (start..end).contains(&pair.start) || (start..end).contains(&(pair.end - 1)) {
                start = start.min(pair.start);
                end = end.max(pair.end);
            }
        }
        start.min(end)..end
    }

    /// The text of `ast`.
    pub(super) fn written(&self, range: &Range<usize>) -> &'a str {
        self.source.get(range.clone()).unwrap_or_default()
    }

    fn token(&self, ast: &IdedExpr) -> Range<usize> {
        let (start, stop) = self.places.offset_for(ast.id).unwrap_or_default();
        let start = self.byte(start);
        start..self.byte(stop).max(start) + self.width(self.byte(stop))
    }

    /// The byte at which the `nth` character starts.
    fn byte(&self, nth: u32) -> usize {
        let nth = usize::try_from(nth).unwrap_or(usize::MAX);
        self.source.char_indices().nth(nth).map_or(self.source.len(), |(at, _)| at)
    }

    fn width(&self, at: usize) -> usize {
        self.source.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
    }

    /// Where the name after the dot of a field is written.
    pub(super) fn field(&self, select: &IdedExpr) -> Range<usize> {
        let dot = self.token(select).end;
        let rest = self.source.get(dot..).unwrap_or_default();
        let start = dot + (rest.len() - rest.trim_start().len());
        let name = rest.trim_start();
        start..start + name.find(|c: char| !is_word(c)).unwrap_or(name.len())
    }

    /// Where the name before the bracket of a call is written.
    pub(super) fn callee(&self, call: &IdedExpr) -> Range<usize> {
        let before = self.source.get(..self.token(call).start).unwrap_or_default().trim_end();
        before.trim_end_matches(is_word).len()..before.len()
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether `function` is a function rather than an operator.
pub(super) fn is_name(function: &str) -> bool {
    function.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Calls `on` with `ast` and everything in it.
fn visit(ast: &IdedExpr, on: &mut dyn FnMut(&IdedExpr)) {
    on(ast);
    match &ast.expr {
        Expr::Select(select) => visit(&select.operand, on),
        Expr::List(list) => list.elements.iter().for_each(|item| visit(item, on)),
        Expr::Call(call) => {
            call.target.iter().for_each(|target| visit(target, on));
            call.args.iter().for_each(|arg| visit(arg, on));
        }
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    visit(&entry.key, on);
                    visit(&entry.value, on);
                }
            }
        }
        Expr::Comprehension(each) => {
            visit(&each.iter_range, on);
            visit(&each.loop_step, on);
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
    }
}

fn problem(range: Range<usize>, message: impl Into<String>, hint: Option<&str>) -> Problem {
    Problem {
        code: Code::EXPRESSION_SYNTAX,
        range,
        message: message.into(),
        hint: hint.map(str::to_owned),
    }
}

/// What the parser has against `source`, in our words.
fn explain(source: &str, error: &ParseError) -> Problem {
    let (line, column) = (usize::try_from(error.pos.0).unwrap_or(1), usize::try_from(error.pos.1).unwrap_or(1));
    let before: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = source.get(before..).unwrap_or_default();
    let at = before + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
    let rest = source.get(at..).unwrap_or_default();
    let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let length = word.max(rest.chars().next().map_or(0, char::len_utf8));
    let (range, token) = (at..at + length, rest.get(..length).unwrap_or_default());
    if !error.msg.starts_with("Syntax error") {
        let hint = error.msg.starts_with("reserved").then_some("CEL keeps this word for itself: use another name");
        return problem(range, format!("`{token}`: {}", error.msg), hint);
    }
    let hint = match token {
        "and" => Some("`and` is written `&&`"),
        "or" => Some("`or` is written `||`"),
        "not" => Some("`not` is written `!`"),
        _ => None,
    };
    if source.trim().is_empty() {
        problem(range, "the expression is empty", None)
    } else if token.is_empty() {
        problem(range, "the expression ends where a value is needed", None)
    } else {
        problem(range, format!("`{token}` does not fit here"), hint)
    }
}

fn too_large(range: Range<usize>, message: String) -> Problem {
    let hint = Some("do a part of it in a node of its own".to_owned());
    Problem { code: Code::EXPRESSION_SIZE, range, message, hint }
}

/// The brackets of `source`; refuses what would take the parser too deep, and what it would explain badly.
fn scan(source: &str) -> Result<Vec<Range<usize>>, Problem> {
    let mut brackets = Vec::new();
    let mut open: Vec<(usize, u8)> = Vec::new();
    let (mut operators, mut choices) = (0, 0);
    let bytes = source.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let mut at = 0;
    while at < bytes.len() {
        let c = byte(at);
        match c {
            b'\'' | b'"' => {
                at = text(source, at)?;
                continue;
            }
            b'/' if byte(at + 1) == b'/' => {
                at += source.get(at..).and_then(|rest| rest.find('\n')).unwrap_or(bytes.len() - at);
                continue;
            }
            b'(' | b'[' | b'{' => open.push((at, c)),
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
            b'i' if source.get(at..at + 3) == Some("in ") => operators += 1,
            _ => {}
        }
        at += 1;
        if open.len() + choices > limits::EXPRESSION_DEPTH {
            let most = limits::EXPRESSION_DEPTH;
            return Err(too_large(at - 1..at, format!("the expression is nested deeper than {most} levels")));
        }
        if operators > limits::EXPRESSION_OPERATORS {
            let most = limits::EXPRESSION_OPERATORS;
            return Err(too_large(at - 1..at, format!("the expression has more than {most} operators")));
        }
    }
    match open.pop() {
        Some((start, by)) => Err(unclosed(start, by, "the end")),
        None => {
            // Inner ones first, so that what an inner one adds can reach an outer one.
            brackets.sort_by_key(|pair| pair.end - pair.start);
            Ok(brackets)
        }
    }
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
