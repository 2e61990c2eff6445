//! The index on a Qdrant server, against exchanges in `qdrant/*.json`.
//!
//! They were written by hand from Qdrant's documentation (1.19), for want of a server: they hold us to what we mean to
//! send and to the documented answers, and say nothing about a real server.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use anabranch_backends::index::qdrant::{QdrantIndex, QdrantSettings};
use anabranch_backends::index::{Entry, Fingerprint, IndexStore as _, VectorSpace};
use anabranch_engine::backend::{By, Error, Filter, Index as _, IndexStats, Namespace, SearchQuery, Vector};
use anabranch_engine::value::{ByteRange, Chunk, ChunkId, DocumentId, LineRange, TokenCount};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::support::read;

#[derive(Debug, Deserialize)]
struct Exchange {
    method: String,
    path: String,
    query: String,
    body: Json,
    answer: Answer,
}

#[derive(Debug, Deserialize)]
struct Answer {
    status: u16,
    body: Json,
}

/// A server that takes the requests of a file in their order, and no others.
struct Replay {
    left: Arc<Mutex<VecDeque<Exchange>>>,
    /// What came that was not expected.
    wrong: Arc<Mutex<Vec<String>>>,
    index: QdrantIndex,
}

impl Replay {
    async fn of(file: &str) -> Self {
        let exchanges = serde_json::from_str(&read(&format!("tests/it/stores/qdrant/{file}.json"))).unwrap();
        let left = Arc::new(Mutex::new(exchanges));
        let wrong = Arc::new(Mutex::new(Vec::new()));
        let app = Router::new().fallback(answer).with_state((Arc::clone(&left), Arc::clone(&wrong)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // Ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, app).await });
        let settings = QdrantSettings {
            api_key: Some("a key".to_owned().into()),
            k1: 1.0,
            b: 0.0,
            ..QdrantSettings::new(url, "docs")
        };
        Self { left, wrong, index: QdrantIndex::new(settings).unwrap() }
    }

    fn done(self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(self.left.lock().unwrap().len(), 0, "not all requests came");
    }
}

type Shared = (Arc<Mutex<VecDeque<Exchange>>>, Arc<Mutex<Vec<String>>>);

async fn answer(State((left, wrong)): State<Shared>, request: Request) -> impl IntoResponse {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body: Json = if body.is_empty() { Json::Null } else { serde_json::from_slice(&body).unwrap() };
    let key = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let found = format!("{} {path}?{query} {body} ({key})", parts.method);
    let expected = left.lock().unwrap().pop_front();
    let wanted = expected.as_ref().map(|expected| {
        format!("{} {}?{} {} (Bearer a key)", expected.method, expected.path, expected.query, expected.body)
    });
    let is_expected = expected.as_ref().is_some_and(|expected| {
        expected.method == parts.method.as_str()
            && (expected.path.as_str(), expected.query.as_str(), &expected.body) == (path, query, &body)
            && key == "Bearer a key"
    });
    match expected {
        Some(expected) if is_expected => {
            (StatusCode::from_u16(expected.answer.status).unwrap(), axum::Json(expected.answer.body))
        }
        _ => {
            wrong.lock().unwrap().push(format!("expected {wanted:?}\nfound {found:?}"));
            (StatusCode::NOT_IMPLEMENTED, axum::Json(json!("unexpected")))
        }
    }
}

fn acme() -> Namespace {
    Namespace::new("acme").unwrap()
}

fn letters() -> VectorSpace {
    VectorSpace { identity: "letters".to_owned(), dimensions: 2 }
}

fn entry(doc: &str, start: u64, text: &str, meta: Json, vector: [f32; 2]) -> Entry {
    let doc = DocumentId(doc.into());
    let range = ByteRange { start, end: start + text.len() as u64 };
    let chunk = Chunk {
        id: ChunkId::new(&doc, range),
        doc,
        text: text.into(),
        range,
        lines: LineRange { first: 1, last: 1 },
        tokens: TokenCount(2),
        title: None,
        headings: Vec::new(),
        score: None,
        meta: serde_json::from_value(meta).unwrap(),
    };
    Entry { chunk: Arc::new(chunk), vector: Some(vector.into()) }
}

fn words(text: &str, filter: Json) -> SearchQuery {
    let by = By::Words { text: text.to_owned(), k1: 1.0, b: 0.0 };
    SearchQuery { by, top_k: 2, filter: serde_json::from_value(filter).unwrap(), namespace: acme() }
}

fn near(vector: impl Into<Vector>, filter: Json) -> SearchQuery {
    let filter: Filter = serde_json::from_value(filter).unwrap();
    SearchQuery { by: By::Vector(vector.into()), top_k: 1, filter, namespace: acme() }
}

async fn found(replay: &Replay, query: SearchQuery) -> Vec<(String, f64)> {
    let chunks = replay.index.search(&query).await.unwrap();
    chunks.iter().map(|chunk| (chunk.id.to_string(), chunk.score.unwrap().get())).collect()
}

fn named(expected: &[(&str, f64)]) -> Vec<(String, f64)> {
    expected.iter().map(|(name, score)| ((*name).to_owned(), *score)).collect()
}

#[tokio::test]
async fn qdrant_gets_a_collection_and_whole_documents() {
    let replay = Replay::of("write").await;
    let mut writer = replay.index.writer(&acme(), Some(&letters())).await.unwrap();
    let (a, b, c) = (DocumentId("a.md".into()), DocumentId("b.md".into()), DocumentId("c.md".into()));
    let entries = vec![
        entry("a.md", 0, "river basin", json!({ "lang": "en", "year": 2020 }), [1.0, 0.0]),
        entry(
            "a.md",
            20,
            "river river river",
            json!({ "lang": "de", "tags": ["b", null, ["x"]], "a.b": 0.5 }),
            [0.0, 1.0],
        ),
    ];
    writer.replace(&a, &Fingerprint::parse("of a"), entries).await.unwrap();
    writer.remove(&c).await.unwrap();
    let meta = json!({ "date": "2024-05-01", "gone": null, "empty": [] });
    let entries = vec![entry("b.md", 0, "basin", meta, [0.5, 0.5])];
    writer.replace(&b, &Fingerprint::parse("of b"), entries).await.unwrap();
    let mut wrong = entry("b.md", 0, "basin", json!({}), [0.5, 0.5]);
    wrong.vector = None;
    let error = writer.replace(&b, &Fingerprint::parse("of b"), vec![wrong]).await.unwrap_err().to_string();
    assert!(error.ends_with("comes with a vector of 0 numbers, the index takes 2"), "{error}");
    writer.finish().await.unwrap();
    replay.done();
}

#[tokio::test]
async fn qdrant_makes_the_collection_anew_for_vectors_of_another_embedder() {
    let replay = Replay::of("forget").await;
    replay.index.writer(&acme(), Some(&letters())).await.unwrap().finish().await.unwrap();
    replay.done();
}

#[tokio::test]
async fn qdrant_searches_one_namespace_by_words_and_by_vectors() {
    let replay = Replay::of("search").await;
    // Equal scores are put in the order of document and place, before the last cut.
    assert_eq!(
        found(&replay, words("river river basin", json!({}))).await,
        named(&[("a.md#0-11", 0.75), ("a.md#20-37", 0.5)])
    );
    assert_eq!(
        found(&replay, words("river", json!({ "lang": "en", "year": 2020 }))).await,
        named(&[("a.md#0-11", 0.25)])
    );
    assert_eq!(found(&replay, near([1.0, 0.0], json!({}))).await, named(&[("a.md#0-11", 1.0)]));
    replay.done();
}

#[tokio::test]
async fn what_qdrant_cannot_decide_is_decided_here_page_after_page() {
    let replay = Replay::of("paged").await;
    // The first has a higher score and no date; those of the first page are too old.
    let query = near([1.0, 0.0], json!({ "date": { "gte": "2024" } }));
    assert_eq!(found(&replay, query).await, named(&[("b.md#0-5", 0.3)]));
    replay.done();
}

#[tokio::test]
async fn qdrant_lists_documents_and_chunks_to_the_last_page() {
    let replay = Replay::of("lists").await;
    let manifest = replay.index.manifest(&acme()).await.unwrap();
    let (a, b) = (DocumentId("a.md".into()), DocumentId("b.md".into()));
    assert!(manifest.is_current(&a, &Fingerprint::parse("of a")) && manifest.len() == 2);
    assert!(
        !manifest.is_current(&b, &Fingerprint::parse("of b")),
        "it was being replaced by a run that was killed"
    );
    let chunks = replay.index.chunks_of(&acme(), &a).await.unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.range.start).collect::<Vec<_>>(), [0, 20]);
    let stats = replay.index.stats(&acme()).await.unwrap();
    assert_eq!(stats, IndexStats { documents: 2, chunks: 3, vectors: 3, dimensions: 2 });
    replay.done();
}

