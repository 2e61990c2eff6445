//! Takes secrets out of what leaves the process: those of the configuration, and whatever looks like a key. One for traces
//! and for the words of backends and tools, which may echo what they were sent.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use anabranch_engine::backend::Redact;
use regex::{NoExpand, Regex};
use serde_json::Value;

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";
/// Shortest secret that is looked for: a shorter one would be found everywhere.
const SECRET_BYTES_MIN: usize = 6;
/// What a text ends with that was cut.
const CUT: char = '…';

/// What keys and tokens look like, wherever they come from.
#[expect(clippy::expect_used, reason = "a test reads it")]
static SHAPES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i:\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,})",
        r"|\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}",
        r"|\banb_[A-Za-z0-9_]{12,}",
        r"|\bwhsec_[A-Za-z0-9+/=]{16,}",
        r"|\bAKIA[0-9A-Z]{16}\b",
        r"|\bgh[pousr]_[A-Za-z0-9]{20,}",
        r"|\bglpat-[A-Za-z0-9_-]{16,}",
        r"|\bxox[abprs]-[A-Za-z0-9-]{10,}",
        r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{6,}",
        r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)-----END [A-Z ]*PRIVATE KEY-----",
        r"|\b[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/@]+@",
    ))
    .expect("a pattern")
});

/// Names of fields whose values are secret whatever they look like.
#[expect(clippy::expect_used, reason = "a test reads it")]
static NAMES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^(?:.*[_-])?(?:api[_-]?key|authorization|password|passwd|secret|access[_-]?token|private[_-]?key)$")
        .expect("a pattern")
});

/// Takes out the secrets that it knows, and whatever looks like one.
#[derive(Default)]
pub struct Redactor {
    /// Those of the configuration, the longest first: one may begin like another.
    known: Vec<String>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("known", &self.known.len()).finish()
    }
}

impl Redactor {
    /// Takes out `secrets`, and whatever looks like a key.
    pub fn new(secrets: Vec<String>) -> Self {
        let mut known = secrets;
        known.retain(|secret| secret.len() >= SECRET_BYTES_MIN);
        known.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        known.dedup();
        Self { known }
    }

    /// `text` without the beginning of a known secret at its end, where it was cut.
    fn without_cut_secret<'a>(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        let Some(body) = text.strip_suffix(CUT) else { return text };
        let beginnings = self.known.iter().filter_map(|secret| {
            let lengths = (SECRET_BYTES_MIN..secret.len()).rev();
            lengths.filter_map(|n| secret.get(..n)).find(|beginning| body.ends_with(beginning))
        });
        match beginnings.map(str::len).max() {
            Some(n) => {
                let kept = body.get(..body.len() - n).unwrap_or_default();
                format!("{kept}{REDACTED}{CUT}").into()
            }
            None => text,
        }
    }
}

impl Redact for Redactor {
    fn text(&self, text: &str) -> String {
        let mut text = Cow::from(text);
        for secret in &self.known {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REDACTED).into();
            }
        }
        let text = self.without_cut_secret(text);
        SHAPES.replace_all(&text, NoExpand(REDACTED)).into_owned()
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                for (name, field) in fields {
                    if NAMES.is_match(name) && !field.is_null() {
                        *field = Value::String(REDACTED.to_owned());
                    } else {
                        self.value(field);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_wherever_it_stands_and_nothing_else_does() {
        let redactor = Redactor::new(vec!["s3cret-key".into(), "s3cret-key-two".into(), "short".into()]);
        assert_eq!(
            redactor.text("401: `s3cret-key-two` is no s3cret-key, s3cret-key"),
            "401: `[redacted]` is no [redacted], [redacted]"
        );
        assert_eq!(redactor.text("a short word"), "a short word");
        assert!(!format!("{redactor:?}").contains("s3cret"));
    }

    #[test]
    fn the_beginning_of_a_secret_does_not_stay_where_a_text_was_cut() {
        let redactor = Redactor::new(vec!["s3cret-key".into()]);
        assert_eq!(redactor.text("you sent s3cret-k…"), "you sent [redacted]…");
        assert_eq!(redactor.text("you sent s3cr…"), "you sent s3cr…", "too little to tell");
        assert_eq!(redactor.text("s3cret-k was sent…"), "s3cret-k was sent…");
    }
}
