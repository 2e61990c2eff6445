//! Tests of the operator: ports, settings, and what its statistics say.

use std::sync::Arc;

use anabranch_engine::backend::ChatRequest;
use anabranch_engine::cx::{Cx, Model};
use anabranch_engine::value::{Chunk, TokenCount};
use serde_json::json;

use super::*;
use crate::select::search::Stop;
use crate::testing::{
    Scripted, Shelf, chunk, docs_of, encoders, linked, problems, rendered, scored, validator,
};

fn settings(with: serde_json::Value) -> Mcts {
    serde_json::from_value(with).unwrap()
}

async fn select_from(cx: &Cx, with: serde_json::Value, chunks: Vec<Arc<Chunk>>) -> Result<Out, OpError> {
    settings(with).run(cx, In { query: linked().0, chunks }).await
}

async fn select(with: serde_json::Value) -> Out {
    select_from(&Shelf::small().cx(), with, linked().1).await.unwrap()
}

async fn judged(with: serde_json::Value, answers: &[&str]) -> (Result<Out, OpError>, Vec<ChatRequest>) {
    let model = Scripted::new(answers);
    let out = select_from(&model.cx(), json!({"max_tokens": 14, "judge": with}), linked().1).await;
    (out, model.requests())
}

const YES: &str = r#"{"reason": "It says 1775.", "answerable": true}"#;
const NO: &str = r#"{"reason": "Nothing says when.", "answerable": false}"#;

#[tokio::test]
async fn chunks_that_belong_together_are_taken_and_the_rest_is_dropped() {
    let out = select(json!({"max_tokens": 14})).await;
    assert_eq!(docs_of(&out.chunks), ["novel", "author"]);
    assert_eq!(docs_of(&out.dropped), ["other", "copy"]);
    assert_eq!((out.tokens, out.stats.cost, out.stats.candidates), (13, 13, 3));
    assert_eq!(out.stats.stop, Stop::Exhausted);
    assert!(out.stats.best_value > 1.0 && out.stats.judged.is_none());
}

#[tokio::test]
async fn the_tokens_are_never_more_than_allowed() {
    for max_tokens in 1..40 {
        let out = select(json!({"max_tokens": max_tokens})).await;
        assert!(out.tokens <= max_tokens, "{} of {max_tokens}", out.tokens);
        assert_eq!(out.chunks.is_empty(), out.stats.stop == Stop::NothingFits, "{max_tokens}");
    }
}

#[tokio::test]
async fn a_copy_is_taken_once_at_most() {
    for max_tokens in [14, 100, 10_000] {
        let out = select(json!({"max_tokens": max_tokens})).await;
        let docs = docs_of(&out.chunks);
        assert!(!docs.contains(&"copy".to_owned()), "{docs:?}");
    }
}

#[tokio::test]
async fn the_order_in_which_chunks_come_changes_nothing() {
    let (_, chunks) = linked();
    let mut expected = None;
    for at in 0..24 {
        let mut chunks = chunks.clone();
        chunks.rotate_left(at % 4);
        chunks.swap(at % 3, 3);
        // Equal scores too: nothing but the chunks themselves may decide.
        for has_equal in [false, true] {
            let chunks = chunks.iter().map(|one| if has_equal { scored(one, 1.0) } else { one.clone() });
            let cx = Shelf::small().cx();
            let with = json!({"max_tokens": 20, "iterations": 2});
            let out = select_from(&cx, with, chunks.collect()).await.unwrap();
            let found = (docs_of(&out.chunks), out.stats);
            let expected = expected.get_or_insert_with(|| [found.clone(), found.clone()]);
            if at == 0 {
                expected[usize::from(has_equal)] = found.clone();
            }
            assert_eq!(found, expected[usize::from(has_equal)]);
        }
    }
}

#[tokio::test]
async fn a_reranker_reads_sets_as_one_text_in_the_order_that_may_matter() {
    let reward = json!({"cross_encoder": {}});
    let chunks = vec![chunk("b", "born author"), chunk("a", "the novel emma"), chunk("c", "a page")];
    let cx = Shelf::small().cx();
    for (ordered, evals) in [(false, 7), (true, 15)] {
        let with = json!({"reward": reward, "ordered": ordered});
        let out = select_from(&cx, with, chunks.clone()).await.unwrap();
        assert_eq!(docs_of(&out.chunks).len(), 2, "{:?}", out.chunks);
        assert_eq!((out.stats.evals, out.dropped.len()), (evals, 1));
    }
    let capped = json!({"reward": reward, "max_evals": 4});
    let out = select_from(&cx, capped, chunks).await.unwrap();
    assert_eq!((out.stats.evals, out.stats.stop), (4, Stop::MaxEvals));
}

#[tokio::test]
async fn a_reranker_that_fails_is_a_failure_and_not_a_choice() {
    let mut resources = encoders();
    resources.rerankers.clear();
    let cx = anabranch_engine::testing::cx_with(resources);
    let error = select_from(&cx, json!({"reward": {"cross_encoder": {}}}), linked().1).await.unwrap_err();
    assert!(error.to_string().contains("no reranker `default`"), "{error}");
}

#[tokio::test]
async fn the_judge_is_shown_the_best_set_first_and_the_first_that_answers_is_taken() {
    let (out, requests) = judged(json!({"sets": 3}), &[YES]).await;
    let out = out.unwrap();
    assert_eq!(docs_of(&out.chunks), ["novel", "author"]);
    assert_eq!((out.stats.judged, out.stats.answerable, requests.len()), (Some(1), Some(true), 1));

    let (out, requests) = judged(json!({"sets": 3}), &[NO, YES]).await;
    let out = out.unwrap();
    assert_ne!(docs_of(&out.chunks), ["novel", "author"]);
    assert_eq!((out.stats.judged, out.stats.answerable, requests.len()), (Some(2), Some(true), 2));
    assert_eq!(out.tokens, out.stats.cost);
}

