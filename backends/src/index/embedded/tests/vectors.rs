//! Tests of vectors: what is near is found, and vectors of two kinds never meet.

use anabranch_engine::backend::{Error as BackendError, Vector};

use super::super::super::{Entry, IndexStore as _, VectorSpace};
use super::super::{Writer, nearest};
use super::*;

pub(super) fn space(identity: &str, dimensions: u32) -> VectorSpace {
    VectorSpace { identity: identity.into(), dimensions }
}

/// One chunk for every line, each with the vector that its first two characters name.
pub(super) fn entries(name: &str, text: &str) -> Vec<Entry> {
    let with_vector = |chunk: Arc<Chunk>| Entry { vector: Some(vector_of(&chunk.text)), chunk };
    chunks(name, text).into_iter().map(with_vector).collect()
}

/// `a7` is the direction of 7 steps along the first of four axes and 1 along each of the others.
pub(super) fn vector_of(text: &str) -> Vector {
    let axis = usize::from(text.as_bytes().first().copied().unwrap_or_default() % 4);
    let steps = text.get(1..2).and_then(|digit| digit.parse::<u8>().ok()).unwrap_or(1);
    let mut vector = [1.0; 4];
    vector[axis] = f32::from(steps);
    Arc::from(vector)
}

pub(super) fn begin(index: &EmbeddedIndex) -> Writer {
    index.begin_in(&Namespace::default(), Some(&space("test", 4)), Limits::default()).unwrap()
}

pub(super) fn put_vectors(index: &EmbeddedIndex, documents: &[(&str, &str)]) {
    let mut writer = begin(index);
    for (name, text) in documents {
        writer.replace_entries(&doc(name), &fingerprint(text), &entries(name, text)).unwrap();
    }
    writer.finish().unwrap();
}

/// Texts and scores of what is near.
pub(super) fn near(index: &EmbeddedIndex, text: &str, top_k: usize) -> Vec<(String, f64)> {
    let hits = index.search_blocking(&SearchQuery::near(vector_of(text), top_k)).unwrap();
    hits.iter().map(|chunk| (chunk.text.to_string(), chunk.score.unwrap().get())).collect()
}

pub(super) fn rows_files(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path.join("vectors"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

const ZOO: &[(&str, &str)] = &[("a.md", "a9 fox\nb7 whale"), ("b.md", "a8 wolf\nc9 oak"), ("c.md", "a9 dog")];

#[test]
fn the_score_is_the_cosine_and_ties_come_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put_vectors(&index, ZOO);
    let hits = near(&index, "a9", 4);
    let texts: Vec<_> = hits.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["a9 fox", "a9 dog", "a8 wolf", "b7 whale"]);
    assert!((hits[0].1 - 1.0).abs() < 1e-6, "{hits:?}");
    let cosine = (9.0 * 8.0 + 3.0) / (84.0_f64.sqrt() * 67.0_f64.sqrt());
    assert!((hits[2].1 - cosine).abs() < 1e-6, "{hits:?}");
    assert!(near(&index, "a9", 0).is_empty());
    let stats = IndexStats { documents: 3, chunks: 5, vectors: 5, dimensions: 4 };
    assert_eq!(index.stats_blocking().unwrap(), stats);
    assert_eq!(index.space_blocking(&Namespace::default()).unwrap(), Some(space("test", 4)));
    assert_eq!(ids(&index, "whale"), ["a.md#7-15"], "words are found beside the vectors");
}

#[test]
fn a_filter_decides_before_the_best_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put_vectors(&index, ZOO);
    let filter = Filter::is([("line".to_owned(), Scalar::Number(2.0))]);
    for _ in 0..2 {
        let query = SearchQuery { filter: filter.clone(), ..SearchQuery::near(vector_of("a9"), 1) };
        let hits = index.search_blocking(&query).unwrap();
        assert_eq!(hits.iter().map(|chunk| chunk.text.as_ref()).collect::<Vec<_>>(), ["b7 whale"]);
    }
}

#[test]
fn metadata_too_long_for_its_column_is_filtered_too() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    let mut writer = index.begin().unwrap();
    for (name, size) in [("long", 100_000), ("short", 10)] {
        let meta = Metadata::from([("note".to_owned(), "x".repeat(size).into()), ("is".into(), name.into())]);
        let chunk = Chunk { meta, ..Chunk::clone(&chunks(name, "same words")[0]) };
        writer.replace(&doc(name), &fingerprint(name), &[Arc::new(chunk)]).unwrap();
    }
    writer.finish().unwrap();
    for name in ["long", "short"] {
        let filter = Filter::is([("is".to_owned(), Scalar::from(name))]);
        let hits = index.search_blocking(&SearchQuery { filter, ..query("words") }).unwrap();
        assert_eq!(hits.iter().map(|chunk| chunk.doc.0.as_ref()).collect::<Vec<_>>(), [name]);
    }
}

