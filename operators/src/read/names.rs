//! Names as two texts write them differently: `the U.S.` and `United States`, `French` and `France`, a surname alone.

use std::collections::BTreeSet;

use crate::words::{is_stop_word, words};

/// Letters that a name and the name of what belongs to it share: `Spain` and `Spanish`.
const PREFIX: usize = 3;

/// The names that stand in some texts.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Every word, in lower case.
    words: BTreeSet<String>,
    /// Beginnings of the words with a capital, in lower case.
    prefixes: BTreeSet<String>,
    /// First letters of the words with a capital, in order, in lower case.
    initials: String,
}

/// Names that share no beginning with what belongs to them.
const OTHER_FORMS: [(&str, &str); 4] =
    [("french", "france"), ("dutch", "netherlands"), ("danish", "denmark"), ("welsh", "wales")];

impl Names {
    pub(crate) fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut names = Self::default();
        for text in texts {
            // Letters that stand alone, as in `U.S.`
            let mut letters = String::new();
            for word in words(text) {
                let lower = word.to_lowercase();
                if lower.chars().count() == 1 {
                    letters.push_str(&lower);
                    names.words.insert(letters.clone());
                } else {
                    letters.clear();
                }
                if word.starts_with(char::is_uppercase) && !is_stop_word(&lower) {
                    names.prefixes.insert(prefix(&lower).to_owned());
                    names.initials.extend(lower.chars().next());
                }
                names.words.insert(lower);
            }
            names.initials.push(' ');
        }
        names
    }

    /// Whether some word of the name stands there, or a short or long form of it.
    pub(crate) fn has(&self, name: &[&str]) -> bool {
        let lower: Vec<String> = name.iter().map(|word| word.to_lowercase()).collect();
        let initials: String = lower.iter().filter_map(|word| word.chars().next()).collect();
        (lower.len() > 1 && self.words.contains(&initials))
            || lower.iter().zip(name).any(|(lower, word)| {
                let is_acronym = lower.len() > 1 && word.chars().all(char::is_uppercase);
                let other = OTHER_FORMS.iter().find_map(|(a, b)| match lower.as_str() {
                    word if word == *a => Some(*b),
                    word if word == *b => Some(*a),
                    _ => None,
                });
                self.words.contains(lower)
                    || other.is_some_and(|other| self.words.contains(other))
                    || (is_acronym && self.initials.contains(lower.as_str()))
                    || (!lower.contains('_') && self.prefixes.contains(prefix(lower)))
            })
    }
}

fn prefix(word: &str) -> &str {
    word.char_indices().nth(PREFIX).and_then(|(at, _)| word.get(..at)).unwrap_or(word)
}

/// The names in a sentence, each as its words: words with a capital beside one another, and names in code such as
/// `max_turns`. A single word that may have its capital from where it stands is none.
pub(crate) fn names(sentence: &str) -> Vec<Vec<&str>> {
    let mut names: Vec<Vec<&str>> = Vec::new();
    let mut current: Vec<&str> = Vec::new();
    let mut begins = true;
    let mut current_begins = false;
    for token in sentence.split_whitespace() {
        let opens = token.starts_with(['"', '“', '„', '«', '(', '‘', '\'']);
        for word in words(token) {
            if word.contains('_') {
                names.push(vec![word]);
            } else if word.starts_with(char::is_uppercase) && !is_stop_word(&word.to_lowercase()) {
                if current.is_empty() {
                    current_begins = begins || opens;
                }
                current.push(word);
            }
        }
        let is_capital = words(token).any(|word| word.starts_with(char::is_uppercase));
        let ends = token.ends_with(['.', ':', '!', '?', ';', ',', ')', '"', '”', '\'', '’']);
        let is_initial = token.ends_with('.') && token.chars().count() <= 4;
        if !is_capital || (ends && !is_initial) {
            flush(&mut names, &mut current, current_begins);
        }
        begins = token.ends_with(['.', ':', '!', '?', '-', '–', '—', '*']) && !is_initial;
    }
    flush(&mut names, &mut current, current_begins);
    names
}

fn flush<'a>(names: &mut Vec<Vec<&'a str>>, current: &mut Vec<&'a str>, begins: bool) {
    let name = std::mem::take(current);
    if name.len() > usize::from(begins) {
        names.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_with_a_capital_that_stand_together() {
        let text = "Today Ann Lee met J. Doe, the French king. Reasons: First, `max_turns` of IBM's Watson.";
        let expected: Vec<Vec<&str>> = vec![
            vec!["Today", "Ann", "Lee"],
            vec!["J", "Doe"],
            vec!["French"],
            vec!["max_turns"],
            vec!["IBM", "Watson"],
        ];
        assert_eq!(names(text), expected);
    }

    #[test]
    fn a_name_is_found_by_a_part_or_another_form() {
        let names = Names::of(
            ["France and the U.S. met William Clinton of the International Monetary Fund"].into_iter(),
        );
        for name in
            [vec!["French"], vec!["United", "States"], vec!["Bill", "Clinton"], vec!["IMF"], vec!["US"]]
        {
            assert!(names.has(&name), "{name:?}");
        }
        for name in [vec!["Spain"], vec!["Bill", "Gates"], vec!["IBM"], vec!["max_turns"]] {
            assert!(!names.has(&name), "{name:?}");
        }
    }
}
