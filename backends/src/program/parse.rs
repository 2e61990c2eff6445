//! From words to a tree: statements. Expressions and f-strings have their own files.

use std::rc::Rc;

use super::ast::{BinaryOp, Block, Expr, Function, Name, Scope, Stmt, StmtKind, Target};
use super::error::{Bound, Error, syntax};
use super::limits::NESTING_MAX;
use super::token::{Token, tokens};

mod expression;
mod formatted;

/// Statements that Python has and a program here has not.
const UNSUPPORTED: [&str; 9] =
    ["try", "raise", "class", "with", "yield", "async", "await", "except", "finally"];

const AUGMENTS: [(&str, BinaryOp); 12] = [
    ("+=", BinaryOp::Add),
    ("-=", BinaryOp::Sub),
    ("*=", BinaryOp::Mul),
    ("/=", BinaryOp::Div),
    ("//=", BinaryOp::FloorDiv),
    ("%=", BinaryOp::Mod),
    ("**=", BinaryOp::Power),
    ("&=", BinaryOp::And),
    ("|=", BinaryOp::Or),
    ("^=", BinaryOp::Xor),
    ("<<=", BinaryOp::ShiftLeft),
    (">>=", BinaryOp::ShiftRight),
];

/// The statements of a program.
pub(super) fn parse(source: &str) -> Result<Block, Error> {
    let mut parser = Parser::new(tokens(source, 1)?, 0);
    let mut block = Block::new();
    while *parser.peek() != Token::End {
        parser.statement(&mut block)?;
    }
    Ok(block)
}

struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
    // How many constructs stand around.
    depth: u32,
    // The names of each function around, innermost last; none at the top.
    scopes: Vec<Scope>,
    n_loops: u32,
}

impl Parser {
    fn new(tokens: Vec<(Token, u32)>, depth: u32) -> Self {
        Self { tokens, at: 0, depth, scopes: Vec::new(), n_loops: 0 }
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    /// Takes the operator or keyword `op` if it comes next.
    fn take(&mut self, op: &str) -> bool {
        let is_next = self.is(op);
        self.at += usize::from(is_next);
        is_next
    }

    fn is(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(next) if *next == op)
    }

    fn expect(&mut self, op: &str) -> Result<(), Error> {
        if self.take(op) {
            return Ok(());
        }
        syntax(self.line(), format!("`{op}` is missing before {}", self.shown()))
    }

    /// The next word, for a message.
    fn shown(&self) -> String {
        match self.peek() {
            Token::Name(name) => format!("`{name}`"),
            Token::Op(op) => format!("`{op}`"),
            Token::Int(n) => format!("`{n}`"),
            Token::Float(n) => format!("`{n}`"),
            Token::Str(_) | Token::Format(_) => "a text".to_owned(),
            Token::Newline => "the end of the line".to_owned(),
            Token::Indent => "an indented line".to_owned(),
            Token::Dedent => "the end of the block".to_owned(),
            Token::End => "the end of the program".to_owned(),
        }
    }