#[tokio::test]
async fn qdrant_says_what_is_wrong() {
    let replay = Replay::of("refused").await;
    let search = async |query: SearchQuery| replay.index.search(&query).await.unwrap_err();
    let river = || words("river", json!({}));
    let error = search(river()).await.to_string();
    assert!(error.contains("the collection `docs` is not ours"), "{error}");
    let error = search(river()).await.to_string();
    assert!(error.contains("has format 2, this program reads format 1"), "{error}");
    let error = replay.index.writer(&acme(), None).await.err().unwrap().to_string();
    assert!(error.contains("the server is Qdrant 1.18.3; 1.19 or newer is needed"), "{error}");
    let error = search(SearchQuery::words("river", 3)).await;
    assert!(
        matches!(&error, Error::Rejected { message, .. } if message.starts_with("its words were weighed with k1 = 1 and b = 0")),
        "{error}"
    );
    let error = search(near([1.0, 0.0, 0.0], json!({}))).await.to_string();
    assert!(error.contains("its vectors have 2 numbers, the query's has 3"), "{error}");
    let nothing = replay.index.search(&words("river", json!({ "lang": [] }))).await.unwrap();
    assert_eq!(nothing, [], "no request is needed to know that nothing passes");
    let error = search(river()).await;
    assert!(matches!(&error, Error::Rejected { message, .. } if message.starts_with("401")), "{error}");
    let error = search(river()).await;
    assert!(
        matches!(&error, Error::Unavailable { message, .. } if message.ends_with("no space left")),
        "{error}"
    );
    let nothing = replay.index.search(&river()).await.unwrap();
    assert_eq!(nothing, [], "nothing has been indexed yet");
    let error =
        QdrantIndex::new(QdrantSettings::new("http://localhost:6333", "a/b")).unwrap_err().to_string();
    assert!(error.contains("is no name of a collection"), "{error}");
    replay.done();
}
