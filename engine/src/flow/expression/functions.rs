//! The functions of expressions, by name: what they take, what they give, what they do.

use std::sync::Arc;

use super::eval::{Meter, Stop};
use super::values;
use crate::types::Type;
use crate::value::Value;

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
    run: fn(&mut Meter, &[Value]) -> Result<Value, Stop>,
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

    fn holds(self, value: &Value) -> bool {
        match value {
            Value::Text(_) => matches!(self, Self::Text | Self::Sized | Self::Scalar),
            Value::Int(_) => matches!(self, Self::Int | Self::Scalar),
            Value::Float(_) | Value::Bool(_) => self == Self::Scalar,
            Value::List(_) => matches!(self, Self::List | Self::Texts | Self::Sized),
            Value::Map(_) => self == Self::Sized,
            _ => false,
        }
    }
}

impl Function {
    /// The function `name`.
    pub(super) fn find(name: &str) -> Option<&'static Function> {
        ALL.iter().find(|function| function.name == name)
    }

    /// What it gives for `args`.
    pub(super) fn call(&self, meter: &mut Meter, args: &[Value]) -> Result<Value, Stop> {
        for (param, arg) in self.takes.iter().zip(args) {
            if !param.holds(arg) {
                return Err(Stop::Error(format!(
                    "`{}` takes {}, found {}",
                    self.name,
                    param.name(),
                    values::kind(arg)
                )));
            }
            if let Value::Text(text) = arg {
                meter.bytes(text.len())?;
            }
        }
        let value = (self.run)(meter, args)?;
        if let Value::Text(text) = &value {
            meter.made(text.len())?;
        }
        Ok(value)
    }
}

/// Names that are no entries of [`ALL`], since they do not evaluate all that they take.
pub(super) const SPECIAL: [&str; 9] =
    ["first", "present", "all_present", "has", "map", "filter", "all", "exists", "exists_one"];

