//! Checks what is called: functions, what knows about absence, comprehensions.

use std::ops::Range;

use super::super::eval::{Each, Node};
use super::super::functions::{self, Form, Function};
use super::super::infer;
use super::super::parse::{Ast, Kind};
use super::{Checker, UNKNOWN, join};
use crate::diagnostic::{Code, nearest};
use crate::limits;
use crate::types::Type;
use crate::value::{Text, Value};

impl Checker<'_> {
    pub(super) fn call(
        &mut self,
        ast: &Ast,
        target: Option<&Ast>,
        name: &Text,
        place: &Range<usize>,
        args: &[Ast],
    ) -> (Node, Type) {
        match (target, name.as_ref()) {
            (None, "first" | "present" | "all_present") => return self.absence(ast, name, args),
            (None, "has") => return self.has(ast, args),
            (Some(target), "map" | "filter" | "all" | "exists" | "exists_one" | "existsOne") => {
                return self.each(ast, target, name, args);
            }
            _ => {}
        }
        let given: Vec<&Ast> = target.into_iter().chain(args).collect();
        let (nodes, types): (Vec<_>, Vec<_>) = given.iter().map(|arg| self.node(arg)).unzip();
        let Some(function) = Function::find(name) else {
            self.unknown_function(name, place, target.is_some());
            return UNKNOWN;
        };
        if (function.form == Form::Global && target.is_some())
            || (function.form == Form::Method && target.is_none())
        {
            let hint = if target.is_some() {
                format!("write `{name}(x)`")
            } else {
                format!("write `x.{name}(...)`")
            };
            let message = format!("`{name}` is not called this way");
            self.problem(Code::UNKNOWN_FUNCTION, place.clone(), message, Some(hint));
            return (Node::Literal(Value::Null), (function.gives)(&types));
        }
        let most = function.takes.len();
        if given.len() > most || given.len() + function.optional < most {
            let on = usize::from(target.is_some());
            let message =
                format!("`{name}` takes {} in its brackets, found {}", values(most - on), args.len());
            self.wrong_type(&ast.range, message, None);
            return (Node::Literal(Value::Null), (function.gives)(&types));
        }
        for ((param, ty), arg) in function.takes.iter().zip(&types).zip(&given) {
            if !param.accepts(ty) {
                let message = format!("`{name}` takes {}, found `{ty}`", param.name());
                self.wrong_type(&arg.range, message, None);
            }
        }
        let ty = (function.gives)(&types);
        if name.as_ref() == "matches"
            && let [_, Node::Literal(Value::Text(pattern))] = nodes.as_slice()
        {
            return match (functions::regex(pattern), nodes.into_iter().next()) {
                (Ok(pattern), Some(text)) => (Node::Matches(Box::new(text), pattern), ty),
                (Err(message), _) => {
                    self.wrong_type(
                        &given.last().map_or(place.clone(), |arg| arg.range.clone()),
                        message,
                        None,
                    );
                    (Node::Literal(Value::Null), ty)
                }
                _ => UNKNOWN,
            };
        }
        (Node::Call(function, nodes), ty)
    }

    fn unknown_function(&mut self, name: &str, place: &Range<usize>, method: bool) {
        let known = || functions::ALL.iter().map(|f| f.name).chain(functions::SPECIAL);
        let hint = match name {
            "len" | "length" | "count" => "did you mean `size`?".to_owned(),
            "lower" | "toLowerCase" => "did you mean `lowerAscii`?".to_owned(),
            "upper" | "toUpperCase" => "did you mean `upperAscii`?".to_owned(),
            "any" | "some" => "did you mean `exists`?".to_owned(),
            "str" => "did you mean `string`?".to_owned(),
            "float" => "did you mean `double`?".to_owned(),
            _ => nearest(name, known()).map_or_else(String::new, |near| format!("did you mean `{near}`?")),
        };
        let listed = known().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let hint = if hint.is_empty() {
            format!("the functions are {listed}")
        } else {
            format!("{hint} the functions are {listed}")
        };
        let what = if method { format!("`.{name}()`") } else { format!("`{name}()`") };
        self.problem(
            Code::UNKNOWN_FUNCTION,
            place.clone(),
            format!("there is no function {what}"),
            Some(hint),
        );
    }

    /// `first`, `present`, `all_present`.
    fn absence(&mut self, ast: &Ast, name: &str, args: &[Ast]) -> (Node, Type) {
        let args = match (name, args) {
            ("all_present", [Ast { kind: Kind::List(items), .. }]) => items.as_slice(),
            ("all_present", _) => {
                self.wrong_type(
                    &ast.range,
                    "`all_present` takes one list",
                    Some("write `all_present([a, b])`"),
                );
                args
            }
            ("present", args) if args.len() != 1 => {
                self.wrong_type(&ast.range, format!("`present` takes one value, found {}", args.len()), None);
                args
            }
            ("first", []) => {
                self.wrong_type(&ast.range, "`first` takes at least one value", Some("write `first(a, b)`"));
                args
            }
            (_, args) => args,
        };
        self.lenient += 1;
        let (mut nodes, types): (Vec<_>, Vec<_>) = args.iter().map(|arg| self.node(arg)).unzip();
        self.lenient -= 1;
        let present: Vec<Type> = types.iter().map(|ty| ty.required().clone()).collect();
        match name {
            "first" => {
                let all_optional = types.iter().all(Type::is_optional) && !types.is_empty();
                let ty = join(&present);
                let ty = if all_optional { Type::optional(ty) } else { ty };
                (Node::First(self.written(&ast.range).into(), nodes), ty)
            }
            "present" => (nodes.pop().map_or(UNKNOWN.0, |node| Node::Present(Box::new(node))), Type::Bool),
            _ => (Node::AllPresent(nodes), Type::list(join(&present))),
        }
    }

    fn has(&mut self, ast: &Ast, args: &[Ast]) -> (Node, Type) {
        if let [Ast { kind: Kind::Field(of, name, place), .. }] = args {
            let (node, ty) = self.node(of);
            self.field(&ty, name, &of.range, place);
            return (Node::Has(Box::new(node), name.clone()), Type::Bool);
        }
        let hint = Some("write `has(value.field)`; whether a node gave a value is `present(node.output)`");
        self.wrong_type(&ast.range, "`has` takes a field of a value", hint);
        (UNKNOWN.0, Type::Bool)
    }

    /// A comprehension.
    fn each(&mut self, ast: &Ast, target: &Ast, name: &str, args: &[Ast]) -> (Node, Type) {
        let (list, list_ty) = self.node(target);
        let (each, gives) = match name {
            "map" => (Each::Map, Type::Any),
            "filter" => (Each::Filter, Type::Any),
            "all" => (Each::All, Type::Bool),
            "exists" => (Each::Exists, Type::Bool),
            _ => (Each::ExistsOne, Type::Bool),
        };
        let (local, test, then) = match args {
            [Ast { kind: Kind::Name(local), .. }, test] => (local, test, None),
            [Ast { kind: Kind::Name(local), .. }, test, then] if each == Each::Map => {
                (local, test, Some(then))
            }
            _ => {
                let hint = format!(
                    "write `{}.{name}(x, ...)`, where `x` names the item",
                    self.written(&target.range)
                );
                let message = format!("`{name}` takes a name for the item, then what to do with it");
                self.wrong_type(&ast.range, message, Some(&hint));
                return (UNKNOWN.0, gives);
            }
        };
        if self.loops >= limits::EXPRESSION_COMPREHENSION_DEPTH {
            let most = limits::EXPRESSION_COMPREHENSION_DEPTH;
            let message = format!("`{name}` stands within {most} others, and {most} is the most");
            let hint = Some("do a part of it in a node of its own".to_owned());
            self.problem(Code::EXPRESSION_SIZE, ast.range.clone(), message, hint);
            return (UNKNOWN.0, gives);
        }
        let item = match list_ty.required() {
            Type::List(item) => item.required().clone(),
            Type::Map(_) => Type::Text,
            ty if infer::is_open(ty) => Type::Any,
            ty => {
                self.wrong_type(
                    &target.range,
                    format!("`{name}` takes a `list` or `map`, found `{ty}`"),
                    None,
                );
                Type::Any
            }
        };
        self.loops += 1;
        self.locals.push((local.clone(), item.clone()));
        let (test_node, test_ty) = self.node(test);
        let then = then.map(|then| self.node(then));
        self.locals.pop();
        self.loops -= 1;
        if each != Each::Map || then.is_some() {
            self.needs_bool(&test_ty, &test.range, &format!("the condition of `{name}`"));
        }
        let ty = match (each, &then) {
            (Each::Map, None) => Type::list(test_ty),
            (Each::Map, Some((_, ty))) => Type::list(ty.clone()),
            (Each::Filter, _) => Type::list(item),
            _ => Type::Bool,
        };
        let then = then.map(|(node, _)| Box::new(node));
        (Node::Each(each, Box::new(list), Box::new(test_node), then), ty)
    }
}

fn values(n: usize) -> String {
    if n == 1 { "1 value".to_owned() } else { format!("{n} values") }
}
