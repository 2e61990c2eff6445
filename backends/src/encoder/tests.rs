//! What the four clients send and what they make of the answers, over real sockets.

use std::sync::{Arc, Mutex};

use anabranch_engine::backend::{Embedder, Passage, Reranker};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::embed::{OpenAiEmbedder, TeiEmbedder};
use crate::rerank::{CohereReranker, TeiReranker};

mod faults;
mod rules;

const CALL: Call<'static> = Call::keyed("key");

#[derive(Debug, Clone, Copy, PartialEq)]
enum Client {
    OpenAi,
    TeiEmbed,
    TeiRerank,
    Cohere,
}

const CLIENTS: [Client; 4] = [Client::OpenAi, Client::TeiEmbed, Client::TeiRerank, Client::Cohere];

impl Client {
    /// The answers to `texts`: the vectors, or the scores as vectors of length one.
    async fn ask(self, settings: EncoderSettings, texts: &[&str]) -> Result<Vec<Vec<f64>>, Error> {
        let texts: Vec<Text> = texts.iter().map(|text| Text::from(*text)).collect();
        let reranker: Box<dyn Reranker> = match self {
            Self::OpenAi => {
                return vectors(&OpenAiEmbedder::new(settings).unwrap(), &texts).await;
            }
            Self::TeiEmbed => {
                return vectors(&TeiEmbedder::new(settings).unwrap(), &texts).await;
            }
            Self::TeiRerank => Box::new(TeiReranker::new(settings).unwrap()),
            Self::Cohere => Box::new(CohereReranker::new(settings).unwrap()),
        };
        let found = reranker.rerank("a?", &texts, &CALL).await?;
        Ok(found.scores.into_iter().map(|score| vec![score]).collect())
    }

    fn path(self) -> &'static str {
        match self {
            Self::OpenAi => "/v1/embeddings",
            Self::TeiEmbed => "/embed",
            Self::TeiRerank => "/rerank",
            Self::Cohere => "/v1/rerank",
        }
    }

    /// The texts in a request.
    fn texts(self, body: &Value) -> Vec<String> {
        let field = match self {
            Self::OpenAi => "input",
            Self::TeiEmbed => "inputs",
            Self::TeiRerank => "texts",
            Self::Cohere => "documents",
        };
        serde_json::from_value(body[field].clone()).unwrap()
    }

    /// A good answer: something that tells how long each text is, last text first where the protocol allows it.
    fn good(self, body: &Value) -> Value {
        let lengths: Vec<f64> = self.texts(body).iter().map(|text| text.len() as f64).collect();
        let backwards = lengths.iter().enumerate().rev();
        match self {
            Self::OpenAi => {
                let data: Vec<_> =
                    backwards.map(|(n, l)| json!({ "index": n, "embedding": [l, 1.0] })).collect();
                json!({ "data": data, "usage": { "prompt_tokens": 5, "total_tokens": 5 } })
            }
            Self::TeiEmbed => lengths.iter().map(|length| json!([length, 1.0])).collect(),
            Self::TeiRerank => backwards.map(|(n, l)| json!({ "index": n, "score": l / 100.0 })).collect(),
            Self::Cohere => {
                let results: Vec<_> =
                    backwards.map(|(n, l)| json!({ "index": n, "relevance_score": l / 100.0 })).collect();
                json!({ "results": results, "usage": { "total_tokens": 5 } })
            }
        }
    }

    /// What [`Self::ask`] gives for texts of these lengths.
    fn expected(self, lengths: &[f64]) -> Vec<Vec<f64>> {
        let row = |length: &f64| match self {
            Self::OpenAi | Self::TeiEmbed => {
                let norm = (length * length + 1.0).sqrt();
                vec![length / norm, 1.0 / norm]
            }
            Self::TeiRerank | Self::Cohere => vec![length / 100.0],
        };
        lengths.iter().map(row).collect()
    }
}

async fn vectors(embedder: &dyn Embedder, texts: &[Text]) -> Result<Vec<Vec<f64>>, Error> {
    let found = embedder.embed(texts, Passage::Document, &CALL).await?;
    Ok(found.vectors.iter().map(|vector| vector.iter().map(|number| f64::from(*number)).collect()).collect())
}

fn close(a: &[Vec<f64>], b: &[Vec<f64>]) -> bool {
    let near = |(a, b): (&Vec<f64>, &Vec<f64>)| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
    };
    a.len() == b.len() && a.iter().zip(b).all(near)
}

