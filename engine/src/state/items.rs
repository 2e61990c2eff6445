//! Eaches: a scope for every item, so many at once, the outputs in the order of the input.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::frame::{At, Composite, FrameId, Phase, Role};
use super::start::Hindrance;
use super::{RunState, absence, failure, node_of};
use crate::event::{Failure, FailureKind};
use crate::flow::OnItemError;
use crate::flow::expression::Slot;
use crate::limits;
use crate::plan::{Each, Kind, Node};
use crate::run::{Notice, Opened};
use crate::scope::Scope;
use crate::value::Value;

/// What an open each keeps.
pub(super) struct Items {
    list: Arc<Vec<Value>>,
    captures: Arc<[Slot]>,
    concurrency: usize,
    /// The next item to open.
    next: usize,
    open: BTreeMap<usize, FrameId>,
    results: Vec<Option<Result<Vec<Slot>, Failure>>>,
    n_done: usize,
    /// Length of the run of items from the first that are all done, and how often each value stands in it.
    prefix: usize,
    votes: Vec<(Value, u32)>,
}

impl Items {
    pub(super) fn open_frames(&self) -> Vec<FrameId> {
        self.open.values().copied().collect()
    }
}

impl RunState {
    /// The list that an each goes over.
    pub(super) fn items_of(&self, at: At, spec: &Each) -> Result<Arc<Vec<Value>>, Hindrance> {
        match self.eval(at, &spec.items)? {
            Slot::Present(Value::List(items)) => Ok(items),
            Slot::Present(other) => {
                let message = format!("`each` goes over `{}`, not a list: {}", other.ty(), spec.items.source);
                Err(failure(self.scope(at), FailureKind::Type, message).into())
            }
            missing => Err(Hindrance::Absent(absence::needs(&self.scope(at), "its `each`", &missing))),
        }
    }

    pub(super) fn start_each(
        &mut self,
        at: At,
        node: &Node,
        spec: &Each,
        items: Arc<Vec<Value>>,
    ) -> Result<(), Hindrance> {
        let most = u32::try_from(limits::EACH_ITEMS).unwrap_or(u32::MAX);
        let max_items = self.bound(at, &spec.max_items, most, "max_items")?;
        let concurrency = self.bound(at, &spec.concurrency, limits::EACH_CONCURRENCY_MAX, "concurrency")?;
        if items.len() > max_items as usize {
            let message = format!("`each` has {} items, `max_items` is {max_items}", items.len());
            return Err(failure(self.scope(at), FailureKind::OverLimit, message).into());
        }
        self.open_budget(at, node);
        self.note_opened(at, Opened::Each(items.len()));
        let state = Items {
            results: vec![None; items.len()],
            captures: self.captures(at, &spec.body),
            list: items,
            concurrency: concurrency as usize,
            next: 0,
            open: BTreeMap::new(),
            n_done: 0,
            prefix: 0,
            votes: Vec::new(),
        };
        self.frame_mut(at.frame).node_mut(at.node).phase = Phase::Open(Composite::Each(Box::new(state)));
        self.advance(at, spec);
        Ok(())
    }

    /// Opens items while there is room for more; ends the each when there is nothing left.
    fn advance(&mut self, at: At, spec: &Each) {
        let scope = self.scope(at);
        let ledger = self.node_ledger(at).clone();
        while let Some(state) = self.items_mut(at) {
            if state.next >= state.list.len() || state.open.len() >= state.concurrency {
                break;
            }
            let index = state.next;
            state.next += 1;
            let item = state.list.get(index).cloned().unwrap_or(Value::Null);
            let captures = state.captures.clone();
            let inputs = vec![
                Slot::Present(item),
                Slot::Present(Value::Int(i64::try_from(index).unwrap_or(i64::MAX))),
            ];
            self.note(|| Notice::Part { scope: scope.clone(), index });
            let role = Role::Item { parent: at, index };
            let id =
                self.open(scope.indexed(index), spec.body.clone(), role, inputs, captures, ledger.clone());
            if let Some(state) = self.items_mut(at) {
                state.open.insert(index, id);
            }
        }
        if self.items_mut(at).is_some_and(|state| state.n_done == state.list.len()) {
            self.each_done(at, spec, usize::MAX);
        }
    }

    /// An item has ended.
    pub(super) fn item_done(&mut self, parent: At, index: usize, result: Result<Vec<Slot>, Failure>) {
        let body = self.frame(parent.frame).body.clone();
        let Kind::Each(spec) = &node_of(&body, parent.node).kind else { return };
        let Some(state) = self.items_mut(parent) else { return };
        state.open.remove(&index);
        state.n_done += 1;
        let is_fatal = result.is_err() && spec.on_item_error == OnItemError::Fail;
        if let Some(place) = state.results.get_mut(index) {
            *place = Some(result);
        }
        let reached = match spec.quorum {
            // An item after the one that makes the quorum must not fail the each, however fast it is.
            Some(quorum) => state.reach(quorum, spec.on_item_error),
            None if is_fatal => Some(Reached::Failure(index)),
            None => None,
        };
        match reached {
            Some(Reached::Quorum(n_items)) => {
                self.abort(parent);
                self.each_done(parent, spec, n_items);
            }
            Some(Reached::Failure(index)) => self.fail_item(parent, index),
            None => self.advance(parent, spec),
        }
    }

