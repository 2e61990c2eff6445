//! Operators between values of any kind: arithmetic, order, equality, membership.

use std::cmp::Ordering;
use std::rc::Rc;

use super::ast::{BinaryOp, CompareOp};
use super::error::{Bound, Step, Stop, type_error};
use super::limits::NESTING_MAX;
use super::number::{Number, arithmetic};
use super::value::{Entries, Heap, VALUE_BYTES, Value, too_deep};

impl Heap {
    /// Whether `value` counts as true.
    pub(super) fn truth(&self, value: &Value) -> bool {
        match value {
            Value::None => false,
            Value::Bool(b) => *b,
            Value::Int(n) => *n != 0,
            Value::Float(n) => n.is_nan() || n.abs() > 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::List(id) | Value::Tuple(id) => !self.items(*id).is_empty(),
            Value::Dict(id) | Value::Set(id) => self.entries(*id).is_ok_and(|entries| !entries.is_empty()),
            Value::Range(range) => range.len() > 0,
            _ => true,
        }
    }

    /// `a op b`.
    pub(super) fn binary(&mut self, op: BinaryOp, a: &Value, b: &Value) -> Step<Value> {
        self.meter.spend(1)?;
        if let (Some(x), Some(y)) = (Number::of(a), Number::of(b)) {
            let result = arithmetic(op, x, y)?;
            return Ok(match (op, a, b, result) {
                (
                    BinaryOp::And | BinaryOp::Or | BinaryOp::Xor,
                    Value::Bool(_),
                    Value::Bool(_),
                    Value::Int(n),
                ) => Value::Bool(n != 0),
                (.., result) => result,
            });
        }
        match (op, a, b) {
            (BinaryOp::Add, Value::Str(x), Value::Str(y)) => {
                self.meter.hold(x.len() + y.len())?;
                self.text(format!("{x}{y}"))
            }
            (BinaryOp::Add, Value::List(x), Value::List(y)) => {
                let items = self.joined(*x, *y)?;
                self.list(items)
            }
            (BinaryOp::Add, Value::Tuple(x), Value::Tuple(y)) => {
                let items = self.joined(*x, *y)?;
                self.tuple(items)
            }
            (BinaryOp::Mul, of @ (Value::Str(_) | Value::List(_) | Value::Tuple(_)), Value::Int(n))
            | (BinaryOp::Mul, Value::Int(n), of @ (Value::Str(_) | Value::List(_) | Value::Tuple(_))) => {
                self.repeated(of, *n)
            }
            (_, Value::Set(x), Value::Set(y)) => self.set_operation(op, *x, *y),
            (BinaryOp::Or, Value::Dict(x), Value::Dict(y)) => {
                let (mut entries, others) = (self.copied(*x)?, self.copied(*y)?);
                entries.extend(others);
                self.dict(entries)
            }
            _ => unsupported(op.sign(), a, b),
        }
    }

    fn joined(&mut self, a: usize, b: usize) -> Step<Vec<Value>> {
        let n = self.items(a).len() + self.items(b).len();
        self.meter.spend(n)?;
        self.meter.hold(n * VALUE_BYTES)?;
        Ok([self.items(a), self.items(b)].concat())
    }

    /// `value * n`, whose size is known before it is made.
    fn repeated(&mut self, value: &Value, n: i128) -> Step<Value> {
        let n = usize::try_from(n.max(0)).unwrap_or(usize::MAX);
        let hold = |heap: &mut Self, bytes: usize| heap.meter.hold(bytes.saturating_mul(n));
        match value {
            Value::Str(text) => {
                hold(self, text.len())?;
                self.text(text.repeat(n))
            }
            Value::List(id) | Value::Tuple(id) => {
                hold(self, self.items(*id).len() * VALUE_BYTES)?;
                self.meter.spend(self.items(*id).len().saturating_mul(n))?;
                let items = self.items(*id);
                let items: Vec<Value> = std::iter::repeat_n(items, n).flatten().cloned().collect();
                if matches!(value, Value::List(_)) { self.list(items) } else { self.tuple(items) }
            }
            _ => type_error("this cannot be repeated"),
        }
    }

    /// The entries of a dictionary or a set, for another one.
    pub(super) fn copied(&mut self, id: usize) -> Step<Entries> {
        let n = self.entries(id)?.len();
        self.meter.spend(n)?;
        self.meter.hold(n * super::value::ENTRY_BYTES)?;
        Ok(self.entries(id)?.clone())
    }

