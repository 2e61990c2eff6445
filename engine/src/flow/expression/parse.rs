//! Reads an expression into a tree. The grammar is that of CEL, without its unsigned numbers, bytes and messages.
//!
//! The parser is ours because the one of the `cel` crate recurses without bound on `1 + 1 + 1 …` and ends the process.

use std::ops::Range;

use super::Problem;
use super::lex::{self, Placed, Token, error};
use crate::diagnostic::Code;
use crate::value::{Text, Value};

/// Deepest tree that is read; everything that walks the tree recurses at most this often.
const DEPTH: u16 = 64;

/// A node of the tree and the bytes that it takes up.
#[derive(Debug)]
pub(super) struct Ast {
    pub(super) kind: Kind,
    pub(super) range: Range<usize>,
    height: u16,
}

#[derive(Debug)]
pub(super) enum Kind {
    Literal(Value),
    Name(Text),
    /// `of.name`, and where the name stands.
    Field(Box<Ast>, Text, Range<usize>),
    Index(Box<Ast>, Box<Ast>),
    /// `name(args)` or `target.name(args)`, and where the name stands.
    Call(Option<Box<Ast>>, Text, Range<usize>, Vec<Ast>),
    List(Vec<Ast>),
    Map(Vec<(Ast, Ast)>),
    Not(Box<Ast>),
    Negate(Box<Ast>),
    Binary(Op, Box<Ast>, Box<Ast>),
    Choice(Box<Ast>, Box<Ast>, Box<Ast>),
}

/// An operator between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Op {
    const TABLE: [(&'static str, Op, u8); 14] = [
        ("||", Op::Or, 1),
        ("&&", Op::And, 2),
        ("==", Op::Equal, 3),
        ("!=", Op::Unequal, 3),
        ("<", Op::Less, 3),
        ("<=", Op::AtMost, 3),
        (">", Op::More, 3),
        (">=", Op::AtLeast, 3),
        ("in", Op::In, 3),
        ("+", Op::Add, 4),
        ("-", Op::Subtract, 4),
        ("*", Op::Multiply, 5),
        ("/", Op::Divide, 5),
        ("%", Op::Remainder, 5),
    ];

    fn of(token: &Token) -> Option<(Op, u8)> {
        let written = match token {
            Token::Sign(sign) => sign,
            Token::Name(name) if name.as_ref() == "in" => "in",
            _ => return None,
        };
        Self::TABLE.iter().find(|(sign, ..)| *sign == written).map(|(_, op, binds)| (*op, *binds))
    }

    /// As it is written.
    pub(super) fn sign(self) -> &'static str {
        Self::TABLE.iter().find(|(_, op, _)| *op == self).map_or("", |(sign, ..)| sign)
    }
}