    /// The each fails with its item `index`.
    fn fail_item(&mut self, parent: At, index: usize) {
        let Some(state) = self.items_mut(parent) else { return };
        let Some(Some(Err(failure))) = state.results.get(index) else { return };
        let item = state.list.get(index).map(hash_of).unwrap_or_default();
        let message = format!("item {index} (input {item}): {}", failure.message);
        let failure = Failure { message, ..failure.clone() };
        self.abort(parent);
        self.fail(parent, failure);
    }

    /// The each has ended: the outputs of its first `n_items` items, in order.
    fn each_done(&mut self, at: At, spec: &Each, n_items: usize) {
        let Some(state) = self.items_mut(at) else { return };
        let results: Vec<_> =
            std::mem::take(&mut state.results).into_iter().flatten().take(n_items).collect();
        let items = state.list.clone();
        let n_ok = results.iter().filter(|result| result.is_ok()).count();
        // Divided, not multiplied: 0.55 * 100 is more than 55 in floats.
        if !results.is_empty() && (n_ok as f64 / results.len() as f64) < spec.min_success {
            let first = results.iter().find_map(|result| result.as_ref().err());
            let message = format!(
                "{n_ok} of {} items succeeded, `min_success` is {}{}",
                results.len(),
                spec.min_success,
                first.map(|failure| format!("; the first failure: {failure}")).unwrap_or_default(),
            );
            let failure = failure(self.scope(at), FailureKind::TooFewItems, message);
            return self.fail(at, failure);
        }
        let n_outputs = spec.body.outputs.len();
        let mut columns: Vec<Vec<Value>> = vec![Vec::with_capacity(results.len()); n_outputs];
        let mut errors = Vec::new();
        for (index, result) in results.into_iter().enumerate() {
            match result {
                // An output that is absent for an item has no place in the list.
                Ok(slots) => columns.iter_mut().zip(slots).for_each(|(column, slot)| {
                    if let Slot::Present(value) = slot {
                        column.push(value);
                    }
                }),
                Err(failure) => {
                    let record = error_record(index, items.get(index), &failure);
                    if spec.on_item_error == OnItemError::Keep {
                        for column in &mut columns {
                            column.push(record.clone());
                        }
                    }
                    errors.push(record);
                }
            }
        }
        // The outputs of an each: a list for each output of its body, then `errors` unless one of them has that name.
        let mut slots: Vec<Slot> =
            columns.into_iter().map(|column| Slot::Present(Value::list(column))).collect();
        slots.push(Slot::Present(Value::list(errors)));
        slots.truncate(node_of(&self.frame(at.frame).body, at.node).outputs.len());
        self.close_node(at, n_ok, None);
        self.settle(at, slots);
    }

    /// How many items the largest each has that the node at `scope` is in; 0 outside of eaches.
    pub(crate) fn n_items_around(&self, scope: &Scope) -> usize {
        let mut n_items = 0;
        let mut around = self.find(scope).map(|at| at.frame);
        while let Some(frame) = around {
            around = match self.frame(frame).role {
                Role::Root => None,
                Role::Sub { parent }
                | Role::Fallback { parent }
                | Role::Turn { parent, .. }
                | Role::Plan { parent } => Some(parent.frame),
                Role::Item { parent, .. } => {
                    if let Phase::Open(Composite::Each(items)) =
                        &self.frame(parent.frame).node(parent.node).phase
                    {
                        n_items = n_items.max(items.list.len());
                    }
                    Some(parent.frame)
                }
            };
        }
        n_items
    }

    fn items_mut(&mut self, at: At) -> Option<&mut Items> {
        match &mut self.frame_mut(at.frame).node_mut(at.node).phase {
            Phase::Open(Composite::Each(items)) => Some(items),
            _ => None,
        }
    }
}

/// What ends an each before its last item.
enum Reached {
    /// Enough of the first so many items agreed.
    Quorum(usize),
    /// This item failed, and `on_item_error` is `fail`.
    Failure(usize),
}

impl Items {
    /// What the finished items come to, if it ends the each.
    ///
    /// Only the finished items from the first on count, so that the outcome does not depend on who was faster.
    fn reach(&mut self, (output, agree): (u32, u32), on_item_error: OnItemError) -> Option<Reached> {
        while let Some(Some(result)) = self.results.get(self.prefix) {
            self.prefix += 1;
            let slots = match result {
                Ok(slots) => slots,
                Err(_) if on_item_error == OnItemError::Fail => {
                    return Some(Reached::Failure(self.prefix - 1));
                }
                Err(_) => continue,
            };
            let Some(Slot::Present(value)) = slots.get(output as usize) else { continue };
            let n_votes = if let Some((_, n_votes)) = self.votes.iter_mut().find(|(known, _)| known == value)
            {
                *n_votes += 1;
                *n_votes
            } else {
                self.votes.push((value.clone(), 1));
                1
            };
            if n_votes >= agree {
                return Some(Reached::Quorum(self.prefix));
            }
        }
        None
    }
}

/// A failed item as data: which, a hash of its input, the attempt, the error.
fn error_record(index: usize, item: Option<&Value>, failure: &Failure) -> Value {
    Value::map([
        ("index", Value::Int(i64::try_from(index).unwrap_or(i64::MAX))),
        ("input_hash", Value::text(item.map(hash_of).unwrap_or_default())),
        ("attempt", Value::Int(i64::from(failure.attempt))),
        ("node", Value::text(failure.scope.to_string())),
        ("kind", Value::text(failure.kind.as_str())),
        ("error", Value::text(failure.message.as_str())),
    ])
}

/// Names an item's input without showing it.
fn hash_of(item: &Value) -> String {
    blake3::hash(item.to_json().to_string().as_bytes()).to_hex().chars().take(16).collect()
}
