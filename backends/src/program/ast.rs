//! A program as a tree. No tree is deeper than the parser allows, so walking and dropping it needs a bounded stack.

use std::collections::BTreeSet;
use std::rc::Rc;

/// A name of the program.
pub(super) type Name = Rc<str>;

/// Statements in their order.
pub(super) type Block = Vec<Stmt>;

/// A statement and its line.
#[derive(Debug)]
pub(super) struct Stmt {
    pub(super) line: u32,
    pub(super) kind: StmtKind,
}

#[derive(Debug)]
pub(super) enum StmtKind {
    Expr(Expr),
    /// `a = b = value`
    Assign(Vec<Target>, Expr),
    /// `a += value`
    Augment(Target, BinaryOp, Expr),
    Delete(Vec<Target>),
    /// Each condition with its block, then the block of `else`.
    If(Vec<(Expr, Block)>, Block),
    While(Expr, Block),
    For(Target, Expr, Block),
    Break,
    Continue,
    Pass,
    Return(Option<Expr>),
    Def(Name, Rc<Function>),
    /// `import math as name`
    ImportMath(Name),
    /// `from math import name as name`
    FromMath(Vec<(Name, Name)>),
    Assert(Expr, Option<Expr>),
}

/// What a value can be put into.
#[derive(Debug)]
pub(super) enum Target {
    Name(Name),
    /// `a, b`, with the place of the one that takes the rest.
    Unpack(Vec<Target>, Option<usize>),
    Item(Box<Expr>, Box<Expr>),
}

/// A function, of `def` or `lambda`.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: Name,
    pub(super) params: Vec<(Name, Option<Expr>)>,
    pub(super) body: Block,
    pub(super) scope: Rc<Scope>,
}

/// Which names belong to a function.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) locals: BTreeSet<Name>,
    pub(super) globals: BTreeSet<Name>,
    pub(super) nonlocals: BTreeSet<Name>,
}

#[derive(Debug)]
pub(super) enum Expr {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Rc<str>),
    /// An f-string.
    Format(Vec<Piece>),
    Name(Name),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Set(Vec<Expr>),
    /// Keys with values; no key for `**other`.
    Dict(Vec<(Option<Expr>, Expr)>),
    /// `*value`, inside a list, a tuple, a set or the arguments of a call.
    Star(Box<Expr>),
    Unary(UnaryOp, Box<Expr>),
    /// Operators of one precedence that bind to the left, in a row: a long sum is not a deep tree.
    Chain(Box<Expr>, Vec<(BinaryOp, Expr)>),
    Power(Box<Expr>, Box<Expr>),
    /// `a < b <= c`
    Compare(Box<Expr>, Vec<(CompareOp, Expr)>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    /// Condition, value if true, value if false.
    IfElse(Box<(Expr, Expr, Expr)>),
    Call(Box<Expr>, Vec<Expr>, Vec<(Name, Expr)>),
    Attribute(Box<Expr>, Name),
    Index(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Lambda(Rc<Function>),
    Comprehension(Box<Comprehension>),
}

/// `[element for … if …]` and its kin.
#[derive(Debug)]
pub(super) struct Comprehension {
    pub(super) kind: Collected,
    /// The element; the key of a dictionary.
    pub(super) element: Expr,
    /// The value of a dictionary.
    pub(super) value: Option<Expr>,
    pub(super) clauses: Vec<Clause>,
    pub(super) scope: Rc<Scope>,
}

/// `for target in items if condition if condition`
#[derive(Debug)]
pub(super) struct Clause {
    pub(super) target: Target,
    pub(super) items: Expr,
    pub(super) conditions: Vec<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collected {
    List,
    Set,
    Dict,
}

/// A part of an f-string.
#[derive(Debug)]
pub(super) enum Piece {
    Text(Rc<str>),
    Value { value: Expr, is_repr: bool, spec: Vec<Piece> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnaryOp {
    Not,
    Minus,
    Plus,
    Invert,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Power,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

impl BinaryOp {
    /// As it is written.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::FloorDiv => "//",
            Self::Mod => "%",
            Self::Power => "**",
            Self::And => "&",
            Self::Or => "|",
            Self::Xor => "^",
            Self::ShiftLeft => "<<",
            Self::ShiftRight => ">>",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CompareOp {
    Eq,
    NotEq,
    Lt,
    LtE,
    Gt,
    GtE,
    In,
    NotIn,
    Is,
    IsNot,
}
