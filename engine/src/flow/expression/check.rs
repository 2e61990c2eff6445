//! Resolves the names of an expression, infers its type as far as it goes, and collects everything that is wrong.

use std::ops::Range;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, MapExpr, operators};

use super::infer;
use super::read::{Read, is_name};
use super::{Named, Problem, Reference, Resolve, Step};
use crate::diagnostic::{Code, suggest};
use crate::plan::Ref;
use crate::types::Type;
use crate::value::Text;

mod calls;

/// What is known about an expression once it is checked.
pub(super) struct Checker<'a> {
    read: &'a Read<'a>,
    names: &'a dyn Resolve,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// The references, and what each names: `search.chunks`.
    pub(super) refs: Vec<(Reference, Named)>,
    locals: Vec<(Text, Type)>,
    /// Within `first` and its like.
    lenient: usize,
    /// Comprehensions around.
    loops: usize,
}

/// A dotted path: its segments and their places.
type Path<'a> = Vec<(&'a str, Range<usize>)>;

impl<'a> Checker<'a> {
    pub(super) fn new(read: &'a Read<'a>, names: &'a dyn Resolve) -> Self {
        Self { read, names, problems: Vec::new(), refs: Vec::new(), locals: Vec::new(), lenient: 0, loops: 0 }
    }

    fn problem(&mut self, code: Code, range: Range<usize>, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(Problem { code, range, message: message.into(), hint });
    }

    fn wrong_type(&mut self, ast: &IdedExpr, message: impl Into<String>, hint: Option<&str>) {
        self.problem(Code::EXPRESSION_TYPE, self.read.range(ast), message, hint.map(str::to_owned));
    }

    fn unsupported(&mut self, ast: &IdedExpr, message: &str, hint: Option<&str>) -> Type {
        self.problem(Code::EXPRESSION_SYNTAX, self.read.range(ast), message, hint.map(str::to_owned));
        Type::Any
    }

