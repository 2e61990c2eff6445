//! The words of a text, for encoders that know spelling and not meaning.

use std::borrow::Cow;

use frostem::{Algorithm, Stemmer};

/// English words that say little about what a text is about. Sorted.
const STOP_WORDS: [&str; 74] = [
    "a", "about", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by",
    "can", "could", "did", "do", "does", "for", "from", "had", "has", "have", "he", "her", "his", "how", "i",
    "if", "in", "into", "is", "it", "its", "me", "my", "no", "not", "of", "on", "or", "our", "she", "should",
    "so", "some", "such", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this",
    "those", "to", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with",
    "would", "you",
];

/// Longest word in characters that is looked at whole; of longer ones (keys, encoded files) this much of the beginning.
const WORD_CHARS_MAX: usize = 64;

/// A word of a text in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Word<'a> {
    /// As written, but for its case.
    pub(crate) form: Cow<'a, str>,
}

impl Word<'_> {
    /// Without its English ending: `loads` and `loading` are `load`.
    pub(crate) fn stem(&self) -> Cow<'_, str> {
        if self.form.bytes().all(|byte| byte.is_ascii_lowercase()) {
            Stemmer::new(Algorithm::English).stem(&self.form)
        } else {
            Cow::Borrowed(&self.form)
        }
    }

    /// Whether it says little about what a text is about.
    pub(crate) fn is_stop_word(&self) -> bool {
        STOP_WORDS.binary_search(&self.form.as_ref()).is_ok()
    }
}

/// The words of `lower`, a text in lower case, in order and with repeats: letters and digits in a row. Scripts that
/// are written without spaces are cut into pairs of neighbours.
pub(crate) fn words(lower: &str) -> impl Iterator<Item = Word<'_>> {
    lower.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty()).flat_map(Pieces::of)
}

/// The words of one run of letters.
enum Pieces<'a> {
    Whole(Option<&'a str>),
    Unspaced(std::vec::IntoIter<String>),
}

impl<'a> Pieces<'a> {
    fn of(run: &'a str) -> Self {
        if !run.chars().any(is_unspaced) {
            let end = run.char_indices().nth(WORD_CHARS_MAX).map_or(run.len(), |(end, _)| end);
            return Self::Whole(run.get(..end));
        }
        let mut pieces = Vec::new();
        let mut chars = run.chars().peekable();
        let mut spaced = String::new();
        let mut before = None;
        while let Some(c) = chars.next() {
            if !is_unspaced(c) {
                spaced.push(c);
                before = None;
                continue;
            }
            if !spaced.is_empty() {
                pieces.push(spaced.chars().take(WORD_CHARS_MAX).collect());
                spaced.clear();
            }
            match before {
                Some(before) => pieces.push(String::from_iter([before, c])),
                // A character that stands alone is a word, one that has a neighbour comes in the pair.
                None if !chars.peek().is_some_and(|&next| is_unspaced(next)) => pieces.push(c.to_string()),
                None => {}
            }
            before = Some(c);
        }
        if !spaced.is_empty() {
            pieces.push(spaced.chars().take(WORD_CHARS_MAX).collect());
        }
        Self::Unspaced(pieces.into_iter())
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let form = match self {
            Self::Whole(word) => Cow::Borrowed(word.take()?),
            Self::Unspaced(pieces) => Cow::Owned(pieces.next()?),
        };
        Some(Word { form })
    }
}

/// Whether the character belongs to a script that is written without spaces between words.
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x0E00..=0x0EFF          // Thai, Lao
        | 0x1000..=0x109F        // Burmese
        | 0x1780..=0x17FF        // Khmer
        | 0x3040..=0x30FF        // kana
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF) // Han
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(text: &str) -> Vec<String> {
        words(text).map(|word| word.form.into_owned()).collect()
    }

    #[test]
    fn stop_words_are_sorted_so_that_they_are_found() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn words_are_letters_and_digits_in_a_row() {
        assert_eq!(forms("max_turns: 3, it’s `off`!"), ["max", "turns", "3", "it", "s", "off"]);
        assert!(forms(" …—\n").is_empty());
    }

    #[test]
    fn scripts_without_spaces_are_cut_into_pairs() {
        assert_eq!(forms("东京大学abc, 好"), ["东京", "京大", "大学", "abc", "好"]);
        assert_eq!(forms("v2版"), ["v2", "版"]);
    }

    #[test]
    fn endless_words_are_cut() {
        assert_eq!(forms(&"é".repeat(100_000)), ["é".repeat(64)]);
    }

    #[test]
    fn forms_of_a_word_share_their_stem() {
        for text in ["load loads loaded loading", "query queries", "index indexes indexed"] {
            let words: Vec<_> = words(text).collect();
            assert!(words.iter().all(|word| word.stem() == words[0].stem()), "{text}");
        }
    }
}