/// A request as the server got it.
#[derive(Debug, Clone)]
struct Seen {
    path: String,
    headers: HeaderMap,
    body: Value,
}

/// A server that answers every request with what `answer` gives; its address.
async fn server<F, R>(answer: F) -> String
where
    F: Fn(Seen) -> R + Clone + Send + Sync + 'static,
    R: IntoResponse,
{
    let handler = move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let answer = answer.clone();
        async move {
            if uri.path().ends_with("/models") {
                return axum::Json(json!({ "data": [{ "id": "first" }, { "id": "second" }] }))
                    .into_response();
            }
            let body = serde_json::from_slice(&body).unwrap();
            answer(Seen { path: uri.path().to_owned(), headers, body }).into_response()
        }
    };
    serve(Router::new().fallback(handler)).await
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn settings(url: &str) -> EncoderSettings {
    EncoderSettings { model: Some("m".into()), ..EncoderSettings::new(url) }
}

const TEXTS: [&str; 5] = ["a", "bb", "ccc", "dddd", "eeeee"];
const LENGTHS: [f64; 5] = [1.0, 2.0, 3.0, 4.0, 5.0];

#[tokio::test]
async fn answers_come_in_the_order_of_the_texts_over_all_batches() {
    for client in CLIENTS {
        let n_requests = Arc::new(Mutex::new(0));
        let count = n_requests.clone();
        let url = server(move |seen| {
            assert_eq!(seen.path, client.path());
            *count.lock().unwrap() += 1;
            axum::Json(client.good(&seen.body))
        })
        .await;
        let settings = EncoderSettings { batch_size: 2, ..settings(&url) };
        let found = client.ask(settings, &TEXTS).await.unwrap();
        assert!(close(&found, &client.expected(&LENGTHS)), "{client:?}: {found:?}");
        assert_eq!(*n_requests.lock().unwrap(), 3);
    }
}

#[tokio::test]
async fn nothing_is_asked_about_no_texts() {
    for client in CLIENTS {
        let nowhere = settings("http://127.0.0.1:1");
        assert!(client.ask(nowhere, &[]).await.unwrap().is_empty(), "{client:?}");
    }
}

#[tokio::test]
async fn no_more_batches_than_allowed_are_under_way() {
    let most = Arc::new(Mutex::new((0, 0)));
    let (seen, barrier) = (most.clone(), Arc::new(tokio::sync::Barrier::new(2)));
    let handler = move |body: axum::Json<Value>| {
        let (seen, barrier) = (seen.clone(), barrier.clone());
        async move {
            {
                let mut now = seen.lock().unwrap();
                now.0 += 1;
                now.1 = now.1.max(now.0);
            }
            // Each answer waits for another request: with one at a time, nothing would ever come.
            barrier.wait().await;
            seen.lock().unwrap().0 -= 1;
            axum::Json(Client::TeiEmbed.good(&body.0))
        }
    };
    let url = serve(Router::new().route("/embed", axum::routing::post(handler))).await;
    let settings = EncoderSettings { batch_size: 1, concurrency: 2, ..settings(&url) };
    Client::TeiEmbed.ask(settings, &["a", "b", "c", "d", "e", "f"]).await.unwrap();
    assert_eq!(most.lock().unwrap().1, 2);
}

#[tokio::test]
async fn requests_say_what_each_server_expects() {
    for (client, expected) in [
        (
            Client::OpenAi,
            json!({ "model": "m", "input": ["d: a"], "encoding_format": "float", "dimensions": 2 }),
        ),
        (
            Client::TeiEmbed,
            json!({ "inputs": ["d: a"], "truncate": true, "normalize": true, "dimensions": 2 }),
        ),
        (
            Client::TeiRerank,
            json!({ "query": "q: a?", "texts": ["d: a"], "truncate": true, "raw_scores": false }),
        ),
        (Client::Cohere, json!({ "model": "m", "query": "q: a?", "documents": ["d: a"], "top_n": 1 })),
    ] {
        let kept = Arc::new(Mutex::new(None));
        let keep = kept.clone();
        let url = server(move |seen| {
            let answer = client.good(&seen.body);
            *keep.lock().unwrap() = Some(seen);
            axum::Json(answer)
        })
        .await;
        let settings = EncoderSettings {
            api_key: Some("s3cret".into()),
            query_prefix: "q: ".into(),
            document_prefix: "d: ".into(),
            dimensions: Some(2),
            ..settings(&url)
        };
        assert!(!format!("{settings:?}").contains("s3cret"));
        client.ask(settings, &["a"]).await.unwrap();
        let seen = kept.lock().unwrap().take().unwrap();
        assert_eq!(seen.body, expected, "{client:?}");
        assert_eq!(seen.headers["authorization"], "Bearer s3cret");
        assert_eq!(seen.headers["idempotency-key"], "key/0-1");
    }
}

