//! A reranker that needs no model: it counts the words of the query that a text has.

use std::collections::{BTreeMap, HashSet};

use anabranch_engine::backend::{Call, Error, Reranker, Reranking, Usage};
use anabranch_engine::value::Text;
use async_trait::async_trait;

use crate::words::{Word, words};

/// What a word counts that a text has in another form only, as `loads` for `loading`.
const OTHER_FORM: f64 = 0.9;

/// Texts looked at between two chances for other work on this thread.
const TEXTS_IN_A_ROW: usize = 32;

/// Scores a text by the share of the query's words that it has, 0 to 1, where words that few of the texts have count
/// for more. It knows spelling, not meaning: a stand-in that works everywhere, until a model takes its place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lexical;

#[async_trait]
impl Reranker for Lexical {
    fn name(&self) -> &'static str {
        "lexical"
    }

    async fn rerank(&self, query: &str, texts: &[Text], _: &Call<'_>) -> Result<Reranking, Error> {
        let query = query.to_lowercase();
        let wanted = Wanted::of(&query);
        let mut found = Vec::with_capacity(texts.len());
        for (n, text) in texts.iter().enumerate() {
            if n > 0 && n % TEXTS_IN_A_ROW == 0 {
                tokio::task::yield_now().await;
            }
            found.push(wanted.found_in(text));
        }
        Ok(Reranking { scores: scores(&found, wanted.words.len()), usage: Usage::default() })
    }
}

/// What is looked for.
struct Wanted {
    /// Forms under their stems, each stem once.
    words: BTreeMap<String, HashSet<String>>,
}

impl Wanted {
    /// The words of `query`, in lower case, that say what it is about; all of them if none does.
    fn of(query: &str) -> Self {
        let mut telling: Vec<Word<'_>> = words(query).filter(|word| !word.is_stop_word()).collect();
        if telling.is_empty() {
            telling = words(query).collect();
        }
        let mut words = BTreeMap::<_, HashSet<_>>::new();
        for word in telling {
            words.entry(word.stem().into_owned()).or_default().insert(word.form.into_owned());
        }
        Self { words }
    }

    /// How far `text` has each of the words: 1 as it is written, less in another form, else 0.
    fn found_in(&self, text: &str) -> Vec<f64> {
        let lower = text.to_lowercase();
        let (mut forms, mut stems) = (HashSet::new(), HashSet::new());
        for word in words(&lower) {
            if !forms.contains(word.form.as_ref()) {
                stems.insert(word.stem().into_owned());
                forms.insert(word.form.into_owned());
            }
        }
        let share = |(stem, wanted): (&String, &HashSet<String>)| match () {
            () if wanted.iter().any(|form| forms.contains(form)) => 1.0,
            () if stems.contains(stem) => OTHER_FORM,
            () => 0.0,
        };
        self.words.iter().map(share).collect()
    }
}

/// The score of each row of `found`, which tells how far a text has each of `n_words` words.
fn scores(found: &[Vec<f64>], n_words: usize) -> Vec<f64> {
    let n_texts = found.len() as f64;
    let rarity = |column: usize| {
        let has = |row: &&Vec<f64>| row.get(column).is_some_and(|share| *share > 0.0);
        // A word that no text has is as rare as one that a single text has, so that it lowers all scores alike.
        (1.0 + n_texts / found.iter().filter(has).count().max(1) as f64).ln()
    };
    let rarities: Vec<f64> = (0..n_words).map(rarity).collect();
    let whole: f64 = rarities.iter().sum();
    let score = |row: &Vec<f64>| {
        let had: f64 = row.iter().zip(&rarities).map(|(share, rarity)| share * rarity).sum();
        if whole > 0.0 { (had / whole).clamp(0.0, 1.0) } else { 0.0 }
    };
    found.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rerank(query: &str, texts: &[&str]) -> Vec<f64> {
        let texts: Vec<Text> = texts.iter().map(|text| Text::from(*text)).collect();
        let call = Call::keyed("key");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Lexical.rerank(query, &texts, &call)).unwrap().scores
    }

    #[test]
    fn a_text_with_all_words_has_one_and_a_text_with_none_zero() {
        assert_eq!(rerank("Ada Lovelace", &["Who was Lovelace, Ada?", "Babbage built it"]), [1.0, 0.0]);
    }

    #[test]
    fn a_rare_word_counts_for_more_than_a_common_one() {
        let scores = rerank("engine journal", &["an engine", "the journal", "engine two", "engine three"]);
        assert!(scores[1] > scores[0], "{scores:?}");
        assert!((scores[0] - scores[2]).abs() < f64::EPSILON, "{scores:?}");
    }

    #[test]
    fn another_form_of_a_word_counts_for_a_little_less() {
        let scores = rerank("loading models", &["loading models", "loads a model", "a journal"]);
        assert_eq!((scores[0], scores[2]), (1.0, 0.0));
        assert!((scores[1] - OTHER_FORM).abs() < 1e-9, "{scores:?}");
    }

    #[test]
    fn stop_words_count_only_where_there_is_nothing_else() {
        assert_eq!(rerank("what is the journal", &["what is the engine", "journal"]), [0.0, 1.0]);
        assert_eq!(rerank("to be", &["to be or not to be", "journal"]), [1.0, 0.0]);
    }

    #[test]
    fn nothing_is_found_of_nothing() {
        assert_eq!(rerank("?", &["a", ""]), [0.0, 0.0]);
        assert!(rerank("a word", &[]).is_empty());
    }

    #[test]
    fn a_single_text_scores_by_the_share_of_the_words() {
        assert_eq!(rerank("red green blue black", &["blue, red and green"]), [0.75]);
    }

    proptest! {
        #[test]
        fn scores_lie_between_zero_and_one_and_are_the_same_each_time(
            query in "\\PC{0,40}", texts in prop::collection::vec("\\PC{0,80}", 0..50)
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let scores = rerank(&query, &texts);
            prop_assert_eq!(scores.len(), texts.len());
            prop_assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{:?}", scores);
            prop_assert_eq!(scores, rerank(&query, &texts));
        }
    }
}
