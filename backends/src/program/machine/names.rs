//! Which name means what, in which call.

use std::collections::HashMap;
use std::rc::Rc;

use super::super::ast::{Function, Name, Scope};
use super::super::builtins;
use super::super::error::{Step, raise};
use super::super::value::{Closure, Frame, VALUE_BYTES, Value};
use super::{FRAME_BYTES, Machine, NAME_BYTES};

impl Machine {
    pub(super) fn function(&mut self, function: &Rc<Function>) -> Step<Value> {
        let mut defaults = Vec::with_capacity(function.params.len());
        for (_, default) in &function.params {
            defaults.push(match default {
                Some(default) => Some(self.evaluate(default)?),
                None => None,
            });
        }
        self.n_functions += 1;
        self.heap.meter.hold(defaults.len() * VALUE_BYTES)?;
        let closure = Closure { function: function.clone(), defaults: defaults.into(), frame: self.frame };
        self.heap.function(closure)
    }

    /// Gives `name` a value where it belongs.
    pub(super) fn bind(&mut self, name: &Name, value: Value) -> Step<()> {
        let mut at = self.frame;
        if let Some(frame) = at.and_then(|at| self.frames.get(at)) {
            if frame.scope.globals.contains(name) {
                at = None;
            } else if frame.scope.nonlocals.contains(name) {
                at = frame.parent;
                while let Some(frame) = at.and_then(|at| self.frames.get(at)) {
                    if frame.scope.locals.contains(name) {
                        break;
                    }
                    at = frame.parent;
                }
                if at.is_none() {
                    return raise("NameError", format!("no function around has a '{name}'"));
                }
            }
        }
        let names = match at.and_then(|at| self.frames.get_mut(at)) {
            Some(frame) => &mut frame.names,
            None => &mut self.globals,
        };
        if let Some(known) = names.get_mut(name) {
            *known = value;
            return Ok(());
        }
        names.insert(name.clone(), value);
        self.heap.meter.hold(NAME_BYTES)
    }

    /// The value of `name`.
    pub(super) fn lookup(&mut self, name: &Name) -> Step<Value> {
        let mut at = self.frame;
        while let Some(frame) = at.and_then(|at| self.frames.get(at)) {
            if let Some(value) = frame.names.get(name) {
                return Ok(value.clone());
            }
            if frame.scope.locals.contains(name) {
                return raise("UnboundLocalError", format!("'{name}' is read before it has a value"));
            }
            self.heap.meter.spend(1)?;
            at = if frame.scope.globals.contains(name) { None } else { frame.parent };
        }
        match self.globals.get(name) {
            Some(value) => Ok(value.clone()),
            None => builtins::named(name),
        }
    }

    /// Does `work` with a frame of its own.
    pub(super) fn framed<T>(
        &mut self,
        parent: Option<usize>,
        scope: Rc<Scope>,
        work: impl FnOnce(&mut Self) -> Step<T>,
    ) -> Step<T> {
        self.heap.meter.hold(FRAME_BYTES)?;
        let (before, n_functions, at) = (self.frame, self.n_functions, self.frames.len());
        self.frames.push(Frame { names: HashMap::new(), parent, scope });
        self.frame = Some(at);
        let done = work(self);
        self.frame = before;
        if self.n_functions == n_functions
            && let Some(frame) = self.frames.pop()
        {
            self.heap.meter.give_back(FRAME_BYTES + frame.names.len() * NAME_BYTES);
        }
        done
    }
}