    fn name(&mut self) -> Result<Name, Error> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => syntax(self.line(), format!("a name is missing before {}", self.shown())),
        }
    }

    /// Parses one construct that stands inside of others.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= NESTING_MAX {
            return Err(Error::Exceeded { line: self.line(), bound: Bound::Nesting(NESTING_MAX) });
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// One line of statements, or one statement with its blocks.
    fn statement(&mut self, block: &mut Block) -> Result<(), Error> {
        let line = self.line();
        let kind = match self.peek() {
            Token::Op("if") => self.nested(Self::if_)?,
            Token::Op("while") => {
                self.at += 1;
                let condition = self.expression()?;
                let body = self.loop_body()?;
                StmtKind::While(condition, body)
            }
            Token::Op("for") => self.for_()?,
            Token::Op("def") => self.def()?,
            Token::Indent => return syntax(line, "an indented line that belongs to no block"),
            Token::Op("@") => return syntax(line, "decorators are not supported"),
            Token::Op(op) if UNSUPPORTED.contains(op) => {
                return syntax(line, format!("`{op}` is not supported"));
            }
            _ => return self.simple_line(block),
        };
        block.push(Stmt { line, kind });
        Ok(())
    }

    fn simple_line(&mut self, block: &mut Block) -> Result<(), Error> {
        loop {
            let line = self.line();
            let kind = self.simple()?;
            block.push(Stmt { line, kind });
            let is_more = self.take(";");
            match self.peek() {
                Token::Newline => {
                    self.at += 1;
                    return Ok(());
                }
                Token::End => return Ok(()),
                _ if is_more => {}
                _ => return syntax(self.line(), format!("the line should end before {}", self.shown())),
            }
        }
    }

    fn simple(&mut self) -> Result<StmtKind, Error> {
        let line = self.line();
        let Token::Op(op) = *self.peek() else { return self.assignment() };
        match op {
            "pass" => {
                self.at += 1;
                Ok(StmtKind::Pass)
            }
            "break" | "continue" => {
                self.at += 1;
                if self.n_loops == 0 {
                    return syntax(line, format!("`{op}` outside of a loop"));
                }
                Ok(if op == "break" { StmtKind::Break } else { StmtKind::Continue })
            }
            "return" => {
                self.at += 1;
                if self.scopes.is_empty() {
                    return syntax(line, "`return` outside of a function");
                }
                let is_bare = matches!(self.peek(), Token::Newline | Token::End | Token::Op(";"));
                Ok(StmtKind::Return(if is_bare { None } else { Some(self.expressions()?) }))
            }
            "global" | "nonlocal" => {
                self.at += 1;
                self.outer_names(op == "global")
            }
            "import" => {
                self.at += 1;
                self.module()?;
                let name = if self.take("as") { self.name()? } else { "math".into() };
                self.bind(&name);
                Ok(StmtKind::ImportMath(name))
            }
            "from" => {
                self.at += 1;
                self.module()?;
                self.expect("import")?;
                self.math_names()
            }
            "del" => {
                self.at += 1;
                let line = self.line();
                let targets = match self.expressions()? {
                    Expr::Tuple(targets) => targets,
                    target => vec![target],
                };
                let targets = targets.into_iter().map(|target| self.target(target, line));
                Ok(StmtKind::Delete(targets.collect::<Result<_, _>>()?))
            }
            "assert" => {
                self.at += 1;
                let condition = self.expression()?;
                let message = if self.take(",") { Some(self.expression()?) } else { None };
                Ok(StmtKind::Assert(condition, message))
            }
            _ if UNSUPPORTED.contains(&op) => syntax(line, format!("`{op}` is not supported")),
            _ => self.assignment(),
        }
    }

    /// The name of a module, of which there is one.
    fn module(&mut self) -> Result<(), Error> {
        let line = self.line();
        match self.next() {
            Token::Name(name) if &*name == "math" && !self.is(".") => Ok(()),
            Token::Name(name) => syntax(
                line,
                format!(
                    "a program cannot import `{name}`: it has no files, no network and no modules but `math`"
                ),
            ),
            _ => syntax(line, "`import` needs the name of a module"),
        }
    }

    fn math_names(&mut self) -> Result<StmtKind, Error> {
        if self.is("*") {
            return syntax(self.line(), "`import *` is not supported; name what you need");
        }
        let is_bracket = self.take("(");
        let mut names = Vec::new();
        loop {
            let name = self.name()?;
            let local = if self.take("as") { self.name()? } else { name.clone() };
            self.bind(&local);
            names.push((name, local));
            if !self.take(",") || self.is(")") {
                break;
            }
        }
        if is_bracket {
            self.expect(")")?;
        }
        Ok(StmtKind::FromMath(names))
    }

    fn outer_names(&mut self, is_global: bool) -> Result<StmtKind, Error> {
        loop {
            let name = self.name()?;
            if let Some(scope) = self.scopes.last_mut() {
                scope.locals.remove(&name);
                let names = if is_global { &mut scope.globals } else { &mut scope.nonlocals };
                names.insert(name);
            }
            if !self.take(",") {
                return Ok(StmtKind::Pass);
            }
        }
    }

    fn assignment(&mut self) -> Result<StmtKind, Error> {
        let line = self.line();
        let first = self.expressions()?;
        let augment = match self.peek() {
            Token::Op(op) => AUGMENTS.iter().find(|(sign, _)| sign == op),
            _ => None,
        };
        if let Some((_, op)) = augment {
            self.at += 1;
            let target = self.target(first, line)?;
            if matches!(target, Target::Unpack(..)) {
                return syntax(line, "an augmented assignment to several names");
            }
            return Ok(StmtKind::Augment(target, *op, self.expressions()?));
        }
        if matches!(first, Expr::Name(_)) && self.take(":") {
            // What kind of value it is to be says nothing about what it is.
            self.expression()?;
            if !self.is("=") {
                return Ok(StmtKind::Pass);
            }
        }
        if !self.is("=") {
            return Ok(StmtKind::Expr(first));
        }
        let mut targets = Vec::new();
        let mut value = first;
        while self.take("=") {
            targets.push(self.target(value, line)?);
            value = self.expressions()?;
        }
        Ok(StmtKind::Assign(targets, value))
    }

    /// Notes that the function around gives a value to `name`.
    fn bind(&mut self, name: &Name) {
        if let Some(scope) = self.scopes.last_mut()
            && !scope.globals.contains(name)
            && !scope.nonlocals.contains(name)
        {
            scope.locals.insert(name.clone());
        }
    }

    /// Reads an expression as what it can be put into.
    fn target(&mut self, expr: Expr, line: u32) -> Result<Target, Error> {
        match expr {
            Expr::Name(name) => {
                self.bind(&name);
                Ok(Target::Name(name))
            }
            Expr::Index(of, index) => Ok(Target::Item(of, index)),
            Expr::Tuple(parts) | Expr::List(parts) => {
                let mut rest = None;
                let mut targets = Vec::with_capacity(parts.len());
                for (n, part) in parts.into_iter().enumerate() {
                    let part = match part {
                        Expr::Star(part) if rest.replace(n).is_none() => *part,
                        Expr::Star(_) => return syntax(line, "two starred names in one assignment"),
                        part => part,
                    };
                    targets.push(self.target(part, line)?);
                }
                Ok(Target::Unpack(targets, rest))
            }
            Expr::Attribute(..) => syntax(line, "attributes cannot be set"),
            Expr::Slice(..) => syntax(line, "assigning to a slice is not supported"),
            _ => syntax(line, "nothing can be assigned to this"),
        }
    }

    fn if_(&mut self) -> Result<StmtKind, Error> {
        self.at += 1;
        let mut arms = vec![(self.expression()?, self.block()?)];
        while self.take("elif") {
            arms.push((self.expression()?, self.block()?));
        }
        let otherwise = if self.take("else") { self.block()? } else { Block::new() };
        Ok(StmtKind::If(arms, otherwise))
    }

    fn for_(&mut self) -> Result<StmtKind, Error> {
        self.at += 1;
        let target = self.loop_target()?;
        self.expect("in")?;
        let items = self.expressions()?;
        let body = self.loop_body()?;
        Ok(StmtKind::For(target, items, body))
    }

    /// What `for` gives its items to.
    fn loop_target(&mut self) -> Result<Target, Error> {
        let line = self.line();
        let mut parts = vec![self.target_part()?];
        let is_single = !self.is(",");
        while self.take(",") && !self.is("in") {
            parts.push(self.target_part()?);
        }
        let expr = match parts.pop() {
            Some(part) if is_single => part,
            last => {
                parts.extend(last);
                Expr::Tuple(parts)
            }
        };
        self.target(expr, line)
    }

    /// The body of a loop, which has no `else`.
    fn loop_body(&mut self) -> Result<Block, Error> {
        self.n_loops += 1;
        let body = self.block();
        self.n_loops -= 1;
        if self.is("else") {
            return syntax(self.line(), "`else` of a loop is not supported");
        }
        body
    }

    fn def(&mut self) -> Result<StmtKind, Error> {
        self.at += 1;
        let name = self.name()?;
        self.bind(&name);
        self.expect("(")?;
        let params = self.params(")")?;
        self.expect(")")?;
        if self.take("->") {
            self.expression()?;
        }
        let loops = std::mem::take(&mut self.n_loops);
        self.scopes.push(Scope::default());
        for (param, _) in &params {
            self.bind(param);
        }
        let body = self.block();
        let scope = Rc::new(self.scopes.pop().unwrap_or_default());
        self.n_loops = loops;
        let function = Function { name: name.clone(), params, body: body?, scope };
        Ok(StmtKind::Def(name, Rc::new(function)))
    }

    /// The parameters of a function, up to `end`.
    fn params(&mut self, end: &str) -> Result<Vec<(Name, Option<Expr>)>, Error> {
        let mut params: Vec<(Name, Option<Expr>)> = Vec::new();
        while !self.is(end) {
            let line = self.line();
            if self.is("*") || self.is("**") || self.is("/") {
                return syntax(line, "parameters with `*` or `/` are not supported");
            }
            let name = self.name()?;
            if params.iter().any(|(known, _)| *known == name) {
                return syntax(line, format!("two parameters are called `{name}`"));
            }
            if end == ")" && self.take(":") {
                self.expression()?;
            }
            let default = if self.take("=") { Some(self.expression()?) } else { None };
            if default.is_none() && params.last().is_some_and(|(_, default)| default.is_some()) {
                return syntax(line, format!("`{name}` has no default, but the parameter before it has one"));
            }
            params.push((name, default));
            if !self.take(",") {
                break;
            }
        }
        Ok(params)
    }

    fn block(&mut self) -> Result<Block, Error> {
        self.nested(|parser| {
            parser.expect(":")?;
            let mut block = Block::new();
            if *parser.peek() != Token::Newline {
                parser.simple_line(&mut block)?;
                return Ok(block);
            }
            parser.at += 1;
            if *parser.peek() != Token::Indent {
                return syntax(parser.line(), "an indented block is missing");
            }
            parser.at += 1;
            while *parser.peek() != Token::Dedent {
                parser.statement(&mut block)?;
            }
            parser.at += 1;
            Ok(block)
        })
    }
}
