//! Going through values: loops, comprehensions, and whoever needs all elements.

use std::vec;

use super::super::ast::{Clause, Collected, Comprehension};
use super::super::error::{Step, type_error};
use super::super::value::{Entries, Id, Range, VALUE_BYTES, Value};
use super::Machine;

/// Where a loop stands.
pub(super) enum Cursor {
    Items(Id, usize),
    Range(Range, usize),
    Values(vec::IntoIter<Value>),
}

impl Machine {
    pub(super) fn cursor(&mut self, items: &Value) -> Step<Cursor> {
        Ok(match items {
            Value::List(id) | Value::Tuple(id) => Cursor::Items(*id, 0),
            Value::Range(range) => Cursor::Range(**range, 0),
            _ => Cursor::Values(self.items(items)?.into_iter()),
        })
    }

    pub(super) fn advance(&mut self, cursor: &mut Cursor) -> Step<Option<Value>> {
        self.heap.meter.spend(1)?;
        Ok(match cursor {
            // A list that grows while it is gone through goes on: a bound stops it if nothing else does.
            Cursor::Items(id, n) => {
                let item = self.heap.items(*id).get(*n).cloned();
                *n += 1;
                item
            }
            Cursor::Range(range, n) => {
                let item = range.get(*n).map(Value::Int);
                *n += 1;
                item
            }
            Cursor::Values(values) => values.next(),
        })
    }

    /// All elements of something that can be gone through.
    pub(in super::super) fn items(&mut self, value: &Value) -> Step<Vec<Value>> {
        let n = match value {
            Value::List(id) | Value::Tuple(id) => self.heap.items(*id).len(),
            Value::Range(range) => range.len(),
            Value::Dict(id) | Value::Set(id) => self.heap.entries(*id)?.len(),
            // Each character becomes a text of its own.
            Value::Str(text) => text.len().saturating_mul(2),
            _ => 0,
        };
        self.heap.meter.spend(n)?;
        self.heap.meter.hold(n.saturating_mul(VALUE_BYTES))?;
        match value {
            Value::List(id) | Value::Tuple(id) => Ok(self.heap.items(*id).to_vec()),
            Value::Range(range) => {
                Ok((0..range.len()).filter_map(|n| range.get(n)).map(Value::Int).collect())
            }
            Value::Dict(id) => Ok(self.heap.entries(*id)?.values().map(|(key, _)| key.clone()).collect()),
            Value::Set(id) => self.heap.set_elements(*id),
            Value::Str(text) => Ok(text.chars().map(|c| Value::Str(c.to_string().into())).collect()),
            _ => type_error(format!("'{}' object is not iterable", value.type_name())),
        }
    }

    /// `[element for … if …]` and its kin.
    pub(super) fn comprehension(&mut self, comprehension: &Comprehension) -> Step<Value> {
        let Some(first) = comprehension.clauses.first() else { return Ok(Value::None) };
        // Python looks at the first list from outside.
        let items = self.evaluate(&first.items)?;
        let into = match comprehension.kind {
            Collected::List => self.heap.list(Vec::new())?,
            Collected::Set => self.heap.set(Entries::new())?,
            Collected::Dict => self.heap.dict(Entries::new())?,
        };
        let (Value::List(id) | Value::Set(id) | Value::Dict(id)) = into else { return Ok(Value::None) };
        self.framed(self.frame, comprehension.scope.clone(), |machine| {
            machine.collect(comprehension, &comprehension.clauses, Some(items), id)
        })?;
        Ok(into)
    }

    fn collect(
        &mut self,
        comprehension: &Comprehension,
        clauses: &[Clause],
        items: Option<Value>,
        into: Id,
    ) -> Step<()> {
        let Some((clause, inner)) = clauses.split_first() else {
            let element = self.evaluate(&comprehension.element)?;
            return match (comprehension.kind, &comprehension.value) {
                (Collected::List, _) => {
                    self.heap.meter.hold(VALUE_BYTES)?;
                    self.heap.list_mut(into)?.push(element);
                    Ok(())
                }
                (_, Some(value)) => {
                    let value = self.evaluate(value)?;
                    self.heap.insert(into, element, value)
                }
                (_, None) => self.heap.insert(into, element, Value::None),
            };
        };
        self.heap.meter.enter()?;
        let items = items.map_or_else(|| self.evaluate(&clause.items), Ok)?;
        let mut cursor = self.cursor(&items)?;
        'items: while let Some(item) = self.advance(&mut cursor)? {
            self.assign(&clause.target, item)?;
            for condition in &clause.conditions {
                let condition = self.evaluate(condition)?;
                if !self.heap.truth(&condition) {
                    continue 'items;
                }
            }
            self.collect(comprehension, inner, None, into)?;
        }
        self.heap.meter.leave();
        Ok(())
    }
}
