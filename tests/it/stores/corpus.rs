//! Some hundred chunks and some dozen queries, always the same, with everything that makes indexes differ.

use std::sync::Arc;

use anabranch_backends::index::{Entry, Fingerprint, IndexStore, VectorSpace};
use anabranch_engine::backend::{By, Filter, Index, Namespace, SearchQuery, Vector};
use anabranch_engine::value::{ByteRange, Chunk, ChunkId, DocumentId, LineRange, TokenCount};
use serde_json::json;

/// How many numbers the vectors have.
pub(super) const DIMENSIONS: u32 = 24;

/// Numbers that look random and are the same in every run.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % n as u64).unwrap()
    }

    fn words(&mut self, n: usize) -> String {
        const WORDS: &str = "river basin flood gauge water levels measured measuring sensor the of and station \
            max_turns maxTurns parseHeader loop bounded retry timeout budget answer cited source passage \
            东京大学 地下水 naïve Übergang x1 2024 index filter vector cosine tenant";
        let words: Vec<&str> = WORDS.split_whitespace().collect();
        // The smaller of two is small often: some words are common, as in any text.
        let word = |dice: &mut Self| words[dice.below(words.len()).min(dice.below(words.len()))];
        (0..n).map(|_| word(self)).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn vector(&mut self) -> Vector {
        let numbers: Vec<f32> =
            (0..DIMENSIONS).map(|_| f32::from(i16::try_from(self.below(2001)).unwrap()) - 1000.0).collect();
        let norm = numbers.iter().map(|n| n * n).sum::<f32>().sqrt();
        numbers.iter().map(|n| n / norm).collect()
    }
}

pub(super) fn space() -> VectorSpace {
    VectorSpace { identity: "dice".to_owned(), dimensions: DIMENSIONS }
}

pub(super) fn namespaces() -> [Namespace; 2] {
    [Namespace::default(), Namespace::new("acme").unwrap()]
}

/// The documents of a namespace, each with its chunks.
pub(super) fn documents(namespace: &Namespace) -> Vec<(DocumentId, Vec<Entry>)> {
    let mut dice = Dice::new(if namespace.is_default() { 1 } else { 2 });
    let names = ["notes/a", "src/main", "π/ü", "corpus.jsonl#", "Notes/B"];
    let extensions = ["md", "rs", "txt", "py", "html"];
    let documents = (0..30).map(|n| {
        let doc = DocumentId(format!("{}{n}.{}", names[n % 5], extensions[dice.below(5)]).into());
        let mut entries: Vec<Entry> = Vec::new();
        for place in 0..=dice.below(10) {
            // Some chunks say the same as the one before: their scores are equal, their places are not.
            let twin = entries.last().filter(|_| place % 4 == 3);
            let text = twin.map_or_else(
                || {
                    let n = 3 + dice.below(30);
                    dice.words(n)
                },
                |twin| twin.chunk.text.to_string(),
            );
            let vector = twin.and_then(|twin| twin.vector.clone()).unwrap_or_else(|| dice.vector());
            let headings = if dice.below(3) == 0 { vec![dice.words(2).into()] } else { Vec::new() };
            entries
                .push(Entry { chunk: chunk(&mut dice, &doc, place, &text, headings), vector: Some(vector) });
        }
        (doc, entries)
    });
    documents.collect()
}

fn chunk(
    dice: &mut Dice,
    doc: &DocumentId,
    place: usize,
    text: &str,
    headings: Vec<anabranch_engine::value::Text>,
) -> Arc<Chunk> {
    // In another order than that of the places.
    let start = ((place * 7) % 11 * 1000) as u64;
    let range = ByteRange { start, end: start + text.len() as u64 };
    let lang = ["en", "de", "zh"][dice.below(3)];
    let mut meta = json!({ "lang": lang, "year": 2018 + dice.below(8) });
    let more = [
        json!({}),
        json!({ "tags": ["a", "b"], "draft": true }),
        json!({ "tags": ["b", 7, null, ["a"]], "draft": false, "weight": 0.1 }),
        json!({ "lang": null, "weight": -2.5e-3, "it's \"odd\"": "'; --" }),
        json!({ "date": "2024-02-01", "year": "2020", "nul\0": "\0", "big": 9_007_199_254_740_993_u64 }),
        json!({ "date": "2023-12-31", "nul\0": "\u{1}", "big": 9_007_199_254_740_992_u64, "tags": [] }),
        json!({ "date": "ünicode", "nested": { "a": 1 }, "year": 2020.0 }),
    ];
    let more = more[dice.below(more.len())].as_object().unwrap().clone();
    meta.as_object_mut().unwrap().extend(more);
    Arc::new(Chunk {
        id: ChunkId::new(doc, range),
        doc: doc.clone(),
        text: text.into(),
        range,
        lines: LineRange { first: 1, last: 2 },
        tokens: TokenCount(9),
        title: (dice.below(2) == 0).then(|| "River basin".into()),
        headings,
        score: None,
        meta: serde_json::from_value(meta).unwrap(),
    })
}

