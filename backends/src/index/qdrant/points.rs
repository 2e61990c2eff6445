//! What is kept as a point: chunks, the documents that they are of, and how they are found again.

use std::collections::BTreeMap;

use anabranch_engine::backend::{Error, Namespace, Vector};
use anabranch_engine::value::{Chunk, DocumentId, Metadata};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::super::Entry;
use super::super::embedded::{counted_words, words_of};
use super::collection::Weights;
use crate::http::Failures;

/// The name of the vectors of an embedder.
pub(super) const DENSE: &str = "dense";
/// The name of the vectors of words.
pub(super) const WORDS: &str = "words";

/// What a point stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// The collection itself.
    Index,
    /// A document: that it is here, and what it was made from.
    Document,
    /// A chunk.
    Chunk,
}

/// Words and what each weighs, as Qdrant takes them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Sparse {
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl Sparse {
    fn of(weights: BTreeMap<u32, f64>) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "the server keeps no more digits")]
        let (indices, values) = weights.into_iter().map(|(index, weight)| (index, weight as f32)).unzip();
        Self { indices, values }
    }

    /// The words of a chunk: how much each counts, but for how rare it is, which the server knows.
    fn of_chunk(chunk: &Chunk, weights: Weights) -> Self {
        let words = words_of(chunk);
        let (k1, b) = (f64::from(weights.k1), f64::from(weights.b));
        let length = words.len() as f64 / f64::from(weights.average_words);
        let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
        for word in &words {
            *counts.entry(number(word)).or_default() += 1.0;
        }
        let saturated = |n: f64| n / (n + k1 * (1.0 - b + b * length));
        Self::of(counts.into_iter().map(|(word, n)| (word, saturated(n))).collect())
    }

    /// The words of a query; `None` if it has none.
    pub(super) fn of_query(text: &str) -> Option<Self> {
        let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
        for (word, n_asked) in counted_words(text) {
            *counts.entry(number(&word)).or_default() += f64::from(n_asked);
        }
        (!counts.is_empty()).then(|| Self::of(counts))
    }
}

/// The number by which a word goes.
fn number(word: &str) -> u32 {
    let mut first = [0_u8; 4];
    blake3::Hasher::new().update(word.as_bytes()).finalize_xof().fill(&mut first);
    u32::from_be_bytes(first)
}

/// The id of the point that `parts` name: a UUID, since Qdrant takes nothing else that is long enough.
pub(super) fn id(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        // With the length before it, no two lists of parts read the same.
        hasher.update(&(part.len() as u64).to_be_bytes()).update(part.as_bytes());
    }
    let mut bytes = [0_u8; 16];
    hasher.finalize_xof().fill(&mut bytes);
    let mut bits = u128::from_be_bytes(bytes);
    // Version 8, which says that the rest is ours; the usual variant.
    bits = bits & !(0xf << 76) | (0x8 << 76);
    bits = bits & !(0x3 << 62) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

/// The condition for what the namespace holds of a kind, or of that what belongs to a document.
pub(super) fn within(kind: Kind, namespace: &Namespace, doc: Option<&DocumentId>) -> Json {
    let mut must = vec![is("kind", kind), is("namespace", namespace.as_str())];
    must.extend(doc.map(|doc| is("doc", doc)));
    json!({ "must": must })
}

pub(super) fn is<T: Serialize>(key: &str, value: T) -> Json {
    json!({ "key": key, "match": { "value": value } })
}

/// The point of a document, which stands for what has the fingerprint; for nothing yet, if that is empty.
pub(super) fn document(namespace: &Namespace, doc: &DocumentId, fingerprint: &str) -> Json {
    json!({
        "id": document_id(namespace, doc),
        "vector": {},
        "payload": { "kind": Kind::Document, "namespace": namespace.as_str(), "doc": doc, "fingerprint": fingerprint },
    })
}

pub(super) fn document_id(namespace: &Namespace, doc: &DocumentId) -> String {
    id(&["document", namespace.as_str(), &doc.0])
}

/// The point of the chunk that is the `position`th of its document.
pub(super) fn chunk(
    namespace: &Namespace,
    doc: &DocumentId,
    position: usize,
    entry: &Entry,
    weights: Weights,
) -> Json {
    // Of another document, the chunk would stay behind when this one changes.
    let chunk = Chunk { doc: doc.clone(), score: None, ..Chunk::clone(&entry.chunk) };
    let mut vector = json!({ WORDS: Sparse::of_chunk(&chunk, weights) });
    if let (Some(numbers), Some(named)) = (&entry.vector, vector.as_object_mut()) {
        let numbers: &Vector = numbers;
        named.insert(DENSE.to_owned(), json!(numbers.as_ref()));
    }
    json!({
        "id": id(&["chunk", namespace.as_str(), &doc.0, &position.to_string()]),
        "vector": vector,
        "payload": {
            "kind": Kind::Chunk,
            "namespace": namespace.as_str(),
            "doc": doc,
            "has": has(&chunk.meta),
            "meta": comparable(&chunk.meta),
            "record": chunk,
        },
    })
}