#[tokio::test]
async fn a_vector_of_another_length_is_rejected_with_both_lengths() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put_vectors(&index, ZOO);
    let asked = SearchQuery::near(Arc::from([1.0, 0.0, 0.0]), 3);
    let refused = index.search(&asked).await.unwrap_err();
    assert!(matches!(refused, BackendError::Rejected { .. }), "{refused}");
    let message = refused.to_string();
    assert!(message.contains("3 numbers") && message.contains("have 4"), "{message}");
    let asked = SearchQuery::near(Arc::from([1.0, f32::NAN, 0.0, 0.0]), 3);
    assert!(index.search(&asked).await.unwrap_err().to_string().contains("no number"));
}

#[tokio::test]
async fn an_index_without_vectors_says_so_and_an_empty_one_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    let asked = SearchQuery::near(vector_of("a9"), 3);
    assert!(index.search(&asked).await.unwrap().is_empty());
    put(&index, LIBRARY);
    let refused = index.search(&asked).await.unwrap_err();
    assert!(matches!(&refused, BackendError::Rejected { message, .. } if message.contains("no vectors")));
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_the_document_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put_vectors(&index, ZOO);
    let mut writer = begin(&index);
    let cases: [(Option<Vector>, &str); 3] = [
        (None, "has no vector"),
        (Some(Arc::from([1.0, 2.0])), "has 2 numbers, those of the index have 4"),
        (Some(Arc::from([1.0, f32::INFINITY, 0.0, 0.0])), "no number"),
    ];
    for (vector, message) in cases {
        let mut new = entries("a.md", "b9 new\nb9 newer");
        new[1].vector = vector;
        let refused = writer.replace_entries(&doc("a.md"), &fingerprint("new"), &new).unwrap_err();
        assert!(refused.to_string().contains(message), "{refused}");
    }
    writer.finish().unwrap();
    assert_eq!(near(&index, "a9", 1)[0].0, "a9 fox");

    let mut writer = index.begin().unwrap();
    let refused = writer.replace_entries(&doc("a"), &fingerprint("a"), &entries("a", "a1")).unwrap_err();
    assert!(refused.to_string().contains("the index has none"), "{refused}");
}

#[test]
fn another_embedder_makes_the_index_forget_first() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put(&index, LIBRARY);
    let spaces = [Some(space("test", 4)), Some(space("other", 4)), Some(space("other", 3)), None];
    for space in spaces {
        let writer = index.begin_in(&Namespace::default(), space.as_ref(), Limits::default()).unwrap();
        assert!(index.manifest().unwrap().is_empty(), "{space:?}");
        assert_eq!(index.stats_blocking().unwrap(), IndexStats::default());
        assert_eq!(index.space_blocking(&Namespace::default()).unwrap(), space);
        drop(writer);
        // The same again forgets nothing.
        let dimensions = space.as_ref().map(|space| space.dimensions as usize);
        for name in ["a", "b"] {
            let mut writer =
                index.begin_in(&Namespace::default(), space.as_ref(), Limits::default()).unwrap();
            let vector = dimensions.map(|n| Vector::from(vec![1.0; n]));
            let entry = Entry { chunk: Arc::clone(&chunks(name, "a1 word")[0]), vector };
            writer.replace_entries(&doc(name), &fingerprint(name), &[entry]).unwrap();
            writer.finish().unwrap();
        }
        assert_eq!(index.manifest().unwrap().len(), 2);
        assert_eq!(ids(&index, "word").len(), 2);
    }
    assert!(rows_files(folder.path()).is_empty(), "no file is left of a space that has gone");
}

#[test]
fn rows_of_what_has_gone_are_dropped_once_they_are_the_majority() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    let text = |n: usize| format!("a{} n{n}\nb{} m{n}", n % 10, n % 7);
    let rewrite = |from: usize| {
        let documents: Vec<_> = (from..40).map(|n| (format!("{n:02}"), text(n))).collect();
        let documents: Vec<_> = documents.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        put_vectors(&index, &documents);
    };
    rewrite(0);
    let all = near(&index, "a9", 100);
    assert_eq!(rows_files(folder.path()), ["0.rows"]);
    let row_bytes = |name: &str| fs::metadata(folder.path().join("vectors").join(name)).unwrap().len() / 16;
    rewrite(1);
    assert_eq!((rows_files(folder.path()), row_bytes("0.rows")), (vec!["0.rows".to_owned()], 158));
    let before = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    assert_eq!(near(&before, "a9", 100), all);
    rewrite(20);
    assert_eq!(rows_files(folder.path()), ["1.ids", "1.rows"]);
    assert_eq!(row_bytes("1.rows"), 80);
    // And on it goes, with rows behind those that were kept.
    for reader in [&index, &before] {
        assert_eq!(near(reader, "a9", 100), all);
    }
    rewrite(39);
    assert_eq!(row_bytes("1.rows"), 82);
    assert_eq!(near(&before, "a9", 100), all);
    rewrite(0);
    rewrite(0);
    assert_eq!(near(&index, "a9", 100), all);
    assert_eq!(near(&EmbeddedIndex::open_or_create(folder.path()).unwrap(), "a9", 100), all);
}

