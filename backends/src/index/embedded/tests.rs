//! Tests of the embedded index: what it finds, and what is left of it after every accident.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anabranch_engine::backend::{By, Filter, Index as _, IndexStats, Namespace, Scalar, SearchQuery};
use anabranch_engine::value::{ByteRange, Chunk, ChunkId, DocumentId, LineRange, Metadata, TokenCount};
use proptest::prelude::*;

use super::super::Fingerprint;
use super::{EmbeddedIndex, Error, FORMAT, Limits};

mod accidents;
mod namespaces;
mod pruning;
mod vectors;

fn doc(name: &str) -> DocumentId {
    DocumentId(name.into())
}

fn fingerprint(text: &str) -> Fingerprint {
    Fingerprint::new(&blake3::hash(text.as_bytes()), "test")
}

/// One chunk for every line of the text.
fn chunks(name: &str, text: &str) -> Vec<Arc<Chunk>> {
    let mut start = 0;
    let mut chunks = Vec::new();
    for (n, line) in (1..).zip(text.split('\n')) {
        let range = ByteRange { start, end: start + line.len() as u64 };
        start = range.end + 1;
        chunks.push(Arc::new(Chunk {
            id: ChunkId::new(&doc(name), range),
            doc: doc(name),
            text: line.into(),
            range,
            lines: LineRange { first: n, last: n },
            tokens: TokenCount(1),
            title: None,
            headings: Vec::new(),
            score: None,
            meta: Metadata::from([("line".to_owned(), n.into())]),
        }));
    }
    chunks
}

fn put(index: &EmbeddedIndex, documents: &[(&str, &str)]) {
    let mut writer = index.begin().unwrap();
    for (name, text) in documents {
        writer.replace(&doc(name), &fingerprint(text), &chunks(name, text)).unwrap();
    }
    writer.commit().unwrap();
}

fn query(text: &str) -> SearchQuery {
    SearchQuery { by: By::Words { text: text.into(), k1: 1.5, b: 0.75 }, ..SearchQuery::words("", 10) }
}

/// Ids and scores of what is found.
fn found(index: &EmbeddedIndex, text: &str) -> Vec<(String, f64)> {
    let hits = index.search_blocking(&query(text)).unwrap();
    hits.iter().map(|chunk| (chunk.id.to_string(), chunk.score.unwrap().get())).collect()
}

fn ids(index: &EmbeddedIndex, text: &str) -> Vec<String> {
    found(index, text).into_iter().map(|(id, _)| id).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            // A thread that merges may take a file away meanwhile, as under a copy of a killed run.
            match fs::copy(entry.path(), target) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

const LIBRARY: &[(&str, &str)] =
    &[("a.md", "red foxes run\nblue whales swim"), ("b.md", "red whales"), ("c.md", "green")];

#[test]
fn scores_are_those_of_the_formula() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put(&index, LIBRARY);
    // 4 chunks of 3, 3, 2 and 1 words; `whale` is in two of them.
    let idf = (1.0_f64 + (4.0 - 2.0 + 0.5) / (2.0 + 0.5)).ln();
    let score = |length: f64| idf / (1.0 + 1.5 * (0.25 + 0.75 * length / 2.25));
    let hits = found(&index, "Whale?");
    assert_eq!(hits[0].0, "b.md#0-10");
    assert_eq!(hits[1].0, "a.md#14-30");
    assert!((hits[0].1 - score(2.0)).abs() < 1e-9, "{hits:?}");
    assert!((hits[1].1 - score(3.0)).abs() < 1e-9, "{hits:?}");
    // A word that is asked for twice counts twice.
    assert!((found(&index, "whale whale")[0].1 - 2.0 * score(2.0)).abs() < 1e-9);
}

