//! Works out expressions.

use std::rc::Rc;

use super::super::ast::{BinaryOp, CompareOp, Expr, Name, Piece, UnaryOp};
use super::super::error::{Step, raise, type_error, value_error};
use super::super::number::Number;
use super::super::value::{Entries, VALUE_BYTES, Value, place};
use super::super::{builtins, methods};
use super::Machine;

impl Machine {
    /// The value of an expression.
    pub(super) fn evaluate(&mut self, expr: &Expr) -> Step<Value> {
        // What needs no stack of its own.
        match expr {
            Expr::None => return Ok(Value::None),
            Expr::Bool(b) => return Ok(Value::Bool(*b)),
            Expr::Int(n) => return Ok(Value::Int(*n)),
            Expr::Float(n) => return Ok(Value::Float(*n)),
            Expr::Str(text) => return Ok(Value::Str(text.clone())),
            Expr::Name(name) => {
                self.heap.meter.spend(1)?;
                return self.lookup(name);
            }
            _ => {}
        }
        self.heap.meter.enter()?;
        let value = self.compound(expr);
        self.heap.meter.leave();
        value
    }

    fn compound(&mut self, expr: &Expr) -> Step<Value> {
        match expr {
            Expr::None | Expr::Bool(_) | Expr::Int(_) | Expr::Float(_) | Expr::Str(_) | Expr::Name(_) => {
                self.evaluate(expr)
            }
            Expr::Format(pieces) => {
                let mut text = String::new();
                self.write_pieces(pieces, &mut text)?;
                self.heap.text(text)
            }
            Expr::List(parts) => {
                let items = self.elements(parts)?;
                self.heap.list(items)
            }
            Expr::Tuple(parts) => {
                let items = self.elements(parts)?;
                self.heap.tuple(items)
            }
            Expr::Set(parts) => {
                let items = self.elements(parts)?;
                let set = self.heap.set(Entries::new())?;
                if let Value::Set(id) = set {
                    items.into_iter().try_for_each(|item| self.heap.insert(id, item, Value::None))?;
                }
                Ok(set)
            }
            Expr::Dict(pairs) => self.dict(pairs),
            Expr::Star(_) => type_error("a starred value stands alone"),
            Expr::Unary(op, of) => self.unary(*op, of),
            Expr::Chain(first, rest) => {
                let mut value = self.evaluate(first)?;
                for (op, next) in rest {
                    let next = self.evaluate(next)?;
                    value = self.heap.binary(*op, &value, &next)?;
                }
                Ok(value)
            }
            Expr::Power(base, exponent) => {
                let base = self.evaluate(base)?;
                let exponent = self.evaluate(exponent)?;
                self.heap.binary(BinaryOp::Power, &base, &exponent)
            }
            Expr::Compare(first, rest) => self.compare(first, rest),
            Expr::And(parts) => self.until(parts, false),
            Expr::Or(parts) => self.until(parts, true),
            Expr::IfElse(arms) => {
                let (condition, value, otherwise) = &**arms;
                let condition = self.evaluate(condition)?;
                self.evaluate(if self.heap.truth(&condition) { value } else { otherwise })
            }
            Expr::Call(function, args, named) => self.call_expr(function, args, named),
            Expr::Attribute(of, name) => {
                let of = self.evaluate(of)?;
                attribute(&of, name)
            }
            Expr::Index(of, index) => {
                let of = self.evaluate(of)?;
                let index = self.evaluate(index)?;
                self.item(&of, &index)
            }
            Expr::Slice(of, parts) => {
                let of = self.evaluate(of)?;
                let mut bounds = [None, None, None];
                for (bound, part) in bounds.iter_mut().zip(parts.iter()) {
                    if let Some(part) = part {
                        *bound = match self.evaluate(part)? {
                            Value::None => None,
                            value => Some(value.as_int()?),
                        };
                    }
                }
                self.slice(&of, bounds)
            }
            Expr::Lambda(function) => self.function(function),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    /// The values of `parts`, with what is starred laid out.
    pub(super) fn elements(&mut self, parts: &[Expr]) -> Step<Vec<Value>> {
        let mut items = Vec::with_capacity(parts.len());
        for part in parts {
            if let Expr::Star(part) = part {
                let part = self.evaluate(part)?;
                items.extend(self.items(&part)?);
            } else {
                items.push(self.evaluate(part)?);
            }
        }
        Ok(items)
    }

    fn dict(&mut self, pairs: &[(Option<Expr>, Expr)]) -> Step<Value> {
        let dict = self.heap.dict(Entries::new())?;
        let Value::Dict(id) = dict else { return Ok(dict) };
        for (key, value) in pairs {
            match key {
                Some(key) => {
                    let key = self.evaluate(key)?;
                    let value = self.evaluate(value)?;
                    self.heap.insert(id, key, value)?;
                }
                None => match self.evaluate(value)? {
                    Value::Dict(other) => {
                        let entries = self.heap.copied(other)?;
                        self.heap.entries_mut(id)?.extend(entries);
                    }
                    other => return type_error(format!("'{}' object is not a mapping", other.type_name())),
                },
            }
        }
        Ok(dict)
    }

    fn unary(&mut self, op: UnaryOp, of: &Expr) -> Step<Value> {
        let value = self.evaluate(of)?;
        if op == UnaryOp::Not {
            return Ok(Value::Bool(!self.heap.truth(&value)));
        }
        match (op, Number::of(&value)) {
            (UnaryOp::Plus, Some(Number::Int(n))) => Ok(Value::Int(n)),
            (UnaryOp::Minus, Some(Number::Int(_))) => self.heap.binary(BinaryOp::Sub, &Value::Int(0), &value),
            (UnaryOp::Invert, Some(Number::Int(n))) => Ok(Value::Int(!n)),
            (UnaryOp::Plus, Some(Number::Float(n))) => Ok(Value::Float(n)),
            (UnaryOp::Minus, Some(Number::Float(n))) => Ok(Value::Float(-n)),
            _ => type_error(format!("bad operand type for a unary operator: '{}'", value.type_name())),
        }
    }

    fn compare(&mut self, first: &Expr, rest: &[(CompareOp, Expr)]) -> Step<Value> {
        let mut left = self.evaluate(first)?;
        for (op, right) in rest {
            let right = self.evaluate(right)?;
            if !self.heap.compare(*op, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    /// The first value that is true, or false as `wanted` says; the last one if none is.
    fn until(&mut self, parts: &[Expr], wanted: bool) -> Step<Value> {
        let mut value = Value::None;
        for part in parts {
            value = self.evaluate(part)?;
            if self.heap.truth(&value) == wanted {
                break;
            }
        }
        Ok(value)
    }

    fn write_pieces(&mut self, pieces: &[Piece], out: &mut String) -> Step<()> {
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    self.heap.meter.hold(text.len())?;
                    out.push_str(text);
                }
                Piece::Value { value, is_repr, spec } => {
                    let mut value = self.evaluate(value)?;
                    if *is_repr {
                        let repr = self.heap.repr(&value)?;
                        value = self.heap.text(repr)?;
                    }
                    let mut written = String::new();
                    self.write_pieces(spec, &mut written)?;
                    out.push_str(&self.heap.formatted(&value, &written)?);
                }
            }
        }
        Ok(())
    }

    /// `of[index]`.
    pub(super) fn item(&mut self, of: &Value, index: &Value) -> Step<Value> {
        self.heap.meter.spend(1)?;
        let get = |items: &[Value], what| -> Step<Value> {
            let n = place(index.as_int()?, items.len(), what)?;
            Ok(items.get(n).cloned().unwrap_or(Value::None))
        };
        match of {
            Value::List(id) => get(self.heap.items(*id), "list"),
            Value::Tuple(id) => get(self.heap.items(*id), "tuple"),
            Value::Str(text) => {
                self.heap.meter.read(text.len())?;
                let n = place(index.as_int()?, text.chars().count(), "string")?;
                self.heap.text(text.chars().nth(n).map(String::from).unwrap_or_default())
            }
            Value::Range(range) => {
                let n = place(index.as_int()?, range.len(), "range object")?;
                Ok(range.get(n).map_or(Value::None, Value::Int))
            }
            Value::Dict(id) => {
                let key = self.heap.key(index)?;
                if let Some((_, value)) = self.heap.entries(*id)?.get(&key) {
                    return Ok(value.clone());
                }
                let shown = self.heap.repr(index)?;
                raise("KeyError", shown)
            }
            _ => type_error(format!("'{}' object is not subscriptable", of.type_name())),
        }
    }

    /// `of[start:stop:step]`.
    fn slice(&mut self, of: &Value, bounds: [Option<i128>; 3]) -> Step<Value> {
        let [.., by] = bounds;
        if by == Some(0) {
            return value_error("slice step cannot be zero");
        }
        match of {
            Value::Str(text) => {
                self.heap.meter.read(text.len())?;
                self.heap.meter.hold(text.len().saturating_mul(4))?;
                let chars: Vec<char> = text.chars().collect();
                let sliced: String = places(chars.len(), bounds).filter_map(|n| chars.get(n)).collect();
                self.heap.text(sliced)
            }
            Value::List(id) | Value::Tuple(id) => {
                let places: Vec<usize> = places(self.heap.items(*id).len(), bounds).collect();
                self.heap.meter.spend(places.len())?;
                self.heap.meter.hold(places.len() * VALUE_BYTES)?;
                let items = self.heap.items(*id);
                let items = places.iter().filter_map(|n| items.get(*n)).cloned().collect();
                if let Value::List(_) = of { self.heap.list(items) } else { self.heap.tuple(items) }
            }
            _ => type_error(format!("'{}' object cannot be sliced", of.type_name())),
        }
    }
}

/// The places that a slice of `len` elements takes, in its order.
fn places(len: usize, [start, stop, by]: [Option<i128>; 3]) -> impl Iterator<Item = usize> {
    let by = by.unwrap_or(1);
    let len = i128::try_from(len).unwrap_or(i128::MAX);
    // Where a slice that goes back may begin and end.
    let (low, high) = if by > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |n: Option<i128>, default: i128| match n {
        None => default,
        Some(n) if n < 0 => n.saturating_add(len).max(low),
        Some(n) => n.min(high),
    };
    let start = clamp(start, if by > 0 { low } else { high });
    let stop = clamp(stop, if by > 0 { high } else { low });
    std::iter::successors(Some(start), move |n| n.checked_add(by))
        .take_while(move |n| if by > 0 { *n < stop } else { *n > stop })
        .filter_map(|n| usize::try_from(n).ok())
}

/// `of.name`.
fn attribute(of: &Value, name: &Name) -> Step<Value> {
    if let Value::MathModule = of {
        return builtins::math_member(name);
    }
    match methods::named(of, name) {
        Some(method) => Ok(Value::Method(Rc::new((of.clone(), method)))),
        None => raise("AttributeError", format!("'{}' object has no attribute '{name}'", of.type_name())),
    }
}
