//! Resolves the names of an expression, infers its type as far as it goes, and collects everything that is wrong.

use std::ops::Range;

use super::eval::Node;
use super::infer;
use super::parse::{Ast, Kind, Op};
use super::{Problem, Reference, Resolve};
use crate::diagnostic::{Code, suggest};
use crate::types::Type;
use crate::value::{Text, Value};

mod calls;

/// What is known about an expression once it is checked.
pub(super) struct Checker<'a> {
    source: &'a str,
    names: &'a dyn Resolve,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// The references, and the text of each.
    pub(super) refs: Vec<(Reference, Text)>,
    locals: Vec<(Text, Type)>,
    /// Within `first` and its like.
    lenient: usize,
    /// Comprehensions around.
    loops: usize,
}

/// A dotted path: its segments and their places.
type Path<'a> = Vec<(&'a str, Range<usize>)>;

const UNKNOWN: (Node, Type) = (Node::Literal(Value::Null), Type::Any);

impl<'a> Checker<'a> {
    pub(super) fn new(source: &'a str, names: &'a dyn Resolve) -> Self {
        Self {
            source,
            names,
            problems: Vec::new(),
            refs: Vec::new(),
            locals: Vec::new(),
            lenient: 0,
            loops: 0,
        }
    }

    fn problem(&mut self, code: Code, range: Range<usize>, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(Problem { code, range, message: message.into(), hint });
    }

    fn wrong_type(&mut self, range: &Range<usize>, message: impl Into<String>, hint: Option<&str>) {
        self.problem(Code::EXPRESSION_TYPE, range.clone(), message, hint.map(str::to_owned));
    }

