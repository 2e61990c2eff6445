//! Choices that are put to a model: labels or routes, each with what it means.

use anabranch_engine::value::{Text, Value};

/// The choices as prompts read them: a list of `name` and `meaning`.
pub(crate) fn meanings<'a>(choices: impl Iterator<Item = (&'a Text, &'a String)>) -> Value {
    let choice = |(name, meaning): (&Text, &String)| {
        Value::map([("name", Value::Text(name.clone())), ("meaning", Value::text(meaning.trim()))])
    };
    Value::list(choices.map(choice))
}

/// The names as people read them: "`a`, `b`".
pub(crate) fn listed<'a>(names: impl Iterator<Item = &'a Text>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
