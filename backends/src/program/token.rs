//! A program's text in words, with lines and indentation.

use std::iter::Peekable;
use std::rc::Rc;
use std::str::CharIndices;

use super::error::{Error, syntax};

/// A word of the program.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(Rc<str>),
    Int(i128),
    Float(f64),
    Str(String),
    /// What stands between the quotes of an f-string; its braces are not looked at yet.
    Format(String),
    /// An operator or a keyword.
    Op(&'static str),
    Newline,
    Indent,
    Dedent,
    End,
}

/// Longest first: the first that fits is the one that is meant.
const OPERATORS: [&str; 45] = [
    "**=", "//=", "<<=", ">>=", "...", "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "->", ":=", "+=",
    "-=", "*=", "/=", "%=", "&=", "|=", "^=", "@=", "+", "-", "*", "/", "%", "(", ")", "[", "]", "{", "}",
    "<", ">", "=", ".", ",", ":", ";", "&", "|", "^",
];

const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def",
    "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is",
    "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// Columns to which a tab goes.
const TAB: usize = 8;

/// The words of `source`, each with its line; `line` is the number of the first.
pub(super) fn tokens(source: &str, line: u32) -> Result<Vec<(Token, u32)>, Error> {
    let mut lexer = Lexer {
        source,
        chars: source.char_indices().peekable(),
        line,
        found: Vec::new(),
        indents: vec![0],
        brackets: Vec::new(),
        is_line_start: true,
    };
    lexer.run()?;
    Ok(lexer.found)
}

