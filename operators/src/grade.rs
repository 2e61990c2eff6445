//! Reads grades and orders out of what a model answered: JSON if it kept to that, else its words.
//!
//! Nothing here fails: what cannot be read is `None` or left out, and what the operator then does is its setting.

use serde_json::Value as Json;

use crate::ask::{after_thinking, all_json};

/// The grade in `text`, from 0 to `max`: the field `key` of an object, or a number in words.
///
/// Numbers outside are brought in; `8/10`, `8 out of 10` and `80%` are shares of `max`.
pub(crate) fn one(text: &str, key: &str, max: f64) -> Option<f64> {
    let text = after_thinking(text);
    let in_json = all_json(text).iter().find_map(|json| of_json(json.get(key)?, key, max));
    in_json.or_else(|| in_words(text, key, max))
}

/// The grades of passages 1 to `n` in `text`; `None` for those that it does not grade.
///
/// Takes objects of the fields `passage` and `key`, wherever they stand, objects of grades by number, a list of exactly
/// `n` numbers, and lines such as `[3]: 0.8`. The first grade of a passage counts.
pub(crate) fn many(text: &str, key: &str, max: f64, n: usize) -> Vec<Option<f64>> {
    let text = after_thinking(text);
    let mut grades = vec![None; n];
    let mut put = |number: usize, grade: Option<f64>| {
        if let Some(place @ None) = number.checked_sub(1).and_then(|index| grades.get_mut(index)) {
            *place = grade;
        }
    };
    for json in all_json(text) {
        collect(&json, key, max, n, &mut put);
    }
    for line in text.lines() {
        let Some((number, rest)) = line.split_once('[').and_then(|(_, rest)| rest.split_once(']')) else {
            continue;
        };
        if let Ok(number) = number.trim().parse() {
            put(number, in_words(rest, key, max));
        }
    }
    grades
}

/// The passages in the order in which `text` has them, as indexes below `n`, each once; what it leaves out is left out.
///
/// Takes the list `order` of an object, other lists of numbers, and marks such as `[3] > [1]`; other numbers only where
/// they name half of the passages or more.
pub(crate) fn order(text: &str, n: usize) -> Vec<usize> {
    let text = after_thinking(text);
    let found = all_json(text);
    let named = found.iter().find_map(|json| json.get("order"));
    let numbers: Vec<usize> = match named {
        Some(order) => order.as_array().into_iter().flatten().filter_map(number).collect(),
        None => found.iter().filter_map(Json::as_array).flatten().filter_map(number).collect(),
    };
    let order = known(numbers.into_iter(), n);
    if !order.is_empty() {
        return order;
    }
    let digits = text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
    let order = known(digits, n);
    if order.len() * 2 >= n { order } else { Vec::new() }
}

/// The numbers that stand for one of `n` passages, as indexes, each once.
fn known(numbers: impl Iterator<Item = usize>, n: usize) -> Vec<usize> {
    let mut is_new = vec![true; n];
    let indexes = numbers.filter_map(|number| number.checked_sub(1));
    indexes.filter(|index| is_new.get_mut(*index).is_some_and(std::mem::take)).collect()
}

/// The number of a passage: `3`, `"3"`, `"[3]"` or `{"passage": 3}`.
fn number(json: &Json) -> Option<usize> {
    match json {
        Json::Number(number) => usize::try_from(number.as_u64()?).ok(),
        Json::String(text) => text.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok(),
        Json::Object(fields) => number(fields.get("passage")?),
        _ => None,
    }
}

