//! Types, and the one that a misspelt name was probably meant to be.

use crate::diagnostic::{Code, Spanned, nearest};
use crate::flow::yaml::Node;
use crate::types::{self, Type};

use super::Reader;

impl Reader<'_> {
    pub(super) fn ty(&mut self, node: &Node) -> Option<Spanned<Type>> {
        let text = self.text(node)?;
        match text.value.parse() {
            Ok(ty) => Some(Spanned::new(ty, text.span)),
            Err(unknown) => {
                self.report(Code::INVALID_TYPE, text.span, unknown.to_string(), Some(type_hint(&text.value)));
                None
            }
        }
    }
}

fn type_hint(text: &str) -> String {
    near_type(text, 4).map_or_else(
        || {
            let all = types::NAMES.map(|name| format!("`{name}`")).join(", ");
            format!("the types are {all}, each with `?` after it if it may be absent")
        },
        |near| format!("did you mean `{near}`?"),
    )
}

/// The type that `text` was probably meant to be: other languages' names for it, other brackets, misspellings.
fn near_type(text: &str, depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    let text = text.trim();
    if text.parse::<Type>().is_ok() {
        return Some(text.to_owned());
    }
    if let Some(inner) = text.strip_suffix('?') {
        return Some(format!("{}?", near_type(inner, depth)?));
    }
    if let Some(item) = text.strip_suffix("[]") {
        return Some(format!("list<{}>", near_type(item, depth)?));
    }
    if let Some((outer, item)) = text.split_once(['<', '[', '(']) {
        let outer = nearest(&outer.trim().to_ascii_lowercase(), ["list", "map", "array", "dict"])?;
        let outer = if matches!(outer, "list" | "array") { "list" } else { "map" };
        return Some(format!("{outer}<{}>", near_type(item.trim_end_matches(['>', ']', ')']), depth)?));
    }
    let lower = text.to_ascii_lowercase();
    let ours = match lower.as_str() {
        "string" | "str" => "text",
        "integer" => "int",
        "number" | "double" => "float",
        "boolean" => "bool",
        "array" | "list" => "list<any>",
        "object" | "dict" | "map" => "map<any>",
        _ => nearest(&lower, types::NAMES.into_iter().filter(|name| !name.contains('<')))?,
    };
    Some(ours.to_owned())
}