#[test]
fn equal_scores_come_in_the_order_of_document_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put(&index, &[("b", "same\nsame"), ("a", "same")]);
    put(&index, &[("c", "same"), ("0", "same")]);
    assert_eq!(ids(&index, "same"), ["0#0-4", "a#0-4", "b#0-4", "b#5-9", "c#0-4"]);
    let two = SearchQuery { top_k: 2, ..query("same") };
    assert_eq!(index.search_blocking(&two).unwrap().len(), 2);
    assert!(index.search_blocking(&SearchQuery { top_k: 0, ..query("same") }).unwrap().is_empty());
}

#[test]
fn a_filter_keeps_chunks_with_its_metadata_only() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put(&index, LIBRARY);
    let filter = Filter::is([("line".to_owned(), Scalar::Number(2.0))]);
    let hits = index.search_blocking(&SearchQuery { filter, ..query("whales") }).unwrap();
    assert_eq!(hits.iter().map(|chunk| chunk.id.to_string()).collect::<Vec<_>>(), ["a.md#14-30"]);
}

#[test]
fn titles_and_headings_are_searched_and_a_title_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    let plain = Chunk::clone(&chunks("a", "body")[0]);
    let titled = |name: &str, headings: &[&str]| {
        Arc::new(Chunk {
            doc: doc(name),
            title: Some("Guide".into()),
            headings: headings.iter().map(|heading| (*heading).into()).collect(),
            ..plain.clone()
        })
    };
    let mut writer = index.begin().unwrap();
    writer.replace(&doc("a"), &fingerprint("a"), &[titled("a", &["Guide", "Limits"])]).unwrap();
    writer.replace(&doc("b"), &fingerprint("b"), &[titled("b", &["Guide"])]).unwrap();
    writer.finish().unwrap();
    assert_eq!(index.search_blocking(&query("limits")).unwrap().len(), 1);
    let guides = found(&index, "guide");
    assert_eq!(guides.len(), 2);
    assert!(guides[0].1 > guides[1].1, "the shorter one first: {guides:?}");
}

#[test]
fn only_changes_are_indexed_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path().join("changed")).unwrap();
    put(&index, LIBRARY);
    let manifest = index.manifest().unwrap();
    assert_eq!(manifest.len(), 3);
    assert!(manifest.is_current(&doc("b.md"), &fingerprint("red whales")));
    assert!(!manifest.is_current(&doc("b.md"), &fingerprint("pink whales")));

    let present = BTreeSet::from([doc("a.md"), doc("b.md"), doc("d.md")]);
    let vanished: Vec<_> = manifest.vanished(&present).cloned().collect();
    assert_eq!(vanished, [doc("c.md")]);
    let mut writer = index.begin().unwrap();
    writer.replace(&doc("b.md"), &fingerprint("pink whales"), &chunks("b.md", "pink whales")).unwrap();
    writer.replace(&doc("d.md"), &fingerprint("red red"), &chunks("d.md", "red red")).unwrap();
    writer.remove(&vanished[0]).unwrap();
    writer.finish().unwrap();

    let fresh = EmbeddedIndex::open_or_create(folder.path().join("fresh")).unwrap();
    put(&fresh, &[LIBRARY[0], ("b.md", "pink whales"), ("d.md", "red red")]);
    assert_eq!(index.manifest().unwrap(), fresh.manifest().unwrap());
    assert_eq!(
        index.stats_blocking().unwrap(),
        IndexStats { documents: 3, chunks: 4, ..IndexStats::default() }
    );
    for text in ["red", "whales", "green", "pink foxes run"] {
        assert_eq!(found(&index, text), found(&fresh, text), "{text}");
    }
}

#[test]
fn a_document_without_chunks_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    let mut writer = index.begin().unwrap();
    writer.replace(&doc("empty"), &fingerprint(""), &[]).unwrap();
    writer.finish().unwrap();
    assert!(index.manifest().unwrap().is_current(&doc("empty"), &fingerprint("")));
    assert_eq!(
        index.stats_blocking().unwrap(),
        IndexStats { documents: 1, chunks: 0, ..IndexStats::default() }
    );
    assert!(ids(&index, "anything").is_empty());
}