    /// `&`, `|`, `-` and `^` of sets.
    pub(super) fn set_operation(&mut self, op: BinaryOp, a: usize, b: usize) -> Step<Value> {
        let (mut a, mut b) = (self.copied(a)?, self.copied(b)?);
        match op {
            BinaryOp::And => a.retain(|key, _| b.contains_key(key)),
            BinaryOp::Or => a.extend(b),
            BinaryOp::Sub => a.retain(|key, _| !b.contains_key(key)),
            BinaryOp::Xor => {
                b.retain(|key, _| a.swap_remove(key).is_none());
                a.extend(b);
            }
            _ => {
                return type_error(format!("unsupported operand type(s) for {}: 'set' and 'set'", op.sign()));
            }
        }
        self.set(a)
    }

    /// `a op b`, which is true or false.
    pub(super) fn compare(&mut self, op: CompareOp, a: &Value, b: &Value) -> Step<bool> {
        self.meter.spend(1)?;
        match op {
            CompareOp::Eq => self.equal(a, b),
            CompareOp::NotEq => Ok(!self.equal(a, b)?),
            CompareOp::In => self.contains(b, a),
            CompareOp::NotIn => Ok(!self.contains(b, a)?),
            CompareOp::Is => Ok(is_same(a, b)),
            CompareOp::IsNot => Ok(!is_same(a, b)),
            CompareOp::Lt | CompareOp::LtE | CompareOp::Gt | CompareOp::GtE => {
                if let (Value::Set(x), Value::Set(y)) = (a, b) {
                    return self.is_subset(op, *x, *y);
                }
                let order = self.order(a, b, op)?;
                Ok(match op {
                    CompareOp::Lt => order == Some(Ordering::Less),
                    CompareOp::LtE => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                    CompareOp::Gt => order == Some(Ordering::Greater),
                    _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                })
            }
        }
    }

    fn is_subset(&mut self, op: CompareOp, a: usize, b: usize) -> Step<bool> {
        let (a, b) = if matches!(op, CompareOp::Lt | CompareOp::LtE) { (a, b) } else { (b, a) };
        self.meter.spend(self.entries(a)?.len())?;
        let (a, b) = (self.entries(a)?, self.entries(b)?);
        let is_strict = matches!(op, CompareOp::Lt | CompareOp::Gt);
        Ok(a.keys().all(|key| b.contains_key(key)) && !(is_strict && a.len() == b.len()))
    }

    /// `a < b` as a sort needs it.
    pub(super) fn is_less(&mut self, a: &Value, b: &Value) -> Step<bool> {
        Ok(self.order(a, b, CompareOp::Lt)? == Some(Ordering::Less))
    }

    fn order(&mut self, a: &Value, b: &Value, op: CompareOp) -> Step<Option<Ordering>> {
        self.order_at(a, b, op, 0)
    }

    fn order_at(&mut self, a: &Value, b: &Value, op: CompareOp, depth: u32) -> Step<Option<Ordering>> {
        self.meter.spend(1)?;
        if let (Some(x), Some(y)) = (Number::of(a), Number::of(b)) {
            return Ok(x.compare(y));
        }
        match (a, b) {
            (Value::Str(x), Value::Str(y)) => {
                self.meter.read(x.len().min(y.len()))?;
                Ok(Some(x.cmp(y)))
            }
            (Value::List(x), Value::List(y)) | (Value::Tuple(x), Value::Tuple(y)) => {
                if depth >= NESTING_MAX {
                    return too_deep();
                }
                for n in 0.. {
                    let (left, right) = (self.items(*x).get(n).cloned(), self.items(*y).get(n).cloned());
                    let (Some(left), Some(right)) = (&left, &right) else {
                        return Ok(Some(left.is_some().cmp(&right.is_some())));
                    };
                    if !self.equal_at(left, right, depth + 1)? {
                        return self.order_at(left, right, op, depth + 1);
                    }
                }
                Ok(None)
            }
            _ => {
                let sign = match op {
                    CompareOp::LtE => "<=",
                    CompareOp::Gt => ">",
                    CompareOp::GtE => ">=",
                    _ => "<",
                };
                type_error(format!(
                    "'{sign}' not supported between instances of '{}' and '{}'",
                    a.type_name(),
                    b.type_name()
                ))
            }
        }
    }

    /// `a == b`.
    pub(super) fn equal(&mut self, a: &Value, b: &Value) -> Step<bool> {
        self.equal_at(a, b, 0)
    }

