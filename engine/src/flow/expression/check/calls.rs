//! Checks what is called: functions, what knows about absence, comprehensions.

use std::ops::Range;

use cel::common::ast::{CallExpr, Expr, IdedExpr};

use super::super::functions::{self, Form, Function};
use super::super::{infer, native};
use super::{Checker, join, literal_text};
use crate::diagnostic::{Code, nearest};
use crate::limits;
use crate::types::Type;

impl Checker<'_> {
    pub(super) fn call(&mut self, ast: &IdedExpr, call: &CallExpr) -> Type {
        let CallExpr { func_name: name, target, args } = call;
        match (target, name.as_str()) {
            (None, "first" | "present" | "all_present") => return self.absence(ast, name, args),
            (None, "has") => return self.has(ast, args),
            (Some(target), "map" | "filter" | "all" | "exists" | "exists_one" | "existsOne") => {
                return self.each(ast, target, name, args);
            }
            _ => {}
        }
        let given: Vec<&IdedExpr> = target.as_deref().into_iter().chain(args).collect();
        let types = self.nodes(given.iter().copied());
        let place = self.read.callee(ast);
        let Some(function) = Function::find(name) else {
            self.unknown_function(name, &place, target.is_some());
            return Type::Any;
        };
        let ty = (function.gives)(&types);
        if (function.form == Form::Global && target.is_some())
            || (function.form == Form::Method && target.is_none())
        {
            let hint = if target.is_some() {
                format!("write `{name}(x)`")
            } else {
                format!("write `x.{name}(...)`")
            };
            let message = format!("`{name}` is not called this way");
            self.problem(Code::UNKNOWN_FUNCTION, place, message, Some(hint));
            return ty;
        }
        let most = function.takes.len();
        if given.len() > most || given.len() + function.optional < most {
            let on = usize::from(target.is_some());
            let message =
                format!("`{name}` takes {} in its brackets, found {}", values(most - on), args.len());
            self.wrong_type(ast, message, None);
            return ty;
        }
        for ((param, ty), arg) in function.takes.iter().zip(&types).zip(&given) {
            if !param.accepts(ty) {
                self.wrong_type(arg, format!("`{name}` takes {}, found `{ty}`", param.name()), None);
            }
        }
        if let ("matches", [_, pattern]) = (name.as_str(), given.as_slice())
            && let Some(Err(message)) = literal_text(pattern).map(native::regex)
        {
            self.wrong_type(pattern, message, None);
        }
        ty
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
    fn absence(&mut self, ast: &IdedExpr, name: &str, args: &[IdedExpr]) -> Type {
        let args = match (name, args) {
            ("all_present", [IdedExpr { expr: Expr::List(list), .. }]) => list.elements.as_slice(),
            ("all_present", _) => {
                let hint = Some("write `all_present([a, b])`");
                self.wrong_type(ast, "`all_present` takes one list", hint);
                args
            }
            ("present", args) if args.len() != 1 => {
                self.wrong_type(ast, format!("`present` takes one value, found {}", args.len()), None);
                args
            }
            ("first", []) => {
                self.wrong_type(ast, "`first` takes at least one value", Some("write `first(a, b)`"));
                args
            }
            (_, args) => args,
        };
        self.lenient += 1;
        let types = self.nodes(args);
        self.lenient -= 1;
        let present: Vec<Type> = types.iter().map(|ty| ty.required().clone()).collect();
        match name {
            "first" if !types.is_empty() && types.iter().all(Type::is_optional) => {
                Type::optional(join(&present))
            }
            "first" => join(&present),
            "present" => Type::Bool,
            _ => Type::list(join(&present)),
        }
    }

    fn has(&mut self, ast: &IdedExpr, args: &[IdedExpr]) -> Type {
        if let [IdedExpr { expr: Expr::Select(_), .. }] = args {
            self.nodes(args);
        } else {
            let hint =
                Some("write `has(value.field)`; whether a node gave a value is `present(node.output)`");
            self.wrong_type(ast, "`has` takes a field of a value", hint);
        }
        Type::Bool
    }

    /// A comprehension.
    fn each(&mut self, ast: &IdedExpr, target: &IdedExpr, name: &str, args: &[IdedExpr]) -> Type {
        let list_ty = self.node(target);
        let gives = if matches!(name, "map" | "filter") { Type::Any } else { Type::Bool };
        let (local, test, then) = match args {
            [IdedExpr { expr: Expr::Ident(local), .. }, test] => (local, test, None),
            [IdedExpr { expr: Expr::Ident(local), .. }, test, then] if name == "map" => {
                (local, test, Some(then))
            }
            _ => {
                let hint =
                    format!("write `{}.{name}(x, ...)`, where `x` names the item", self.written(target));
                let message = format!("`{name}` takes a name for the item, then what to do with it");
                self.wrong_type(ast, message, Some(&hint));
                return gives;
            }
        };
        if self.loops >= limits::EXPRESSION_COMPREHENSION_DEPTH {
            let most = limits::EXPRESSION_COMPREHENSION_DEPTH;
            let message = format!("`{name}` stands within {most} others, and {most} is the most");
            let hint = Some("do a part of it in a node of its own".to_owned());
            self.problem(Code::EXPRESSION_SIZE, self.read.range(ast), message, hint);
            return gives;
        }
        let item = match list_ty.required() {
            Type::List(item) => item.required().clone(),
            Type::Map(_) => Type::Text,
            ty if infer::is_open(ty) => Type::Any,
            ty => {
                self.wrong_type(target, format!("`{name}` takes a `list` or `map`, found `{ty}`"), None);
                Type::Any
            }
        };
        self.loops += 1;
        self.locals.push((local.as_str().into(), item.clone()));
        let test_ty = self.node(test);
        let then = then.map(|then| self.node(then));
        self.locals.pop();
        self.loops -= 1;
        if name != "map" || then.is_some() {
            self.needs_bool(&test_ty, test, &format!("the condition of `{name}`"));
        }
        match name {
            "map" => Type::list(then.unwrap_or(test_ty)),
            "filter" => Type::list(item),
            _ => Type::Bool,
        }
    }
}

fn values(n: usize) -> String {
    if n == 1 { "1 value".to_owned() } else { format!("{n} values") }
}
