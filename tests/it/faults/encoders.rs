//! The faults, met by embedders and rerankers.

use anabranch_backends::embed::{EncoderSettings, OpenAiEmbedder, TeiEmbedder};
use anabranch_backends::rerank::{CohereReranker, TeiReranker};
use anabranch_engine::backend::{Embedder, Passage, Reranker};
use anabranch_engine::value::Text;

use super::*;

const TEXTS: [&str; 4] = ["Ada", "Grace", "Katherine", "Hedy"];

fn settings(url: &str, timeout: Duration) -> EncoderSettings {
    EncoderSettings {
        model: Some("m".into()),
        timeout,
        max_response_bytes: MAX_BYTES,
        ..EncoderSettings::new(url)
    }
}

fn texts() -> Vec<Text> {
    TEXTS.map(Text::from).into()
}

async fn embed(embedder: impl Embedder) -> Result<Outcome, Error> {
    let found = embedder.embed(&texts(), Passage::Document, &CALL).await?;
    assert_eq!(found.vectors.len(), TEXTS.len());
    Ok(Outcome::Answered)
}

async fn rerank(reranker: impl Reranker) -> Result<Outcome, Error> {
    let found = reranker.rerank("who?", &texts(), &CALL).await?;
    assert_eq!(found.scores.len(), TEXTS.len());
    Ok(Outcome::Answered)
}

/// Answers in JSON: one that is good, and some that are not.
fn shape(good: &str, wrong: &[&'static str]) -> Shape {
    let never = ["{}", "[]", "null", "7", "\"Ada\"", "[null]", r#"{"hello": "world"}"#];
    Shape {
        content_type: "application/json",
        good: good.to_owned(),
        cut_by_length: None,
        wrong: [&never, wrong].concat(),
        wrap: str::to_owned,
    }
}

#[tokio::test]
async fn an_openai_embedder_meets_every_fault() {
    let good = r#"{"data":[{"index":3,"embedding":[1,0]},{"index":0,"embedding":[0,1]},
        {"index":1,"embedding":[0.5,0.5]},{"index":2,"embedding":[1,1]}],"usage":{"prompt_tokens":4}}"#;
    let wrong = [
        r#"{"data": []}"#,
        r#"{"data": [{"index": 0, "embedding": [1, 0]}]}"#,
        r#"{"data": [{"embedding": [1]}, {"embedding": [1]}, {"embedding": [1]}, {"embedding": [1, 2]}]}"#,
        r#"{"data": [{"embedding": []}, {"embedding": []}, {"embedding": []}, {"embedding": []}]}"#,
        r#"{"data": [{"embedding": [0]}, {"embedding": [0]}, {"embedding": [0]}, {"embedding": [0]}]}"#,
        r#"{"data": [{"embedding": [1]}, {"embedding": [1]}, {"embedding": [1]}, {"embedding": [null]}]}"#,
        r#"{"data": [{"embedding": [1]}, {"embedding": [1]}, {"embedding": [1]}, {"embedding": [1e99]}]}"#,
        r#"{"data": [{"embedding": "AAA"}, {"embedding": "AAA"}, {"embedding": "A"}, {"embedding": "!"}]}"#,
        r#"{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]},
                     {"index": 1, "embedding": [1]}, {"index": 2, "embedding": [1]}]}"#,
        r#"{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1]},
                     {"index": 2, "embedding": [1]}, {"index": 4, "embedding": [1]}]}"#,
    ];
    let ask = |url: String, timeout: Duration| -> BoxFuture<'static, _> {
        Box::pin(async move { embed(OpenAiEmbedder::new(settings(&url, timeout)).unwrap()).await })
    };
    meet(Backend { shape: shape(good, &wrong), ask }).await;
}

#[tokio::test]
async fn a_tei_embedder_meets_every_fault() {
    let good = "[[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]";
    let wrong = [
        "[[]]",
        "[[1, 0]]",
        "[[1], [1], [1], [1], [1]]",
        "[[1], [1], [1], [1, 2]]",
        "[[1], [1], [1], [\"1\"]]",
        "[[], [], [], []]",
        "[[0], [0], [0], [0]]",
        "[[1], [1], [1], [null]]",
    ];
    let ask = |url: String, timeout: Duration| -> BoxFuture<'static, _> {
        Box::pin(async move { embed(TeiEmbedder::new(settings(&url, timeout)).unwrap()).await })
    };
    meet(Backend { shape: shape(good, &wrong), ask }).await;
}

#[tokio::test]
async fn a_cohere_reranker_meets_every_fault() {
    let good = r#"{"results":[{"index":2,"relevance_score":0.9},{"index":0,"relevance_score":0.5},
        {"index":1,"relevance_score":0.2},{"index":3,"relevance_score":0.1}]}"#;
    let wrong = [
        r#"{"results": []}"#,
        r#"{"results": [{"index": 0, "relevance_score": 1}]}"#,
        r#"{"results": [{"index": 0, "score": 1}, {"index": 1, "score": 1}, {"index": 2, "score": 1}, {"index": 3}]}"#,
        r#"{"results": [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 1},
                        {"index": 1, "relevance_score": 1}, {"index": 2, "relevance_score": 1}]}"#,
        r#"{"results": [{"index": 0, "relevance_score": 1}, {"index": 1, "relevance_score": 1},
                        {"index": 2, "relevance_score": 1}, {"index": 4, "relevance_score": 1}]}"#,
        r#"{"results": [{"index": 0, "relevance_score": 1}, {"index": 1, "relevance_score": 1},
                        {"index": 2, "relevance_score": 1}, {"index": 3, "relevance_score": null}]}"#,
    ];
    let ask = |url: String, timeout: Duration| -> BoxFuture<'static, _> {
        Box::pin(async move { rerank(CohereReranker::new(settings(&url, timeout)).unwrap()).await })
    };
    meet(Backend { shape: shape(good, &wrong), ask }).await;
}

#[tokio::test]
async fn a_tei_reranker_meets_every_fault() {
    let good = r#"[{"index":2,"score":0.9},{"index":0,"score":0.5},{"index":1,"score":0.2},{"index":3,"score":0.1}]"#;
    let wrong = [
        r#"[{"index": 0, "score": 1}]"#,
        r#"[{"index": 0, "score": 1}, {"index": 0, "score": 1}, {"index": 1, "score": 1}, {"index": 2, "score": 1}]"#,
        r#"[{"index": 0, "score": 1}, {"index": 1, "score": 1}, {"index": 2, "score": 1}, {"index": 4, "score": 1}]"#,
        r#"[{"index": 0, "score": 1}, {"index": 1, "score": 1}, {"index": 2, "score": 1}, {"index": 3, "score": "1"}]"#,
        r#"[{"index": -1, "score": 1}, {"index": 1, "score": 1}, {"index": 2, "score": 1}, {"index": 3, "score": 1}]"#,
    ];
    let ask = |url: String, timeout: Duration| -> BoxFuture<'static, _> {
        Box::pin(async move { rerank(TeiReranker::new(settings(&url, timeout)).unwrap()).await })
    };
    meet(Backend { shape: shape(good, &wrong), ask }).await;
}
