//! What is added around chunks, and what joined ones look like.

use super::*;
use crate::testing::{Shelf, chunk, chunk_at, document, problems, scored, validator};
use anabranch_engine::value::{ByteRange, Document, LineRange};
use proptest::prelude::{Just, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::Strategy;
use serde_json::{Value as Json, json};

/// `text` of `doc` cut at these ranges.
fn cut(doc: &str, text: &str, ranges: &[(usize, usize)]) -> Vec<Arc<Chunk>> {
    let line = |at: usize| 1 + u32::try_from(text[..at].matches('\n').count()).unwrap();
    ranges
        .iter()
        .map(|(start, end)| chunk_at(doc, *start as u64, line(*start), &text[*start..*end]))
        .collect()
}

fn under(headings: &[&str], chunk: &Arc<Chunk>) -> Arc<Chunk> {
    let headings = headings.iter().map(|heading| (*heading).into()).collect();
    Arc::new(Chunk { headings, ..Chunk::clone(chunk) })
}

async fn expand(settings: Json, index: &[Arc<Chunk>], chunks: &[Arc<Chunk>]) -> Out {
    let settings: Expand = serde_json::from_value(settings).unwrap();
    settings.run(&Shelf::of(index.to_vec()).cx(), In { chunks: chunks.to_vec() }).await.unwrap()
}

fn texts(out: &Out) -> Vec<&str> {
    out.chunks.iter().map(|chunk| &*chunk.text).collect()
}

const TEXT: &str = "one\ntwo\n\nthree four\n\n\n five";

/// `one`, `two`, `three`, `four`, `five`.
fn words() -> Vec<Arc<Chunk>> {
    cut("a.md", TEXT, &[(0, 3), (4, 7), (9, 14), (15, 19), (23, 27)])
}

#[tokio::test]
async fn neighbors_are_joined_with_what_stood_between() {
    let all = words();
    let out = expand(json!({}), &all, &[scored(&all[1], 0.5)]).await;
    assert_eq!((texts(&out), out.added), (vec!["one\ntwo\n\nthree"], 2));
    let joined = &out.chunks[0];
    assert_eq!(
        (joined.range, joined.lines),
        (ByteRange { start: 0, end: 14 }, LineRange { first: 1, last: 4 })
    );
    assert_eq!((joined.id.to_string().as_str(), joined.score), ("a.md#0-14", Score::new(0.5)));
    assert_eq!(out.tokens_added, tokens::count("one\ntwo\n\nthree") - 1);
}

#[tokio::test]
async fn a_gap_whose_bytes_are_not_known_becomes_a_blank_line() {
    let all = words();
    let out = expand(json!({}), &all, &all[4..]).await;
    assert_eq!(texts(&out), ["four\n\nfive"], "three line breaks and a space in the source");
}

#[tokio::test]
async fn overlaps_are_not_said_twice() {
    let all = cut("a.md", "one two three four", &[(0, 7), (4, 13), (8, 18)]);
    let out = expand(json!({}), &all, &all[1..2]).await;
    assert_eq!((texts(&out), out.added), (vec!["one two three four"], 2));
}

#[tokio::test]
async fn overlaps_of_texts_that_are_not_their_source_are_found_by_their_words() {
    // As of HTML: ranges count markup that the texts do not have.
    let place = |chunk: &Arc<Chunk>, start, end| {
        let range = ByteRange { start, end };
        let id = anabranch_engine::value::ChunkId::new(&chunk.doc, range);
        Arc::new(Chunk { id, range, ..Chunk::clone(chunk) })
    };
    let all = [place(&chunk("a.html", "one two"), 0, 40), place(&chunk("a.html", "two three"), 20, 60)];
    assert_eq!(texts(&expand(json!({}), &all, &all[..1]).await), ["one two three"]);
    let all = [place(&chunk("a.html", "one"), 0, 40), place(&chunk("a.html", "two"), 40, 60)];
    assert_eq!(
        texts(&expand(json!({}), &all, &all[..1]).await),
        ["onetwo"],
        "what touches has nothing between"
    );
}

#[tokio::test]
async fn chunks_that_meet_become_one_with_the_best_score() {
    let all = words();
    let other = cut("b.md", "other", &[(0, 5)]);
    let came = [scored(&all[0], 0.2), scored(&other[0], 0.5), scored(&all[3], 0.9)];
    let index = [all, other].concat();
    let out = expand(json!({}), &index, &came).await;
    assert_eq!(texts(&out), ["one\ntwo\n\nthree four\n\nfive", "other"]);
    assert_eq!(out.chunks[0].score, Score::new(0.9));
}

#[tokio::test]
async fn without_scores_the_order_stays() {
    let (all, other) = (words(), cut("b.md", "other", &[(0, 5)]));
    let index = [all.clone(), other.clone()].concat();
    let out = expand(json!({}), &index, &[all[4].clone(), other[0].clone(), all[0].clone()]).await;
    assert_eq!(texts(&out), ["four\n\nfive", "other", "one\ntwo"]);
}

#[tokio::test]
async fn a_section_is_what_has_the_same_headings_and_a_parent_is_one_level_up() {
    let all = words();
    let all = [
        under(&["A"], &all[0]),
        under(&["A", "B"], &all[1]),
        under(&["A", "B"], &all[2]),
        under(&["A", "C"], &all[3]),
        under(&["D"], &all[4]),
    ];
    let found = |mode: &'static str| {
        let all = all.clone();
        async move { texts(&expand(json!({"mode": mode}), &all, &all[2..3]).await).join("|") }
    };
    assert_eq!(found("section").await, "two\n\nthree");
    assert_eq!(found("parent").await, "one\ntwo\n\nthree four");
    assert_eq!(found("document").await, "one\ntwo\n\nthree four\n\nfive");
    let out = expand(json!({"mode": "parent"}), &all, &all[2..3]).await;
    assert_eq!(
        out.chunks[0].headings,
        ["A".into()],
        "a joined chunk is below the headings that all of it is below"
    );
}