/// The keys that have a value. Qdrant takes an empty list for none at all; we do not.
fn has(meta: &Metadata) -> Vec<&String> {
    meta.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key).collect()
}

/// What filters can be about: single values and lists of them. The record keeps everything as it is.
fn comparable(meta: &Metadata) -> serde_json::Map<String, Json> {
    let is_single = |value: &Json| value.is_boolean() || value.is_number() || value.is_string();
    let kept = meta.iter().filter_map(|(key, value)| {
        let value = match value {
            Json::Array(elements) => {
                Json::Array(elements.iter().filter(|element| is_single(element)).cloned().collect())
            }
            value if is_single(value) => value.clone(),
            _ => return None,
        };
        Some((plain_key(key), value))
    });
    kept.collect()
}

/// The key in letters that need no quotes in a path: letters, digits and `_` stay, `-` is doubled, all else is its
/// number between two `-`.
pub(super) fn plain_key(key: &str) -> String {
    use std::fmt::Write as _;
    let mut plain = String::with_capacity(key.len());
    for c in key.chars() {
        match c {
            '-' => plain.push_str("--"),
            c if c.is_ascii_alphanumeric() || c == '_' => plain.push(c),
            // Writing to a string cannot fail.
            c => write!(plain, "-{:x}-", u32::from(c)).unwrap_or_default(),
        }
    }
    // A path has no empty steps.
    if plain.is_empty() { "-e".to_owned() } else { plain }
}

/// A listing, a page at a time.
#[derive(Serialize)]
pub(super) struct Scroll<'a> {
    pub(super) filter: Json,
    pub(super) limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<Json>,
    pub(super) with_payload: &'a [&'a str],
}

#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) points: Vec<Found>,
    #[serde(default)]
    pub(super) next_page_offset: Option<Json>,
}

#[derive(Deserialize)]
pub(super) struct Counted {
    pub(super) count: u64,
}

/// A point as it comes back.
#[derive(Deserialize)]
pub(super) struct Found {
    #[serde(default)]
    pub(super) score: f64,
    #[serde(default)]
    payload: Payload,
}

#[derive(Deserialize, Default)]
struct Payload {
    doc: Option<DocumentId>,
    fingerprint: Option<String>,
    record: Option<Chunk>,
}

impl Found {
    pub(super) fn chunk(self, failures: &Failures) -> Result<Chunk, Error> {
        self.payload.record.ok_or_else(|| failures.garbled("a point without `record`"))
    }

    pub(super) fn document(self, failures: &Failures) -> Result<(DocumentId, String), Error> {
        let Payload { doc, fingerprint, .. } = self.payload;
        doc.zip(fingerprint).ok_or_else(|| failures.garbled("a point without `doc` and `fingerprint`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_differ_where_the_parts_do() {
        assert_eq!(id(&["a", "b"]), id(&["a", "b"]));
        assert_ne!(id(&["a", "b"]), id(&["ab", ""]));
        let shape = |id: String| id.split('-').map(str::len).collect::<Vec<_>>();
        assert_eq!(shape(id(&[])), [8, 4, 4, 4, 12]);
        assert_eq!(id(&["x"]).chars().nth(14), Some('8'));
    }

    #[test]
    fn keys_of_metadata_never_need_quotes_and_never_meet() {
        let keys = ["lang", "created_at", "a.b", "a-b", "a--b", "it's", "", "-e", "a b", "ü", "a-2e-b"];
        let plain: std::collections::BTreeSet<_> = keys.iter().map(|key| plain_key(key)).collect();
        assert_eq!(plain.len(), keys.len());
        assert_eq!(plain_key("created_at"), "created_at");
        assert_eq!(plain_key("a.b"), "a-2e-b");
        assert!(plain.iter().all(|key| key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))));
    }

    #[test]
    fn a_repeated_word_weighs_more_but_less_than_twice() {
        let weights = Weights { k1: 1.0, b: 0.0, average_words: 10.0 };
        let chunk = serde_json::from_value(json!({
            "id": "a.md#0-1", "doc": "a.md", "text": "river river basin", "range": { "start": 0, "end": 1 },
            "lines": { "first": 1, "last": 1 }, "tokens": 3,
        }));
        let sparse = Sparse::of_chunk(&chunk.unwrap(), weights);
        let weight = |word: &str| {
            let position = sparse.indices.iter().position(|index| *index == number(word)).unwrap();
            sparse.values[position]
        };
        assert_eq!((weight("basin"), weight("river")), (1.0 / 2.0, 2.0 / 3.0));
        assert_eq!(Sparse::of_query("the of"), None);
    }
}