fn collect(json: &Json, key: &str, max: f64, n: usize, put: &mut impl FnMut(usize, Option<f64>)) {
    match json {
        Json::Array(items) => {
            // Numbers without names can only be told apart if none is missing.
            let is_bare = items.len() == n && items.iter().all(Json::is_number);
            for (index, item) in items.iter().enumerate() {
                match item {
                    Json::Number(_) if is_bare => put(index + 1, of_json(item, key, max)),
                    Json::Object(_) => collect(item, key, max, n, put),
                    _ => {}
                }
            }
        }
        Json::Object(fields) => {
            if let (Some(passage), Some(grade)) = (number(json), fields.get(key)) {
                put(passage, of_json(grade, key, max));
                return;
            }
            for (name, value) in fields {
                match (name.trim_matches(|c: char| !c.is_ascii_digit()).parse(), value) {
                    (_, Json::Array(_)) => collect(value, key, max, n, put),
                    (Ok(passage), _) => put(passage, of_json(value.get(key).unwrap_or(value), key, max)),
                    (Err(_), Json::Object(_)) if name != key => collect_within(value, key, max, put),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Grades by number, one level further in: `{"scores": {"1": 0.8}}`.
fn collect_within(json: &Json, key: &str, max: f64, put: &mut impl FnMut(usize, Option<f64>)) {
    for (name, value) in json.as_object().into_iter().flatten() {
        if let Ok(passage) = name.trim_matches(|c: char| !c.is_ascii_digit()).parse() {
            put(passage, of_json(value, key, max));
        }
    }
}

fn of_json(json: &Json, key: &str, max: f64) -> Option<f64> {
    match json {
        Json::Number(number) => {
            number.as_f64().filter(|number| number.is_finite()).map(|n| n.clamp(0.0, max))
        }
        Json::String(text) => in_words(text, key, max),
        _ => None,
    }
}

/// A number in a text.
struct Number {
    value: f64,
    /// Written as a fraction: `0.8`, `8/10`, `80%`.
    is_fraction: bool,
}

/// The grade that words give: after the word `key`, else the first fraction, else the first number that can be one.
fn in_words(text: &str, key: &str, max: f64) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    if let Some((_, after)) = lower.rsplit_once(key) {
        // `Score (0 to 1): 0.8`
        let near =
            after.char_indices().take(30).find(|(_, c)| matches!(c, ':' | '=')).map_or(0, |(at, _)| at);
        if let Some(number) = numbers(after.get(near..).unwrap_or_default(), max).next() {
            return Some(number.value.clamp(0.0, max));
        }
    }
    let numbers: Vec<Number> = numbers(&lower, max).collect();
    let fits = |number: &&Number| (0.0..=max).contains(&number.value);
    let fraction = numbers.iter().filter(fits).find(|number| number.is_fraction);
    let best = fraction.or_else(|| numbers.iter().find(fits)).or_else(|| numbers.first());
    best.map(|number| number.value.clamp(0.0, max))
}

/// The numbers of `text` in order. Those in brackets name passages, and those in words such as `v2` are no numbers.
fn numbers(text: &str, max: f64) -> impl Iterator<Item = Number> {
    let mut rest = text;
    let mut before = ' ';
    std::iter::from_fn(move || {
        while let Some(c) = rest.chars().next() {
            let starts = c.is_ascii_digit() || (matches!(c, '-' | '.') && begins_with_digit(rest.get(1..)));
            let stands_alone = !(before.is_alphanumeric() || matches!(before, '_' | '['));
            if starts && stands_alone {
                let (number, len) = first_number(rest, max);
                rest = rest.get(len..).unwrap_or_default();
                before = '0';
                return Some(number);
            }
            before = c;
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
        None
    })
}

/// The number that `text` begins with, and its length in bytes.
fn first_number(text: &str, max: f64) -> (Number, usize) {
    let (mut value, mut len) = plain_number(text);
    let mut is_fraction = text.get(..len).is_some_and(|number| number.contains('.'));
    let after = text.get(len..).unwrap_or_default();
    if after.trim_start().starts_with('%') {
        (value, is_fraction) = (value / 100.0 * max, true);
    } else {
        let of = ["/", "out of"].iter().find_map(|word| after.trim_start().strip_prefix(word));
        let of = of.map(str::trim_start).filter(|of| begins_with_digit(Some(of)));
        if let Some((of, whole, of_len)) = of.map(|of| (of, plain_number(of).0, plain_number(of).1)) {
            if whole > 0.0 {
                (value, is_fraction) = (value / whole * max, true);
            }
            len = text.len() - of.len() + of_len;
        }
    }
    (Number { value, is_fraction }, len)
}

/// As [`first_number`], without what may follow it.
fn plain_number(text: &str) -> (f64, usize) {
    let mut has_point = false;
    let end = text.char_indices().find(|(at, c)| match c {
        '-' => *at > 0,
        '.' => std::mem::replace(&mut has_point, true) || !begins_with_digit(text.get(at + 1..)),
        c => !c.is_ascii_digit(),
    });
    let len = end.map_or(text.len(), |(at, _)| at);
    let value = text.get(..len).and_then(|number| number.parse::<f64>().ok());
    (value.filter(|value| value.is_finite()).unwrap_or(0.0), len.max(1))
}

fn begins_with_digit(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grade_is_read_from_json_or_words_and_brought_in() {
        for (text, grade) in [
            (r#"{"score": 0.7}"#, Some(0.7)),
            ("Sure:\n```json\n{\"reason\": \"[2]\", \"score\": \"0.7\"}\n```", Some(0.7)),
            ("<think>maybe 0.1</think> 0.7", Some(0.7)),
            ("I would say 0.7, since 3 of 4 words match.", Some(0.7)),
            ("Passage [1] of 2024: .7.", Some(0.7)),
            ("Score (0 to 1): 0.7", Some(0.7)),
            ("**Score: 7/10**", Some(0.7)),
            ("7 out of 10", Some(0.7)),
            ("70%", Some(0.7)),
            ("1", Some(1.0)),
            (r#"{"score": 7}"#, Some(1.0)),
            (r#"{"score": -3}"#, Some(0.0)),
            ("-0.5", Some(0.0)),
            ("12", Some(1.0)),
            (r#"{"score": "high"}"#, None),
            ("It helps, see v2.", None),
            ("", None),
        ] {
            let found = one(text, "score", 1.0);
            let same = found.zip(grade).map_or(found == grade, |(a, b)| (a - b).abs() < 1e-12);
            assert!(same, "{text}: {found:?}, not {grade:?}");
        }
        assert_eq!(one("8", "grade", 10.0), Some(8.0));
        assert_eq!(one("9/10 I think", "grade", 10.0), Some(9.0));
    }

    #[test]
    fn grades_of_many_are_read_by_their_numbers() {
        for text in [
            r#"{"scores": [{"passage": 3, "score": 0.3}, {"passage": 1, "score": 0.1}]}"#,
            r#"[{"passage": 1, "score": 0.1}, {"passage": 3, "score": 0.3}, {"passage": 3, "score": 1}, {"pass"#,
            r#"{"1": 0.1, "[3]": {"score": 0.3}, "9": 1}"#,
            r#"{"scores": {"1": 0.1, "3": 0.3}}"#,
            "[1]: 0.1\n- [3] score: 0.3, good\n[4] 0.9",
        ] {
            assert_eq!(many(text, "score", 1.0, 3), [Some(0.1), None, Some(0.3)], "{text}");
        }
        assert_eq!(many("{\"scores\": [0.1, 2, 0.3]}", "score", 1.0, 3), [Some(0.1), Some(1.0), Some(0.3)]);
        assert_eq!(many("[0.1, 0.2]", "score", 1.0, 3), [None; 3]);
    }

    #[test]
    fn an_order_is_read_without_what_is_unknown_or_repeated() {
        for text in [
            r#"{"order": [3, 1, 3, 9, 0]}"#,
            "[3] > [1] > [3]",
            r#"["[3]", "1"]"#,
            "```json\n{\"order\": [3, 1]}\n```\nsince [2] does not help",
            "3, 1",
        ] {
            assert_eq!(order(text, 4), [2, 0], "{text}");
        }
        assert!(order("I cannot order these 4 passages.", 4).is_empty());
    }
}