    fn written(&self, range: &Range<usize>) -> &'a str {
        self.source.get(range.clone()).unwrap_or_default()
    }

    /// The node that evaluates `ast`, and its type.
    pub(super) fn node(&mut self, ast: &Ast) -> (Node, Type) {
        match &ast.kind {
            Kind::Literal(value) => (Node::Literal(value.clone()), value.ty()),
            Kind::Name(_) | Kind::Field(..) => self.member(ast),
            Kind::Index(of, index) => self.index(of, index),
            Kind::Call(target, name, place, args) => self.call(ast, target.as_deref(), name, place, args),
            Kind::List(items) => {
                let (nodes, types): (Vec<_>, Vec<_>) = items.iter().map(|item| self.node(item)).unzip();
                (Node::List(nodes), Type::list(join(&types)))
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Not(of) => {
                let (node, ty) = self.node(of);
                self.needs_bool(&ty, &of.range, "`!`");
                (Node::Not(Box::new(node)), Type::Bool)
            }
            Kind::Negate(of) => {
                let (node, ty) = self.node(of);
                if !infer::is_open(&ty) && !infer::is_number(&ty) {
                    self.wrong_type(&of.range, format!("`-` takes a number, found `{ty}`"), None);
                }
                let ty = if infer::is_number(&ty) { ty.required().clone() } else { Type::Any };
                (Node::Negate(Box::new(node)), ty)
            }
            Kind::Binary(op, left, right) => self.binary(ast, *op, left, right),
            Kind::Choice(condition, yes, no) => {
                let (condition_node, ty) = self.node(condition);
                self.needs_bool(&ty, &condition.range, "the condition of `? :`");
                let (yes, yes_ty) = self.node(yes);
                let (no, no_ty) = self.node(no);
                let ty = yes_ty.join(&no_ty);
                (Node::Choice(Box::new(condition_node), Box::new(yes), Box::new(no)), ty)
            }
        }
    }

    fn needs_bool(&mut self, ty: &Type, range: &Range<usize>, what: &str) {
        if !infer::is_open(ty) && *ty.required() != Type::Bool {
            let hint = match ty.required() {
                Type::List(_) | Type::Map(_) => Some("ask whether there is something in it: `size(x) > 0`"),
                Type::Text => Some("compare it: `x == '...'`, or `x != ''`"),
                Type::Int | Type::Float => Some("compare it: `x > 0`"),
                _ => None,
            };
            self.wrong_type(range, format!("{what} takes a `bool`, found `{ty}`"), hint);
        }
    }

    fn binary(&mut self, ast: &Ast, op: Op, left: &Ast, right: &Ast) -> (Node, Type) {
        let (left_node, left_ty) = self.node(left);
        let (right_node, right_ty) = self.node(right);
        let sign = format!("`{}`", op.sign());
        let ty = if matches!(op, Op::And | Op::Or) {
            self.needs_bool(&left_ty, &left.range, &sign);
            self.needs_bool(&right_ty, &right.range, &sign);
            Type::Bool
        } else {
            infer::binary(op, &left_ty, &right_ty).unwrap_or_else(|hint| {
                let message = if matches!(op, Op::Equal | Op::Unequal) {
                    format!("`{left_ty}` and `{right_ty}` are never equal")
                } else {
                    format!("{sign} does not go between `{left_ty}` and `{right_ty}`")
                };
                self.wrong_type(&ast.range, message, hint);
                Type::Any
            })
        };
        (Node::Binary(op, Box::new(left_node), Box::new(right_node)), ty)
    }

    fn map(&mut self, entries: &[(Ast, Ast)]) -> (Node, Type) {
        let mut nodes = Vec::new();
        let mut types = Vec::new();
        let mut seen = Vec::new();
        for (key, value) in entries {
            let (key_node, key_ty) = self.node(key);
            if !infer::is_open(&key_ty) && !infer::is_text(&key_ty) {
                self.wrong_type(&key.range, format!("the key of a map is a `text`, found `{key_ty}`"), None);
            }
            if let Node::Literal(Value::Text(text)) = &key_node {
                if seen.contains(text) {
                    self.wrong_type(&key.range, format!("the key `{text}` stands twice"), None);
                }
                seen.push(text.clone());
            }
            let (value, ty) = self.node(value);
            nodes.push((key_node, value));
            types.push(ty);
        }
        (Node::Map(nodes), Type::map(join(&types)))
    }

    fn index(&mut self, of: &Ast, index: &Ast) -> (Node, Type) {
        let (of_node, of_ty) = self.node(of);
        let (index_node, index_ty) = self.node(index);
        if let (Node::Literal(Value::Text(name)), true) = (&index_node, of_ty.record().is_some()) {
            let name = name.clone();
            let ty = self.field(&of_ty, &name, &of.range, &index.range);
            return (Node::Field(Box::new(of_node), name), ty);
        }
        let ty = match (of_ty.required(), index_ty.required()) {
            (Type::Any | Type::Json | Type::Plan, _) => Type::Any,
            (Type::List(item), index) if infer::is_open(index) || *index == Type::Int => (**item).clone(),
            (Type::Map(item), index) if infer::is_open(index) || infer::is_text(index) => (**item).clone(),
            (record, index)
                if record.record().is_some() && (infer::is_open(index) || infer::is_text(index)) =>
            {
                Type::Any
            }
            (Type::List(_), found) => {
                let message = format!("the index of a list is an `int`, found `{found}`");
                self.wrong_type(&index.range, message, None);
                Type::Any
            }
            (Type::Map(_), found) => {
                self.wrong_type(&index.range, format!("the key of a map is a `text`, found `{found}`"), None);
                Type::Any
            }
            (other, _) => {
                let message =
                    format!("`{}` is of type `{other}`, which has no items", self.written(&of.range));
                self.wrong_type(&of.range, message, None);
                Type::Any
            }
        };
        (Node::Index(Box::new(of_node), Box::new(index_node)), ty)
    }

    fn member(&mut self, ast: &Ast) -> (Node, Type) {
        if let Some(path) = dotted(ast) {
            return self.path(&path);
        }
        let Kind::Field(of, name, place) = &ast.kind else { return UNKNOWN };
        let (node, ty) = self.node(of);
        let ty = self.field(&ty, name, &of.range, place);
        (Node::Field(Box::new(node), name.clone()), ty)
    }

    fn path(&mut self, path: &Path<'_>) -> (Node, Type) {
        let Some((root, root_place)) = path.first() else { return UNKNOWN };
        let local = self.locals.iter().rposition(|(name, _)| name.as_ref() == *root);
        let (mut node, mut ty, taken) = if let Some(at) = local {
            let ty = self.locals.get(at).map_or(Type::Any, |(_, ty)| ty.clone());
            (Node::Local(at), ty, 1)
        } else {
            let segments: Vec<&str> = path.iter().map(|(name, _)| *name).collect();
            match self.names.resolve(&segments) {
                Ok(resolved) => {
                    let taken = resolved.taken.clamp(1, path.len());
                    let end = path.get(taken - 1).map_or(root_place.end, |(_, place)| place.end);
                    let slot = self.slot(resolved.at, root_place.start..end);
                    (Node::Slot(slot), resolved.ty, taken)
                }
                Err(unresolved) => {
                    let whole =
                        || root_place.start..path.last().map_or(root_place.end, |(_, place)| place.end);
                    let range = path.get(unresolved.segment).map_or_else(whole, |(_, place)| place.clone());
                    self.problem(unresolved.code, range, unresolved.message, unresolved.hint);
                    return UNKNOWN;
                }
            }
        };
        let mut end = path.get(taken - 1).map_or(root_place.end, |(_, place)| place.end);
        for (name, place) in path.iter().skip(taken) {
            ty = self.field(&ty, name, &(root_place.start..end), place);
            node = Node::Field(Box::new(node), (*name).into());
            end = place.end;
        }
        (node, ty)
    }

    /// The position of a reference among those of the expression.
    fn slot(&mut self, at: crate::plan::Ref, range: Range<usize>) -> usize {
        let reference = Reference { at, strict: self.lenient == 0 };
        if let Some(known) = self.refs.iter().position(|(other, _)| *other == reference) {
            return known;
        }
        self.refs.push((reference, self.written(&range).into()));
        self.refs.len() - 1
    }

    /// The type of `of.name`.
    fn field(&mut self, ty: &Type, name: &str, of: &Range<usize>, place: &Range<usize>) -> Type {
        let known = match ty.field(name) {
            Ok(ty) => return ty,
            Err(known) => known,
        };
        let of = self.written(of);
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
        self.problem(Code::UNKNOWN_OUTPUT, place.clone(), message, hint);
        Type::Any
    }
}

fn join(types: &[Type]) -> Type {
    types.iter().cloned().reduce(|a, b| a.join(&b)).unwrap_or(Type::Any)
}

/// The segments of `a.b.c`, if `ast` is nothing else.
fn dotted(ast: &Ast) -> Option<Path<'_>> {
    let mut segments = Vec::new();
    let mut ast = ast;
    loop {
        match &ast.kind {
            Kind::Name(name) => {
                segments.push((name.as_ref(), ast.range.clone()));
                segments.reverse();
                return Some(segments);
            }
            Kind::Field(of, name, place) => {
                segments.push((name.as_ref(), place.clone()));
                ast = of;
            }
            _ => return None,
        }
    }
}
