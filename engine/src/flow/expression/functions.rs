//! The functions of expressions, by name: what they take and what they give. What they do is up to `cel`.

use crate::types::Type;

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    /// Its name.
    pub(super) name: &'static str,
    /// How it is called.
    pub(super) form: Form,
    /// What it takes; for a method, the first is what it is called on.
    pub(super) takes: &'static [Param],
    /// How many of them, at the end, may be left out.
    pub(super) optional: usize,
    /// What it gives, by the types of what it takes.
    pub(super) gives: fn(&[Type]) -> Type,
}

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `name(x)`.
    Global,
    /// `x.name()`.
    Method,
    /// Either way.
    Both,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    Text,
    Int,
    List,
    /// A list of texts.
    Texts,
    /// What has a size.
    Sized,
    /// A text, number or truth value.
    Scalar,
    /// A moment or a span of time, which no port has as its type.
    Time,
}

impl Param {
    /// What it takes, in words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "a `text`",
            Self::Int => "an `int`",
            Self::List => "a `list`",
            Self::Texts => "a `list<text>`",
            Self::Sized => "a `text`, `list` or `map`",
            Self::Scalar => "a `text`, number or `bool`",
            Self::Time => "a `timestamp(...)` or `duration(...)`",
        }
    }

    /// Whether values of type `ty` can ever go there.
    pub(super) fn accepts(self, ty: &Type) -> bool {
        match ty.required() {
            Type::Any | Type::Json => true,
            Type::Text | Type::Label => matches!(self, Self::Text | Self::Sized | Self::Scalar),
            Type::Int => matches!(self, Self::Int | Self::Scalar),
            Type::Float | Type::Bool => self == Self::Scalar,
            Type::List(item) => match self {
                Self::Texts => Param::Text.accepts(item),
                _ => matches!(self, Self::List | Self::Sized),
            },
            Type::Map(_) => self == Self::Sized,
            _ => false,
        }
    }
}

impl Function {
    /// The function `name`.
    pub(super) fn find(name: &str) -> Option<&'static Function> {
        ALL.iter().find(|function| function.name == name)
    }

    const fn optional(mut self, optional: usize) -> Self {
        self.optional = optional;
        self
    }
}

/// Names that are no entries of [`ALL`], since they do not evaluate all that they take.
pub(super) const SPECIAL: [&str; 9] =
    ["first", "present", "all_present", "has", "map", "filter", "all", "exists", "exists_one"];

/// Every function that takes evaluated values.
pub(super) const ALL: &[Function] = &[
    function("size", Form::Both, &[Param::Sized], int),
    method("contains", &[Param::Text, Param::Text], bool),
    method("startsWith", &[Param::Text, Param::Text], bool),
    method("endsWith", &[Param::Text, Param::Text], bool),
    function("matches", Form::Both, &[Param::Text, Param::Text], bool),
    method("lowerAscii", &[Param::Text], text),
    method("upperAscii", &[Param::Text], text),
    method("trim", &[Param::Text], text),
    method("split", &[Param::Text, Param::Text, Param::Int], |_| Type::list(Type::Text)).optional(1),
    method("join", &[Param::Texts, Param::Text], text).optional(1),
    method("replace", &[Param::Text, Param::Text, Param::Text], text),
    method("substring", &[Param::Text, Param::Int, Param::Int], text).optional(1),
    method("indexOf", &[Param::Text, Param::Text, Param::Int], int).optional(1),
    method("lastIndexOf", &[Param::Text, Param::Text], int),
    method("slice", &[Param::List, Param::Int, Param::Int], list),
    method("reverse", &[Param::List], list),
    method("sort", &[Param::List], list),
    method("flatten", &[Param::List], flattened),
    function("string", Form::Global, &[Param::Scalar], text),
    function("int", Form::Global, &[Param::Scalar], int),
    function("double", Form::Global, &[Param::Scalar], |_| Type::Float),
    function("bool", Form::Global, &[Param::Scalar], bool),
    function("timestamp", Form::Global, &[Param::Scalar], |_| Type::Any),
    function("duration", Form::Global, &[Param::Scalar], |_| Type::Any),
    method("getFullYear", &[Param::Time], int),
    method("getMonth", &[Param::Time], int),
    method("getDate", &[Param::Time], int),
    method("getDayOfWeek", &[Param::Time], int),
    method("getHours", &[Param::Time], int),
    method("getMinutes", &[Param::Time], int),
    method("getSeconds", &[Param::Time], int),
];

const fn function(
    name: &'static str,
    form: Form,
    takes: &'static [Param],
    gives: fn(&[Type]) -> Type,
) -> Function {
    Function { name, form, takes, optional: 0, gives }
}

const fn method(name: &'static str, takes: &'static [Param], gives: fn(&[Type]) -> Type) -> Function {
    function(name, Form::Method, takes, gives)
}

fn int(_: &[Type]) -> Type {
    Type::Int
}

fn bool(_: &[Type]) -> Type {
    Type::Bool
}

fn text(_: &[Type]) -> Type {
    Type::Text
}

fn list(types: &[Type]) -> Type {
    match types.first().map(Type::required) {
        Some(list @ Type::List(_)) => list.clone(),
        _ => Type::list(Type::Any),
    }
}

fn flattened(types: &[Type]) -> Type {
    match types.first().map(Type::required) {
        Some(Type::List(item)) => match item.required() {
            Type::List(inner) => Type::List(inner.clone()),
            Type::Any | Type::Json => Type::list(Type::Any),
            other => Type::list(other.clone()),
        },
        _ => Type::list(Type::Any),
    }
}
