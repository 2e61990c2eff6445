//! Rewrites a parsed expression so that `cel` asks us about absence and about bounds.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::CelInt;

use super::native::regex;
use super::read::{Read, is_name};
use crate::value::Text;

/// Begins the name of what an expression refers to.
pub(super) const REFERENCE: char = '$';

/// Rewrites a parsed expression.
pub(super) struct Lower<'a> {
    read: &'a Read<'a>,
    /// What is evaluated only where it is asked for, and the call that it is an argument of.
    pub(super) quoted: Vec<(IdedExpr, Text)>,
    /// Patterns that are known.
    pub(super) patterns: Vec<regex::Regex>,
    /// Names that comprehensions bind.
    locals: Vec<String>,
}

impl<'a> Lower<'a> {
    pub(super) fn new(read: &'a Read<'a>) -> Self {
        Self { read, quoted: Vec::new(), patterns: Vec::new(), locals: Vec::new() }
    }

    /// Rewrites `ast` and everything in it.
    pub(super) fn node(&mut self, ast: &mut IdedExpr) {
        let written = match &ast.expr {
            Expr::Call(call) if call.func_name == "first" => self.read.written(&self.read.range(ast)).into(),
            _ => Text::default(),
        };
        match &mut ast.expr {
            Expr::Select(select) => self.node(&mut select.operand),
            Expr::List(list) => list.elements.iter_mut().for_each(|item| self.node(item)),
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.node(&mut entry.key);
                        self.node(&mut entry.value);
                    }
                }
            }
            Expr::Comprehension(each) => {
                self.node(&mut each.iter_range);
                self.locals.extend([each.iter_var.clone(), each.accu_var.clone()]);
                self.node(&mut each.loop_step);
                self.locals.truncate(self.locals.len() - 2);
                wrap(&mut each.iter_range, "@over");
            }
            Expr::Call(call) => self.call(call, &written),
            // Marked, so that it can be no type of `cel`: `list` may be an input.
            Expr::Ident(name) if !self.locals.contains(name) => name.insert(0, REFERENCE),
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        }
    }

    fn call(&mut self, call: &mut CallExpr, written: &Text) {
        if matches!(call.func_name.as_str(), "first" | "present" | "all_present") && call.target.is_none() {
            let args = match (call.func_name.as_str(), call.args.as_mut_slice()) {
                ("all_present", [IdedExpr { expr: Expr::List(list), .. }]) => {
                    std::mem::take(&mut list.elements)
                }
                _ => std::mem::take(&mut call.args),
            };
            call.func_name.insert(0, '@');
            call.args = args.into_iter().map(|arg| self.quote(arg, written.clone())).collect();
            return;
        }
        call.target.iter_mut().for_each(|target| self.node(target));
        call.args.iter_mut().for_each(|arg| self.node(arg));
        let accumulates = matches!(call.args.first(), Some(IdedExpr { expr: Expr::Ident(name), .. }) if name.starts_with('@'));
        match call.func_name.as_str() {
            "matches" | "replace" | "join" => {
                call.func_name.insert(0, '@');
                call.args.splice(..0, call.target.take().map(|target| *target));
                if let ("@matches", [_, pattern]) = (call.func_name.as_str(), call.args.as_mut_slice())
                    && let Expr::Literal(LiteralValue::String(text)) = &pattern.expr
                    && let Ok(regex) = regex(text.inner())
                {
                    pattern.expr = number(self.patterns.len());
                    self.patterns.push(regex);
                }
            }
            operators::ADD if accumulates => {}
            "size" => {}
            "split" => call.target.iter_mut().for_each(|target| wrap(target, "@pieces")),
            operators::EQUALS | operators::NOT_EQUALS | operators::IN => wrap_all(call, "@compare"),
            operators::ADD
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS => wrap_all(call, "@weigh"),
            name if is_name(name) => wrap_all(call, "@weigh"),
            _ => {}
        }
    }

    fn quote(&mut self, mut arg: IdedExpr, written: Text) -> IdedExpr {
        self.node(&mut arg);
        let quote = IdedExpr { id: arg.id, expr: number(self.quoted.len()) };
        self.quoted.push((arg, written));
        quote
    }
}

fn number(n: usize) -> Expr {
    Expr::Literal(LiteralValue::Int(CelInt::from(i64::try_from(n).unwrap_or(i64::MAX))))
}

/// Makes `ast` the argument of `function`.
fn wrap(ast: &mut IdedExpr, function: &str) {
    let arg = std::mem::take(ast);
    ast.id = arg.id;
    ast.expr = Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args: vec![arg] });
}

/// Makes all that `call` takes, but for literals, arguments of `function`.
fn wrap_all(call: &mut CallExpr, function: &str) {
    let parts = call.target.iter_mut().map(AsMut::as_mut).chain(call.args.iter_mut());
    parts.filter(|part| !matches!(part.expr, Expr::Literal(_))).for_each(|part| wrap(part, function));
}