#[tokio::test]
async fn the_best_chunk_is_expanded_first_and_a_full_budget_stops_all() {
    let all = words();
    let came = [scored(&all[0], 0.1), scored(&all[3], 0.9)];
    // Each word is a token; two came.
    let out = expand(json!({"max_tokens": 3}), &all, &came).await;
    assert_eq!((texts(&out), out.added), (vec!["four\n\nfive", "one"], 1));
    let out = expand(json!({"max_tokens": 4}), &all, &came).await;
    assert_eq!((texts(&out), out.added), (vec!["three four\n\nfive", "one"], 2));
    let out = expand(json!({"max_tokens": 1}), &all, &came).await;
    assert_eq!((texts(&out), out.added, out.tokens_added), (vec!["four", "one"], 0, 0), "what came stays");
}

#[tokio::test]
async fn a_window_of_nothing_changes_nothing() {
    let all = words();
    let came = [all[1].clone(), all[0].clone()];
    let out = expand(json!({"window": 0}), &all, &came).await;
    assert_eq!((out.chunks, out.added, out.tokens_added), (came.to_vec(), 0, 0));
}

#[tokio::test]
async fn a_chunk_that_the_index_does_not_have_stays_as_it_is() {
    let stranger = chunk("gone.md", "old");
    let out = expand(json!({"mode": "document"}), &words(), std::slice::from_ref(&stranger)).await;
    assert_eq!((out.chunks, out.added), (vec![stranger], 0));
}

#[tokio::test]
async fn what_was_joined_before_can_be_expanded_again() {
    let all = words();
    let once = expand(json!({}), &all, &all[1..2]).await;
    let twice = expand(json!({}), &all, &once.chunks).await;
    assert_eq!((texts(&twice), twice.added), (vec!["one\ntwo\n\nthree four"], 1));
}