/// Every function that takes evaluated values.
pub(super) const ALL: &[Function] = &[
    function("size", Form::Both, &[Param::Sized], |_| Type::Int, size),
    function(
        "contains",
        Form::Method,
        &[Param::Text, Param::Text],
        |_| Type::Bool,
        |_, args| match args {
            [Value::Text(text), Value::Text(part)] => Ok(Value::Bool(text.contains(part.as_ref()))),
            _ => Err(arity()),
        },
    ),
    function(
        "startsWith",
        Form::Method,
        &[Param::Text, Param::Text],
        |_| Type::Bool,
        |_, args| match args {
            [Value::Text(text), Value::Text(part)] => Ok(Value::Bool(text.starts_with(part.as_ref()))),
            _ => Err(arity()),
        },
    ),
    function(
        "endsWith",
        Form::Method,
        &[Param::Text, Param::Text],
        |_| Type::Bool,
        |_, args| match args {
            [Value::Text(text), Value::Text(part)] => Ok(Value::Bool(text.ends_with(part.as_ref()))),
            _ => Err(arity()),
        },
    ),
    function(
        "matches",
        Form::Both,
        &[Param::Text, Param::Text],
        |_| Type::Bool,
        |meter, args| match args {
            [Value::Text(text), Value::Text(pattern)] => {
                // Reading a pattern costs more than its length.
                meter.bytes(4_096 + 16 * pattern.len() + matching(text, pattern))?;
                let pattern = regex(pattern).map_err(Stop::Error)?;
                Ok(Value::Bool(pattern.is_match(text)))
            }
            _ => Err(arity()),
        },
    ),
    function(
        "lowerAscii",
        Form::Method,
        &[Param::Text],
        |_| Type::Text,
        |_, args| match args {
            [Value::Text(text)] => Ok(Value::text(text.to_ascii_lowercase())),
            _ => Err(arity()),
        },
    ),
    function(
        "upperAscii",
        Form::Method,
        &[Param::Text],
        |_| Type::Text,
        |_, args| match args {
            [Value::Text(text)] => Ok(Value::text(text.to_ascii_uppercase())),
            _ => Err(arity()),
        },
    ),
    function(
        "trim",
        Form::Method,
        &[Param::Text],
        |_| Type::Text,
        |_, args| match args {
            [Value::Text(text)] => Ok(Value::text(text.trim())),
            _ => Err(arity()),
        },
    ),
    function("split", Form::Method, &[Param::Text, Param::Text], |_| Type::list(Type::Text), split),
    Function {
        optional: 1,
        ..function("join", Form::Method, &[Param::Texts, Param::Text], |_| Type::Text, join)
    },
    function("replace", Form::Method, &[Param::Text, Param::Text, Param::Text], |_| Type::Text, replace),
    Function {
        optional: 1,
        ..function(
            "substring",
            Form::Method,
            &[Param::Text, Param::Int, Param::Int],
            |_| Type::Text,
            substring,
        )
    },
    function(
        "indexOf",
        Form::Method,
        &[Param::Text, Param::Text],
        |_| Type::Int,
        |_, args| match args {
            [Value::Text(text), Value::Text(part)] => Ok(text
                .split_once(part.as_ref())
                .map_or(Value::Int(-1), |(before, _)| count(before.chars().count()))),
            _ => Err(arity()),
        },
    ),
    function("slice", Form::Method, &[Param::List, Param::Int, Param::Int], first_type, slice),
    function("reverse", Form::Method, &[Param::List], first_type, |meter, args| match args {
        [Value::List(items)] => {
            meter.made(items.len())?;
            Ok(Value::list(items.iter().rev().cloned()))
        }
        _ => Err(arity()),
    }),
    function("flatten", Form::Method, &[Param::List], flattened, flatten),
    function(
        "string",
        Form::Global,
        &[Param::Scalar],
        |_| Type::Text,
        |_, args| match args {
            [Value::Text(text)] => Ok(Value::Text(text.clone())),
            [value] => Ok(Value::text(value.to_string())),
            _ => Err(arity()),
        },
    ),
    function("int", Form::Global, &[Param::Scalar], |_| Type::Int, to_int),
    function("double", Form::Global, &[Param::Scalar], |_| Type::Float, to_float),
    function(
        "bool",
        Form::Global,
        &[Param::Scalar],
        |_| Type::Bool,
        |_, args| match args {
            [Value::Bool(value)] => Ok(Value::Bool(*value)),
            [Value::Text(text)] => match text.as_ref() {
                "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
                "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
                _ => Err(Stop::error("the text is neither `true` nor `false`")),
            },
            _ => Err(Stop::error("`bool` takes a `text` or `bool`")),
        },
    ),
];

const fn function(
    name: &'static str,
    form: Form,
    takes: &'static [Param],
    gives: fn(&[Type]) -> Type,
    run: fn(&mut Meter, &[Value]) -> Result<Value, Stop>,
) -> Function {
    Function { name, form, takes, optional: 0, gives, run }
}

fn arity() -> Stop {
    Stop::error("a function was called with other values than it takes")
}

/// A regular expression, bounded in the memory that it may take.
pub(super) fn regex(pattern: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(pattern)
        .size_limit(256 << 10)
        .dfa_size_limit(1 << 20)
        .nest_limit(32)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the regular expression is too large".to_owned(),
            _ => "the text is no regular expression".to_owned(),
        })
}

/// What looking for `pattern` in `text` counts as: a longer pattern looks at each byte more often.
pub(super) fn matching(text: &str, pattern: &str) -> usize {
    text.len().saturating_mul(1 + pattern.len() / 32)
}

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn size(_: &mut Meter, args: &[Value]) -> Result<Value, Stop> {
    Ok(count(match args {
        [Value::Text(text)] => text.chars().count(),
        [Value::List(items)] => items.len(),
        [Value::Map(map)] => map.len(),
        _ => return Err(arity()),
    }))
}

fn split(meter: &mut Meter, args: &[Value]) -> Result<Value, Stop> {
    let [Value::Text(text), Value::Text(by)] = args else { return Err(arity()) };
    let mut parts = Vec::new();
    if by.is_empty() {
        for c in text.chars() {
            meter.made(32)?;
            parts.push(Value::text(c.to_string()));
        }
    } else {
        for part in text.split(by.as_ref()) {
            meter.made(part.len() + 32)?;
            parts.push(Value::text(part));
        }
    }
    Ok(Value::list(parts))
}