#[tokio::test]
async fn where_no_set_answers_the_best_stays_and_it_is_said() {
    let (out, requests) = judged(json!({}), &[NO, NO]).await;
    let out = out.unwrap();
    assert_eq!(docs_of(&out.chunks), ["novel", "author"]);
    assert_eq!((out.stats.judged, out.stats.answerable, requests.len()), (Some(2), Some(false), 2));
}

#[tokio::test]
async fn a_judgement_that_cannot_be_read_is_repaired_once_then_an_error() {
    let (out, requests) = judged(json!({}), &["yes", YES]).await;
    assert_eq!((out.unwrap().stats.answerable, requests.len()), (Some(true), 2));
    let error = judged(json!({}), &["yes", "yes"]).await.0.unwrap_err();
    assert!(error.to_string().contains("it holds no JSON"), "{error}");
}

#[tokio::test]
async fn without_a_model_a_judge_says_what_is_missing() {
    let cx = Shelf::small().cx();
    let error = select_from(&cx, json!({"judge": {}}), linked().1).await.unwrap_err();
    assert!(error.to_string().contains("`extractive`"), "{error}");
}

#[tokio::test]
async fn the_prompt_of_the_judge_fences_what_was_retrieved() {
    let (_, requests) = judged(json!({}), &[YES]).await;
    insta::assert_snapshot!(rendered(&requests[0]));
}

/// A model that counts a token for every character.
#[derive(Debug)]
struct Letters;

#[async_trait]
impl anabranch_engine::backend::ChatModel for Letters {
    fn name(&self) -> &'static str {
        "letters"
    }

    async fn chat(
        &self,
        _: &ChatRequest,
        _: &anabranch_engine::backend::Call<'_>,
    ) -> Result<anabranch_engine::backend::ChatResponse, anabranch_engine::backend::Error> {
        unreachable!("it only counts")
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        Some(text.chars().count())
    }
}

#[tokio::test]
async fn tokens_are_those_of_the_model_that_reads() {
    let mut resources = encoders();
    resources.models.insert("reader".to_owned(), Model::Chat(Arc::new(Letters)));
    let cx = anabranch_engine::testing::cx_with(resources);
    // What a chunk says of its length was counted in another way.
    let wrong = |chunk: &Arc<Chunk>| Arc::new(Chunk { tokens: TokenCount(1), ..Chunk::clone(chunk) });
    let wrong: Vec<Arc<Chunk>> = linked().1.iter().map(wrong).collect();
    let out = select_from(&cx, json!({"model": "reader", "max_tokens": 36}), wrong.clone()).await.unwrap();
    assert_eq!((docs_of(&out.chunks), out.tokens), (vec!["novel".to_owned(), "author".to_owned()], 36));
    let out = select_from(&cx, json!({"model": "reader", "max_tokens": 35}), wrong).await.unwrap();
    assert_eq!((out.chunks.len(), out.tokens), (1, 23));
}

#[test]
fn an_order_that_cannot_matter_is_pointed_out() {
    let inputs = "{ query: inputs.query, chunks: inputs.chunks }";
    let found = problems("select.mcts", inputs, "{ ordered: true }");
    assert!(found.contains("this reward is the same in every order"), "{found}");
    let found = problems("select.mcts", inputs, "{ judge: { model: gtp } }");
    assert!(found.contains("no model `gtp`"), "{found}");
    let found = problems("select.mcts", inputs, "{ reward: { cross_encoder: { reranker: rank } } }");
    assert!(found.contains("no reranker `rank`"), "{found}");
    assert!(!problems("select.mcts", inputs, "{ judge: {}, patience: 5 }").contains("error"));
}

#[test]
fn settings_out_of_range_are_refused() {
    let validator = validator("select.mcts");
    for wrong in [
        json!({"max_tokens": 0}),
        json!({"candidates": 65}),
        json!({"iterations": 0}),
        json!({"backup": "sum"}),
        json!({"judge": {"sets": 4}}),
        json!({"warm_start": "random"}),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
    assert!(validator.is_valid(&json!({"seed": 3, "backup": "mean", "warm_start": "none"})));
}

#[test]
fn only_a_judge_asks_a_model() {
    assert_eq!(settings(json!({})).model_calls_max(), 0);
    assert_eq!(settings(json!({"judge": {"sets": 3}})).model_calls_max(), 6);
}

#[tokio::test]
async fn the_tree_shows_the_way_to_the_set_taken() {
    for with in [
        json!({ "max_tokens": 14, "warm_start": "none", "exchanges": 0 }),
        json!({ "max_tokens": 14 }),
        // The set is found by an exchange, or is none of the few that are gone through.
        json!({ "max_tokens": 100, "iterations": 1, "warm_start": "none", "exchanges": 9 }),
    ] {
        let out = select(with.clone()).await;
        let tree = &out.tree;
        assert!(tree.len() >= 2 && tree[0].parent.is_none() && tree[0].label == "nothing", "{with}");
        for (n, branch) in tree.iter().enumerate().skip(1) {
            assert!(branch.id == n && branch.parent.unwrap() < n && !branch.label.is_empty(), "{tree:?}");
        }
        let way = tree.iter().filter(|branch| branch.chosen && branch.parent.is_some());
        let mut way: Vec<&str> = way.map(|branch| branch.label.as_str()).collect();
        let mut taken: Vec<&str> = out.chunks.iter().map(|chunk| &*chunk.id.0).collect();
        way.sort_unstable();
        taken.sort_unstable();
        assert_eq!(way, taken, "{with}");
    }
}
