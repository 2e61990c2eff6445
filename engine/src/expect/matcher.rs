//! Matchers over a value: `equals`, `contains`, `matches`, `at_least`, `at_most`, `size`; a bare value means `equals`.

use serde_json::Value as Json;

use crate::value::Value;

/// The words that make a mapping a matcher.
pub(crate) const NAMES: [&str; 6] = ["equals", "contains", "matches", "at_least", "at_most", "size"];
/// Longest value that a message shows.
const SHOWN_CHARS: usize = 200;
/// Largest compiled pattern, in bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// A value that is not what was expected.
pub(super) struct Differs {
    pub(super) expected: String,
    pub(super) got: String,
}

/// What of `expected` does not hold for `value`.
pub(super) fn unmet(expected: &Json, value: &Value) -> Vec<Differs> {
    let Some(matchers) = as_matchers(expected) else {
        return differs(equals(expected, value), describe(expected), value);
    };
    matchers.iter().flat_map(|(name, operand)| one(name, operand, value)).collect()
}

/// What is expected, in words.
pub(super) fn describe(expected: &Json) -> String {
    match as_matchers(expected) {
        Some(matchers) => matchers
            .iter()
            .map(|(name, operand)| format!("{} {}", name.replace('_', " "), cut(&operand.to_string())))
            .collect::<Vec<_>>()
            .join(" and "),
        None => cut(&expected.to_string()),
    }
}

/// A value as a message shows it, cut where it is long.
pub(super) fn show(value: &Value) -> String {
    cut(&value.to_json().to_string())
}

/// A mapping of nothing but matchers is one; any other mapping is a value to be equal to.
fn as_matchers(expected: &Json) -> Option<&serde_json::Map<String, Json>> {
    expected.as_object().filter(|map| !map.is_empty() && map.keys().all(|key| NAMES.contains(&key.as_str())))
}

fn one(name: &str, operand: &Json, value: &Value) -> Vec<Differs> {
    let expected = format!("{} {}", name.replace('_', " "), cut(&operand.to_string()));
    match name {
        "contains" => {
            let needles = operand.as_array().map_or(std::slice::from_ref(operand), Vec::as_slice);
            differs(needles.iter().all(|needle| contains(needle, value)), expected, value)
        }
        "matches" => matches(operand, value, expected),
        "at_least" | "at_most" => {
            let holds = match (number(value), operand.as_f64()) {
                (Some(n), Some(limit)) => {
                    if name == "at_least" {
                        n >= limit
                    } else {
                        n <= limit
                    }
                }
                _ => false,
            };
            differs(holds, expected, value)
        }
        "size" => match size(value) {
            Some(n) => unmet(operand, &Value::Int(n))
                .into_iter()
                .map(|inner| Differs {
                    expected: format!("size {}", inner.expected),
                    got: format!("size {n}: {}", show(value)),
                })
                .collect(),
            None => differs(false, expected, value),
        },
        _ => differs(equals(operand, value), cut(&operand.to_string()), value),
    }
}

fn differs(holds: bool, expected: String, value: &Value) -> Vec<Differs> {
    if holds { Vec::new() } else { vec![Differs { expected, got: show(value) }] }
}

/// Equal once the expected JSON has been read as what the value is: a record's fields left out take their defaults.
fn equals(expected: &Json, value: &Value) -> bool {
    let read = Value::from_json(expected.clone());
    read.clone().into_type(&value.ty()).is_ok_and(|read| read == *value)
        || same_json(expected, &value.to_json())
}

/// As JSON, with `1` equal to `1.0`.
fn same_json(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_json(a, b)))
        }
        (a, b) => a == b,
    }
}

/// A text holds a part; a list holds an item, or a record whose text holds the part; a map holds a key.
fn contains(needle: &Json, value: &Value) -> bool {
    match (needle, value) {
        (needle, Value::List(items)) => items
            .iter()
            .any(|item| equals(needle, item) || (!matches!(item, Value::Text(_)) && contains(needle, item))),
        (Json::String(key), Value::Map(map)) => map.contains_key(key.as_str()),
        (Json::String(part), value) => text(value).is_some_and(|text| text.contains(part.as_str())),
        _ => false,
    }
}

