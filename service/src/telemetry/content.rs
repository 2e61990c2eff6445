//! What of prompts, answers and values goes into spans: by level, cut, and without secrets.

use std::sync::Arc;

use anabranch_engine::backend::Redact as _;
use serde_json::Value;

use crate::config::ContentLevel;
use crate::redact::Redactor;

/// Most bytes of a value at the level `truncated`.
const TRUNCATED_BYTES: usize = 1 << 10;
/// Most bytes of a value at the level `full`.
const FULL_BYTES: usize = 32 << 10;
/// Most bytes of a message that says why something failed; it is no content and goes along at every level.
const MESSAGE_BYTES: usize = 1 << 10;
/// What of contents goes along.
#[derive(Debug)]
pub struct Contents {
    level: ContentLevel,
    redactor: Arc<Redactor>,
}

impl Contents {
    /// Contents by `level`, without what `redactor` takes out.
    pub fn new(level: ContentLevel, redactor: Arc<Redactor>) -> Self {
        Self { level, redactor }
    }

    /// The level.
    pub fn level(&self) -> ContentLevel {
        self.level
    }

    /// Most bytes of a value; none if contents stay here.
    fn most(&self) -> Option<usize> {
        match self.level {
            ContentLevel::None => None,
            ContentLevel::Truncated => Some(TRUNCATED_BYTES),
            ContentLevel::Full => Some(FULL_BYTES),
        }
    }

    /// A text, as it may go along.
    pub fn text(&self, text: &str) -> Option<String> {
        let most = self.most()?;
        // A secret that the cut would run through is taken out whole.
        let around = cut(text, most.saturating_mul(2));
        Some(cut(&self.redactor.text(around), most).to_owned())
    }

    /// A value as JSON, as it may go along: valid, however short it is cut.
    pub fn json(&self, value: impl FnOnce() -> Value) -> Option<String> {
        let most = self.most()?;
        let mut value = value();
        self.redactor.value(&mut value);
        let whole = value.to_string();
        if whole.len() <= most {
            return Some(whole);
        }
        let (mut chars, mut items) = (most / 2, 64);
        while chars > 8 {
            let shorter = shortened(&value, chars, items).to_string();
            if shorter.len() <= most {
                return Some(shorter);
            }
            (chars, items) = (chars / 2, (items / 2).max(1));
        }
        Some(Value::String(cut(&whole, most / 4).to_owned()).to_string())
    }

    /// Why something failed: at every level, without secrets.
    pub fn message(&self, text: &str) -> String {
        cut(&self.redactor.text(cut(text, MESSAGE_BYTES * 2)), MESSAGE_BYTES).to_owned()
    }
}

/// The beginning of `text`, at most `bytes` of it.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

/// The value with texts of at most `bytes`, and lists and objects of at most `items`.
fn shortened(value: &Value, bytes: usize, items: usize) -> Value {
    match value {
        Value::String(text) if text.len() > bytes => Value::String(format!("{}…", cut(text, bytes))),
        Value::Array(all) => {
            Value::Array(all.iter().take(items).map(|item| shortened(item, bytes, items)).collect())
        }
        Value::Object(fields) => {
            let kept = fields.iter().take(items);
            Value::Object(kept.map(|(name, field)| (name.clone(), shortened(field, bytes, items))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn contents(level: ContentLevel) -> Contents {
        let secrets = vec!["hunter2-of-the-configuration".into(), "x".into()];
        Contents::new(level, Arc::new(Redactor::new(secrets)))
    }

    #[test]
    fn nothing_goes_along_unless_it_is_asked_for() {
        assert_eq!(contents(ContentLevel::None).text("a prompt"), None);
        assert_eq!(contents(ContentLevel::None).json(|| json!({ "a": 1 })), None);
        assert_eq!(contents(ContentLevel::Full).text("a prompt").unwrap(), "a prompt");
    }

    #[test]
    fn secrets_are_taken_out_at_every_level_and_in_messages_too() {
        let full = contents(ContentLevel::Full);
        for secret in [
            "hunter2-of-the-configuration",
            "Bearer abcdefgh12345678",
            "sk-proj-0123456789abcdef0123",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_0123456789abcdef0123456789abcdef0123",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
            "postgres://user:pa55word@",
        ] {
            let said = format!("it is {secret} and x");
            assert!(!full.text(&said).unwrap().contains(secret), "{secret}");
            assert!(!contents(ContentLevel::None).message(&said).contains(secret), "{secret}");
            assert!(
                !full.json(|| json!({ "deep": [{ "text": said }] })).unwrap().contains(secret),
                "{secret}"
            );
            assert!(full.text(&said).unwrap().ends_with(" and x"), "a secret of one letter is none");
        }
        let named =
            full.json(|| json!({ "api_key": "short", "x-api-key": 7, "keys": "all of them" })).unwrap();
        assert_eq!(named, r#"{"api_key":"[redacted]","x-api-key":"[redacted]","keys":"all of them"}"#);
    }

    #[test]
    fn a_long_value_is_cut_and_stays_json() {
        let short = contents(ContentLevel::Truncated);
        assert!(short.text(&"ä".repeat(5_000)).unwrap().len() <= TRUNCATED_BYTES);
        let many: Vec<Value> =
            (0..5_000).map(|n| json!({ "n": n, "text": "word ".repeat(n % 50) })).collect();
        for level in [ContentLevel::Truncated, ContentLevel::Full] {
            let text = contents(level).json(|| json!({ "items": many })).unwrap();
            assert!(text.len() <= FULL_BYTES);
            assert!(serde_json::from_str::<Value>(&text).unwrap()["items"][0]["n"] == 0, "{text}");
        }
        let wide: serde_json::Map<String, Value> =
            (0..3_000).map(|n| (format!("{n}-{}", "k".repeat(400)), n.into())).collect();
        assert!(serde_json::from_str::<Value>(&short.json(|| Value::Object(wide)).unwrap()).is_ok());
    }

    #[test]
    fn what_the_cut_runs_through_is_no_secret_left_behind() {
        let secret = "sk-0123456789abcdef0123456789";
        let text = format!("{} {secret}", "a".repeat(TRUNCATED_BYTES - 12));
        assert!(!contents(ContentLevel::Truncated).text(&text).unwrap().contains("sk-0123"));
    }
}
