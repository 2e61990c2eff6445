//! Tests of the route by tags: the laws of the score, what is looked up, what is refused.

use super::*;
use crate::testing::validator;
use anabranch_engine::testing::cx;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn settings(more: &Json) -> Tag {
    let mut settings = json!({
        "routes": { "small": 0, "large": 1 },
        "table": {
            "astronomy": { "small": [80, 100], "large": [84, 100] },
            "linear algebra": { "small": [35, 100], "large": [61, 100] },
        },
    });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    serde_json::from_value(settings).unwrap()
}

async fn route(more: &Json, tags: &[&str]) -> Out {
    let tags = Some(tags.iter().map(|tag| (*tag).to_owned()).collect());
    settings(more).run(&cx(), In { text: None, tags }).await.unwrap()
}

#[tokio::test]
async fn a_route_is_taken_where_it_is_worth_its_cost() {
    let lambda = json!({ "lambda": 0.1 });
    assert_eq!(&*route(&lambda, &["astronomy"]).await.label.0, "small");
    let out = route(&lambda, &["linear algebra"]).await;
    assert_eq!((&*out.label.0, out.known.as_slice()), ("large", &["linear algebra".to_owned()][..]));
    assert_eq!(out.reason, "`large` was right 62 % of the time (linear algebra)");
}

#[tokio::test]
async fn a_share_is_drawn_towards_that_over_all_tags() {
    // 5 times the prior of `small`, 115 of 200, beside 80 of 100.
    let expected = (80.0 + 5.0 * 0.575) / 105.0;
    let out = route(&json!({}), &["astronomy", "astronomy"]).await;
    assert!((out.scores["small"] - expected).abs() < 1e-12, "{:?}", out.scores);
    let out = route(&json!({ "prior_strength": 0 }), &["astronomy"]).await;
    assert!((out.scores["small"] - 0.8).abs() < 1e-12, "{:?}", out.scores);
}

#[tokio::test]
async fn an_unknown_tag_and_none_at_all_have_the_prior() {
    for tags in [&["cooking"][..], &[]] {
        let out = route(&json!({}), tags).await;
        assert_eq!((out.scores["small"], out.scores["large"]), (0.575, 0.725));
        assert!(out.known.is_empty() && out.reason.ends_with("(over all tags)"), "{}", out.reason);
    }
    let untried = route(&json!({ "table": {} }), &["x"]).await;
    assert_eq!((untried.score, &*untried.label.0), (0.5, "small"));
}

#[tokio::test]
async fn tags_are_found_in_the_text_by_their_words() {
    let text = Some("Which linear map? I am bad at algebra.".to_owned());
    let out = settings(&json!({})).run(&cx(), In { text, tags: None }).await.unwrap();
    assert_eq!(out.known, ["linear algebra"]);
    let error = settings(&json!({})).run(&cx(), In { text: None, tags: None }).await.unwrap_err();
    assert_eq!(error.to_string(), "neither `text` nor `tags` is present");
}

/// A table of three tags over two routes, the second dearer.
fn tables() -> impl Strategy<Value = Json> {
    let seen = (0_u64..50, 0_u64..50).prop_map(|(right, more)| json!([right, right + more]));
    prop::collection::vec((seen.clone(), seen), 3).prop_map(|rows| {
        let tags = ["a", "b", "c"].into_iter().zip(rows);
        tags.map(|(tag, (small, large))| (tag.to_owned(), json!({ "small": small, "large": large })))
            .collect::<serde_json::Map<_, _>>()
            .into()
    })
}

proptest! {
    #[test]
    fn the_larger_lambda_the_fewer_take_the_dear_route(table in tables(), low in 0.0..1.0_f64, more in 0.0..1.0_f64) {
        let n_large = |lambda: f64| {
            let settings = settings(&json!({ "table": table, "lambda": lambda }));
            let large = |tag: &&str| {
                let tags = [(*tag).to_owned()];
                let scores: Vec<f64> = ["small", "large"].iter().map(|route| settings.score(route, &tags)).collect();
                settings.best(&scores) == 1
            };
            ["a", "b", "c", "unknown"].into_iter().filter(large).count()
        };
        prop_assert!(n_large(low + more) <= n_large(low));
        // No share is more than 1 apart from another.
        prop_assert_eq!(n_large(1.001), 0);
    }

    #[test]
    fn without_lambda_the_best_score_is_taken(table in tables()) {
        let settings = settings(&json!({ "table": table }));
        for tag in ["a", "b", "unknown"] {
            let tags = [tag.to_owned()];
            let scores: Vec<f64> = ["small", "large"].iter().map(|route| settings.score(route, &tags)).collect();
            let best = settings.best(&scores);
            prop_assert!(scores.iter().all(|score| *score <= scores[best]));
        }
    }
}

#[test]
fn of_equal_routes_the_cheaper_is_taken_then_the_first() {
    let routes = |routes: Json| settings(&json!({ "routes": routes }));
    assert_eq!(routes(json!({ "dear": 2, "cheap": 1, "other": 1 })).best(&[0.5, 0.5, 0.5]), 1);
}

#[test]
fn what_the_table_cannot_mean_is_refused_at_its_place() {
    let given = [("tags".into(), Type::list(Type::Text))];
    let table = json!({ "a/b": { "small": [3, 2], "medium": [1, 2] } });
    let pointers: Vec<String> = settings(&json!({ "table": table }))
        .check(&given)
        .into_iter()
        .map(|problem| problem.pointer)
        .collect();
    assert_eq!(pointers, ["/table/a~1b/small", "/table/a~1b/medium"]);
    assert!(settings(&json!({})).check(&given).is_empty());
    assert_eq!(settings(&json!({})).check(&[])[0].pointer, "/table");
    let validator = validator("route.tag");
    assert!(!validator.is_valid(&json!({ "routes": {}, "table": {} })));
    assert!(!validator.is_valid(&json!({ "routes": { "a": 1 }, "table": { "x": { "a": [1] } } })));
    assert!(!validator.is_valid(&json!({ "routes": { "a": 1 }, "table": {}, "lambda": -1 })));
}

#[tokio::test]
async fn in_a_flow_its_routes_are_known_and_it_costs_nothing() {
    let flow = r#"
flow: routed
inputs: { tags: list<text> }
nodes:
  route:
    op: route.tag
    in: { tags: inputs.tags }
    with: { routes: { small: 0, large: 1 }, table: { algebra: { small: [3, 10], large: [9, 10] } }, lambda: 0.2 }
outputs: { dear: route.label == "large" }
"#;
    let resources = anabranch_engine::cx::Resources::default;
    let found = crate::testing::run_flow(flow, json!({ "tags": ["algebra"] }), resources()).await;
    assert_eq!(found, json!({ "dear": true }));
}