/// Reads `source`; the first thing that cannot be read is reported.
pub(super) fn parse(source: &str) -> Result<Ast, Problem> {
    let tokens = lex::tokens(source)?;
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    if *parser.peek() == Token::End {
        return Err(error(0..source.len(), "the expression is empty", None));
    }
    let tree = parser.expression()?;
    if *parser.peek() == Token::End { Ok(tree) } else { Err(parser.leftover()) }
}

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    depth: u16,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn place(&self) -> Range<usize> {
        let end = || self.tokens.last().map_or(0..0, |(_, range)| range.clone());
        self.tokens.get(self.at).map_or_else(end, |(_, range)| range.clone())
    }

    fn advance(&mut self) -> Range<usize> {
        let place = self.place();
        self.at += 1;
        place
    }

    fn eat(&mut self, sign: &str) -> Option<Range<usize>> {
        matches!(self.peek(), Token::Sign(found) if *found == sign).then(|| self.advance())
    }

    fn expect(
        &mut self,
        sign: &'static str,
        open: &Range<usize>,
        what: &str,
    ) -> Result<Range<usize>, Problem> {
        self.eat(sign).ok_or_else(|| {
            let found = self.peek().describe();
            let place = if *self.peek() == Token::End { open.clone() } else { self.place() };
            error(place, format!("{what} needs `{sign}`, but there is {found}"), None)
        })
    }

    fn leftover(&self) -> Problem {
        let found = self.peek().describe();
        let hint = match self.peek() {
            Token::Name(name) => match name.as_ref() {
                "and" => Some("`and` is written `&&`"),
                "or" => Some("`or` is written `||`"),
                "if" => Some("a choice is written `condition ? one : other`"),
                "not" => Some("`not` is written `!`"),
                "is" => Some("compare with `==`"),
                _ => Some("an operator is missing, or a text is not quoted"),
            },
            _ => None,
        };
        error(self.place(), format!("the expression could end before {found}, which does not fit"), hint)
    }

    fn build(kind: Kind, range: Range<usize>, below: u16) -> Result<Ast, Problem> {
        if below >= DEPTH {
            return Err(Problem {
                code: Code::EXPRESSION_SIZE,
                range,
                message: format!("the expression is nested more than {DEPTH} deep"),
                hint: Some("split it over several nodes, or use a list: `x in [...]`".to_owned()),
            });
        }
        Ok(Ast { kind, range, height: below + 1 })
    }

    fn expression(&mut self) -> Result<Ast, Problem> {
        self.depth += 1;
        if self.depth > DEPTH {
            Self::build(Kind::Literal(Value::Null), self.place(), DEPTH)?;
        }
        let condition = self.binary(1)?;
        let tree = match self.eat("?") {
            None => condition,
            Some(mark) => {
                let yes = self.binary(1)?;
                self.expect(":", &mark, "the choice after `?`")?;
                let no = self.expression()?;
                let range = condition.range.start..no.range.end;
                let below = condition.height.max(yes.height).max(no.height);
                Self::build(Kind::Choice(Box::new(condition), Box::new(yes), Box::new(no)), range, below)?
            }
        };
        self.depth -= 1;
        Ok(tree)
    }

    /// Operators that bind at least as tightly as `least`; all of them group to the left.
    fn binary(&mut self, least: u8) -> Result<Ast, Problem> {
        let mut left = self.unary()?;
        while let Some((op, binds)) = Op::of(self.peek()).filter(|(_, binds)| *binds >= least) {
            self.advance();
            let right = self.binary(binds + 1)?;
            let range = left.range.start..right.range.end;
            let below = left.height.max(right.height);
            left = Self::build(Kind::Binary(op, Box::new(left), Box::new(right)), range, below)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Ast, Problem> {
        let mut signs = Vec::new();
        loop {
            if let Some(place) = self.eat("!") {
                signs.push((true, place.start));
            } else if let Some(place) = self.eat("-") {
                signs.push((false, place.start));
            } else {
                break;
            }
        }
        // The least whole number exists only with its sign.
        let mut tree = if let (Token::Int(digits), Some((false, start))) = (self.peek().clone(), signs.last())
        {
            let range = *start..self.advance().end;
            signs.pop();
            Self::build(Kind::Literal(whole(&digits, true, &range)?), range, 0)?
        } else {
            self.primary()?
        };
        tree = self.members(tree)?;
        for (not, start) in signs.into_iter().rev() {
            let (range, below) = (start..tree.range.end, tree.height);
            let kind = if not { Kind::Not(Box::new(tree)) } else { Kind::Negate(Box::new(tree)) };
            tree = Self::build(kind, range, below)?;
        }
        Ok(tree)
    }

    /// What follows a value: `.name`, `.name(...)`, `[...]`.
    fn members(&mut self, mut tree: Ast) -> Result<Ast, Problem> {
        loop {
            let start = tree.range.start;
            if let Some(dot) = self.eat(".") {
                let Token::Name(name) = self.peek().clone() else {
                    let found = self.peek().describe();
                    let place = if *self.peek() == Token::End { dot } else { self.place() };
                    return Err(error(place, format!("a name must follow `.`, but there is {found}"), None));
                };
                let place = self.advance();
                tree = if let Some(open) = self.eat("(") {
                    let (args, end) = self.list(")", &open)?;
                    let below = args.iter().map(|arg| arg.height).fold(tree.height, u16::max);
                    Self::build(Kind::Call(Some(Box::new(tree)), name, place, args), start..end, below)?
                } else {
                    let (end, below) = (place.end, tree.height);
                    Self::build(Kind::Field(Box::new(tree), name, place), start..end, below)?
                };
            } else if let Some(open) = self.eat("[") {
                let index = self.expression()?;
                let end = self.expect("]", &open, "the index after `[`")?.end;
                let below = tree.height.max(index.height);
                tree = Self::build(Kind::Index(Box::new(tree), Box::new(index)), start..end, below)?;
            } else {
                return Ok(tree);
            }
        }
    }

    fn primary(&mut self) -> Result<Ast, Problem> {
        let token = self.peek().clone();
        let place = self.place();
        let kind = match token {
            Token::Int(digits) => Kind::Literal(whole(&digits, false, &place)?),
            Token::Float(number) => Kind::Literal(Value::Float(number)),
            Token::Text(text) => Kind::Literal(Value::Text(text)),
            Token::Name(name) => match name.as_ref() {
                "true" => Kind::Literal(Value::Bool(true)),
                "false" => Kind::Literal(Value::Bool(false)),
                "null" => Kind::Literal(Value::Null),
                "in" => return Err(error(place, "`in` needs a value on its left", None)),
                _ => return self.name(name),
            },
            Token::Sign("(") => {
                self.advance();
                let mut tree = self.expression()?;
                tree.range = place.start..self.expect(")", &place, "the bracket `(`")?.end;
                return Ok(tree);
            }
            Token::Sign("[") => {
                self.advance();
                let (items, end) = self.list("]", &place)?;
                let below = items.iter().map(|item| item.height).max().unwrap_or(0);
                return Self::build(Kind::List(items), place.start..end, below);
            }
            Token::Sign("{") => return self.map(),
            Token::End => return Err(error(place, "the expression ends where a value is needed", None)),
            Token::Sign(_) => {
                return Err(error(
                    place,
                    format!("a value is needed, but there is {}", token.describe()),
                    None,
                ));
            }
        };
        self.advance();
        Self::build(kind, place, 0)
    }

    fn name(&mut self, name: Text) -> Result<Ast, Problem> {
        let place = self.advance();
        let Some(open) = self.eat("(") else { return Self::build(Kind::Name(name), place, 0) };
        let (args, end) = self.list(")", &open)?;
        let below = args.iter().map(|arg| arg.height).max().unwrap_or(0);
        let start = place.start;
        Self::build(Kind::Call(None, name, place, args), start..end, below)
    }

    fn list(&mut self, close: &'static str, open: &Range<usize>) -> Result<(Vec<Ast>, usize), Problem> {
        let mut items = Vec::new();
        loop {
            // A comma may follow the last item of a list, as in CEL.
            if (items.is_empty() || close == "]")
                && let Some(place) = self.eat(close)
            {
                return Ok((items, place.end));
            }
            items.push(self.expression()?);
            if self.eat(",").is_none() {
                let what = if close == "]" { "the list `[`" } else { "the bracket `(`" };
                return Ok((items, self.expect(close, open, what)?.end));
            }
        }
    }

    fn map(&mut self) -> Result<Ast, Problem> {
        let open = self.advance();
        let mut entries = Vec::new();
        let end = loop {
            if let Some(place) = self.eat("}") {
                break place.end;
            }
            let key = self.expression()?;
            self.expect(":", &open, "the key of a map")?;
            entries.push((key, self.expression()?));
            if self.eat(",").is_none() {
                break self.expect("}", &open, "the map `{`")?.end;
            }
        };
        let below = entries.iter().map(|(key, value)| key.height.max(value.height)).max().unwrap_or(0);
        Self::build(Kind::Map(entries), open.start..end, below)
    }
}

/// The whole number that `digits` write.
fn whole(digits: &str, negative: bool, place: &Range<usize>) -> Result<Value, Problem> {
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (digits, 10),
    };
    let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
    i64::from_str_radix(&signed, radix)
        .map(Value::Int)
        .map_err(|_| error(place.clone(), format!("`{signed}` is no whole number of 64 bits"), None))
}
