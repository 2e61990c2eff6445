//! Reads expressions with `cel`'s parser, once a scan has found them short and shallow enough for it.

use std::io;
use std::ops::Range;
use std::sync::LazyLock;

use cel::Env;
use cel::common::ast::{EntryExpr, Expr, IdedExpr, SourceInfo};
use cel::parser::ParseError;

use super::Problem;
use super::scan::{Shape, is_word, problem, scan};
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
    shape: Shape,
}

/// Reads `source` as it is written.
pub(super) fn plain(source: &str) -> Result<Read<'_>, Problem> {
    read(source, &PLAIN)
}

/// Reads `source` with the macros of `env`.
pub(super) fn read<'a>(source: &'a str, env: &Env) -> Result<Read<'a>, Problem> {
    let shape = scan(source)?;
    let parse = || {
        env.parser().parse_with_source_info(source).map_err(|errors| {
            errors.errors.first().map_or_else(
                || problem(0..source.len(), "the expression cannot be read", None),
                |error| explain(source, error),
            )
        })
    };
    let whole =
        |error: io::Error| problem(0..source.len(), format!("the expression cannot be read: {error}"), None);
    let (root, places) = on_stack(shape.deep, parse).map_err(whole)??;
    Ok(Read { source, root, places, shape })
}

/// Does `work`, on a stack of its own if it goes deep: `cel` recurses, in frames of many kilobytes.
pub(super) fn on_stack<T: Send>(deep: bool, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    if !deep {
        return Ok(work());
    }
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().stack_size(limits::EXPRESSION_STACK).spawn_scoped(scope, work)?;
        thread.join().map_err(|_| io::Error::other("it panicked"))
    })
}

impl<'a> Read<'a> {
    /// Whether it needs a stack of its own.
    pub(super) fn is_deep(&self) -> bool {
        self.shape.deep
    }

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
        for pair in &self.shape.brackets {
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
        let byte = |at: u32| usize::try_from(at).unwrap_or(usize::MAX).min(self.source.len());
        byte(start)..byte(stop.saturating_add(1)).max(byte(start))
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

/// What the parser has against `source`, in our words.
fn explain(source: &str, error: &ParseError) -> Problem {
    let (line, column) =
        (usize::try_from(error.pos.0).unwrap_or(1), usize::try_from(error.pos.1).unwrap_or(1));
    let before: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = source.get(before..).unwrap_or_default();
    let at = before + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
    let rest = source.get(at..).unwrap_or_default();
    let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let length = word.max(rest.chars().next().map_or(0, char::len_utf8));
    let (range, token) = (at..at + length, rest.get(..length).unwrap_or_default());
    if !error.msg.starts_with("Syntax error") {
        let (message, hint) = match error.msg.as_str() {
            "invalid int literal" => (format!("`{token}` is no whole number of 64 bits"), None),
            reserved if reserved.starts_with("reserved identifier") => {
                (format!("CEL keeps the word `{token}` for itself"), Some("use another name"))
            }
            other => (format!("`{token}`: {other}"), None),
        };
        return problem(range, message, hint);
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
        let message = if source.trim_end().ends_with('.') {
            "the expression ends where a name is needed"
        } else {
            "the expression ends where a value is needed"
        };
        problem(range, message, None)
    } else {
        problem(range, format!("`{token}` does not fit here"), hint)
    }
}