#[tokio::test]
async fn it_is_a_store_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    let namespace = Namespace::default();
    let mut writer = index.writer(&namespace, Some(&space("test", 4))).await.unwrap();
    for (name, text) in ZOO {
        writer.replace(&doc(name), &fingerprint(text), entries(name, text)).await.unwrap();
    }
    writer.remove(&doc("c.md")).await.unwrap();
    assert!(index.writer(&namespace, None).await.err().unwrap().is_busy());
    writer.finish().await.unwrap();
    let store: &dyn super::super::super::IndexStore = &index;
    let manifest = store.manifest(&namespace).await.unwrap();
    assert!(manifest.is_current(&doc("a.md"), &fingerprint(ZOO[0].1)));
    assert_eq!(manifest.len(), 2);
    let of_b = store.chunks_of(&namespace, &doc("b.md")).await.unwrap();
    assert_eq!(of_b.iter().map(|chunk| chunk.text.as_ref()).collect::<Vec<_>>(), ["a8 wolf", "c9 oak"]);
    assert!(store.chunks_of(&namespace, &doc("c.md")).await.unwrap().is_empty());
    let stats = IndexStats { documents: 2, chunks: 4, vectors: 4, dimensions: 4 };
    assert_eq!(store.stats(&namespace).await.unwrap(), stats);
}

#[test]
fn the_fast_dot_product_is_the_plain_one() {
    for n in [0_u64, 1, 3, 31, 32, 33, 64, 384, 385] {
        let mut rng = fastrand_like(n);
        let (a, b): (Vec<f32>, Vec<f32>) = (0..n).map(|_| (rng(), rng())).unzip();
        let plain: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        assert!((f64::from(nearest::dot(&a, &b)) - plain).abs() < 1e-4, "{n}");
    }
}

/// Numbers from -1 to 1, always the same.
fn fastrand_like(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f32::from(u16::try_from(state >> 48).unwrap()) / 32768.0 - 1.0
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn search_finds_what_comparing_with_all_finds(
        documents in proptest::collection::vec(proptest::collection::vec((-3_i8..4, -3_i8..4, -3_i8..4), 0..6), 1..8),
        gone in proptest::collection::vec(any::<bool>(), 8),
        asked in (-3_i8..4, -3_i8..4, -3_i8..4),
        top_k in 1_usize..12,
        line in 0_u8..4,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
        let vector = |(x, y, z): (i8, i8, i8)| Vector::from([x, y, z].map(f32::from).to_vec());
        let mut expected = Vec::new();
        let limits = Limits { commit_documents: 2, ..Limits::default() };
        let space = space("test", 3);
        let mut writer = index.begin_in(&Namespace::default(), Some(&space), limits).unwrap();
        let asked = vector(asked);
        let filter = if line == 0 {
            Filter::default()
        } else {
            Filter::is([("line".to_owned(), Scalar::Number(line.into()))])
        };
        for (n, vectors) in documents.iter().enumerate() {
            let name = n.to_string();
            let text = vec!["x"; vectors.len()].join("\n");
            let entries: Vec<_> = chunks(&name, &text)
                .into_iter()
                .zip(vectors)
                .map(|(chunk, numbers)| Entry { chunk, vector: Some(vector(*numbers)) })
                .collect();
            writer.replace_entries(&doc(&name), &fingerprint(&name), &entries).unwrap();
            if gone[n] {
                writer.remove(&doc(&name)).unwrap();
                continue;
            }
            for Entry { chunk, vector } in entries.into_iter().filter(|entry| filter.passes(&entry.chunk.meta)) {
                let unit = |vector: &[f32]| nearest::unit(vector).unwrap();
                let score = f64::from(nearest::dot(&unit(&asked), &unit(&vector.unwrap()))).clamp(-1.0, 1.0);
                expected.push((score, chunk.doc.clone(), chunk.range));
            }
        }
        writer.finish().unwrap();
        expected.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (&a.1, a.2).cmp(&(&b.1, b.2))));
        expected.truncate(top_k);
        let query = SearchQuery { filter, ..SearchQuery::near(asked, top_k) };
        let found: Vec<_> = index
            .search_blocking(&query)
            .unwrap()
            .iter()
            .map(|chunk| (chunk.score.unwrap().get(), chunk.doc.clone(), chunk.range))
            .collect();
        prop_assert_eq!(found, expected);
    }
}
