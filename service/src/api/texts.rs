//! What no text of a request may hold: U+0000. `PostgreSQL` cannot keep it, `SQLite` can, and nobody means it.
//!
//! It is refused here, where requests are read, so that nothing behind has to think of it and both databases behave alike.
//! What models and tools say may hold it: that is kept as JSON, in which it is an escape like any other.

use axum::http::Uri;
use serde_json::Value as Json;

use super::body::escape;
use super::problem::{Code, Problem};

/// Refuses an address with U+0000 in its path or in its query.
pub fn in_address(uri: &Uri) -> Result<(), Problem> {
    // The only way in which an address can say it.
    let has_nul = |text: &str| text.contains("%00");
    if has_nul(uri.path()) {
        return Err(refused(Code::BadParameter, "the path"));
    }
    let Some(pair) = uri.query().and_then(|query| query.split('&').find(|pair| has_nul(pair))) else {
        return Ok(());
    };
    let name = pair.split('=').next().filter(|name| !has_nul(name));
    Err(match name {
        Some(name) => refused(Code::BadParameter, &format!("the parameter `{name}`")),
        None => refused(Code::BadParameter, "the name of a parameter"),
    })
}

/// Refuses JSON with U+0000 in one of its texts or names. What is no JSON is left to whoever reads it.
pub fn in_json(bytes: &[u8]) -> Result<(), Problem> {
    // JSON can only say it with an escape, which hardly any body has: all others are not read twice.
    let may_have = bytes.split(|byte| *byte == b'\\').skip(1).any(|rest| rest.starts_with(b"u0000"));
    if !may_have {
        return Ok(());
    }
    let Ok(value) = serde_json::from_slice::<Json>(bytes) else { return Ok(()) };
    match place(&value) {
        Some(pointer) => Err(Problem::invalid(pointer, format!("the text {WHAT}")).hint(HINT)),
        None => Ok(()),
    }
}

/// Refuses a body that is a text with U+0000 in it.
pub fn in_text(text: &str) -> Result<(), Problem> {
    if text.contains('\0') { Err(refused(Code::Invalid, "the body")) } else { Ok(()) }
}

const WHAT: &str = "holds the character U+0000, which no text may";
const HINT: &str = "leave the character out";

fn refused(code: Code, which: &str) -> Problem {
    Problem::new(code, format!("{which} {WHAT}")).hint(HINT)
}

/// Where the first text or name with U+0000 in it stands, as a JSON pointer. No deeper than the reader of JSON goes.
fn place(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => text.contains('\0').then(String::new),
        Json::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| place(item).map(|rest| format!("/{index}{rest}"))),
        Json::Object(fields) => fields.iter().find_map(|(name, item)| {
            let rest = if name.contains('\0') { Some(String::new()) } else { place(item) };
            rest.map(|rest| format!("/{}{rest}", escape(name)))
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_refused_with_the_part_that_is_wrong() {
        let said = |uri: &str| in_address(&uri.parse().unwrap()).err().map(|problem| problem.detail);
        assert_eq!(said("/v1/jobs?q=%2500&limit=3"), None);
        assert_eq!(said("/v1/jobs/a%00"), Some(format!("the path {WHAT}")));
        assert_eq!(said("/v1/jobs?limit=3&q=a%00b"), Some(format!("the parameter `q` {WHAT}")));
        assert_eq!(said("/v1/jobs?label.a%00=b"), Some(format!("the name of a parameter {WHAT}")));
    }

    #[test]
    fn json_is_refused_with_the_place() {
        let place =
            |text: &str| in_json(text.as_bytes()).err().map(|problem| problem.errors[0].pointer.clone());
        assert_eq!(place(r#"{"a": "\u0001", "b": "\\u0000"}"#), None);
        assert_eq!(place(r#"{"a": ["x", {"b/c": "y\u0000"}]}"#), Some(Some("/a/1/b~1c".to_owned())));
        assert_eq!(place(r#"{"a\u0000": 1}"#), Some(Some("/a\0".to_owned())));
        assert_eq!(place(r#""\u0000"#), None, "it is no JSON, and told as such");
    }
}
