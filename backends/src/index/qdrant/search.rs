//! The two searches: pages of candidates from the server, checked and put in order here.

use std::sync::Arc;

use anabranch_engine::backend::{Error, SearchQuery, Vector};
use anabranch_engine::value::{Chunk, Score};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Shared;
use super::collection::Collection;
use super::filter::{self, Conditions};
use super::points::{self, Found, Kind, Sparse};

/// How many more candidates than asked for one request brings: place decides among equals, so all should be seen.
const SPARE: usize = 16;
/// Most candidates of one request.
const PAGE_MAX: usize = 1000;
/// Most candidates looked at for one search.
const CANDIDATES_MAX: usize = 10_000;

#[derive(Deserialize)]
struct Answer {
    points: Vec<Found>,
}

/// BM25 with the weights that the chunks were written with.
pub(super) async fn by_words(
    shared: &Shared,
    collection: &Collection,
    query: &SearchQuery,
    text: &str,
    k1: f32,
    b: f32,
) -> Result<Vec<Arc<Chunk>>, Error> {
    let weights = collection.weights;
    if (k1, b) != (weights.k1, weights.b) {
        return Err(shared.failures.rejected(format!(
            "its words were weighed with k1 = {} and b = {} when they were written, so k1 = {k1} and b = {b} cannot be \
             had; ask with those, or set these for the index and index again",
            weights.k1, weights.b
        )));
    }
    let Some(words) = Sparse::of_query(text) else {
        return Ok(Vec::new());
    };
    // How rare a word is is a matter of the namespace, whatever the filter.
    let corpus = points::within(Kind::Chunk, &query.namespace, None);
    let ask = json!({ "query": words, "using": points::WORDS, "params": { "idf": { "corpus": corpus } } });
    candidates(shared, query, ask).await
}

/// The nearest chunks of the namespace.
pub(super) async fn by_vector(
    shared: &Shared,
    collection: &Collection,
    query: &SearchQuery,
    vector: &Vector,
) -> Result<Vec<Arc<Chunk>>, Error> {
    let Some(space) = &collection.vectors else {
        return Err(shared.failures.rejected("it has no vectors; give it an `embedder` and index again"));
    };
    if usize::try_from(space.dimensions) != Ok(vector.len()) {
        return Err(shared.failures.rejected(format!(
            "its vectors have {} numbers, the query's has {}; index again with the embedder that asks",
            space.dimensions,
            vector.len()
        )));
    }
    let params = json!({ "exact": shared.settings.exact });
    candidates(shared, query, json!({ "query": vector.as_ref(), "using": points::DENSE, "params": params }))
        .await
}

/// The best of the candidates that `ask` brings, a page after the other until the best are known.
async fn candidates(shared: &Shared, query: &SearchQuery, mut ask: Json) -> Result<Vec<Arc<Chunk>>, Error> {
    let Some(Conditions { must, are_whole }) = filter::conditions(&query.filter) else {
        return Ok(Vec::new());
    };
    let mut scope = points::within(Kind::Chunk, &query.namespace, None);
    if let Some(all) = scope.get_mut("must").and_then(Json::as_array_mut) {
        all.extend(must);
    }
    let page = query.top_k.saturating_add(SPARE).min(PAGE_MAX);
    if let Some(fields) = ask.as_object_mut() {
        fields.insert("filter".to_owned(), scope);
        fields.insert("limit".to_owned(), json!(page));
        fields.insert("with_payload".to_owned(), json!(["record"]));
    }
    let mut passed: Vec<(f64, Chunk)> = Vec::new();
    let mut n_seen = 0;
    while n_seen < CANDIDATES_MAX.max(query.top_k) {
        if let (Some(fields), true) = (ask.as_object_mut(), n_seen > 0) {
            fields.insert("offset".to_owned(), json!(n_seen));
        }
        let answer = shared.ask::<Answer>(Method::POST, "/points/query", Some(&ask)).await?;
        let found = answer.map(|answer| answer.points).unwrap_or_default();
        let is_last = found.len() < page;
        let lowest = found.last().map_or(f64::NEG_INFINITY, |found| found.score);
        n_seen += found.len();
        for found in found {
            let value = found.score;
            let chunk = found.chunk(&shared.failures)?;
            // The server has decided most of it; this makes sure.
            if query.filter.passes(&chunk.meta) {
                passed.push((value, chunk));
            }
        }
        passed.sort_by(|(a, left), (b, right)| {
            b.total_cmp(a).then_with(|| (&left.doc, left.range).cmp(&(&right.doc, right.range)))
        });
        let is_decided =
            query.top_k.checked_sub(1).and_then(|k| passed.get(k)).is_some_and(|(score, _)| *score > lowest);
        if is_last || is_decided {
            return Ok(best(passed, query.top_k));
        }
    }
    if !are_whole && passed.len() < query.top_k {
        return Err(shared.failures.rejected(format!(
            "the filter compares texts by order, which Qdrant cannot, and among the first {n_seen} candidates only {} \
             pass; ask for equal values, or for numbers",
            passed.len()
        )));
    }
    // So many are equal that their order by place cannot be found out.
    Ok(best(passed, query.top_k))
}

fn best(mut passed: Vec<(f64, Chunk)>, top_k: usize) -> Vec<Arc<Chunk>> {
    passed.truncate(top_k);
    passed.into_iter().map(|(score, chunk)| Arc::new(Chunk { score: Score::new(score), ..chunk })).collect()
}
