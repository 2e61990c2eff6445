//! Adds words of the chunks found so far to the question.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::Chunk;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::words::{is_stop_word, stem, terms, words};

/// Adds words of the chunks found so far to the question.
///
/// The chunks are taken to be relevant, and the words that mark them become part of the next query: first the words
/// that better chunks use often and few chunks share. Use it in a loop, to find what the question does not name; give
/// `terms` back through `carry` as `previous`, and stop when `done`. It can drift away from the question when the
/// chunks are poor, so keep `max_terms` small. Asks no model.
///
/// Source: relevance feedback after Rocchio (1971), with chunks weighed by rank as in the relevance models of
/// Lavrenko and Croft (2001).
///
/// ```yaml
/// expand:
///   op: query.expand
///   with: { max_terms: 3 }
///   in: { question: inputs.question, chunks: keep.chunks, previous: carry.terms }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expand {
    /// Most words to add each time.
    #[schemars(range(min = 1, max = 50))]
    pub max_terms: usize,
    /// How many chunks, from the first, are looked at.
    #[schemars(range(min = 1, max = 1000))]
    pub max_chunks: usize,
    /// Fewest letters of a word that is added.
    #[schemars(range(min = 1, max = 20))]
    pub min_letters: usize,
}

impl Default for Expand {
    fn default() -> Self {
        Self { max_terms: 3, max_chunks: 10, min_letters: 4 }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The question as it was asked.
        pub question: String,
        /// The chunks found so far, best first.
        pub chunks: Vec<Arc<Chunk>>,
        /// The words added before; they stay, and are not added again.
        pub previous: Option<Vec<String>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The question with all words added so far.
        pub query: String,
        /// Whether there was no new word to add.
        pub done: bool,
        /// All words added so far, those of `previous` first.
        pub terms: Vec<String>,
    }
}

/// A word by its stem, as the chunks use it.
#[derive(Default)]
struct Candidate<'a> {
    weight: f64,
    in_chunks: usize,
    /// How often each of its forms occurs.
    forms: BTreeMap<&'a str, usize>,
}

impl Expand {
    /// The best new words, best first.
    fn new_words(&self, known: &BTreeSet<String>, chunks: &[Arc<Chunk>]) -> Vec<String> {
        let mut candidates: BTreeMap<String, Candidate<'_>> = BTreeMap::new();
        for (rank, chunk) in chunks.iter().enumerate() {
            let used: Vec<(String, &str)> = words(&chunk.text)
                .filter(|word| word.chars().count() >= self.min_letters)
                .map(|word| (word.to_lowercase(), word))
                .filter(|(lower, _)| !is_stop_word(lower) && lower.chars().any(char::is_alphabetic))
                .map(|(lower, word)| (stem(&lower), word))
                .collect();
            let mut seen = BTreeSet::new();
            for (stem, word) in &used {
                if known.contains(stem) {
                    continue;
                }
                let candidate = candidates.entry(stem.clone()).or_default();
                candidate.weight += 1.0 / ((rank + 1) as f64 * used.len() as f64);
                candidate.in_chunks += usize::from(seen.insert(stem));
                *candidate.forms.entry(word).or_default() += 1;
            }
        }
        let n_chunks = chunks.len() as f64;
        let mut ranked: Vec<(f64, &Candidate<'_>)> = candidates
            .values()
            .map(|word| (word.weight * (1.0 + n_chunks / word.in_chunks as f64).ln(), word))
            .collect();
        // Stable: words of equal weight stay in alphabetical order.
        ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let commonest = |word: &Candidate<'_>| {
            word.forms.iter().rev().max_by_key(|(_, count)| **count).map(|(form, _)| form.to_lowercase())
        };
        ranked.into_iter().take(self.max_terms).filter_map(|(_, word)| commonest(word)).collect()
    }
}

#[async_trait]
impl Operator for Expand {
    const NAME: &'static str = "query.expand";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        let mut all = input.previous.unwrap_or_default();
        let known =
            terms(&input.question).into_iter().chain(all.iter().map(|word| stem(&word.to_lowercase())));
        let known = known.collect();
        let chunks = input.chunks.get(..self.max_chunks).unwrap_or(&input.chunks);
        let new = self.new_words(&known, chunks);
        let done = new.is_empty();
        all.extend(new);
        let query =
            std::iter::once(&input.question).chain(&all).map(String::as_str).collect::<Vec<_>>().join(" ");
        Ok(Out { query, done, terms: all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::chunk;
    use anabranch_engine::testing::cx;

    async fn expand(question: &str, texts: &[&str], previous: &[&str]) -> Out {
        let chunks = texts.iter().enumerate().map(|(i, text)| chunk(&format!("d{i}"), text)).collect();
        let previous = Some(previous.iter().map(|word| (*word).to_owned()).collect());
        let input = In { question: question.to_owned(), chunks, previous };
        Expand { max_terms: 1, ..Expand::default() }.run(&cx(), input).await.unwrap()
    }

    #[tokio::test]
    async fn the_word_that_marks_the_best_chunk_is_added() {
        let out = expand(
            "Who wrote the novel?",
            &["The novel was by Tolstoy, Tolstoy alone.", "a novel thing"],
            &[],
        );
        let out = out.await;
        assert_eq!((out.query.as_str(), out.done), ("Who wrote the novel? tolstoy", false));
    }

    #[tokio::test]
    async fn no_word_is_added_twice_in_any_form() {
        let out = expand("Who loads it?", &["loading loaded loader"], &["loader"]).await;
        assert_eq!(
            (out.query.as_str(), out.done, out.terms),
            ("Who loads it? loader", true, vec!["loader".into()])
        );
    }

    #[tokio::test]
    async fn without_chunks_the_question_stays_as_it_is() {
        let out = expand("Who?", &[], &[]).await;
        assert_eq!((out.query.as_str(), out.done), ("Who?", true));
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(serde_json::from_str::<Expand>(r#"{"terms": 3}"#).is_err());
    }
}