/// Indexes what the manifest says is missing, as the service does.
fn bring_up_to_date(index: &EmbeddedIndex, documents: &[(String, String)], limits: Limits) {
    let manifest = index.manifest().unwrap();
    let mut writer = index.begin_with(limits).unwrap();
    for (name, text) in documents {
        if !manifest.is_current(&doc(name), &fingerprint(text)) {
            writer.replace(&doc(name), &fingerprint(text), &chunks(name, text)).unwrap();
        }
    }
    let present = documents.iter().map(|(name, _)| doc(name)).collect();
    for gone in manifest.vanished(&present) {
        writer.remove(gone).unwrap();
    }
    writer.commit().unwrap();
}

#[test]
fn killed_after_any_step_and_run_again_gives_what_one_run_gives() {
    let old: Vec<_> = (0..4).map(|n| (format!("{n}"), format!("old word{n}"))).collect();
    let new: Vec<_> = (2..8).map(|n| (format!("{n}"), format!("new word{n}\nmore"))).collect();
    let limits = Limits { commit_documents: 2, ..Limits::default() };
    let whole = tempfile::tempdir().unwrap();
    let expected = EmbeddedIndex::open_or_create(whole.path()).unwrap();
    bring_up_to_date(&expected, &new, limits);

    for n_steps in 0..=new.len() {
        let folder = tempfile::tempdir().unwrap();
        let index = EmbeddedIndex::open_or_create(folder.path().join("index")).unwrap();
        bring_up_to_date(&index, &old, limits);
        let mut writer = index.begin_with(limits).unwrap();
        for (name, text) in new.iter().take(n_steps) {
            writer.replace(&doc(name), &fingerprint(text), &chunks(name, text)).unwrap();
        }
        // Killed: what is on the disk at this moment is all that the next process finds; locks do not outlive it.
        let copy = folder.path().join("copy");
        copy_folder(&folder.path().join("index"), &copy);
        drop(writer);
        for path in [folder.path().join("index"), copy] {
            let again = EmbeddedIndex::open_or_create(&path).unwrap();
            bring_up_to_date(&again, &new, limits);
            assert_eq!(again.manifest().unwrap(), expected.manifest().unwrap());
            assert_eq!(again.stats_blocking().unwrap(), expected.stats_blocking().unwrap());
            for text in ["new", "old", "word3 more"] {
                assert_eq!(found(&again, text), found(&expected, text), "{text} after {n_steps}");
            }
        }
    }
}

#[test]
fn what_was_not_committed_has_not_happened() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put(&index, LIBRARY);
    let mut writer = index.begin().unwrap();
    writer.remove(&doc("a.md")).unwrap();
    writer.replace(&doc("b.md"), &fingerprint("x"), &chunks("b.md", "x1")).unwrap();
    drop(writer);
    assert_eq!(ids(&index, "whales").len(), 2);
    assert!(index.manifest().unwrap().is_current(&doc("b.md"), &fingerprint("red whales")));
}

#[test]
fn a_killed_making_of_the_folder_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for left_behind in ["create.lock", "format.json.new"] {
        fs::write(folder.path().join(left_behind), "").unwrap();
    }
    fs::create_dir(folder.path().join("segments")).unwrap();
    fs::write(folder.path().join("segments/.tantivy-writer.lock"), "").unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put(&index, LIBRARY);
    assert_eq!(ids(&index, "green"), ["c.md#0-5"]);
}

#[test]
fn a_second_writer_is_told_that_the_index_is_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    let other = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    let writer = index.begin().unwrap();
    let refused = other.begin().unwrap_err();
    assert!(matches!(refused, Error::Busy { .. }));
    assert!(refused.to_string().contains("is being written by another process"));
    drop(writer);
    other.begin().unwrap();
}

#[test]
fn a_commit_is_seen_by_those_who_had_the_index_open() {
    let folder = tempfile::tempdir().unwrap();
    let reader = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    assert!(ids(&reader, "red").is_empty());
    put(&EmbeddedIndex::open_or_create(folder.path()).unwrap(), LIBRARY);
    assert_eq!(ids(&reader, "red").len(), 2);
}

