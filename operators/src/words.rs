//! Words as a reader compares them: lower case, without endings, without those that mean nothing by themselves.

use frostem::{Algorithm, Stemmer};

/// English words that carry no meaning of their own, and those that questions are made of.
const STOP_WORDS: &[&str] = &[
    "a", "about", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been", "being", "but",
    "by", "can", "could", "did", "do", "does", "doing", "done", "for", "from", "get", "gets", "give", "had",
    "happen", "happened", "happens", "has", "have", "having", "he", "her", "him", "his", "how", "i", "if",
    "in", "into", "is", "it", "its", "itself", "just", "let", "may", "me", "might", "mine", "must", "my",
    "of", "on", "or", "our", "ours", "out", "shall", "she", "should", "so", "some", "such", "tell", "than",
    "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "too", "us",
    "very", "was", "we", "were", "what", "when", "where", "which", "while", "who", "whom", "whose", "why",
    "will", "with", "would", "you", "your", "yours",
    // The same in Chinese, where each character counts as a word.
    "么", "了", "什", "吗", "呢", "哪", "怎", "是", "的", "谁",
];

/// Whether `word`, in lower case, carries no meaning of its own.
pub(crate) fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

/// The words of `text` as they are written, in order. A name such as `max_turns` is one word.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .map(|word| word.trim_matches('_'))
        .flat_map(Ideographs)
        .filter(|word| !word.is_empty())
}

/// The terms of `text` that carry meaning, in order: what two texts are compared by.
///
/// A name of several parts counts as a whole and by its parts.
pub(crate) fn terms(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    for word in words(text) {
        let lower = word.to_lowercase();
        if is_stop_word(&lower) {
            continue;
        }
        if lower.contains('_') {
            terms.extend(lower.split('_').filter(|part| !part.is_empty() && !is_stop_word(part)).map(stem));
        }
        terms.push(stem(&lower));
    }
    terms
}

/// `word`, in lower case, without its English ending: `loads`, `loaded` and `loading` are `load`.
///
/// The same stemmer as that of the index, so that a reader sees the match for which a chunk was found.
pub(crate) fn stem(word: &str) -> String {
    match word {
        // Names in code are shorter than the words of a question.
        "every" => "each".to_owned(),
        "maximum" | "maximal" => "max".to_owned(),
        "minimum" | "minimal" => "min".to_owned(),
        // Names such as `max_turns` are left as they are.
        _ if !word.bytes().all(|byte| byte.is_ascii_lowercase()) => word.to_owned(),
        _ => Stemmer::new(Algorithm::English).stem(word).into_owned(),
    }
}

/// Splits off characters of scripts that put no space between words: each is a word.
struct Ideographs<'a>(&'a str);

impl<'a> Iterator for Ideographs<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let first = self.0.chars().next()?;
        let end = if is_ideograph(first) {
            first.len_utf8()
        } else {
            self.0.find(is_ideograph).unwrap_or(self.0.len())
        };
        let (word, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(word)
    }
}

/// Whether `c` belongs to a script that puts no space between words.
pub(crate) fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_sorted_so_that_they_are_found() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn forms_of_a_word_have_one_stem() {
        for forms in [
            ["load", "loads", "loaded", "loading"],
            ["stop", "stops", "stopped", "stopping"],
            ["require", "requires", "required", "requiring"],
            ["index", "indexes", "indexed", "indexing"],
        ] {
            assert!(forms.iter().all(|form| stem(form) == stem(forms[0])), "{forms:?}");
        }
        assert_eq!(stem("queries"), stem("query"));
        assert_ne!(stem("thing"), stem("the"));
    }

    #[test]
    fn terms_leave_out_what_means_nothing() {
        assert_eq!(
            terms("What happens to a loop without max_turns?"),
            ["loop", "without", "max", "turn", "max_turns"]
        );
        assert_eq!(terms("漢字 test"), ["漢", "字", "test"]);
        assert!(terms("what is it?").is_empty());
    }
}
