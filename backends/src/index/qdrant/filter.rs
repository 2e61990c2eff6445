//! Filters as Qdrant takes them.

use anabranch_engine::backend::{Bounds, Condition, Filter, Scalar};
use serde_json::{Value as Json, json};

use super::points::{is, plain_key};

/// What a filter asks of the server.
#[derive(Debug, PartialEq)]
pub(super) struct Conditions {
    /// All of these must hold.
    pub(super) must: Vec<Json>,
    /// Whether they say all that the filter says; what they leave out is decided here.
    pub(super) are_whole: bool,
}

/// The conditions of the filter; `None` if nothing can meet them.
pub(super) fn conditions(filter: &Filter) -> Option<Conditions> {
    let mut conditions = Conditions { must: Vec::new(), are_whole: true };
    for (key, condition) in &filter.0 {
        let path = format!("meta.{}", plain_key(key));
        match condition {
            Condition::Is(wanted) => conditions.must.push(equal(&path, wanted)?),
            Condition::AnyOf(wanted) => {
                let any: Vec<Json> = wanted.iter().filter_map(|wanted| equal(&path, wanted)).collect();
                if any.is_empty() {
                    return None;
                }
                conditions.must.push(json!({ "should": any }));
            }
            Condition::All(bounds) => push_bounds(&mut conditions, key, &path, bounds)?,
        }
    }
    Some(conditions)
}

fn push_bounds(conditions: &mut Conditions, key: &str, path: &str, bounds: &Bounds) -> Option<()> {
    if let Some(exists) = bounds.exists {
        let clause = if exists { "must" } else { "must_not" };
        conditions.must.push(json!({ clause: [is("has", key)] }));
    }
    if let Some(unwanted) = bounds.not.as_ref().and_then(|unwanted| equal(path, unwanted)) {
        conditions.must.push(json!({ "must_not": [unwanted] }));
    }
    for (operator, bound) in
        [("gt", &bounds.gt), ("gte", &bounds.gte), ("lt", &bounds.lt), ("lte", &bounds.lte)]
    {
        match bound {
            // Each of its own, since each may hold for another element of a list.
            Some(Scalar::Number(bound)) if bound.is_finite() => {
                conditions.must.push(json!({ "key": path, "range": { operator: bound } }));
            }
            // Yes and no are in no order.
            Some(Scalar::Bool(_)) => return None,
            // Qdrant knows no order of texts.
            Some(_) => {
                conditions.are_whole = false;
                conditions.must.push(is("has", key));
            }
            None => {}
        }
    }
    Some(())
}

/// The value under the path, or an element of the list there, is this one; `None` if nothing can be.
fn equal(path: &str, wanted: &Scalar) -> Option<Json> {
    match wanted {
        Scalar::Bool(wanted) => Some(is(path, wanted)),
        Scalar::Text(wanted) => Some(is(path, wanted)),
        // A range, since `1` and `1.0` are the same number and a match takes whole ones only.
        Scalar::Number(wanted) if wanted.is_finite() => {
            Some(json!({ "key": path, "range": { "gte": wanted, "lte": wanted } }))
        }
        Scalar::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(filter: Json) -> Option<(Json, bool)> {
        let filter: Filter = serde_json::from_value(filter).unwrap();
        conditions(&filter).map(|conditions| (Json::Array(conditions.must), conditions.are_whole))
    }

    #[test]
    fn values_and_lists_become_matches_and_numbers_ranges() {
        assert_eq!(of(json!({})), Some((json!([]), true)));
        assert_eq!(
            of(json!({ "lang": "en", "draft": false, "year": 2020 })),
            Some((
                json!([
                    { "key": "meta.draft", "match": { "value": false } },
                    { "key": "meta.lang", "match": { "value": "en" } },
                    { "key": "meta.year", "range": { "gte": 2020.0, "lte": 2020.0 } },
                ]),
                true
            ))
        );
        assert_eq!(
            of(json!({ "lang": ["en", "de"] })),
            Some((
                json!([{ "should": [
                    { "key": "meta.lang", "match": { "value": "en" } },
                    { "key": "meta.lang", "match": { "value": "de" } },
                ] }]),
                true
            ))
        );
        assert_eq!(of(json!({ "lang": [] })), None);
    }

    #[test]
    fn bounds_that_qdrant_cannot_decide_are_left_to_us() {
        assert_eq!(
            of(json!({ "year": { "gt": 1, "not": "x", "exists": true } })),
            Some((
                json!([
                    { "must": [{ "key": "has", "match": { "value": "year" } }] },
                    { "must_not": [{ "key": "meta.year", "match": { "value": "x" } }] },
                    { "key": "meta.year", "range": { "gt": 1.0 } },
                ]),
                true
            ))
        );
        assert_eq!(
            of(json!({ "date": { "gte": "2024-01-01" } })),
            Some((json!([{ "key": "has", "match": { "value": "date" } }]), false))
        );
        assert_eq!(of(json!({ "draft": { "gt": true } })), None);
    }
}