fn join(meter: &mut Meter, args: &[Value]) -> Result<Value, Stop> {
    let (items, by) = match args {
        [Value::List(items)] => (items, ""),
        [Value::List(items), Value::Text(by)] => (items, by.as_ref()),
        _ => return Err(arity()),
    };
    let mut joined = String::new();
    for (at, item) in items.iter().enumerate() {
        let Value::Text(text) = item else {
            return Err(Stop::Error(format!("`join` takes texts, found {}", values::kind(item))));
        };
        meter.bytes(text.len() + by.len())?;
        if at > 0 {
            joined.push_str(by);
        }
        joined.push_str(text);
    }
    Ok(Value::text(joined))
}

fn replace(meter: &mut Meter, args: &[Value]) -> Result<Value, Stop> {
    let [Value::Text(text), Value::Text(old), Value::Text(new)] = args else { return Err(arity()) };
    let times = text.matches(old.as_ref()).count();
    meter.bytes(text.len().saturating_add(times.saturating_mul(new.len())))?;
    Ok(Value::text(text.replace(old.as_ref(), new)))
}

fn position(value: Option<&Value>, otherwise: usize) -> Result<usize, Stop> {
    match value {
        None => Ok(otherwise),
        Some(Value::Int(at)) => usize::try_from(*at).map_err(|_| Stop::error("a position is negative")),
        Some(_) => Err(arity()),
    }
}

/// Positions count characters, as in CEL.
fn substring(_: &mut Meter, args: &[Value]) -> Result<Value, Stop> {
    let Some(Value::Text(text)) = args.first() else { return Err(arity()) };
    let size = text.chars().count();
    let start = position(args.get(1), 0)?;
    let end = position(args.get(2), size)?;
    if start > end || end > size {
        return Err(Stop::Missing(format!("there are no characters {start} to {end} in a text of {size}")));
    }
    Ok(Value::text(text.chars().skip(start).take(end - start).collect::<String>()))
}

/// Cut short where the list is: `chunks.slice(0, 5)` gives the first five, or all of fewer.
fn slice(meter: &mut Meter, args: &[Value]) -> Result<Value, Stop> {
    let Some(Value::List(items)) = args.first() else { return Err(arity()) };
    let start = position(args.get(1), 0)?.min(items.len());
    let end = position(args.get(2), items.len())?.clamp(start, items.len());
    meter.made(end - start)?;
    Ok(Value::list(items.iter().skip(start).take(end - start).cloned()))
}

fn flatten(meter: &mut Meter, args: &[Value]) -> Result<Value, Stop> {
    let [Value::List(lists)] = args else { return Err(arity()) };
    let mut flat = Vec::new();
    for item in lists.iter() {
        match item {
            Value::List(items) => {
                meter.made(items.len() + 1)?;
                flat.extend(items.iter().cloned());
            }
            other => {
                meter.made(1)?;
                flat.push(other.clone());
            }
        }
    }
    Ok(Value::List(Arc::new(flat)))
}

fn first_type(types: &[Type]) -> Type {
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

fn to_int(_: &mut Meter, args: &[Value]) -> Result<Value, Stop> {
    match args {
        [Value::Int(int)] => Ok(Value::Int(*int)),
        #[expect(clippy::cast_possible_truncation, reason = "the guard keeps it within 64 bits")]
        [Value::Float(float)] if float.abs() < 9.2e18 => Ok(Value::Int(*float as i64)),
        [Value::Text(text)] => {
            text.parse().map(Value::Int).map_err(|_| Stop::error("the text is no whole number of 64 bits"))
        }
        _ => Err(Stop::error("`int` takes a number of 64 bits, or a text that is one")),
    }
}

fn to_float(_: &mut Meter, args: &[Value]) -> Result<Value, Stop> {
    match args {
        [Value::Int(int)] => Ok(Value::Float(*int as f64)),
        [Value::Float(float)] => Ok(Value::Float(*float)),
        [Value::Text(text)] => match text.parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Value::Float(float)),
            _ => Err(Stop::error("the text is no number")),
        },
        _ => Err(Stop::error("`double` takes a number, or a text that is one")),
    }
}
