//! Splits the text of an expression into tokens, each with its place.

use std::ops::Range;

use super::Problem;
use crate::diagnostic::Code;
use crate::value::Text;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name or keyword.
    Name(Text),
    /// Digits of a whole number, with its `0x` if it has one.
    Int(Text),
    /// A number with a fraction or exponent.
    Float(f64),
    /// A quoted text, with its escapes resolved.
    Text(Text),
    /// An operator, bracket or separator.
    Sign(&'static str),
    /// The end of the text.
    End,
}

impl Token {
    /// The token as a message names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Name(name) => format!("`{name}`"),
            Self::Int(digits) => format!("`{digits}`"),
            Self::Float(number) => format!("`{number}`"),
            Self::Text(_) => "a text".to_owned(),
            Self::Sign(sign) => format!("`{sign}`"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// A token and the bytes that it takes up.
pub(super) type Placed = (Token, Range<usize>);

/// Signs, longer ones before those that they begin with.
const SIGNS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}",
];

/// All tokens of `source`, the last of them [`Token::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<Placed>, Problem> {
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let ended = token.0 == Token::End;
        tokens.push(token);
        if ended {
            return Ok(tokens);
        }
    }
}

/// A syntax error.
pub(super) fn error(range: Range<usize>, message: impl Into<String>, hint: Option<&str>) -> Problem {
    Problem { code: Code::EXPRESSION_SYNTAX, range, message: message.into(), hint: hint.map(str::to_owned) }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn next(&mut self) -> Result<Placed, Problem> {
        self.skip_blank();
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok((Token::End, start..start)) };
        let token = if let Some(prefix) = quote_prefix(rest) {
            self.text(&prefix)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            Token::Name(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_').into())
        } else if first.is_ascii_digit()
            || (first == '.' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit))
        {
            self.number()?
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            Token::Sign(sign)
        } else {
            let hint = match first {
                '=' => Some("compare with `==`"),
                '&' => Some("`and` is written `&&`"),
                '|' => Some("`or` is written `||`"),
                '$' => Some("within an expression names stand alone, without `${ }`"),
                '#' => Some("a comment begins with `//`"),
                _ => None,
            };
            let end = start + first.len_utf8();
            return Err(error(start..end, format!("`{}` means nothing here", first.escape_debug()), hint));
        };
        Ok((token, start..self.at))
    }

    fn skip_blank(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest().starts_with("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn number(&mut self) -> Result<Token, Problem> {
        let start = self.at;
        let rest = self.rest();
        if rest.starts_with("0x") || rest.starts_with("0X") {
            self.at += 2;
            self.take_while(|c| c.is_ascii_hexdigit());
            self.end_number(start)?;
            return Ok(Token::Int(self.source.get(start..self.at).unwrap_or_default().into()));
        }
        self.take_while(|c| c.is_ascii_digit());
        let mut float = false;
        let mut after = self.rest().bytes();
        if after.next() == Some(b'.') && after.next().is_some_and(|c| c.is_ascii_digit()) {
            float = true;
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        let rest = self.rest();
        if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.starts_with(|c: char| c.is_ascii_digit()) {
                float = true;
                self.at += rest.len() - digits.len();
                self.take_while(|c| c.is_ascii_digit());
            }
        }
        self.end_number(start)?;
        let digits = self.source.get(start..self.at).unwrap_or_default();
        if !float {
            return Ok(Token::Int(digits.into()));
        }
        match digits.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Token::Float(number)),
            _ => Err(error(start..self.at, format!("`{digits}` is too large a number"), None)),
        }
    }

    /// Refuses `3u` and `3abc`.
    fn end_number(&mut self, start: usize) -> Result<(), Problem> {
        let after = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        match after {
            "" => Ok(()),
            "u" | "U" => Err(error(
                start..self.at,
                "unsigned numbers are not supported",
                Some("write the number without the `u`"),
            )),
            _ => Err(error(
                start..self.at,
                format!(
                    "`{}` is neither a number nor a name",
                    self.source.get(start..self.at).unwrap_or_default()
                ),
                Some("a name begins with a letter"),
            )),
        }
    }

    fn text(&mut self, prefix: &Prefix) -> Result<Token, Problem> {
        let start = self.at;
        if prefix.bytes {
            return Err(error(
                start..start + prefix.len,
                "bytes are not supported",
                Some("write a text without the `b`"),
            ));
        }
        self.at += prefix.len;
        let mut text = String::new();
        loop {
            if self.rest().starts_with(prefix.quote) {
                self.at += prefix.quote.len();
                return Ok(Token::Text(text.into()));
            }
            let Some(c) = self.rest().chars().next() else { return Err(unclosed(start..self.at, prefix)) };
            if c == '\n' && prefix.quote.len() == 1 {
                return Err(unclosed(start..self.at, prefix));
            }
            let escape = self.at;
            self.at += c.len_utf8();
            if c == '\\' && !prefix.raw {
                text.push(self.escape(escape)?);
            } else {
                text.push(c);
            }
        }
    }

    fn escape(&mut self, start: usize) -> Result<char, Problem> {
        let Some(c) = self.rest().chars().next() else {
            return Err(error(start..self.at, "the text ends within an escape", None));
        };
        self.at += c.len_utf8();
        let code = match c {
            'n' => return Ok('\n'),
            't' => return Ok('\t'),
            'r' => return Ok('\r'),
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'v' => return Ok('\u{b}'),
            '\\' | '?' | '"' | '\'' | '`' => return Ok(c),
            'x' | 'X' => self.code(2, 16),
            'u' => self.code(4, 16),
            'U' => self.code(8, 16),
            '0'..='3' => {
                self.at -= 1;
                self.code(3, 8)
            }
            _ => None,
        };
        code.ok_or_else(|| {
            let written = self.source.get(start..self.at).unwrap_or_default();
            error(
                start..self.at,
                format!("`{}` is no escape", written.escape_debug()),
                Some("a backslash is written `\\\\`, or put `r` before the quote: `r'\\d+'`"),
            )
        })
    }

    fn code(&mut self, digits: usize, radix: u32) -> Option<char> {
        let written = self.rest().get(..digits)?;
        let code =
            written.chars().try_fold(0_u32, |code, c| Some(code.wrapping_mul(radix) + c.to_digit(radix)?))?;
        self.at += digits;
        char::from_u32(code)
    }
}

struct Prefix {
    /// Bytes up to and including the opening quote.
    len: usize,
    quote: &'static str,
    raw: bool,
    bytes: bool,
}

/// The opening of a text, if `rest` begins with one: `'`, `"""`, `r'`, …
fn quote_prefix(rest: &str) -> Option<Prefix> {
    let letters = rest.bytes().take(2).take_while(|c| matches!(c, b'r' | b'R' | b'b' | b'B')).count();
    let (prefix, quoted) = rest.split_at_checked(letters)?;
    let quote = ["'''", "\"\"\"", "'", "\""].into_iter().find(|quote| quoted.starts_with(quote))?;
    let prefix = prefix.to_ascii_lowercase();
    matches!(prefix.as_str(), "" | "r" | "b" | "rb" | "br").then(|| Prefix {
        len: letters + quote.len(),
        quote,
        raw: prefix.contains('r'),
        bytes: prefix.contains('b'),
    })
}

fn unclosed(range: Range<usize>, prefix: &Prefix) -> Problem {
    error(range, "the text has no end", Some(&format!("close it with `{}`", prefix.quote)))
}
