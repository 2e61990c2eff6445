//! The types of operators: what goes between which, and what comes of it.

use cel::common::ast::operators as op;

use crate::types::Type;

/// Not known when the flow is loaded; checked when the value is there.
pub(super) fn is_open(ty: &Type) -> bool {
    matches!(ty.required(), Type::Any | Type::Json | Type::Plan)
}

/// A whole number or one with a fraction.
pub(super) fn is_number(ty: &Type) -> bool {
    matches!(ty.required(), Type::Int | Type::Float)
}

/// A text, of a closed set or not.
pub(super) fn is_text(ty: &Type) -> bool {
    matches!(ty.required(), Type::Text | Type::Label)
}

/// What both are. Where whole numbers meet others, `any`: `cel` keeps them apart, so nothing can be counted on.
pub(super) fn join(left: &Type, right: &Type) -> Type {
    let joined = left.join(right);
    if holds(&joined, &Type::Float) && (holds(left, &Type::Int) || holds(right, &Type::Int)) {
        return Type::Any;
    }
    joined
}

/// Whether a value of type `ty` is or has within it one of type `what`.
pub(super) fn holds(ty: &Type, what: &Type) -> bool {
    match ty.required() {
        Type::List(item) | Type::Map(item) => holds(item, what),
        ty => ty == what,
    }
}

fn is_bool(ty: &Type) -> bool {
    matches!(ty.required(), Type::Bool)
}

/// The type of `left op right`, or a hint where that can never work.
pub(super) fn binary(operator: &str, left: &Type, right: &Type) -> Result<Type, Option<&'static str>> {
    match operator {
        op::EQUALS | op::NOT_EQUALS if comparable(left, right) => Ok(Type::Bool),
        op::EQUALS | op::NOT_EQUALS => Err(convert(left, right)),
        op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS => {
            let fits = |is: fn(&Type) -> bool| (is(left) || is_open(left)) && (is(right) || is_open(right));
            if fits(is_number) || fits(is_text) || fits(is_bool) {
                Ok(Type::Bool)
            } else {
                Err(ordering(left, right))
            }
        }
        op::IN => membership(left, right),
        op::ADD => add(left, right),
        _ => arithmetic(operator, left, right),
    }
}

fn ordering(left: &Type, right: &Type) -> Option<&'static str> {
    let sized = |ty: &Type| is_text(ty) || matches!(ty.required(), Type::List(_) | Type::Map(_));
    if (sized(left) && is_number(right)) || (is_number(left) && sized(right)) {
        Some("to ask how long something is, write `size(x)`")
    } else {
        None
    }
}

fn convert(left: &Type, right: &Type) -> Option<&'static str> {
    match (is_text(left), is_text(right)) {
        (true, false) if is_number(right) => Some("quote the number, or turn the text into one: `int(x)`"),
        (false, true) if is_number(left) => {
            Some("leave the quotes out, or turn the number into a text: `string(x)`")
        }
        _ => None,
    }
}

fn comparable(left: &Type, right: &Type) -> bool {
    match (left.required(), right.required()) {
        (left, right) if is_open(left) || is_open(right) || left == right => true,
        (left, right) if is_number(left) && is_number(right) || is_text(left) && is_text(right) => true,
        (Type::List(left), Type::List(right)) | (Type::Map(left), Type::Map(right)) => {
            comparable(left, right)
        }
        _ => false,
    }
}

fn membership(item: &Type, all: &Type) -> Result<Type, Option<&'static str>> {
    match all.required() {
        all if is_open(all) => Ok(Type::Bool),
        Type::List(of) if comparable(item, of) => Ok(Type::Bool),
        Type::Map(_) if is_open(item) || is_text(item) => Ok(Type::Bool),
        record if record.record().is_some() && (is_open(item) || is_text(item)) => Ok(Type::Bool),
        all if is_text(all) => Err(Some("to look for a part of a text, write `text.contains(part)`")),
        Type::List(of) => Err(convert(item, of)),
        _ => Err(None),
    }
}

fn add(left: &Type, right: &Type) -> Result<Type, Option<&'static str>> {
    match (left.required(), right.required()) {
        (left, right) if is_text(left) && is_text(right) => Ok(Type::Text),
        (Type::List(left), Type::List(right)) => Ok(Type::list(join(left, right))),
        (open, other) | (other, open) if is_open(open) => match other {
            other if is_text(other) => Ok(Type::Text),
            Type::List(_) => Ok(Type::list(Type::Any)),
            other if is_open(other) || is_number(other) => Ok(Type::Any),
            _ => Err(None),
        },
        (left, right) if is_text(left) && is_number(right) || is_number(left) && is_text(right) => {
            Err(Some("turn the number into a text first: `string(x)`"))
        }
        (Type::List(_), _) | (_, Type::List(_)) => {
            Err(Some("to add one item to a list, write `list + [item]`"))
        }
        (left, right) => arithmetic(op::ADD, left, right),
    }
}

fn arithmetic(operator: &str, left: &Type, right: &Type) -> Result<Type, Option<&'static str>> {
    let can = |ty: &Type| {
        is_open(ty) || if operator == op::MODULO { *ty.required() == Type::Int } else { is_number(ty) }
    };
    if !can(left) || !can(right) {
        return Err(None);
    }
    Ok(match (left.required(), right.required()) {
        (Type::Int, Type::Int) => Type::Int,
        (Type::Int, Type::Float) | (Type::Float, Type::Int) => {
            return Err(Some(
                "turn the whole number into one with a fraction: `double(x)`, or write `2.0` for `2`",
            ));
        }
        (Type::Float, _) | (_, Type::Float) => Type::Float,
        _ if operator == op::MODULO => Type::Int,
        _ => Type::Any,
    })
}