    fn written(&self, ast: &IdedExpr) -> &'a str {
        self.read.written(&self.read.range(ast))
    }

    fn nodes<'b>(&mut self, asts: impl IntoIterator<Item = &'b IdedExpr>) -> Vec<Type> {
        asts.into_iter().map(|ast| self.node(ast)).collect()
    }

    /// The type of `ast`.
    pub(super) fn node(&mut self, ast: &IdedExpr) -> Type {
        match &ast.expr {
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Type::Bool,
                LiteralValue::Double(_) => Type::Float,
                LiteralValue::Int(_) => Type::Int,
                LiteralValue::Null => Type::Json,
                LiteralValue::String(_) => Type::Text,
                LiteralValue::Bytes(_) => self.unsupported(ast, "bytes are not supported", None),
                LiteralValue::UInt(_) => {
                    let hint = Some("write the number without the `u`");
                    self.unsupported(ast, "unsigned numbers are not supported", hint)
                }
            },
            Expr::Ident(_) | Expr::Select(_) => self.member(ast),
            Expr::Call(call) if is_name(&call.func_name) => self.call(ast, call),
            Expr::Call(call) => self.operator(ast, call),
            Expr::List(list) => {
                let types = self.nodes(&list.elements);
                Type::list(join(&types))
            }
            Expr::Map(map) => self.map(map),
            Expr::Unspecified | Expr::Comprehension(_) | Expr::Struct(_) => self.unsupported(
                ast,
                "records cannot be made in an expression",
                Some("make a map: `{'name': value}`"),
            ),
        }
    }

    fn needs_bool(&mut self, ty: &Type, ast: &IdedExpr, what: &str) {
        if !infer::is_open(ty) && *ty.required() != Type::Bool {
            let hint = match ty.required() {
                Type::List(_) | Type::Map(_) => Some("ask whether there is something in it: `size(x) > 0`"),
                Type::Text => Some("compare it: `x == '...'`, or `x != ''`"),
                Type::Int | Type::Float => Some("compare it: `x > 0`"),
                _ => None,
            };
            self.wrong_type(ast, format!("{what} takes a `bool`, found `{ty}`"), hint);
        }
    }

    fn operator(&mut self, ast: &IdedExpr, call: &CallExpr) -> Type {
        let types = || -> Vec<&IdedExpr> { call.args.iter().collect() };
        match (call.func_name.as_str(), types().as_slice()) {
            (operators::LOGICAL_NOT, [of]) => {
                let ty = self.node(of);
                self.needs_bool(&ty, of, "`!`");
                Type::Bool
            }
            (operators::NEGATE, [of]) => {
                let ty = self.node(of);
                if !infer::is_open(&ty) && !infer::is_number(&ty) {
                    self.wrong_type(of, format!("`-` takes a number, found `{ty}`"), None);
                }
                if infer::is_number(&ty) { ty.required().clone() } else { Type::Any }
            }
            (operators::CONDITIONAL, [condition, yes, no]) => {
                let ty = self.node(condition);
                self.needs_bool(&ty, condition, "the condition of `? :`");
                infer::join(&self.node(yes), &self.node(no))
            }
            (operators::INDEX, [of, index]) => self.index(of, index),
            (op, [left, right]) => self.binary(ast, op, left, right),
            _ => Type::Any,
        }
    }

    fn binary(&mut self, ast: &IdedExpr, op: &str, left: &IdedExpr, right: &IdedExpr) -> Type {
        let (left_ty, right_ty) = (self.node(left), self.node(right));
        let sign = format!("`{}`", op.trim_matches(['_', '@']));
        if matches!(op, operators::LOGICAL_AND | operators::LOGICAL_OR) {
            self.needs_bool(&left_ty, left, &sign);
            self.needs_bool(&right_ty, right, &sign);
            return Type::Bool;
        }
        infer::binary(op, &left_ty, &right_ty).unwrap_or_else(|hint| {
            let message = if matches!(op, operators::EQUALS | operators::NOT_EQUALS) {
                format!("`{left_ty}` and `{right_ty}` are never equal")
            } else {
                format!("{sign} does not go between `{left_ty}` and `{right_ty}`")
            };
            self.wrong_type(ast, message, hint);
            Type::Any
        })
    }

    fn map(&mut self, map: &MapExpr) -> Type {
        let mut types = Vec::new();
        let mut seen = Vec::new();
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let key_ty = self.node(&entry.key);
            if !infer::is_open(&key_ty) && !infer::is_text(&key_ty) {
                self.wrong_type(&entry.key, format!("the key of a map is a `text`, found `{key_ty}`"), None);
            }
            if let Some(text) = literal_text(&entry.key) {
                if seen.contains(&text) {
                    self.wrong_type(&entry.key, format!("the key `{text}` stands twice"), None);
                }
                seen.push(text);
            }
            types.push(self.node(&entry.value));
        }
        Type::map(join(&types))
    }

    fn index(&mut self, of: &IdedExpr, index: &IdedExpr) -> Type {
        let (of_ty, index_ty) = (self.node(of), self.node(index));
        if let (Some(name), true) = (literal_text(index), of_ty.record().is_some()) {
            return self.field(&of_ty, name, &self.read.range(of), self.read.range(index));
        }
        match (of_ty.required(), index_ty.required()) {
            (Type::Any | Type::Json | Type::Plan, _) => Type::Any,
            (Type::List(item), index) if infer::is_open(index) || *index == Type::Int => (**item).clone(),
            (Type::Map(item), index) if infer::is_open(index) || infer::is_text(index) => (**item).clone(),
            (record, index)
                if record.record().is_some() && (infer::is_open(index) || infer::is_text(index)) =>
            {
                Type::Any
            }
            (Type::List(_), found) => {
                self.wrong_type(index, format!("the index of a list is an `int`, found `{found}`"), None);
                Type::Any
            }
            (Type::Map(_), found) => {
                self.wrong_type(index, format!("the key of a map is a `text`, found `{found}`"), None);
                Type::Any
            }
            (other, _) => {
                let message = format!("`{}` is of type `{other}`, which has no items", self.written(of));
                self.wrong_type(of, message, None);
                Type::Any
            }
        }
    }

    fn member(&mut self, ast: &IdedExpr) -> Type {
        if let Some(path) = self.dotted(ast) {
            return self.path(&path);
        }
        let Expr::Select(select) = &ast.expr else { return Type::Any };
        let ty = self.node(&select.operand);
        self.field(&ty, &select.field, &self.read.range(&select.operand), self.read.field(ast))
    }

    fn path(&mut self, path: &Path<'_>) -> Type {
        let Some((root, place)) = path.first() else { return Type::Any };
        let end = |taken: usize| path.get(taken - 1).map_or(place.end, |(_, place)| place.end);
        let local = self.locals.iter().rfind(|(name, _)| name.as_ref() == *root);
        let (mut ty, taken) = if let Some((_, ty)) = local {
            (ty.clone(), 1)
        } else {
            let segments: Vec<&str> = path.iter().map(|(name, _)| *name).collect();
            match self.names.resolve(&segments) {
                Ok(resolved) => {
                    let taken = resolved.taken.clamp(1, path.len());
                    let name = segments.get(..taken).unwrap_or_default().join(".");
                    let reference = Reference { at: resolved.at, strict: self.lenient == 0 };
                    if !self.refs.iter().any(|(known, _)| *known == reference) {
                        let floats = infer::holds(&resolved.ty, &Type::Float).then(|| resolved.ty.clone());
                        self.refs.push((reference, Named { name: name.into(), floats }));
                    }
                    (resolved.ty, taken)
                }
                Err(unresolved) => {
                    let range = path
                        .get(unresolved.segment)
                        .map_or_else(|| place.start..end(path.len()), |(_, place)| place.clone());
                    self.problem(unresolved.code, range, unresolved.message, unresolved.hint);
                    return Type::Any;
                }
            }
        };
        for (before, (name, at)) in (1..).zip(path.iter().skip(1)).skip(taken - 1) {
            ty = self.field(&ty, name, &(place.start..end(before)), at.clone());
        }
        ty
    }

    /// The type of `of.name`.
    fn field(&mut self, ty: &Type, name: &str, of: &Range<usize>, place: Range<usize>) -> Type {
        let known = match ty.field(name) {
            Ok(ty) => return ty,
            Err(known) => known,
        };
        let of = self.read.written(of);
        let (message, hint) = if let Type::List(item) = ty.required() {
            let hint = if item.field(name).is_ok() {
                format!("take one item (`{of}[0].{name}`), or all of them: `{of}.map(x, x.{name})`")
            } else {
                format!("ask for one item: `{of}[0]`")
            };
            (format!("`{of}` is of type `{ty}`, which has no field `{name}`"), Some(hint))
        } else if known.is_empty() {
            (format!("`{of}` is of type `{ty}`, which has no fields"), None)
        } else {
            let fields = format!("the fields of a `{}` are", ty.required());
            (format!("`{of}` is of type `{ty}`, which has no field `{name}`"), suggest(name, known, &fields))
        };
        self.problem(Code::UNKNOWN_OUTPUT, place, message, hint);
        Type::Any
    }

    /// The segments of `a.b.c`, if `ast` is nothing else.
    fn dotted<'b>(&self, mut ast: &'b IdedExpr) -> Option<Path<'b>> {
        let mut segments = Vec::new();
        loop {
            match &ast.expr {
                Expr::Ident(name) => {
                    segments.push((name.as_str(), self.read.range(ast)));
                    segments.reverse();
                    return Some(segments);
                }
                Expr::Select(select) => {
                    segments.push((select.field.as_str(), self.read.field(ast)));
                    ast = &select.operand;
                }
                _ => return None,
            }
        }
    }

    /// The steps of a path into a reference, if `ast` is nothing else.
    pub(super) fn steps(&self, ast: &IdedExpr) -> Option<(Ref, Vec<Step>)> {
        let mut steps = Vec::new();
        let mut rest = ast;
        while self.dotted(rest).is_none() {
            match &rest.expr {
                Expr::Select(select) => {
                    steps.push(Step::Field(select.field.as_str().into()));
                    rest = &select.operand;
                }
                Expr::Call(CallExpr { func_name, args, .. }) if func_name == operators::INDEX => {
                    let [of, index] = args.as_slice() else { return None };
                    steps.push(match &index.expr {
                        Expr::Literal(LiteralValue::Int(at)) => {
                            Step::Index(usize::try_from(*at.inner()).ok()?)
                        }
                        Expr::Literal(LiteralValue::String(name)) => Step::Field(name.inner().into()),
                        _ => return None,
                    });
                    rest = of;
                }
                _ => return None,
            }
        }
        let [(Reference { at, strict: true }, named)] = self.refs.as_slice() else { return None };
        let path = self.dotted(rest)?;
        let fields = path.into_iter().skip(named.name.split('.').count());
        steps.extend(fields.rev().map(|(field, _)| Step::Field(field.into())));
        steps.reverse();
        Some((*at, steps))
    }
}

fn literal_text(ast: &IdedExpr) -> Option<&str> {
    if let Expr::Literal(LiteralValue::String(text)) = &ast.expr { Some(text.inner()) } else { None }
}

fn join(types: &[Type]) -> Type {
    types.iter().cloned().reduce(|a, b| infer::join(&a, &b)).unwrap_or(Type::Any)
}