/// Filters that touch everything a filter can say.
pub(super) fn filters() -> Vec<Filter> {
    let filters = json!([
        {},
        { "lang": "en" },
        { "lang": ["de", "zh"], "year": { "gte": 2020, "lt": 2024 } },
        { "tags": "a" },
        { "tags": { "not": "a" } },
        { "tags": 7 },
        { "draft": true },
        { "draft": [false, "x"] },
        { "year": 2020 },
        { "year": "2020" },
        { "date": { "gt": "2023-12-31" } },
        { "date": { "lte": "2023-12-31", "exists": true } },
        { "lang": { "exists": false } },
        { "weight": { "gt": -1, "lte": 0.1 } },
        { "it's \"odd\"": "'; --" },
        { "nul\u{0}": "\u{0}" },
        { "nul\u{0}": { "gt": "\u{0}" } },
        { "big": 9_007_199_254_740_993_u64 },
        { "draft": { "gte": true } },
        { "nested": { "exists": true } },
        { "lang": [] },
        { "nobody": { "not": "x" } },
        { "nobody": 1 },
    ]);
    serde_json::from_value(filters).unwrap()
}

/// Queries by words, with every filter and in both namespaces.
pub(super) fn by_words() -> Vec<SearchQuery> {
    let mut dice = Dice::new(3);
    let settings = [(1.2, 0.75), (0.9, 0.4), (1.5, 0.75), (0.0, 0.0), (2.0, 1.0)];
    let mut queries = queries(|n| {
        let (k1, b) = settings[n % settings.len()];
        let n_words = 1 + dice.below(6);
        By::Words { text: dice.words(n_words), k1, b }
    });
    for text in ["", "the of", "river river basin", "nothing_like_it"] {
        queries.push(SearchQuery::words(text, 5));
    }
    queries
}

/// Queries by vectors, with every filter and in both namespaces.
pub(super) fn by_vector() -> Vec<SearchQuery> {
    let mut dice = Dice::new(4);
    queries(|_| By::Vector(dice.vector()))
}

fn queries(mut by: impl FnMut(usize) -> By) -> Vec<SearchQuery> {
    let sizes = [1, 3, 10, 50, 1000];
    let pairs = namespaces()
        .into_iter()
        .flat_map(|namespace| filters().into_iter().map(move |f| (namespace.clone(), f)));
    pairs
        .enumerate()
        .map(|(n, (namespace, filter))| SearchQuery {
            by: by(n),
            top_k: sizes[n % sizes.len()],
            filter,
            namespace,
        })
        .collect()
}

/// Writes both namespaces.
pub(super) async fn fill(store: &dyn IndexStore, vectors: Option<&VectorSpace>) {
    for namespace in namespaces() {
        let mut writer = store.writer(&namespace, vectors).await.unwrap();
        for (doc, entries) in documents(&namespace) {
            let bare = |entry: Entry| Entry { vector: entry.vector.filter(|_| vectors.is_some()), ..entry };
            writer.replace(&doc, &fingerprint(&doc), entries.into_iter().map(bare).collect()).await.unwrap();
        }
        writer.finish().await.unwrap();
    }
}

pub(super) fn fingerprint(doc: &DocumentId) -> Fingerprint {
    Fingerprint::new(&blake3::hash(doc.0.as_bytes()), "corpus")
}

/// What a search must find by vectors, worked out one by one.
pub(super) fn nearest(query: &SearchQuery) -> Vec<(String, f64)> {
    let By::Vector(wanted) = &query.by else { panic!("not by vector") };
    let cosine = |vector: &Vector| -> f64 {
        vector.iter().zip(wanted.iter()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let mut found: Vec<(f64, Arc<Chunk>)> = documents(&query.namespace)
        .into_iter()
        .flat_map(|(_, entries)| entries)
        .filter(|entry| query.filter.passes(&entry.chunk.meta))
        .map(|entry| (cosine(entry.vector.as_ref().unwrap()), entry.chunk))
        .collect();
    found.sort_by(|(a, left), (b, right)| {
        b.total_cmp(a).then_with(|| (&left.doc, left.range).cmp(&(&right.doc, right.range)))
    });
    found.truncate(query.top_k);
    found.into_iter().map(|(score, chunk)| (chunk.id.to_string(), score)).collect()
}

/// What an index finds: names and scores.
pub(super) async fn found(index: &dyn Index, query: &SearchQuery) -> Vec<(String, f64)> {
    let chunks = index.search(query).await.unwrap_or_else(|error| panic!("{query:?}: {error}"));
    chunks.iter().map(|chunk| (chunk.id.to_string(), chunk.score.unwrap().get())).collect()
}

/// The same chunks in the same order, their scores within a ten-thousandth.
pub(super) fn assert_same(expected: &[(String, f64)], found: &[(String, f64)], query: &SearchQuery) {
    let names = |found: &[(String, f64)]| found.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(expected), names(found), "{query:?}");
    for ((name, expected), (_, found)) in expected.iter().zip(found) {
        assert!((expected - found).abs() < 1e-4, "{name}: {expected} is not {found}; {query:?}");
    }
}
