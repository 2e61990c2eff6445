//! Conditions on the metadata of chunks, the same for every kind of index.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::value::Metadata;

/// Conditions by metadata key; a chunk passes if all of them hold. Without any, every chunk does.
///
/// A key that the chunk does not have meets no condition but `{ exists: false }` and `{ not: ... }`. Where the
/// metadata has a list, a condition holds if it holds for one of its elements.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Filter(pub BTreeMap<String, Condition>);

/// A value that metadata is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// A condition on one metadata value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Condition {
    /// The value is this one.
    Is(Scalar),
    /// The value is one of these.
    AnyOf(Vec<Scalar>),
    /// All of these hold.
    All(Bounds),
}

/// Bounds of a metadata value: numbers compare as numbers, texts by their characters (so ISO dates by time).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// More than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gt: Option<Scalar>,
    /// This or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gte: Option<Scalar>,
    /// Less than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lt: Option<Scalar>,
    /// This or less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lte: Option<Scalar>,
    /// Not this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<Scalar>,
    /// Whether the chunk has the key at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}

impl Filter {
    /// The filter that lets through what has exactly these values.
    pub fn is(pairs: impl IntoIterator<Item = (String, Scalar)>) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key, Condition::Is(value))).collect())
    }

    /// Whether there is no condition.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a chunk with this metadata passes.
    pub fn passes(&self, meta: &Metadata) -> bool {
        self.0.iter().all(|(key, condition)| condition.holds(meta.get(key)))
    }
}

impl Condition {
    /// Whether it holds for what stands under its key.
    pub fn holds(&self, found: Option<&Json>) -> bool {
        let found = found.filter(|value| !value.is_null());
        match self {
            Self::Is(wanted) => any(found, |value| wanted.equals(value)),
            Self::AnyOf(wanted) => any(found, |value| wanted.iter().any(|one| one.equals(value))),
            Self::All(bounds) => bounds.hold(found),
        }
    }
}

impl Bounds {
    fn hold(&self, found: Option<&Json>) -> bool {
        let order = |bound: &Option<Scalar>, fits: fn(Ordering) -> bool| {
            bound.as_ref().is_none_or(|bound| any(found, |value| bound.compare(value).is_some_and(fits)))
        };
        self.exists.is_none_or(|exists| exists == found.is_some())
            && self.not.as_ref().is_none_or(|unwanted| !any(found, |value| unwanted.equals(value)))
            && order(&self.gt, Ordering::is_gt)
            && order(&self.gte, Ordering::is_ge)
            && order(&self.lt, Ordering::is_lt)
            && order(&self.lte, Ordering::is_le)
    }
}

/// Whether `test` holds for the value, or for one element of it if it is a list.
fn any(found: Option<&Json>, test: impl Fn(&Json) -> bool) -> bool {
    match found {
        Some(Json::Array(elements)) => elements.iter().any(test),
        Some(value) => test(value),
        None => false,
    }
}

impl Scalar {
    fn equals(&self, value: &Json) -> bool {
        match (self, value) {
            (Self::Bool(wanted), Json::Bool(found)) => wanted == found,
            _ => self.compare(value).is_some_and(Ordering::is_eq),
        }
    }

    /// How `value` stands to this; `None` if the two cannot be compared.
    fn compare(&self, value: &Json) -> Option<Ordering> {
        match (self, value) {
            (Self::Number(bound), Json::Number(found)) => found.as_f64()?.partial_cmp(bound),
            (Self::Text(bound), Json::String(found)) => Some(found.as_str().cmp(bound)),
            _ => None,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn passes(filter: Json, meta: Json) -> bool {
        let filter: Filter = serde_json::from_value(filter).unwrap();
        filter.passes(&serde_json::from_value(meta).unwrap())
    }

    #[test]
    fn a_plain_value_is_equality_and_a_list_is_any_of() {
        assert!(passes(json!({}), json!({})));
        assert!(passes(json!({"lang": "en"}), json!({"lang": "en", "year": 1})));
        assert!(!passes(json!({"lang": "en", "year": 2}), json!({"lang": "en", "year": 1})));
        assert!(!passes(json!({"lang": "en"}), json!({})));
        assert!(passes(json!({"lang": ["de", "en"]}), json!({"lang": "en"})));
        assert!(!passes(json!({"lang": []}), json!({"lang": "en"})));
        assert!(passes(json!({"draft": false}), json!({"draft": false})));
        assert!(passes(json!({"year": 1}), json!({"year": 1.0})), "1 and 1.0 are the same number");
    }

    #[test]
    fn bounds_compare_numbers_and_dates() {
        assert!(passes(json!({"year": {"gte": 2020, "lt": 2024}}), json!({"year": 2020})));
        assert!(!passes(json!({"year": {"gte": 2020, "lt": 2024}}), json!({"year": 2024})));
        assert!(passes(json!({"date": {"gt": "2023-12-31"}}), json!({"date": "2024-02-01"})));
        assert!(!passes(json!({"year": {"gt": "2020"}}), json!({"year": 2021})), "a text is no number");
        assert!(passes(json!({"lang": {"not": "en"}}), json!({})));
        assert!(!passes(json!({"lang": {"not": "en"}}), json!({"lang": "en"})));
        assert!(passes(json!({"lang": {"exists": false}}), json!({"lang": null})));
        assert!(!passes(json!({"lang": {"exists": true}}), json!({})));
    }

    #[test]
    fn one_element_of_a_list_is_enough() {
        assert!(passes(json!({"tags": "b"}), json!({"tags": ["a", "b"]})));
        assert!(!passes(json!({"tags": {"not": "b"}}), json!({"tags": ["a", "b"]})));
    }

    #[test]
    fn an_unknown_bound_is_refused() {
        assert!(serde_json::from_value::<Filter>(json!({"year": {"above": 3}})).is_err());
        assert!(serde_json::from_value::<Filter>(json!({"year": null})).is_err());
    }
}