fn matches(operand: &Json, value: &Value, expected: String) -> Vec<Differs> {
    let pattern = operand.as_str().unwrap_or_default();
    match regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build() {
        Ok(regex) => differs(text(value).is_some_and(|text| regex.is_match(text)), expected, value),
        Err(error) => vec![Differs { expected, got: format!("a pattern that cannot be read: {error}") }],
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(int) => Some(*int as f64),
        Value::Float(float) => Some(*float),
        _ => None,
    }
}

/// Characters of a text, items of a list, entries of a map.
fn size(value: &Value) -> Option<i64> {
    let n = match value {
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        value => text(value)?.chars().count(),
    };
    i64::try_from(n).ok()
}

/// The words of a text, or of a record that has some.
fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        Value::Answer(answer) => Some(&answer.text),
        Value::Chunk(chunk) => Some(&chunk.text),
        Value::Document(document) => Some(&document.text),
        Value::Message(message) => Some(&message.content),
        _ => None,
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::value::Answer;

    #[test]
    fn a_bare_value_means_equals_and_numbers_are_equal_across_their_kinds() {
        assert!(unmet(&json!("a"), &Value::text("a")).is_empty());
        assert!(unmet(&json!(1), &Value::Float(1.0)).is_empty());
        assert!(unmet(&json!([1, 2]), &Value::list([Value::Int(1), Value::Int(2)])).is_empty());
        let [differs] = &unmet(&json!("a"), &Value::text("b"))[..] else { panic!("one difference") };
        assert_eq!((differs.expected.as_str(), differs.got.as_str()), ("\"a\"", "\"b\""));
    }

    #[test]
    fn contains_looks_into_texts_records_lists_and_keys() {
        let answer = Value::Answer(
            Answer { text: "it stops".into(), citations: vec![], grounded: false, by: "".into() }.into(),
        );
        assert!(unmet(&json!({"contains": "stops"}), &answer).is_empty());
        assert!(unmet(&json!({"contains": ["it", "stops"]}), &answer).is_empty());
        assert!(unmet(&json!({"contains": "stops"}), &Value::list([answer.clone()])).is_empty());
        assert!(unmet(&json!({"contains": 2}), &Value::list([Value::Int(2)])).is_empty());
        assert!(unmet(&json!({"contains": "a"}), &Value::map([("a", Value::Null)])).is_empty());
        assert_eq!(unmet(&json!({"contains": "never"}), &answer).len(), 1);
        assert_eq!(unmet(&json!({"contains": "b"}), &Value::list([Value::text("abc")])).len(), 1);
    }

    #[test]
    fn several_matchers_must_all_hold() {
        let four = Value::Int(4);
        assert!(unmet(&json!({"at_least": 4, "at_most": 4.5}), &four).is_empty());
        assert_eq!(unmet(&json!({"at_least": 5, "at_most": 3}), &four).len(), 2);
    }

    #[test]
    fn size_counts_characters_items_and_entries_and_takes_matchers_itself() {
        assert!(unmet(&json!({"size": 2}), &Value::text("πx")).is_empty());
        assert!(unmet(&json!({"size": {"at_least": 1}}), &Value::list([Value::Null])).is_empty());
        assert_eq!(unmet(&json!({"size": 0}), &Value::Int(3)).len(), 1, "a number has no size");
    }

    #[test]
    fn a_pattern_is_searched_and_a_broken_one_is_said_to_be_broken() {
        assert!(unmet(&json!({"matches": "^a.c$"}), &Value::text("abc")).is_empty());
        let [differs] = &unmet(&json!({"matches": "("}), &Value::text("abc"))[..] else { panic!() };
        assert!(differs.got.contains("cannot be read"));
    }

    #[test]
    fn a_mapping_with_another_key_is_a_value_and_no_matcher() {
        let value = Value::map([("size", Value::Int(1)), ("colour", Value::text("red"))]);
        assert!(unmet(&json!({"size": 1, "colour": "red"}), &value).is_empty());
    }
}