    fn equal_at(&mut self, a: &Value, b: &Value, depth: u32) -> Step<bool> {
        self.meter.spend(1)?;
        if let (Some(x), Some(y)) = (Number::of(a), Number::of(b)) {
            return Ok(x.compare(y) == Some(Ordering::Equal));
        }
        match (a, b) {
            (Value::Str(x), Value::Str(y)) => {
                if x.len() == y.len() {
                    self.meter.read(x.len())?;
                }
                Ok(x == y)
            }
            (Value::List(x), Value::List(y)) | (Value::Tuple(x), Value::Tuple(y)) => {
                if x == y {
                    return Ok(true);
                }
                if depth >= NESTING_MAX {
                    return too_deep();
                }
                if self.items(*x).len() != self.items(*y).len() {
                    return Ok(false);
                }
                for n in 0.. {
                    let pair = (self.items(*x).get(n).cloned(), self.items(*y).get(n).cloned());
                    let (Some(left), Some(right)) = pair else { break };
                    if !self.equal_at(&left, &right, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Dict(x), Value::Dict(y)) | (Value::Set(x), Value::Set(y)) => {
                self.equal_entries(*x, *y, depth)
            }
            (Value::Range(x), Value::Range(y)) => Ok(x == y),
            _ => Ok(is_same(a, b)),
        }
    }

    fn equal_entries(&mut self, a: usize, b: usize, depth: u32) -> Step<bool> {
        if depth >= NESTING_MAX {
            return too_deep();
        }
        if self.entries(a)?.len() != self.entries(b)?.len() {
            return Ok(false);
        }
        for n in 0.. {
            let Some((key, (_, left))) = self.entries(a)?.get_index(n) else { break };
            let Some((_, right)) = self.entries(b)?.get(key) else { return Ok(false) };
            let (left, right) = (left.clone(), right.clone());
            if !self.equal_at(&left, &right, depth + 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `item in all`.
    pub(super) fn contains(&mut self, all: &Value, item: &Value) -> Step<bool> {
        match all {
            Value::Str(text) => {
                let Value::Str(item) = item else {
                    return type_error(format!(
                        "'in <string>' requires string as left operand, not {}",
                        item.type_name()
                    ));
                };
                self.meter.read(text.len() + item.len())?;
                Ok(text.contains(&**item))
            }
            Value::List(id) | Value::Tuple(id) => {
                for n in 0.. {
                    let Some(known) = self.items(*id).get(n).cloned() else { break };
                    if self.equal(&known, item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Dict(id) | Value::Set(id) => {
                let key = self.key(item)?;
                Ok(self.entries(*id)?.contains_key(&key))
            }
            Value::Range(range) => {
                let Some(Number::Int(n)) = Number::of(item) else { return Ok(false) };
                let (low, high) = if range.step > 0 {
                    (range.start, range.stop.saturating_sub(1))
                } else {
                    (range.stop.saturating_add(1), range.start)
                };
                let Some(distance) = n.checked_sub(range.start) else {
                    return Err(Stop::Exceeded(Bound::Integer));
                };
                Ok((low..=high).contains(&n) && distance % range.step == 0)
            }
            _ => type_error(format!("argument of type '{}' is not iterable", all.type_name())),
        }
    }
}

fn unsupported<T>(sign: &str, a: &Value, b: &Value) -> Step<T> {
    if sign == "%" && matches!(a, Value::Str(_)) {
        return type_error("formatting with `%` is not supported; use an f-string");
    }
    type_error(format!("unsupported operand type(s) for {sign}: '{}' and '{}'", a.type_name(), b.type_name()))
}

/// `a is b`.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::None, Value::None) | (Value::MathModule, Value::MathModule) => true,
        (Value::Bool(x), Value::Bool(y)) => x == y,
        (Value::Int(x), Value::Int(y)) => x == y,
        (Value::Float(x), Value::Float(y)) => x.to_bits() == y.to_bits(),
        (Value::Str(x), Value::Str(y)) => x == y,
        (Value::List(x), Value::List(y))
        | (Value::Tuple(x), Value::Tuple(y))
        | (Value::Dict(x), Value::Dict(y))
        | (Value::Set(x), Value::Set(y))
        | (Value::Function(x), Value::Function(y)) => x == y,
        (Value::Range(x), Value::Range(y)) => Rc::ptr_eq(x, y),
        (Value::Builtin(x), Value::Builtin(y))
        | (Value::Math(x), Value::Math(y))
        | (Value::Type(x), Value::Type(y)) => x == y,
        (Value::Method(x), Value::Method(y)) => x.1 == y.1 && is_same(&x.0, &y.0),
        _ => false,
    }
}