#[tokio::test]
async fn queries_have_a_prefix_of_their_own() {
    let url = server(|seen| {
        assert_eq!(seen.body["inputs"], json!(["query: a"]));
        axum::Json(json!([[1.0]]))
    })
    .await;
    let settings = EncoderSettings {
        query_prefix: "query: ".into(),
        document_prefix: "passage: ".into(),
        ..settings(&url)
    };
    let embedder = TeiEmbedder::new(settings).unwrap();
    embedder.embed(&["a".into()], Passage::Query, &CALL).await.unwrap();
    assert_eq!(embedder.identity(), r#"tei:m document_prefix="passage: ""#);
}

#[tokio::test]
async fn without_a_model_the_first_that_the_server_lists_is_asked() {
    for client in [Client::OpenAi, Client::Cohere] {
        let url = server(move |seen| {
            assert_eq!(seen.body["model"], "first");
            axum::Json(client.good(&seen.body))
        })
        .await;
        client.ask(EncoderSettings::new(&url), &["a"]).await.unwrap();
    }
}

#[tokio::test]
async fn what_vectors_come_from_has_the_same_name_before_and_after_the_first_call() {
    let url = server(|seen| axum::Json(Client::OpenAi.good(&seen.body))).await;
    let embedder = OpenAiEmbedder::new(EncoderSettings::new(&url)).unwrap();
    let before = embedder.identity();
    let answer = embedder.embed(&["a".into()], Passage::Document, &CALL).await.unwrap();
    assert_eq!(embedder.identity(), before);
    assert_eq!(before, format!("openai:{}", url.trim_start_matches("http://")));
    assert_eq!(answer.usage.prompt_tokens, 5);
    let small = EncoderSettings { dimensions: Some(2), ..settings(&url) };
    assert_eq!(OpenAiEmbedder::new(small).unwrap().identity(), "openai:m dimensions=2");
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_halved_until_it_fits() {
    for (client, status, words) in [
        (Client::OpenAi, StatusCode::BAD_REQUEST, "max 300000 tokens per request"),
        (Client::TeiEmbed, StatusCode::PAYLOAD_TOO_LARGE, ""),
        (Client::TeiRerank, StatusCode::UNPROCESSABLE_ENTITY, "batch size 5 > maximum allowed batch size 2"),
        (Client::Cohere, StatusCode::BAD_REQUEST, "too many documents"),
    ] {
        let keys = Arc::new(Mutex::new(Vec::new()));
        let keep = keys.clone();
        let url = server(move |seen| {
            let key = seen.headers["idempotency-key"].to_str().unwrap().to_owned();
            keep.lock().unwrap().push(key);
            if client.texts(&seen.body).len() > 2 {
                return (status, axum::Json(json!({ "error": words }))).into_response();
            }
            axum::Json(client.good(&seen.body)).into_response()
        })
        .await;
        let found = client.ask(settings(&url), &TEXTS).await.unwrap();
        assert!(close(&found, &client.expected(&LENGTHS)), "{client:?}: {found:?}");
        assert_eq!(*keys.lock().unwrap(), ["key/0-5", "key/0-2", "key/2-5", "key/2-3", "key/3-5"]);
    }
}

#[tokio::test]
async fn vectors_are_read_from_base64_as_well() {
    // 3.0 and 4.0, little-endian.
    let url = server(|_| r#"{"data": [{"embedding": "AABAQAAAgEA="}]}"#).await;
    let found = Client::OpenAi.ask(settings(&url), &["a"]).await.unwrap();
    assert!(close(&found, &[vec![0.6, 0.8]]), "{found:?}");
}

#[tokio::test]
async fn tokens_are_read_from_the_header_of_tei() {
    let url = server(|_| ([("x-compute-tokens", "12")], "[[1.0]]")).await;
    let embedder = TeiEmbedder::new(settings(&url)).unwrap();
    let answer = embedder.embed(&["a".into()], Passage::Query, &CALL).await.unwrap();
    assert_eq!(answer.usage.prompt_tokens, 12);
}
