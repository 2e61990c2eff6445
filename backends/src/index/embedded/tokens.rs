//! Cuts text into the words that are indexed and looked for.

use tantivy::tokenizer::{Language, Stemmer, TextAnalyzer, Token, TokenStream, Tokenizer};

/// The words that Lucene leaves out of English text.
const STOP_WORDS: [&str; 33] = [
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no",
    "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to",
    "was", "will", "with",
];

/// Longer runs are keys, hashes or encoded files: nobody looks for them, and each would cost a term.
const WORD_BYTES_MAX: usize = 256;

/// The words of `text`, stemmed, in order, repeats included.
///
/// A word is two or more letters, digits or underscores in a row, in lower case, and none of the 33 stop words; this
/// and the stemmer (Snowball English) are those of the reference figures. Scripts that are written without spaces
/// are cut into pairs of characters. With `is_code`, the parts of identifiers (`max_turns`, `maxTurns`) follow them.
pub(super) fn words(text: &str, is_code: bool) -> Vec<String> {
    let mut analyzer =
        TextAnalyzer::builder(Words { is_code }).filter(Stemmer::new(Language::English)).build();
    let mut stream = analyzer.token_stream(text);
    let mut words = Vec::new();
    while stream.advance() {
        words.push(std::mem::take(&mut stream.token_mut().text));
    }
    words
}

#[derive(Clone)]
struct Words {
    is_code: bool,
}

struct WordStream {
    words: std::vec::IntoIter<String>,
    token: Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream {
        WordStream { words: cut(text, self.is_code).into_iter(), token: Token::default() }
    }
}

impl TokenStream for WordStream {
    fn advance(&mut self) -> bool {
        let next = self.words.next();
        let is_some = next.is_some();
        self.token.text = next.unwrap_or_default();
        is_some
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

fn is_word_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn cut(text: &str, is_code: bool) -> Vec<String> {
    let mut words = Vec::new();
    // Case tells the parts of an identifier, so code is cut before it is lowered; prose after, as the reference does.
    let lowered;
    let source = if is_code {
        text
    } else {
        lowered = text.to_lowercase();
        &lowered
    };
    for run in source.split(|c| !is_word_char(c)) {
        if run.is_empty() || run.len() > WORD_BYTES_MAX {
            continue;
        }
        if run.chars().any(is_unspaced) {
            cut_unspaced(&run.to_lowercase(), &mut words);
        } else {
            push(run, &mut words);
            if is_code {
                push_parts(run, &mut words);
            }
        }
    }
    words
}

fn push(run: &str, words: &mut Vec<String>) {
    let word = run.to_lowercase();
    if word.chars().nth(1).is_some() && !STOP_WORDS.contains(&word.as_str()) {
        words.push(word);
    }
}

/// The parts of an identifier, if it has more than one: `parse_HTTPHeader2` is `parse`, `http`, `header2`.
fn push_parts(run: &str, words: &mut Vec<String>) {
    let mut parts = Vec::new();
    for piece in run.split('_').filter(|piece| !piece.is_empty()) {
        let chars: Vec<(usize, char)> = piece.char_indices().collect();
        let mut start = 0;
        for (before, here, after) in chars.windows(2).enumerate().filter_map(|(n, pair)| {
            let [before, here] = pair else { return None };
            Some((before.1, *here, chars.get(n + 2).map(|next| next.1)))
        }) {
            let ends_word = !before.is_uppercase() && here.1.is_uppercase();
            let ends_acronym =
                before.is_uppercase() && here.1.is_uppercase() && after.is_some_and(char::is_lowercase);
            if ends_word || ends_acronym {
                parts.extend(piece.get(start..here.0));
                start = here.0;
            }
        }
        parts.extend(piece.get(start..));
    }
    if parts.len() > 1 {
        for part in parts {
            push(part, words);
        }
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

/// Pairs of neighbours for the stretches without spaces, whole words for what stands between them.
fn cut_unspaced(run: &str, words: &mut Vec<String>) {
    let mut spaced = String::new();
    let mut unspaced: Vec<char> = Vec::new();
    let end_unspaced = |chars: &mut Vec<char>, words: &mut Vec<String>| {
        match chars.as_slice() {
            [] => {}
            [single] => words.push(single.to_string()),
            many => words.extend(many.windows(2).map(|pair| pair.iter().collect::<String>())),
        }
        chars.clear();
    };
    for c in run.chars() {
        if is_unspaced(c) {
            push(&spaced, words);
            spaced.clear();
            unspaced.push(c);
        } else {
            end_unspaced(&mut unspaced, words);
            spaced.push(c);
        }
    }
    push(&spaced, words);
    end_unspaced(&mut unspaced, words);
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_are_lowered_stemmed_and_freed_of_stop_words() {
        assert_eq!(
            words("The Runs of a loop, without `max_turns`: it’s NOT bounded!", false),
            ["run", "loop", "without", "max_turn", "bound"]
        );
    }

    #[test]
    fn repeats_are_kept_and_single_characters_are_not() {
        assert_eq!(words("x x1 x1 é éé 7 77", false), ["x1", "x1", "éé", "77"]);
    }

    #[test]
    fn identifiers_are_cut_into_parts_in_code_only() {
        assert_eq!(words("maxTurns", false), ["maxturn"]);
        assert_eq!(words("maxTurns", true), ["maxturn", "max", "turn"]);
        assert_eq!(words("parse_HTTPHeader2(x)", true), ["parse_httpheader2", "pars", "http", "header2"]);
        assert_eq!(words("simple", true), ["simpl"]);
    }

    #[test]
    fn scripts_without_spaces_are_cut_into_pairs() {
        assert_eq!(words("东京大学abc, 好", false), ["东京", "京大", "大学", "abc", "好"]);
        assert_eq!(words("مرحبا بالعالم", false).len(), 2);
    }

    #[test]
    fn endless_runs_are_left_out() {
        assert!(words(&"a".repeat(100_000), false).is_empty());
        assert!(words("", true).is_empty());
    }
}
