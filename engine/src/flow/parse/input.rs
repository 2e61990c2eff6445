//! `inputs:` of a flow, and whether a declaration agrees with itself.

use crate::diagnostic::{Code, Spanned};
use crate::flow::InputDecl;
use crate::flow::yaml::Node;
use crate::types::Type;
use crate::value::Value;

use super::scalar::UNSAYABLE;
use super::{Reader, fields};

impl Reader<'_> {
    pub(super) fn inputs(&mut self, node: &Node) -> Vec<InputDecl> {
        let declared = self.entries(node, "a mapping of names to types", |reader, name, value| {
            reader.check_name(name, UNSAYABLE);
            Some(reader.input(name, value))
        });
        declared.into_iter().map(|entry| entry.value).collect()
    }

    fn input(&mut self, name: &Spanned<String>, node: &Node) -> InputDecl {
        // A type that could not be read is anything, so that its uses are no problems of their own.
        let mut decl = InputDecl {
            name: name.clone(),
            ty: Spanned::new(Type::Any, name.span),
            default: None,
            min: None,
            max: None,
            about: None,
        };
        if node.as_map().is_none() {
            if node.as_str().is_some() {
                decl.ty = self.ty(node).unwrap_or(decl.ty);
            } else {
                self.wrong_kind(node, "a type, or a mapping", Some("`text`, or `{type: int, default: 4}`"));
            }
            return decl;
        }
        let Some(mut fields) = self.fields(node, &fields::INPUT, name.span) else { return decl };
        let ty = self.required(&mut fields, "type", "type: text").and_then(|node| self.ty(node));
        let is_known = ty.is_some();
        decl.ty = ty.unwrap_or(decl.ty);
        decl.default = fields.take("default").map(|node| Spanned::new(node.to_json(), self.place(node)));
        let mut bound = |reader: &mut Self, key| {
            let node: &Node = fields.take(key)?;
            reader.number(node, key, f64::NEG_INFINITY..=f64::INFINITY)
        };
        decl.min = bound(self, "min");
        decl.max = bound(self, "max");
        decl.about = fields.take("about").and_then(|node| self.text(node)).map(|about| about.value);
        fields.done();
        if is_known {
            self.check_input(&decl);
        }
        decl
    }

    fn check_input(&mut self, decl: &InputDecl) {
        let (name, ty) = (&decl.name.value, &decl.ty.value);
        let bounded = matches!(
            ty.required(),
            Type::Int | Type::Float | Type::Text | Type::List(_) | Type::Map(_) | Type::Any | Type::Json
        );
        for (key, bound) in [("min", &decl.min), ("max", &decl.max)] {
            if let Some(bound) = bound.as_ref().filter(|_| !bounded) {
                let message = format!("input `{name}` is `{ty}`, which has no `{key}`");
                let hint = "`min` and `max` are for numbers, and for the length of texts, lists and maps";
                self.report(Code::INVALID_INPUT, bound.span, message, Some(hint.to_owned()));
            }
        }
        let is_crossed = matches!((&decl.min, &decl.max), (Some(min), Some(max)) if min.value > max.value);
        if let (Some(min), Some(max), true) = (&decl.min, &decl.max, is_crossed) {
            let message = format!("input `{name}` has a `min` of {} and a `max` of {}", min.value, max.value);
            self.report(
                Code::INVALID_INPUT,
                min.span,
                message,
                Some("`min` is the lesser of the two".to_owned()),
            );
        }
        let Some(default) = &decl.default else { return };
        if default.value.is_null() {
            if !ty.is_optional() && !matches!(ty, Type::Any | Type::Json) {
                let message = format!("input `{name}` is `{ty}`, and its default is nothing");
                let hint = format!("`type: {ty}?` makes the input optional");
                self.report(Code::INVALID_INPUT, default.span, message, Some(hint));
            }
            return;
        }
        let value = match Value::from_json(default.value.clone()).into_type(ty) {
            Ok(value) => value,
            Err(mismatch) => {
                let message = format!("input `{name}` is `{ty}`, and its default is not: {mismatch}");
                self.report(Code::INVALID_INPUT, default.span, message, None);
                return;
            }
        };
        let Some((measure, size)) = measure(&value) else { return };
        let outside = match (&decl.min, &decl.max) {
            (Some(min), _) if size < min.value => Some(format!("less than the `min` of {}", min.value)),
            (_, Some(max)) if size > max.value => Some(format!("more than the `max` of {}", max.value)),
            _ => None,
        };
        if let Some(outside) = outside.filter(|_| bounded && !is_crossed) {
            let message = format!("the default of input `{name}`{measure} is {size}, {outside}");
            self.report(Code::INVALID_INPUT, default.span, message, None);
        }
    }
}

/// What `min` and `max` are held against.
fn measure(value: &Value) -> Option<(&'static str, f64)> {
    match value {
        Value::Int(number) => Some(("", *number as f64)),
        Value::Float(number) => Some(("", *number)),
        Value::Text(text) => Some((" has a length that", text.chars().count() as f64)),
        Value::List(items) => Some((" has a length that", items.len() as f64)),
        Value::Map(map) => Some((" has a length that", map.len() as f64)),
        _ => None,
    }
}
