//! Calls: of the program's own functions, of built-in ones, of methods.

use super::super::ast::{Expr, Name};
use super::super::error::{Bound, Step, Stop, type_error};
use super::super::value::{Id, Value};
use super::super::{builtins, methods};
use super::{Flow, Machine};

/// What a call is given.
#[derive(Debug, Default)]
pub(in super::super) struct Args {
    pub(in super::super) list: Vec<Value>,
    pub(in super::super) named: Vec<(Name, Value)>,
}

impl Args {
    pub(in super::super) fn of(list: Vec<Value>) -> Self {
        Self { list, named: Vec::new() }
    }

    /// Takes the argument called `name`.
    pub(in super::super) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.named.iter().position(|(known, _)| &**known == name)?;
        Some(self.named.swap_remove(at).1)
    }

    /// The arguments, of which there are `least` to `most`, none of them with a name.
    pub(in super::super) fn between(&self, function: &str, least: usize, most: usize) -> Step<&[Value]> {
        if let Some((name, _)) = self.named.first() {
            return type_error(format!("{function}() got an unexpected keyword argument '{name}'"));
        }
        if !(least..=most).contains(&self.list.len()) {
            let expected = if least == most { format!("{least}") } else { format!("{least} to {most}") };
            return type_error(format!(
                "{function}() takes {expected} arguments ({} given)",
                self.list.len()
            ));
        }
        Ok(&self.list)
    }
}

impl Machine {
    pub(super) fn call_expr(
        &mut self,
        function: &Expr,
        args: &[Expr],
        named: &[(Name, Expr)],
    ) -> Step<Value> {
        let function = self.evaluate(function)?;
        let mut given = Args::of(self.elements(args)?);
        for (name, value) in named {
            given.named.push((name.clone(), self.evaluate(value)?));
        }
        self.call(&function, given)
    }

    /// `function(args)`.
    pub(in super::super) fn call(&mut self, function: &Value, args: Args) -> Step<Value> {
        self.heap.meter.enter()?;
        let value = match function {
            Value::Function(id) => self.call_own(*id, args),
            Value::Builtin(name) | Value::Type(name) => builtins::call(self, name, args),
            Value::Math(name) => builtins::call_math(self, name, &args),
            Value::Method(method) => methods::call(self, &method.0, method.1, args),
            _ => type_error(format!("'{}' object is not callable", function.type_name())),
        };
        self.heap.meter.leave();
        value
    }

    fn call_own(&mut self, id: Id, mut args: Args) -> Step<Value> {
        let closure = self.heap.closure(id)?;
        let function = closure.function;
        let name = &function.name;
        if args.list.len() > function.params.len() {
            return type_error(format!(
                "{name}() takes {} arguments ({} given)",
                function.params.len(),
                args.list.len()
            ));
        }
        let max = self.heap.meter.limits.calls;
        if self.n_calls >= max {
            return Err(Stop::Exceeded(Bound::Calls(max)));
        }
        self.n_calls += 1;
        let line = self.line;
        let returned = self.framed(closure.frame, function.scope.clone(), |machine| {
            let mut list = std::mem::take(&mut args.list).into_iter();
            for (n, (param, _)) in function.params.iter().enumerate() {
                let given = list.next();
                let value = match (given, args.take(param)) {
                    (Some(_), Some(_)) => {
                        return type_error(format!("{name}() got multiple values for argument '{param}'"));
                    }
                    (Some(value), None) | (None, Some(value)) => value,
                    (None, None) => match closure.defaults.get(n) {
                        Some(Some(default)) => default.clone(),
                        _ => return type_error(format!("{name}() missing the argument '{param}'")),
                    },
                };
                machine.bind(param, value)?;
            }
            if let Some((extra, _)) = args.named.first() {
                return type_error(format!("{name}() got an unexpected keyword argument '{extra}'"));
            }
            Ok(match machine.block(&function.body)? {
                Flow::Return(value) => value,
                _ => Value::None,
            })
        })?;
        self.n_calls -= 1;
        self.line = line;
        Ok(returned)
    }
}