struct Lexer<'a> {
    source: &'a str,
    chars: Peekable<CharIndices<'a>>,
    line: u32,
    found: Vec<(Token, u32)>,
    indents: Vec<usize>,
    // The lines of the brackets that are open: a line does not end inside of them.
    brackets: Vec<u32>,
    is_line_start: bool,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), Error> {
        loop {
            if self.is_line_start && self.brackets.is_empty() {
                self.is_line_start = false;
                self.indentation()?;
            }
            let Some(&(at, c)) = self.chars.peek() else { break };
            match c {
                '\n' => {
                    self.chars.next();
                    if self.brackets.is_empty() {
                        self.end_line();
                    }
                    self.line += 1;
                }
                ' ' | '\t' | '\r' | '\u{c}' => {
                    self.chars.next();
                }
                '#' => self.skip_while(|c| c != '\n'),
                '\\' => {
                    self.chars.next();
                    self.skip_while(|c| c == '\r');
                    if self.chars.next().is_none_or(|(_, c)| c != '\n') {
                        return syntax(self.line, "a `\\` that does not end its line");
                    }
                    self.line += 1;
                }
                '0'..='9' => self.number(at)?,
                '.' if self.rest(at + 1).starts_with(|c: char| c.is_ascii_digit()) => self.number(at)?,
                '"' | '\'' => self.text(at, "")?,
                c if c == '_' || c.is_alphabetic() => self.word(at)?,
                _ => self.operator(at)?,
            }
        }
        if let Some(line) = self.brackets.last() {
            return syntax(*line, "a bracket that nothing closes");
        }
        self.end_line();
        while self.indents.len() > 1 {
            self.indents.pop();
            self.push(Token::Dedent);
        }
        self.push(Token::End);
        Ok(())
    }

    fn push(&mut self, token: Token) {
        self.found.push((token, self.line));
    }

    fn rest(&self, at: usize) -> &str {
        self.source.get(at..).unwrap_or_default()
    }

    fn skip_while(&mut self, is_skipped: impl Fn(char) -> bool) {
        while self.chars.next_if(|(_, c)| is_skipped(*c)).is_some() {}
    }

    fn end_line(&mut self) {
        if !matches!(self.found.last(), None | Some((Token::Newline | Token::Indent | Token::Dedent, _))) {
            self.push(Token::Newline);
        }
        self.is_line_start = true;
    }

    /// Measures how far a line stands to the right; lines without words do not count.
    fn indentation(&mut self) -> Result<(), Error> {
        let mut column = 0;
        while let Some((_, c)) = self.chars.next_if(|(_, c)| matches!(c, ' ' | '\t' | '\r' | '\u{c}')) {
            column = match c {
                '\t' => (column / TAB + 1) * TAB,
                ' ' => column + 1,
                _ => column,
            };
        }
        if self.chars.peek().is_none_or(|(_, c)| matches!(c, '\n' | '#')) {
            return Ok(());
        }
        if self.indents.last().is_none_or(|last| column > *last) {
            self.indents.push(column);
            self.push(Token::Indent);
            return Ok(());
        }
        while self.indents.last().is_some_and(|last| column < *last) {
            self.indents.pop();
            self.push(Token::Dedent);
        }
        if self.indents.last() != Some(&column) {
            return syntax(self.line, "the indentation fits no block around it");
        }
        Ok(())
    }

    fn word(&mut self, start: usize) -> Result<(), Error> {
        self.skip_while(|c| c == '_' || c.is_alphanumeric());
        let end = self.chars.peek().map_or(self.source.len(), |(at, _)| *at);
        let word = self.source.get(start..end).unwrap_or_default();
        if let Some(&(at, '"' | '\'')) = self.chars.peek() {
            return match word.to_ascii_lowercase().as_str() {
                prefix @ ("r" | "u" | "f" | "fr" | "rf") => self.text(at, prefix),
                _ => syntax(self.line, format!("texts with the prefix `{word}` are not supported")),
            };
        }
        match KEYWORDS.iter().find(|keyword| **keyword == word) {
            Some(keyword) => self.push(Token::Op(keyword)),
            None => self.push(Token::Name(word.into())),
        }
        Ok(())
    }

    fn operator(&mut self, at: usize) -> Result<(), Error> {
        let rest = self.rest(at);
        let Some(operator) = OPERATORS.iter().find(|operator| rest.starts_with(**operator)) else {
            let c = rest.chars().next().unwrap_or_default();
            if c == '~' {
                self.chars.next();
                self.push(Token::Op("~"));
                return Ok(());
            }
            return syntax(self.line, format!("`{c}` has no meaning here"));
        };
        for _ in 0..operator.len() {
            self.chars.next();
        }
        match *operator {
            "(" | "[" | "{" => self.brackets.push(self.line),
            ")" | "]" | "}" => {
                let opened = self.brackets.pop();
                if opened.is_none() {
                    return syntax(self.line, format!("`{operator}` closes nothing"));
                }
            }
            _ => {}
        }
        self.push(Token::Op(operator));
        Ok(())
    }

    fn number(&mut self, start: usize) -> Result<(), Error> {
        let mut is_float = false;
        let is_radix = self.rest(start).starts_with('0')
            && self.rest(start + 1).starts_with(|c: char| "xXoObB".contains(c));
        if is_radix {
            self.skip_while(|c| c == '_' || c.is_ascii_alphanumeric());
        } else {
            self.skip_while(|c| c == '_' || c.is_ascii_digit());
            if self.chars.next_if(|(_, c)| *c == '.').is_some() {
                is_float = true;
                self.skip_while(|c| c == '_' || c.is_ascii_digit());
            }
            if let Some(&(at, 'e' | 'E')) = self.chars.peek() {
                let after = self.rest(at + 1);
                if after.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit()) {
                    is_float = true;
                    self.chars.next();
                    self.chars.next_if(|(_, c)| matches!(c, '+' | '-'));
                    self.skip_while(|c| c == '_' || c.is_ascii_digit());
                }
            }
        }
        let end = self.chars.peek().map_or(self.source.len(), |(at, _)| *at);
        let written = self.source.get(start..end).unwrap_or_default();
        if self.chars.peek().is_some_and(|(_, c)| *c == '_' || c.is_alphabetic()) {
            return syntax(self.line, format!("`{written}` is followed by a letter"));
        }
        if written.contains("__")
            || written.ends_with('_')
            || written.contains("_.")
            || written.contains("._")
        {
            return syntax(self.line, format!("`{written}` has a `_` that stands between no digits"));
        }
        let digits = written.replace('_', "");
        let token =
            if is_float { digits.parse().ok().map(Token::Float) } else { integer(&digits).map(Token::Int) };
        let Some(token) = token else {
            return syntax(self.line, format!("`{written}` is no number, or has more than 127 bits"));
        };
        self.push(token);
        Ok(())
    }

    /// A text from its first quote on.
    fn text(&mut self, at: usize, prefix: &str) -> Result<(), Error> {
        let (is_raw, is_format) = (prefix.contains('r'), prefix.contains('f'));
        let first_line = self.line;
        let quote = self.rest(at).chars().next().unwrap_or('"');
        let is_long = self.rest(at).starts_with(if quote == '"' { "\"\"\"" } else { "'''" });
        for _ in 0..if is_long { 3 } else { 1 } {
            self.chars.next();
        }
        let mut text = String::new();
        loop {
            let Some((at, c)) = self.chars.next().filter(|(_, c)| is_long || *c != '\n') else {
                let place = if is_long { "" } else { " on its line" };
                return syntax(first_line, format!("a text that does not end{place}"));
            };
            match c {
                _ if c == quote && !is_long => break,
                _ if c == quote
                    && self.rest(at + 1).starts_with(&[quote, quote].iter().collect::<String>()) =>
                {
                    self.chars.next();
                    self.chars.next();
                    break;
                }
                '\n' => {
                    self.line += 1;
                    text.push(c);
                }
                '\\' if is_raw => {
                    text.push(c);
                    if let Some((_, next)) = self.chars.next() {
                        text.push(next);
                    }
                }
                '\\' => self.escape(&mut text)?,
                _ => text.push(c),
            }
        }
        let token = if is_format { Token::Format(text) } else { Token::Str(text) };
        self.found.push((token, first_line));
        Ok(())
    }

    fn escape(&mut self, text: &mut String) -> Result<(), Error> {
        let Some((_, c)) = self.chars.next() else { return syntax(self.line, "a text that does not end") };
        let code = |lexer: &mut Self, digits: usize| -> Result<char, Error> {
            let mut code = 0_u32;
            for _ in 0..digits {
                let digit = lexer.chars.next().and_then(|(_, c)| c.to_digit(16));
                let Some(digit) = digit else { return syntax(lexer.line, "an escape without its digits") };
                code = code << 4 | digit;
            }
            char::from_u32(code).map_or_else(|| syntax(lexer.line, "an escape of no character"), Ok)
        };
        match c {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'a' => text.push('\u{7}'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'v' => text.push('\u{b}'),
            '0'..='7' => {
                let mut code = c.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some((_, digit)) = self.chars.next_if(|(_, c)| c.is_digit(8)) else { break };
                    code = code << 3 | digit.to_digit(8).unwrap_or_default();
                }
                text.extend(char::from_u32(code));
            }
            'N' => return syntax(self.line, "a character by its name, of which none is known here"),
            '\\' | '\'' | '"' => text.push(c),
            'x' => text.push(code(self, 2)?),
            'u' => text.push(code(self, 4)?),
            'U' => text.push(code(self, 8)?),
            '\n' => self.line += 1,
            // As Python does it: what is no escape stays as it is written.
            _ => text.extend(['\\', c]),
        }
        Ok(())
    }
}

/// An integer as it is written, in one of the four bases.
fn integer(digits: &str) -> Option<i128> {
    let radix = |radix| i128::from_str_radix(digits.get(2..)?, radix).ok();
    match digits.get(..2) {
        Some("0x" | "0X") => radix(16),
        Some("0o" | "0O") => radix(8),
        Some("0b" | "0B") => radix(2),
        // A leading zero meant base eight once, so Python takes none but in zero itself.
        Some(_) if digits.starts_with('0') && digits.bytes().any(|b| b != b'0') => None,
        _ => digits.parse().ok(),
    }
}