#[tokio::test]
async fn a_chunk_that_was_cut_anew_gets_the_whole_that_it_is_part_of() {
    let all = cut("a.md", "one two three", &[(0, 7), (8, 13)]);
    let part = cut("a.md", "one two three", &[(4, 6)]);
    let out = expand(json!({}), &all, &part).await;
    assert_eq!((texts(&out), out.added), (vec!["one two three"], 2));
}

#[tokio::test]
async fn each_document_is_fetched_once() {
    let all = words();
    let index = Shelf::of(all.clone());
    Expand::default().run(&index.cx(), In { chunks: all }).await.unwrap();
    assert_eq!(index.fetched(), ["a.md"]);
}

#[test]
fn an_unknown_mode_is_refused() {
    assert!(!validator("context.expand").is_valid(&json!({"window": 101})));
    let found = problems("context.expand", "{ chunks: inputs.chunks }", "{ mode: sections }");
    assert!(
        found.contains("must be one of `neighbors`, `section`, `parent`, `document`, not `sections`"),
        "{found}"
    );
    assert!(found.contains("did you mean `section`?"), "{found}");
}

/// A text of words on lines, and chunks that lie one behind the other in it: some overlap, some leave white space out.
fn cut_text() -> impl Strategy<Value = (Document, Vec<Arc<Chunk>>)> {
    let word = ("[a-z]{1,5}", proptest::sample::select(vec![" ", "\n", "\n\n"]), proptest::bool::ANY);
    proptest::collection::vec(word, 1..12).prop_map(|words| {
        let (mut text, mut places) = (String::new(), Vec::new());
        for (word, space, _) in &words {
            let start = text.len();
            text.push_str(word);
            places.push((start, text.len()));
            text.push_str(space);
        }
        // Where told so, a chunk begins with the word that the one before it ends with.
        let range = |(place, (_, _, overlaps)): (usize, &(String, &str, bool))| {
            let start = if *overlaps && place > 0 { places[place - 1].0 } else { places[place].0 };
            (start, places[place].1)
        };
        let ranges: Vec<_> = words.iter().enumerate().map(range).collect();
        let chunks = cut("a.md", &text, &ranges);
        (document("a.md", "text", &text), chunks)
    })
}

proptest! {
    #[test]
    fn what_is_given_is_the_union_of_all_windows(
        (document, all) in cut_text(), window in 1..4_usize, picks in proptest::collection::vec(0..12_usize, 1..5),
        other in Just(chunk("b.md", "other")),
    ) {
        let came: Vec<Arc<Chunk>> = picks.iter().filter_map(|place| all.get(*place).cloned()).chain([other.clone()]).collect();
        let index = [all.clone(), vec![other.clone()]].concat();
        let out = futures::executor::block_on(expand(json!({"window": window}), &index, &came));
        let mut is_in = vec![false; all.len()];
        for place in picks.iter().filter(|place| **place < all.len()) {
            for (near, is_in) in is_in.iter_mut().enumerate() {
                *is_in |= near.abs_diff(*place) <= window;
            }
        }
        // Runs of positions, each as the range from its first to its last byte.
        let runs = is_in.iter().enumerate().collect::<Vec<_>>();
        let mut expected: Vec<ByteRange> = runs
            .chunk_by(|(_, a), (_, b)| a == b)
            .filter(|run| *run[0].1)
            .map(|run| ByteRange { start: all[run[0].0].range.start, end: all[run[run.len() - 1].0].range.end })
            .collect();
        let mut own: Vec<Arc<Chunk>> = out.chunks.iter().filter(|chunk| chunk.doc == document.id).cloned().collect();
        own.sort_by_key(|chunk| chunk.range);
        expected.sort();
        prop_assert_eq!(own.iter().map(|chunk| chunk.range).collect::<Vec<_>>(), expected);
        prop_assert!(out.chunks.contains(&other), "documents are never joined");
        // The text, lines and id of each are those of its range.
        crate::testing::assert_exact(&document, &own);
    }
}
