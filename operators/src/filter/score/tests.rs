//! What each rule keeps, and how a wrong one is refused.

use super::*;
use crate::testing::{chunk, docs_of, problems, scored};
use anabranch_engine::testing::cx;
use proptest::prelude::{Just, prop_assert, prop_oneof, proptest};
use proptest::strategy::Strategy as _;
use serde_json::{Value as Json, json};

/// What is kept of chunks with these scores, named by their places, and the threshold.
fn keep(settings: &Json, scores: &[f64]) -> (Vec<usize>, Option<f64>) {
    let chunk = |(place, score): (usize, &f64)| scored(&chunk(&place.to_string(), "one two"), *score);
    let chunks: Vec<Arc<Chunk>> = scores.iter().enumerate().map(chunk).collect();
    let settings: ByScore = serde_json::from_value(settings.clone()).unwrap();
    let out = futures::executor::block_on(settings.run(&cx(), In { chunks })).unwrap();
    let places = |chunks| docs_of(chunks).iter().map(|doc| doc.parse().unwrap()).collect::<Vec<usize>>();
    let (kept, dropped) = (places(&out.chunks), places(&out.dropped));
    assert_eq!(kept.len() + dropped.len(), scores.len());
    assert!(kept.is_sorted() && dropped.is_sorted(), "the order in which they came");
    (kept, out.threshold)
}

fn kept(strategy: &Json, scores: &[f64]) -> Vec<usize> {
    keep(&json!({"strategy": strategy}), scores).0
}

const SCORES: [f64; 5] = [0.2, 0.9, 0.5, 0.8, 0.5];

#[test]
fn each_rule_keeps_what_it_says() {
    assert_eq!(kept(&json!({"top_k": 2}), &SCORES), [1, 3]);
    assert_eq!(kept(&json!({"top_k": 3}), &SCORES), [1, 2, 3], "of equal scores the first");
    assert_eq!(keep(&json!({"strategy": {"threshold": 0.5}}), &SCORES), (vec![1, 2, 3, 4], Some(0.5)));
    assert_eq!(kept(&json!({"percentile": 0.5}), &SCORES), [1, 3]);
    // Mean 0.58, variance 0.0616.
    assert_eq!(kept(&json!({"mean_sd": {}}), &SCORES), [1, 3]);
    let (kept_close, threshold) = keep(&json!({"strategy": {"mean_sd": {"eps": 0.1}}}), &SCORES);
    assert_eq!(kept_close, [1], "0.8 lies within a deviation of the mean");
    assert!((threshold.unwrap() - (0.58 + 0.0616_f64.sqrt())).abs() < 1e-12);
    assert_eq!(kept(&json!({"score_drop": {}}), &SCORES), [1, 3]);
    assert_eq!(kept(&json!({"score_drop": {"at": {"absolute": 0.35}}}), &SCORES), [0, 1, 2, 3, 4]);
    assert_eq!(kept(&json!({"score_drop": {"at": "max_gap", "min_k": 3}}), &SCORES), [1, 2, 3, 4]);
    assert_eq!(kept(&json!({"token_budget": 5}), &SCORES), [1, 3], "two tokens each");
}

#[test]
fn logits_fall_by_what_they_mean() {
    let logits = [9.0, 7.0, 0.0, -8.0];
    assert_eq!(kept(&json!({"score_drop": {}}), &logits), [0, 1]);
    assert_eq!(kept(&json!({"score_drop": {"at": {"relative": 0.6}, "sigmoid": true}}), &logits), [0, 1, 2]);
}

#[test]
fn the_best_stay_when_the_rule_would_keep_fewer() {
    assert_eq!(kept(&json!({"threshold": 2}), &SCORES), [1], "as AutoRAG does");
    assert_eq!(kept(&json!({"percentile": 0}), &SCORES), [1]);
    assert_eq!(kept(&json!({"token_budget": 1}), &SCORES), [1]);
    assert_eq!(keep(&json!({"strategy": {"threshold": 2}, "min_keep": 3}), &SCORES).0, [1, 2, 3]);
    assert_eq!(keep(&json!({"strategy": {"threshold": 2}, "min_keep": 0}), &SCORES).0, Vec::<usize>::new());
    assert_eq!(keep(&json!({"strategy": {"threshold": 2}, "min_keep": 9}), &SCORES).0, [0, 1, 2, 3, 4]);
}

