//! Expressions, by the precedence of their operators.

use std::rc::Rc;

use super::super::ast::{
    BinaryOp, Clause, Collected, CompareOp, Comprehension, Expr, Function, Scope, Stmt, StmtKind, Target,
    UnaryOp,
};
use super::super::error::{Error, syntax};
use super::super::limits::NESTING_MAX;
use super::super::token::Token;
use super::Parser;

/// Binary operators that bind to the left, loosest first: a row is one precedence.
const ROWS: [&[(&str, BinaryOp)]; 6] = [
    &[("|", BinaryOp::Or)],
    &[("^", BinaryOp::Xor)],
    &[("&", BinaryOp::And)],
    &[("<<", BinaryOp::ShiftLeft), (">>", BinaryOp::ShiftRight)],
    &[("+", BinaryOp::Add), ("-", BinaryOp::Sub)],
    &[("*", BinaryOp::Mul), ("/", BinaryOp::Div), ("//", BinaryOp::FloorDiv), ("%", BinaryOp::Mod)],
];

impl Parser {
    /// Expressions with commas between: a tuple, if there is one.
    pub(super) fn expressions(&mut self) -> Result<Expr, Error> {
        let first = self.element()?;
        if !self.is(",") {
            if let Expr::Star(_) = first {
                return syntax(self.line(), "a starred value stands alone");
            }
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take(",") && self.begins_expression() {
            parts.push(self.element()?);
        }
        Ok(Expr::Tuple(parts))
    }

    /// Whether the next word can begin an expression; a comma may stand last.
    fn begins_expression(&self) -> bool {
        match self.peek() {
            Token::Op(op) => {
                matches!(
                    *op,
                    "(" | "[" | "{" | "-" | "+" | "~" | "*" | "not" | "lambda" | "None" | "True" | "False"
                )
            }
            Token::Newline | Token::Indent | Token::Dedent | Token::End => false,
            _ => true,
        }
    }

    /// An element of a list, with or without a star.
    fn element(&mut self) -> Result<Expr, Error> {
        if self.take("*") {
            return Ok(Expr::Star(Box::new(self.binary(0)?)));
        }
        self.expression()
    }

    /// A part of what `for` gives its items to: `in` belongs to the `for`.
    pub(super) fn target_part(&mut self) -> Result<Expr, Error> {
        if self.take("*") {
            return Ok(Expr::Star(Box::new(self.postfix()?)));
        }
        self.postfix()
    }

    /// One expression.
    pub(super) fn expression(&mut self) -> Result<Expr, Error> {
        self.nested(|parser| {
            if parser.is("lambda") {
                return parser.lambda();
            }
            let value = parser.or()?;
            if !parser.take("if") {
                return Ok(value);
            }
            let condition = parser.or()?;
            parser.expect("else")?;
            let otherwise = parser.expression()?;
            Ok(Expr::IfElse(Box::new((condition, value, otherwise))))
        })
    }

    fn lambda(&mut self) -> Result<Expr, Error> {
        let line = self.line();
        self.at += 1;
        let params = self.params(":")?;
        self.expect(":")?;
        self.scopes.push(Scope::default());
        for (param, _) in &params {
            self.bind(param);
        }
        let value = self.expression();
        let scope = Rc::new(self.scopes.pop().unwrap_or_default());
        let body = vec![Stmt { line, kind: StmtKind::Return(Some(value?)) }];
        Ok(Expr::Lambda(Rc::new(Function { name: "<lambda>".into(), params, body, scope })))
    }

    pub(super) fn or(&mut self) -> Result<Expr, Error> {
        let mut parts = vec![self.and()?];
        while self.take("or") {
            parts.push(self.and()?);
        }
        Ok(single(parts, Expr::Or))
    }

    fn and(&mut self) -> Result<Expr, Error> {
        let mut parts = vec![self.not()?];
        while self.take("and") {
            parts.push(self.not()?);
        }
        Ok(single(parts, Expr::And))
    }

    fn not(&mut self) -> Result<Expr, Error> {
        if self.take("not") {
            let value = self.nested(Self::not)?;
            return Ok(Expr::Unary(UnaryOp::Not, Box::new(value)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, Error> {
        let first = self.binary(0)?;
        let mut rest = Vec::new();
        while let Some(op) = self.compare_op()? {
            rest.push((op, self.binary(0)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare(Box::new(first), rest) })
    }

    fn compare_op(&mut self) -> Result<Option<CompareOp>, Error> {
        let Token::Op(op) = *self.peek() else { return Ok(None) };
        let found = match op {
            "==" => CompareOp::Eq,
            "!=" => CompareOp::NotEq,
            "<" => CompareOp::Lt,
            "<=" => CompareOp::LtE,
            ">" => CompareOp::Gt,
            ">=" => CompareOp::GtE,
            "in" => CompareOp::In,
            "is" => {
                self.at += 1;
                return Ok(Some(if self.take("not") { CompareOp::IsNot } else { CompareOp::Is }));
            }
            "not" => {
                self.at += 1;
                self.expect("in")?;
                return Ok(Some(CompareOp::NotIn));
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(found))
    }

    /// Operators of `row` and of those that bind more tightly.
    fn binary(&mut self, row: usize) -> Result<Expr, Error> {
        let Some(operators) = ROWS.get(row) else { return self.unary() };
        let first = self.binary(row + 1)?;
        let mut rest = Vec::new();
        while let Token::Op(op) = *self.peek() {
            let Some((_, op)) = operators.iter().find(|(sign, _)| *sign == op) else { break };
            self.at += 1;
            rest.push((*op, self.binary(row + 1)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Chain(Box::new(first), rest) })
    }

    fn unary(&mut self) -> Result<Expr, Error> {
        let op = match self.peek() {
            Token::Op("-") => UnaryOp::Minus,
            Token::Op("+") => UnaryOp::Plus,
            Token::Op("~") => UnaryOp::Invert,
            _ => return self.power(),
        };
        self.at += 1;
        let value = self.nested(Self::unary)?;
        Ok(Expr::Unary(op, Box::new(value)))
    }

    fn power(&mut self) -> Result<Expr, Error> {
        let base = self.postfix()?;
        if !self.take("**") {
            return Ok(base);
        }
        let exponent = self.nested(Self::unary)?;
        Ok(Expr::Power(Box::new(base), Box::new(exponent)))
    }

    /// An atom with its calls, subscripts and attributes.
    fn postfix(&mut self) -> Result<Expr, Error> {
        let mut value = self.atom()?;
        // Each of them makes the tree deeper by one.
        for n in 0.. {
            if n > NESTING_MAX {
                return syntax(self.line(), format!("more than {NESTING_MAX} calls or subscripts in a row"));
            }
            if self.take("(") {
                value = self.call(value)?;
            } else if self.take("[") {
                value = self.subscript(value)?;
            } else if self.take(".") {
                value = Expr::Attribute(Box::new(value), self.name()?);
            } else {
                break;
            }
        }
        Ok(value)
    }

    fn call(&mut self, function: Expr) -> Result<Expr, Error> {
        let mut args = Vec::new();
        let mut named = Vec::new();
        while !self.is(")") {
            let line = self.line();
            if self.is("**") {
                return syntax(line, "`**` in a call is not supported");
            }
            let is_named = matches!(self.tokens.get(self.at + 1), Some((Token::Op("="), _)));
            if let (Token::Name(name), true) = (self.peek().clone(), is_named) {
                self.at += 2;
                if named.iter().any(|(known, _)| *known == name) {
                    return syntax(line, format!("`{name}` is given twice"));
                }
                named.push((name, self.expression()?));
            } else {
                let arg = self.element()?;
                if !named.is_empty() {
                    return syntax(line, "an argument without a name after one with a name");
                }
                if self.is("for") {
                    args.push(self.comprehension(Collected::List, arg, None)?);
                    break;
                }
                args.push(arg);
            }
            if !self.take(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(Expr::Call(Box::new(function), args, named))
    }

    fn subscript(&mut self, of: Expr) -> Result<Expr, Error> {
        let mut parts: [Option<Expr>; 3] = [None, None, None];
        let mut n_colons = 0;
        loop {
            if self.take(":") {
                n_colons += 1;
            } else if self.take("]") {
                break;
            } else if let Some(part @ None) = parts.get_mut(n_colons) {
                let index = if n_colons == 0 { self.expressions()? } else { self.expression()? };
                *part = Some(index);
            } else {
                return syntax(self.line(), format!("`]` is missing before {}", self.shown()));
            }
        }
        let line = self.line();
        match (n_colons, parts) {
            (0, [Some(index), ..]) => Ok(Expr::Index(Box::new(of), Box::new(index))),
            (1 | 2, parts) => Ok(Expr::Slice(Box::new(of), Box::new(parts))),
            _ => syntax(line, "a subscript that says nothing"),
        }
    }

    fn atom(&mut self) -> Result<Expr, Error> {
        let line = self.line();
        match self.next() {
            Token::Name(name) => Ok(Expr::Name(name)),
            Token::Int(n) => Ok(Expr::Int(n)),
            Token::Float(n) => Ok(Expr::Float(n)),
            Token::Op("None") => Ok(Expr::None),
            Token::Op("True") => Ok(Expr::Bool(true)),
            Token::Op("False") => Ok(Expr::Bool(false)),
            token @ (Token::Str(_) | Token::Format(_)) => self.texts(token, line),
            Token::Op("(") => self.nested(Self::bracketed),
            Token::Op("[") => self.nested(Self::list),
            Token::Op("{") => self.nested(Self::braced),
            Token::Op(op @ ("yield" | "await" | ":=" | "...")) => {
                syntax(line, format!("`{op}` is not supported"))
            }
            _ => {
                self.at -= 1;
                syntax(line, format!("a value is missing before {}", self.shown()))
            }
        }
    }

    fn bracketed(&mut self) -> Result<Expr, Error> {
        if self.take(")") {
            return Ok(Expr::Tuple(Vec::new()));
        }
        let first = self.element()?;
        if self.is("for") {
            let found = self.comprehension(Collected::List, first, None)?;
            self.expect(")")?;
            return Ok(found);
        }
        if !self.is(",") && !matches!(first, Expr::Star(_)) {
            self.expect(")")?;
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take(",") && !self.is(")") {
            parts.push(self.element()?);
        }
        self.expect(")")?;
        Ok(Expr::Tuple(parts))
    }

    fn list(&mut self) -> Result<Expr, Error> {
        let mut parts = Vec::new();
        while !self.is("]") {
            let part = self.element()?;
            if parts.is_empty() && self.is("for") {
                let found = self.comprehension(Collected::List, part, None)?;
                self.expect("]")?;
                return Ok(found);
            }
            parts.push(part);
            if !self.take(",") {
                break;
            }
        }
        self.expect("]")?;
        Ok(Expr::List(parts))
    }

    /// A dictionary or a set.
    fn braced(&mut self) -> Result<Expr, Error> {
        let mut pairs = Vec::new();
        let mut parts = Vec::new();
        while !self.is("}") {
            let line = self.line();
            if self.take("**") {
                pairs.push((None, self.binary(0)?));
            } else {
                let key = self.element()?;
                let value = if self.take(":") { Some(self.expression()?) } else { None };
                if pairs.is_empty() && parts.is_empty() && self.is("for") {
                    let kind = if value.is_some() { Collected::Dict } else { Collected::Set };
                    let found = self.comprehension(kind, key, value)?;
                    self.expect("}")?;
                    return Ok(found);
                }
                match value {
                    Some(value) => pairs.push((Some(key), value)),
                    None => parts.push(key),
                }
            }
            if !pairs.is_empty() && !parts.is_empty() {
                return syntax(line, "a dictionary needs a value for each key");
            }
            if !self.take(",") {
                break;
            }
        }
        self.expect("}")?;
        Ok(if parts.is_empty() { Expr::Dict(pairs) } else { Expr::Set(parts) })
    }

    /// `for … in … if …`, once or more, after an element that is parsed already.
    fn comprehension(&mut self, kind: Collected, element: Expr, value: Option<Expr>) -> Result<Expr, Error> {
        if matches!(element, Expr::Star(_)) {
            return syntax(self.line(), "a starred value in a comprehension");
        }
        self.scopes.push(Scope::default());
        let mut clauses = Vec::new();
        let mut failed = None;
        while failed.is_none() && self.take("for") {
            match self.clause() {
                Ok(clause) => clauses.push(clause),
                Err(error) => failed = Some(error),
            }
        }
        let scope = Rc::new(self.scopes.pop().unwrap_or_default());
        match failed {
            Some(error) => Err(error),
            None => Ok(Expr::Comprehension(Box::new(Comprehension { kind, element, value, clauses, scope }))),
        }
    }

    fn clause(&mut self) -> Result<Clause, Error> {
        let target: Target = self.loop_target()?;
        self.expect("in")?;
        let items = self.or()?;
        let mut conditions = Vec::new();
        while self.take("if") {
            conditions.push(self.or()?);
        }
        Ok(Clause { target, items, conditions })
    }
}

/// The only one of `parts`, or all of them as `many`.
fn single(mut parts: Vec<Expr>, many: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match parts.pop() {
        Some(part) if parts.is_empty() => part,
        last => {
            parts.extend(last);
            many(parts)
        }
    }
}
