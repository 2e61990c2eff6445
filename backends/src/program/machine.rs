//! Runs the statements of a program.

use std::collections::HashMap;

use super::ast::{BinaryOp, Block, Expr, Name, Stmt, StmtKind, Target};
use super::error::{Bound, Error, Step, Stop, raise, type_error, value_error};
use super::limits::{Limits, Meter};
use super::value::{Frame, Heap, Value, place};
use super::{builtins, json};

mod call;
mod evaluate;
mod iterate;
mod names;

pub(super) use call::Args;

/// Bytes of a call's frame and of a name in it.
const FRAME_BYTES: usize = 160;
const NAME_BYTES: usize = 96;

/// What a block ended with.
enum Flow {
    Next,
    Break,
    Continue,
    Return(Value),
}

/// A running program.
pub(super) struct Machine {
    pub(super) heap: Heap,
    globals: HashMap<Name, Value>,
    // A call's frame goes away with it, unless a function was made inside, which may need it later.
    frames: Vec<Frame>,
    frame: Option<usize>,
    n_functions: usize,
    n_calls: u32,
    pub(super) line: u32,
    pub(super) output: String,
}

impl Machine {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            heap: Heap::new(Meter::new(limits)),
            globals: HashMap::new(),
            frames: Vec::new(),
            frame: None,
            n_functions: 0,
            n_calls: 0,
            line: 1,
            output: String::new(),
        }
    }

    /// Gives the program a value.
    pub(super) fn provide(&mut self, name: &str, value: &serde_json::Value) -> Result<(), Error> {
        let value = json::read(&mut self.heap, value).map_err(|stop| self.error(stop))?;
        self.globals.insert(name.into(), value);
        Ok(())
    }

    /// Runs all of `program`.
    pub(super) fn run(&mut self, program: &Block) -> Result<(), Error> {
        self.block(program).map(|_| ()).map_err(|stop| self.error(stop))
    }

    /// Whether the program gave a value to `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.globals.contains_key(name)
    }

    /// The value that the program gave to `name`.
    pub(super) fn result(&mut self, name: &str) -> Result<serde_json::Value, Error> {
        let found = match self.globals.get(name).cloned() {
            Some(value) => json::write(&mut self.heap, &value),
            None => raise("NameError", format!("the program never sets `{name}`")),
        };
        found.map_err(|stop| self.error(stop))
    }

    pub(super) fn error(&self, stop: Stop) -> Error {
        let line = self.line;
        match stop {
            Stop::Raised { kind, message } => Error::Raised { line, kind, message },
            Stop::Exceeded(bound) => Error::Exceeded { line, bound },
        }
    }

    fn block(&mut self, block: &Block) -> Step<Flow> {
        for statement in block {
            match self.statement(statement)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Stmt) -> Step<Flow> {
        self.line = statement.line;
        self.heap.meter.enter()?;
        let flow = self.perform(&statement.kind);
        self.heap.meter.leave();
        flow
    }

    fn perform(&mut self, statement: &StmtKind) -> Step<Flow> {
        match statement {
            StmtKind::Expr(expr) => {
                self.evaluate(expr)?;
            }
            StmtKind::Assign(targets, expr) => {
                let value = self.evaluate(expr)?;
                for target in targets {
                    self.assign(target, value.clone())?;
                }
            }
            StmtKind::Augment(target, op, expr) => self.augment(target, *op, expr)?,
            StmtKind::Delete(targets) => {
                for target in targets {
                    self.delete(target)?;
                }
            }
            StmtKind::If(arms, otherwise) => {
                for (condition, block) in arms {
                    let condition = self.evaluate(condition)?;
                    if self.heap.truth(&condition) {
                        return self.block(block);
                    }
                }
                return self.block(otherwise);
            }
            StmtKind::While(condition, body) => return self.while_(condition, body),
            StmtKind::For(target, items, body) => return self.for_(target, items, body),
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
            StmtKind::Pass => {}
            StmtKind::Return(expr) => {
                let value = expr.as_ref().map_or(Ok(Value::None), |expr| self.evaluate(expr))?;
                return Ok(Flow::Return(value));
            }
            StmtKind::Def(name, function) => {
                let function = self.function(function)?;
                self.bind(name, function)?;
            }
            StmtKind::ImportMath(name) => self.bind(name, Value::MathModule)?,
            StmtKind::FromMath(names) => {
                for (name, local) in names {
                    let value = builtins::math_member(name)?;
                    self.bind(local, value)?;
                }
            }
            StmtKind::Assert(condition, message) => {
                let condition = self.evaluate(condition)?;
                if !self.heap.truth(&condition) {
                    let message =
                        message.as_ref().map_or(Ok(Value::None), |message| self.evaluate(message))?;
                    let message = self.heap.shown(&message)?;
                    return raise("AssertionError", message);
                }
            }
        }
        Ok(Flow::Next)
    }

    fn while_(&mut self, condition: &Expr, body: &Block) -> Step<Flow> {
        loop {
            self.heap.meter.spend(1)?;
            let value = self.evaluate(condition)?;
            if !self.heap.truth(&value) {
                return Ok(Flow::Next);
            }
            match self.block(body)? {
                Flow::Next | Flow::Continue => {}
                Flow::Break => return Ok(Flow::Next),
                flow @ Flow::Return(_) => return Ok(flow),
            }
        }
    }

    fn for_(&mut self, target: &Target, items: &Expr, body: &Block) -> Step<Flow> {
        let items = self.evaluate(items)?;
        let mut cursor = self.cursor(&items)?;
        while let Some(item) = self.advance(&mut cursor)? {
            self.assign(target, item)?;
            match self.block(body)? {
                Flow::Next | Flow::Continue => {}
                Flow::Break => return Ok(Flow::Next),
                flow @ Flow::Return(_) => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn augment(&mut self, target: &Target, op: BinaryOp, expr: &Expr) -> Step<()> {
        match target {
            Target::Name(name) => {
                let before = self.lookup(name)?;
                let value = self.evaluate(expr)?;
                let after = self.augmented(&before, op, &value)?;
                self.bind(name, after)
            }
            Target::Item(of, index) => {
                let of = self.evaluate(of)?;
                let index = self.evaluate(index)?;
                let before = self.item(&of, &index)?;
                let value = self.evaluate(expr)?;
                let after = self.augmented(&before, op, &value)?;
                self.set_item(&of, &index, after)
            }
            Target::Unpack(..) => type_error("an augmented assignment to several names"),
        }
    }

    /// `before op value`; a list grows in place.
    fn augmented(&mut self, before: &Value, op: BinaryOp, value: &Value) -> Step<Value> {
        if let (Value::List(id), BinaryOp::Add) = (before, op) {
            let items = self.items(value)?;
            self.heap.list_mut(*id)?.extend(items);
            return Ok(before.clone());
        }
        self.heap.binary(op, before, value)
    }

    fn assign(&mut self, target: &Target, value: Value) -> Step<()> {
        match target {
            Target::Name(name) => self.bind(name, value),
            Target::Item(of, index) => {
                let of = self.evaluate(of)?;
                let index = self.evaluate(index)?;
                self.set_item(&of, &index, value)
            }
            Target::Unpack(targets, rest) => {
                self.heap.meter.enter()?;
                let done = self.unpack(targets, *rest, &value);
                self.heap.meter.leave();
                done
            }
        }
    }

    fn unpack(&mut self, targets: &[Target], rest: Option<usize>, value: &Value) -> Step<()> {
        let mut items = self.items(value)?;
        let n_single = targets.len() - usize::from(rest.is_some());
        if items.len() < n_single || (rest.is_none() && items.len() > n_single) {
            let what = if items.len() < n_single { "not enough" } else { "too many" };
            return value_error(format!(
                "{what} values to unpack (expected {n_single}, got {})",
                items.len()
            ));
        }
        if let Some(at) = rest {
            let middle = items.splice(at..at + items.len() - n_single, []).collect();
            let middle = self.heap.list(middle)?;
            items.insert(at, middle);
        }
        for (target, item) in targets.iter().zip(items) {
            self.assign(target, item)?;
        }
        Ok(())
    }

    fn set_item(&mut self, of: &Value, index: &Value, value: Value) -> Step<()> {
        match of {
            Value::List(id) => {
                let items = self.heap.list_mut(*id)?;
                let n = place(index.as_int()?, items.len(), "list assignment")?;
                if let Some(item) = items.get_mut(n) {
                    *item = value;
                }
                Ok(())
            }
            Value::Dict(id) => self.heap.insert(*id, index.clone(), value),
            _ => type_error(format!("'{}' object does not support item assignment", of.type_name())),
        }
    }

    fn delete(&mut self, target: &Target) -> Step<()> {
        match target {
            Target::Name(name) => {
                let names = match self.frame.and_then(|frame| self.frames.get_mut(frame)) {
                    Some(frame) => &mut frame.names,
                    None => &mut self.globals,
                };
                match names.remove(name) {
                    Some(_) => Ok(()),
                    None => raise("NameError", format!("name '{name}' is not defined")),
                }
            }
            Target::Item(of, index) => {
                let of = self.evaluate(of)?;
                let index = self.evaluate(index)?;
                self.take_item(&of, &index).map(|_| ())
            }
            Target::Unpack(targets, _) => targets.iter().try_for_each(|target| self.delete(target)),
        }
    }

    /// Takes an element out of a list or a dictionary.
    pub(super) fn take_item(&mut self, of: &Value, index: &Value) -> Step<Value> {
        match of {
            Value::List(id) => {
                let items = self.heap.list_mut(*id)?;
                let len = items.len();
                let n = place(index.as_int()?, len, "pop")?;
                let item = items.remove(n);
                self.heap.meter.spend(1 + (len - n) / 16)?;
                Ok(item)
            }
            Value::Dict(id) => {
                let key = self.heap.key(index)?;
                let entries = self.heap.entries_mut(*id)?;
                let len = entries.len();
                let Some((_, value)) = entries.shift_remove(&key) else {
                    let shown = self.heap.repr(index)?;
                    return raise("KeyError", shown);
                };
                self.heap.meter.spend(1 + len / 8)?;
                Ok(value)
            }
            _ => type_error(format!("'{}' object doesn't support item deletion", of.type_name())),
        }
    }

    /// Writes what `print` is given.
    pub(super) fn print(&mut self, text: &str) -> Step<()> {
        let max = self.heap.meter.limits.output_bytes;
        if self.output.len() + text.len() > max {
            return Err(Stop::Exceeded(Bound::Output(max)));
        }
        self.output.push_str(text);
        Ok(())
    }
}
