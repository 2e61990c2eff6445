//! Texts: those that stand side by side are one, and f-strings have expressions inside.

use super::super::ast::{Expr, Piece};
use super::super::error::{Error, syntax};
use super::super::token::{Token, tokens};
use super::Parser;

impl Parser {
    /// The text that begins with `first`, with those that follow.
    pub(super) fn texts(&mut self, first: Token, line: u32) -> Result<Expr, Error> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut plain = String::new();
        let mut is_plain = true;
        let mut next = Some(first);
        while let Some(token) = next.take() {
            match token {
                Token::Str(text) => plain.push_str(&text),
                Token::Format(text) => {
                    is_plain = false;
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
                    }
                    pieces.extend(self.nested(|parser| parser.pieces(&text, line))?);
                }
                _ => {}
            }
            if matches!(self.peek(), Token::Str(_) | Token::Format(_)) {
                next = Some(self.next());
            }
        }
        if is_plain {
            return Ok(Expr::Str(plain.into()));
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Ok(Expr::Format(pieces))
    }

    /// The pieces of an f-string.
    fn pieces(&mut self, text: &str, line: u32) -> Result<Vec<Piece>, Error> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some(after) = from.strip_prefix('{') {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
                }
                let (field, after) = field(after, line)?;
                pieces.push(self.nested(|parser| parser.field(field, line))?);
                rest = after;
            } else {
                return syntax(line, "a single `}` in an f-string");
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Ok(pieces)
    }

    /// What stands between two braces: an expression, `!r`, and how to write it.
    fn field(&mut self, field: &str, line: u32) -> Result<Piece, Error> {
        let (expr, spec) = match outside(field, |rest| rest.starts_with(':')) {
            Some(at) => (field.get(..at).unwrap_or_default(), field.get(at + 1..)),
            None => (field, None),
        };
        let is_conversion = |rest: &str| rest.starts_with('!') && !rest.starts_with("!=");
        let (expr, conversion) = match outside(expr, is_conversion) {
            Some(at) => (expr.get(..at).unwrap_or_default(), expr.get(at + 1..).unwrap_or_default().trim()),
            None => (expr, "s"),
        };
        if !matches!(conversion, "s" | "r") {
            return syntax(line, format!("`!{conversion}` is not supported in an f-string"));
        }
        if expr.trim_end().ends_with('=') && !expr.trim_end().ends_with("==") {
            return syntax(line, "`=` at the end of an f-string's expression is not supported");
        }
        // In brackets, as Python reads it: a line may end inside.
        let mut inner = Self::new(tokens(&format!("({expr})"), line)?, self.depth);
        inner.scopes = std::mem::take(&mut self.scopes);
        let value = inner.expressions();
        self.scopes = std::mem::take(&mut inner.scopes);
        let value = value?;
        if !matches!(inner.peek(), Token::Newline | Token::End) {
            return syntax(line, "an f-string's expression that does not end");
        }
        let spec = match spec {
            Some(spec) => self.nested(|parser| parser.pieces(spec, line))?,
            None => Vec::new(),
        };
        Ok(Piece::Value { value, is_repr: conversion == "r", spec })
    }
}

/// What stands before the `}` that belongs to the `{` before `text`, and what comes after it.
fn field(text: &str, line: u32) -> Result<(&str, &str), Error> {
    match outside(text, |rest| rest.starts_with('}')) {
        Some(at) => Ok((text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default())),
        None => syntax(line, "an f-string's `{` has no `}`"),
    }
}

/// Where `is_found` first holds, outside of brackets and quotes.
fn outside(text: &str, is_found: impl Fn(&str) -> bool) -> Option<usize> {
    let mut depth = 0_u32;
    let mut quote = None;
    for (at, c) in text.char_indices() {
        if let Some(open) = quote {
            if c == open {
                quote = None;
            }
            continue;
        }
        if depth == 0 && is_found(text.get(at..).unwrap_or_default()) {
            return Some(at);
        }
        match c {
            '"' | '\'' => quote = Some(c),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}
