//! Figures of an answer against the right ones.
//!
//! Where several answers are right, each figure is that of the one that is nearest; see [`best`].

use std::collections::{HashMap, HashSet};

use crate::words::{answer_words, plain_words};

/// Most words of a text that [`rouge_l`] looks at: its time grows with the product of both lengths.
pub const ROUGE_WORDS_MAX: usize = 4_000;

/// The highest of `figure` over the right answers; 0 if there is none.
pub fn best(answer: &str, right: &[String], figure: impl Fn(&str, &str) -> f64) -> f64 {
    right.iter().map(|right| figure(answer, right)).fold(0.0, f64::max)
}

/// 1 if an answer is the right one, apart from case, punctuation and articles; else 0.
///
/// Source: exact match of `SQuAD` (Rajpurkar et al. 2016).
pub fn exact_match(answer: &str, right: &str) -> f64 {
    as_figure(answer_words(answer) == answer_words(right))
}

/// The harmonic mean of the share of an answer's words that are right, and of the right words that it has.
///
/// A word counts as often as both have it. Two answers without words are equal.
///
/// Source: F1 of `SQuAD` (Rajpurkar et al. 2016).
pub fn token_f1(answer: &str, right: &str) -> f64 {
    let (answer, right) = (answer_words(answer), answer_words(right));
    if answer.is_empty() || right.is_empty() {
        return as_figure(answer == right);
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &right {
        *left.entry(word).or_default() += 1;
    }
    let shared = answer.iter().filter(|word| take(&mut left, word)).count();
    f1(shared, answer.len(), right.len())
}

fn take(left: &mut HashMap<&str, usize>, word: &str) -> bool {
    match left.get_mut(word) {
        Some(n) if *n > 0 => {
            *n -= 1;
            true
        }
        _ => false,
    }
}

/// F1 of the longest common subsequence of words: words in the same order, not necessarily side by side.
///
/// Looks at the first [`ROUGE_WORDS_MAX`] words of each.
///
/// Source: ROUGE-L (Lin 2004), with equal weight for precision and recall.
pub fn rouge_l(answer: &str, right: &str) -> f64 {
    let (mut answer, mut right) = (plain_words(answer), plain_words(right));
    answer.truncate(ROUGE_WORDS_MAX);
    right.truncate(ROUGE_WORDS_MAX);
    f1(common_subsequence(&answer, &right), answer.len(), right.len())
}

/// The length of the longest common subsequence.
fn common_subsequence(a: &[String], b: &[String]) -> usize {
    // One row of the table: the lengths for all of `a` so far and the first words of `b`.
    let mut row = vec![0_usize; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        let mut before = 0;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let above = *cell;
            *cell = if x == y { diagonal + 1 } else { above.max(before) };
            diagonal = above;
            before = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn f1(shared: usize, a: usize, b: usize) -> f64 {
    if a + b == 0 { 0.0 } else { 2.0 * shared as f64 / (a + b) as f64 }
}

/// 1 if a text has an answer in it, word for word; else 0. Articles do not count.
pub fn contains(text: &str, answer: &str) -> f64 {
    let spaced = |text: &str| format!(" {} ", without_articles(text).join(" "));
    as_figure(spaced(text).contains(&spaced(answer)))
}

/// The share of the words of an answer that a text has. Articles do not count.
pub fn share_of_words(text: &str, answer: &str) -> f64 {
    let has: HashSet<String> = plain_words(text).into_iter().collect();
    let words = without_articles(answer);
    words.iter().filter(|word| has.contains(*word)).count() as f64 / words.len().max(1) as f64
}

/// Plain words, without articles.
pub fn without_articles(text: &str) -> Vec<String> {
    let mut words = plain_words(text);
    words.retain(|word| !matches!(word.as_str(), "a" | "an" | "the"));
    words
}

fn as_figure(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether two figures are the same but for rounding.
    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn an_exact_match_is_all_or_nothing() {
        assert!(near(exact_match("The Eiffel Tower!", "eiffel tower"), 1.0));
        assert!(near(exact_match("Eiffel Tower in Paris", "Eiffel Tower"), 0.0));
        assert!(near(exact_match("U.S.", "US"), 1.0));
        let right = ["G. Stanley Hall".to_owned(), "Stanley Hall".to_owned()];
        assert!(near(best("stanley hall", &right, exact_match), 1.0), "any of them will do");
        assert!(near(best("stanley hall", &[], exact_match), 0.0));
    }

    #[test]
    fn token_f1_by_hand() {
        // `cat sat on mat` against `cat on cat mat`: three shared (cat, on, mat) of 4 and 4.
        assert!(near(token_f1("the cat sat on the mat", "a cat on cat mat"), 0.75));
        // Two of three words are right, and both right words are there: 2 * (2/3) * 1 / (5/3) = 0.8.
        assert!(near(token_f1("in north carolina", "North Carolina"), 0.8));
        assert!(near(token_f1("one two", "three"), 0.0));
        assert!(near(token_f1("the", "a"), 1.0), "neither has a word");
        assert!(near(token_f1("", "word"), 0.0));
        // 2 of 3 characters and 2 of 2: each is a word.
        assert!(near(token_f1("圣母院", "圣母"), 0.8));
    }

    #[test]
    fn rouge_l_by_hand() {
        // Lin 2004: `police kill the gunman` and `the gunman kill police` against `police killed the gunman`.
        let right = "police killed the gunman";
        assert!(near(rouge_l("police kill the gunman", right), 0.75), "police the gunman: 3 of 4 and 4");
        assert!(near(rouge_l("the gunman kill police", right), 0.5), "the gunman: 2 of 4 and 4");
        // `a c e` out of five and three: 2 * 3 / 8.
        assert!(near(rouge_l("a b c d e", "a c e"), 0.75));
        assert!(near(rouge_l("", ""), 0.0));
    }

    #[test]
    fn what_a_text_has_of_an_answer() {
        assert!(near(contains("Born in Paris/London, he left.", "the Paris"), 1.0));
        assert!(near(contains("Parisian nights", "Paris"), 0.0));
        assert!(near(share_of_words("He left Paris in 1900", "Paris, in the year 1900"), 0.75));
    }

    proptest! {
        #[test]
        fn figures_are_shares_and_do_not_mind_who_is_who(a in "[a-d ]{0,30}", b in "[a-d ]{0,30}") {
            for figure in [exact_match, token_f1, rouge_l] {
                let value = figure(&a, &b);
                prop_assert!((0.0..=1.0).contains(&value));
                prop_assert!(near(value, figure(&b, &a)));
            }
            prop_assert!(exact_match(&a, &b) <= token_f1(&a, &b) + 1e-12);
        }

        #[test]
        fn an_answer_is_its_own_best(a in "[a-z]{2,8}( [b-z]{2,8}){0,5}") {
            for figure in [exact_match, token_f1, rouge_l] {
                prop_assert!(near(figure(&a, &a), 1.0));
            }
        }

        #[test]
        fn token_f1_does_not_mind_the_order_of_words(words in prop::collection::vec("[b-e]{1,2}", 1..8), right in "[b-e ]{1,12}") {
            let mut turned = words.clone();
            turned.reverse();
            prop_assert!(near(token_f1(&words.join(" "), &right), token_f1(&turned.join(" "), &right)));
        }
    }
}