#[test]
fn foreign_and_other_versions_folders_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.md"), "# Mine").unwrap();
    let refused = EmbeddedIndex::open_or_create(folder.path()).unwrap_err();
    assert!(matches!(&refused, Error::NotAnIndex { found, .. } if found == "thesis.md"), "{refused}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");

    let folder = tempfile::tempdir().unwrap();
    EmbeddedIndex::open_or_create(folder.path()).unwrap();
    for found in [FORMAT + 1, FORMAT - 1] {
        fs::write(folder.path().join("format.json"), format!("{{\"format\":{found}}}")).unwrap();
        let refused = EmbeddedIndex::open_or_create(folder.path()).unwrap_err();
        assert!(refused.to_string().contains("delete the folder and index again"), "{refused}");
    }
    fs::write(folder.path().join("format.json"), "{").unwrap();
    assert!(matches!(EmbeddedIndex::open_or_create(folder.path()).unwrap_err(), Error::Damaged { .. }));

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(EmbeddedIndex::open_or_create(&file).unwrap_err(), Error::Folder { .. }));
}

#[test]
fn damaged_files_give_errors_and_no_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let index = EmbeddedIndex::open_or_create(&path).unwrap();
    put(&index, LIBRARY);
    drop(index);
    let files: Vec<_> =
        fs::read_dir(path.join("segments")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let mut n_refused = 0;
    for file in &files {
        for damage in [&b""[..], b"garbage", &[0xff; 4096]] {
            let copy = folder.path().join("copy");
            copy_folder(&path, &copy);
            fs::write(copy.join("segments").join(file), damage).unwrap();
            let outcome = EmbeddedIndex::open_or_create(&copy).and_then(|index| {
                index.manifest()?;
                index.search_blocking(&query("red whales")).map(|_| ())
            });
            n_refused += usize::from(outcome.is_err());
            fs::remove_dir_all(&copy).unwrap();
        }
    }
    assert!(n_refused >= 12, "{n_refused} of {} were noticed", files.len() * 3);
}

#[tokio::test]
async fn it_answers_as_an_index_of_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put(&index, LIBRARY);
    assert_eq!(index.search(&query("foxes")).await.unwrap()[0].text.as_ref(), "red foxes run");
    assert_eq!(
        index.stats(&Namespace::default()).await.unwrap(),
        IndexStats { documents: 3, chunks: 4, ..IndexStats::default() }
    );
}

#[test]
fn other_scripts_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put(&index, &[("zh", "我住在东京大学附近。"), ("ar", "كانت المدينة جميلة")]);
    assert_eq!(ids(&index, "东京在哪里"), ["zh#0-30"]);
    assert_eq!(ids(&index, "المدينة").len(), 1);
}

#[test]
fn identifiers_are_found_by_their_parts_in_code() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put(&index, &[("a.rs", "fn parseFlowFile()"), ("b.md", "parseFlowFile")]);
    assert_eq!(ids(&index, "flow file"), ["a.rs#0-18"]);
    assert_eq!(ids(&index, "parseFlowFile").len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_text_can_be_indexed_and_any_query_asked(
        texts in proptest::collection::vec(any::<String>(), 1..4),
        name in any::<String>(),
        question in any::<String>(),
        k1 in any::<f32>(),
        b in any::<f32>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
        let mut writer = index.begin().unwrap();
        let text = texts.join("\n");
        writer.replace(&doc(&name), &fingerprint(&text), &chunks(&name, &text)).unwrap();
        writer.finish().unwrap();
        prop_assert!(index.manifest().unwrap().is_current(&doc(&name), &fingerprint(&text)));
        let asked = SearchQuery { by: By::Words { text: question, k1, b }, ..SearchQuery::words("", 3) };
        prop_assert!(index.search_blocking(&asked).unwrap().len() <= 3);
    }
}
