//! What a program computes with. Lists and their kin lie in one heap that is dropped at once: neither a chain of a
//! million lists nor a list that holds itself is more to clean up than two lists.

use std::rc::Rc;

use indexmap::IndexMap;

use super::ast::{Function, Scope};
use super::error::{Bound, Step, Stop, raise, type_error};
use super::limits::{Meter, NESTING_MAX};
use super::number;

/// The place of an object in the heap.
pub(super) type Id = usize;

/// A value: cheap to copy, since what is large lies in the heap.
#[derive(Debug, Clone)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Rc<str>),
    List(Id),
    Tuple(Id),
    Dict(Id),
    Set(Id),
    Range(Rc<Range>),
    Function(Id),
    /// A built-in function.
    Builtin(&'static str),
    /// A function of `math`.
    Math(&'static str),
    /// A method with what it belongs to.
    Method(Rc<(Value, &'static str)>),
    /// A class such as `int`.
    Type(&'static str),
    /// The module `math`.
    MathModule,
}

/// Numbers from `start` to before `stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: i128,
    pub(super) stop: i128,
    pub(super) step: i128,
}

impl Range {
    pub(super) fn len(&self) -> usize {
        let span = if self.step > 0 {
            self.stop.saturating_sub(self.start)
        } else {
            self.start.saturating_sub(self.stop)
        };
        if span <= 0 {
            return 0;
        }
        usize::try_from((span - 1) / self.step.saturating_abs() + 1).unwrap_or(usize::MAX)
    }

    pub(super) fn get(&self, n: usize) -> Option<i128> {
        let n = i128::try_from(n).ok().filter(|_| n < self.len())?;
        self.start.checked_add(self.step.checked_mul(n)?)
    }
}

/// Entries by their key, in the order in which they came.
pub(super) type Entries = IndexMap<Key, (Value, Value)>;

/// What lies in the heap.
#[derive(Debug)]
pub(super) enum Object {
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Entries),
    Set(Entries),
    Function(Closure),
}

/// A function with where it was made.
#[derive(Debug, Clone)]
pub(super) struct Closure {
    pub(super) function: Rc<Function>,
    pub(super) defaults: Rc<[Option<Value>]>,
    /// The frame around; none at the top.
    pub(super) frame: Option<usize>,
}

/// The names that a call knows.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) names: std::collections::HashMap<Rc<str>, Value>,
    pub(super) parent: Option<usize>,
    pub(super) scope: Rc<Scope>,
}

/// What makes two keys one: `1`, `1.0` and `True` are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    None,
    Int(i128),
    Float(u64),
    Str(Rc<str>),
    Tuple(Vec<Key>),
    Name(&'static str),
    Object(Id),
}

/// All objects of a run, and its meter.
#[derive(Debug)]
pub(super) struct Heap {
    objects: Vec<Object>,
    pub(super) meter: Meter,
}

/// Bytes of one value in a list.
pub(super) const VALUE_BYTES: usize = size_of::<Value>();
/// Bytes of one entry of a dictionary or set, the index over them included.
pub(super) const ENTRY_BYTES: usize = size_of::<Key>() + 2 * VALUE_BYTES + 24;

impl Heap {
    pub(super) fn new(meter: Meter) -> Self {
        Self { objects: Vec::new(), meter }
    }

    fn add(&mut self, object: Object) -> Step<Id> {
        self.meter.hold(size_of::<Object>())?;
        self.objects.push(object);
        Ok(self.objects.len() - 1)
    }

    /// A list of values that are held already.
    pub(super) fn list(&mut self, items: Vec<Value>) -> Step<Value> {
        self.meter.hold(items.len() * VALUE_BYTES)?;
        Ok(Value::List(self.add(Object::List(items))?))
    }

    pub(super) fn tuple(&mut self, items: Vec<Value>) -> Step<Value> {
        self.meter.hold(items.len() * VALUE_BYTES)?;
        Ok(Value::Tuple(self.add(Object::Tuple(items))?))
    }

    pub(super) fn dict(&mut self, entries: Entries) -> Step<Value> {
        self.meter.hold(entries.len() * ENTRY_BYTES)?;
        Ok(Value::Dict(self.add(Object::Dict(entries))?))
    }

    pub(super) fn set(&mut self, entries: Entries) -> Step<Value> {
        self.meter.hold(entries.len() * ENTRY_BYTES)?;
        Ok(Value::Set(self.add(Object::Set(entries))?))
    }

    pub(super) fn function(&mut self, closure: Closure) -> Step<Value> {
        Ok(Value::Function(self.add(Object::Function(closure))?))
    }

    /// A text.
    pub(super) fn text(&mut self, text: impl AsRef<str>) -> Step<Value> {
        let text = text.as_ref();
        self.meter.hold(text.len() + 32)?;
        self.meter.read(text.len())?;
        Ok(Value::Str(text.into()))
    }

    /// The elements of a list or a tuple.
    pub(super) fn items(&self, id: Id) -> &[Value] {
        match self.objects.get(id) {
            Some(Object::List(items) | Object::Tuple(items)) => items,
            _ => &[],
        }
    }

    pub(super) fn list_mut(&mut self, id: Id) -> Step<&mut Vec<Value>> {
        match self.objects.get_mut(id) {
            Some(Object::List(items)) => Ok(items),
            _ => type_error("not a list"),
        }
    }

    /// The entries of a dictionary or a set.
    pub(super) fn entries(&self, id: Id) -> Step<&Entries> {
        match self.objects.get(id) {
            Some(Object::Dict(entries) | Object::Set(entries)) => Ok(entries),
            _ => type_error("neither a dictionary nor a set"),
        }
    }

    pub(super) fn entries_mut(&mut self, id: Id) -> Step<&mut Entries> {
        match self.objects.get_mut(id) {
            Some(Object::Dict(entries) | Object::Set(entries)) => Ok(entries),
            _ => type_error("neither a dictionary nor a set"),
        }
    }

    pub(super) fn closure(&self, id: Id) -> Step<Closure> {
        match self.objects.get(id) {
            Some(Object::Function(closure)) => Ok(closure.clone()),
            _ => type_error("not a function"),
        }
    }

    /// Puts `key: value` into a dictionary or a set; what is there keeps its key.
    pub(super) fn insert(&mut self, id: Id, key: Value, value: Value) -> Step<()> {
        let hashed = self.key(&key)?;
        self.meter.hold(ENTRY_BYTES)?;
        let entries = self.entries_mut(id)?;
        let key = entries.get(&hashed).map_or(key, |(known, _)| known.clone());
        entries.insert(hashed, (key, value));
        Ok(())
    }

    /// What `value` is as a key.
    pub(super) fn key(&mut self, value: &Value) -> Step<Key> {
        self.key_at(value, 0)
    }

    fn key_at(&mut self, value: &Value, depth: u32) -> Step<Key> {
        self.meter.spend(1)?;
        Ok(match value {
            Value::None => Key::None,
            Value::Bool(b) => Key::Int((*b).into()),
            Value::Int(n) => Key::Int(*n),
            Value::Float(n) => number::exact_int(*n).map_or(Key::Float(n.to_bits()), Key::Int),
            Value::Str(text) => {
                self.meter.read(text.len())?;
                Key::Str(text.clone())
            }
            Value::Tuple(_) if depth >= NESTING_MAX => return too_deep(),
            Value::Tuple(id) => {
                let items = self.items(*id).to_vec();
                self.meter.hold(items.len() * size_of::<Key>())?;
                Key::Tuple(items.iter().map(|item| self.key_at(item, depth + 1)).collect::<Step<_>>()?)
            }
            Value::Builtin(name) | Value::Math(name) | Value::Type(name) => Key::Name(name),
            Value::Function(id) => Key::Object(*id),
            Value::MathModule => Key::Name("math module"),
            Value::List(_) | Value::Dict(_) | Value::Set(_) | Value::Range(_) | Value::Method(_) => {
                return type_error(format!("unhashable type: '{}'", value.type_name()));
            }
        })
    }
}

/// The failure of whatever follows values into values.
pub(super) fn too_deep<T>() -> Step<T> {
    Err(Stop::Exceeded(Bound::Nesting(NESTING_MAX)))
}

impl Value {
    /// The name of its class, as Python has it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Set(_) => "set",
            Self::Range(_) => "range",
            Self::Function(_) => "function",
            Self::Builtin(_) | Self::Math(_) | Self::Method(_) => "builtin_function_or_method",
            Self::Type(_) => "type",
            Self::MathModule => "module",
        }
    }

    /// The value as an index or a count.
    pub(super) fn as_int(&self) -> Step<i128> {
        match self {
            Self::Int(n) => Ok(*n),
            Self::Bool(b) => Ok((*b).into()),
            _ => type_error(format!("'{}' object cannot be interpreted as an integer", self.type_name())),
        }
    }

    pub(super) fn as_str(&self) -> Step<Rc<str>> {
        match self {
            Self::Str(text) => Ok(text.clone()),
            _ => type_error(format!("a text is needed, not '{}'", self.type_name())),
        }
    }
}

/// The place of element `n` of `len`, counted from the end if negative.
pub(super) fn place(n: i128, len: usize, what: &str) -> Step<usize> {
    let len_wide = i128::try_from(len).unwrap_or(i128::MAX);
    let n = if n < 0 { n.saturating_add(len_wide) } else { n };
    match usize::try_from(n) {
        Ok(n) if n < len => Ok(n),
        _ => raise("IndexError", format!("{what} index out of range")),
    }
}