fn recent(since: &str, dates: &[Json]) -> Vec<String> {
    let chunk = |(place, date): (usize, &Json)| {
        let mut chunk = Chunk::clone(&chunk(&place.to_string(), "x"));
        chunk.meta.insert("date".to_owned(), date.clone());
        Arc::new(chunk)
    };
    let settings = json!({"strategy": {"recency": {"key": "date", "since": since}}});
    let settings: ByScore = serde_json::from_value(settings).unwrap();
    let chunks = dates.iter().enumerate().map(chunk).collect();
    docs_of(&futures::executor::block_on(settings.run(&cx(), In { chunks })).unwrap().chunks)
}

#[test]
fn what_is_older_or_has_no_date_goes_unless_all_would() {
    let dates = [json!("2023-12-31T23:59:59Z"), json!("2024-01-01"), json!(null), json!(2025), json!("soon")];
    assert_eq!(recent("2024-01-01", &dates), ["1", "3"]);
    assert_eq!(recent("2030", &dates), ["3"], "the newest stays, as in AutoRAG");
    assert_eq!(
        recent("2024-01-01", &[json!("2024-01-01T00:30:00+02:00"), json!("2024-02")]),
        ["1"],
        "it was 2023 in UTC"
    );
    assert!(recent("2024-01-01", &[]).is_empty());
}

#[tokio::test]
async fn a_chunk_without_a_score_is_an_error_that_says_where_scores_come_from() {
    let settings: ByScore = serde_json::from_str(r#"{"strategy": {"top_k": 1}}"#).unwrap();
    let error = settings.run(&cx(), In { chunks: vec![chunk("a", "x")] }).await.unwrap_err();
    assert!(
        error.to_string().contains("chunk `a#0-1` has no score; `filter.score` stands behind"),
        "{error}"
    );
}

#[test]
fn wrong_settings_are_explained() {
    let said = |with: &str| problems("filter.score", "{ chunks: inputs.chunks }", with);
    let wrong = [
        "{}",
        "{ strategy: top_k }",
        "{ strategy: { topk: 3 } }",
        "{ strategy: { top_k: 3, threshold: 0.5 } }",
        "{ strategy: { top_k: 0 } }",
        "{ strategy: { threshold: high } }",
        "{ strategy: { score_drop: { drop: 0.3 } } }",
        "{ strategy: { score_drop: { at: max_drop } } }",
        "{ strategy: { score_drop: { at: { relative: 3 } } } }",
        "{ strategy: { score_drop: { min_k: 5, max_k: 2 } } }",
        "{ strategy: { recency: { key: date } } }",
        "{ strategy: { recency: { key: date, since: 2024-13-01 } } }",
        "{ strategy: { top_k: 3 }, keep: 1 }",
    ];
    let shown = wrong.map(|with| format!("{with}\n{}\n", said(with))).concat();
    insta::assert_snapshot!(shown);
    for with in [
        "{ strategy: { recency: { key: date, since: \"${ inputs.query }\" } } }",
        "{ strategy: { recency: { key: date, since: 2024-01-01 } } }",
        "{ strategy: { mean_sd: {} } }",
    ] {
        assert_eq!(said(with), "", "{with}");
    }
}

fn any_strategy() -> impl proptest::strategy::Strategy<Value = Json> {
    prop_oneof![
        (1..8_usize).prop_map(|k| json!({"top_k": k})),
        (-1.0..1.0_f64).prop_map(|t| json!({"threshold": t})),
        (0.0..=1.0_f64).prop_map(|p| json!({"percentile": p})),
        (0.0..0.3_f64).prop_map(|eps| json!({"mean_sd": {"eps": eps}})),
        (0.0..=1.0_f64, 1..4_usize)
            .prop_map(|(fall, k)| json!({"score_drop": {"at": {"relative": fall}, "min_k": k}})),
        Just(json!({"score_drop": {"at": "max_gap"}})),
        (1..20_usize).prop_map(|budget| json!({"token_budget": budget})),
    ]
}

proptest! {
    #[test]
    fn no_chunk_that_is_left_out_is_better_than_one_that_is_kept(
        strategy in any_strategy(), min_keep in 0..4_usize, scores in proptest::collection::vec(-1.0..1.0_f64, 0..10),
    ) {
        let (kept, _) = keep(&json!({"strategy": strategy, "min_keep": min_keep}), &scores);
        prop_assert!(kept.len() >= min_keep.min(scores.len()));
        let worst = kept.iter().map(|place| scores[*place]).fold(f64::INFINITY, f64::min);
        for (place, score) in scores.iter().enumerate() {
            prop_assert!(kept.contains(&place) || *score <= worst);
        }
    }
}
