//! Filters as SQL: what a filter lets through is decided by the database, with every text and number as a parameter.

use anabranch_engine::backend::{Bounds, Condition, Filter, Scalar};
use serde_json::Value as Json;
use sqlx::{Postgres, QueryBuilder};

/// Adds ` AND ...` for every condition, on the metadata in `c.meta`.
pub(super) fn push(sql: &mut QueryBuilder<Postgres>, filter: &Filter) {
    for (key, condition) in &filter.0 {
        let key = escaped(key);
        match condition {
            Condition::Is(wanted) => some_element(sql, &key, &[("=", wanted)]),
            Condition::AnyOf(wanted) => {
                let tests: Vec<_> = wanted.iter().map(|wanted| ("=", wanted)).collect();
                some_element(sql, &key, &tests);
            }
            Condition::All(bounds) => push_bounds(sql, &key, bounds),
        }
    }
}

fn push_bounds(sql: &mut QueryBuilder<Postgres>, key: &str, bounds: &Bounds) {
    if let Some(exists) = bounds.exists {
        sql.push(" AND (coalesce(jsonb_typeof(c.meta -> ").push_bind(key.to_owned());
        sql.push("), 'null') <> 'null') = ").push_bind(exists);
    }
    if let Some(unwanted) = &bounds.not {
        sql.push(" AND NOT (true");
        some_element(sql, key, &[("=", unwanted)]);
        sql.push(")");
    }
    for (operator, bound) in [(">", &bounds.gt), (">=", &bounds.gte), ("<", &bounds.lt), ("<=", &bounds.lte)]
    {
        // Yes and no are in no order.
        match bound {
            Some(Scalar::Bool(_)) => drop(sql.push(" AND false")),
            Some(bound) => some_element(sql, key, &[(operator, bound)]),
            None => {}
        }
    }
}

/// One of the tests holds for the value under the key, or for an element of it if it is a list.
fn some_element(sql: &mut QueryBuilder<Postgres>, key: &str, tests: &[(&'static str, &Scalar)]) {
    sql.push(" AND EXISTS (SELECT FROM (SELECT c.meta -> ").push_bind(key.to_owned()).push(
        " AS v) AS under, jsonb_array_elements(CASE jsonb_typeof(under.v) WHEN 'array' THEN under.v \
         ELSE jsonb_build_array(under.v) END) AS element(v) WHERE false",
    );
    for (operator, wanted) in tests {
        // The order of evaluation is `CASE`'s: a text must never be read as a number.
        match wanted {
            Scalar::Bool(wanted) => {
                sql.push(" OR element.v = to_jsonb(").push_bind(*wanted).push("::bool)");
            }
            Scalar::Number(wanted) if wanted.is_nan() => {}
            Scalar::Number(wanted) => {
                sql.push(" OR CASE jsonb_typeof(element.v) WHEN 'number' THEN (element.v #>> '{}')::float8 ");
                sql.push(operator).push(" ").push_bind(*wanted).push("::float8 ELSE false END");
            }
            Scalar::Text(wanted) => {
                sql.push(
                    " OR CASE jsonb_typeof(element.v) WHEN 'string' THEN (element.v #>> '{}') COLLATE \"C\" ",
                );
                sql.push(operator).push(" ").push_bind(escaped(wanted)).push("::text ELSE false END");
            }
        }
    }
    sql.push(")");
}

/// `value` as the database keeps it, which has no U+0000: see [`escaped`].
pub(super) fn kept(value: &Json) -> Json {
    match value {
        Json::String(text) => Json::String(escaped(text)),
        Json::Array(elements) => Json::Array(elements.iter().map(kept).collect()),
        Json::Object(fields) => {
            Json::Object(fields.iter().map(|(key, value)| (escaped(key), kept(value))).collect())
        }
        value => value.clone(),
    }
}

/// The text without U+0000, which no text of `PostgreSQL` may hold: U+0000 and U+0001 become pairs that keep every
/// comparison between two texts as it was.
pub(super) fn escaped(text: &str) -> String {
    if !text.contains(['\0', '\u{1}']) {
        return text.to_owned();
    }
    text.replace('\u{1}', "\u{1}\u{2}").replace('\0', "\u{1}\u{1}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_that_a_user_wrote_stands_in_the_statement() {
        let filter: Filter = serde_json::from_value(json!({
            "k'); DROP TABLE chunks; --": ["v'"],
            "year": {"gte": 2020, "not": 2022},
        }))
        .unwrap();
        let mut sql = QueryBuilder::new("");
        push(&mut sql, &filter);
        let sql = sql.into_string();
        assert!(!sql.contains("DROP") && !sql.contains("v'") && !sql.contains("2020"), "{sql}");
        assert_eq!(sql.matches('$').count(), 2 + 4);
    }

    #[test]
    fn texts_without_nul_keep_their_order() {
        let texts = [
            "", "\0", "\0\0", "\0b", "\0\u{2}", "\u{1}", "\u{1}\0", "\u{1}a", "\u{2}", "a", "a\0", "a\u{1}",
            "ab",
        ];
        for (one, other) in texts.iter().flat_map(|one| texts.iter().map(move |other| (one, other))) {
            assert_eq!(one.cmp(other), escaped(one).as_str().cmp(&escaped(other)));
        }
        assert!(texts.iter().all(|text| !escaped(text).contains('\0')));
    }
}
