//! What a question has that no rewriting may lose: numbers, quoted phrases, names that are written in a way of their own.

use std::collections::BTreeSet;

use super::key;
use crate::words::words;

/// What stands in `question` and no longer in `rewritten`, in words.
pub(crate) fn lost(question: &str, rewritten: &str) -> Option<String> {
    let kept: BTreeSet<&str> = numbers(rewritten).into_iter().collect();
    if let Some(number) = numbers(question).into_iter().find(|number| !kept.contains(number)) {
        return Some(format!("the number `{number}`"));
    }
    let whole = key(rewritten);
    if let Some(phrase) = quoted(question).into_iter().find(|phrase| !whole.contains(&key(phrase))) {
        return Some(format!("the quoted words `{phrase}`"));
    }
    let kept: BTreeSet<String> = words(rewritten).map(str::to_lowercase).collect();
    names(question).find(|name| !kept.contains(&name.to_lowercase())).map(|name| format!("the name `{name}`"))
}

/// The numbers: runs of digits, with single points, commas and colons inside.
fn numbers(text: &str) -> Vec<&str> {
    let mut numbers = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if !c.is_numeric() {
            continue;
        }
        let mut end = start + c.len_utf8();
        // A point belongs to the number only if a digit follows it.
        let mut after_point = false;
        while let Some((at, c)) = chars.next_if(|(_, c)| c.is_numeric() || (!after_point && is_point(*c))) {
            after_point = is_point(c);
            if !after_point {
                end = at + c.len_utf8();
            }
        }
        numbers.extend(text.get(start..end));
    }
    numbers
}

fn is_point(c: char) -> bool {
    matches!(c, '.' | ',' | ':')
}

/// The phrases between quotation marks.
fn quoted(text: &str) -> Vec<&str> {
    let mut phrases = Vec::new();
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        // An apostrophe stands within or after a word, a quotation mark before one.
        let close = closing(c).filter(|_| !before.is_alphanumeric());
        if let Some((close, end)) = close.and_then(|close| Some((close, find_end(rest, close)?))) {
            phrases.extend(rest.get(..end).filter(|phrase| !phrase.trim().is_empty()));
            rest = rest.get(end + close.len_utf8()..).unwrap_or_default();
        }
        before = c;
    }
    phrases
}

/// The mark that closes what `open` opens.
fn closing(open: char) -> Option<char> {
    Some(match open {
        '"' | '\'' | '`' => open,
        '“' => '”',
        '„' => '“',
        '‘' => '’',
        '«' => '»',
        '「' => '」',
        _ => return None,
    })
}

/// Where the first `close` stands that no letter follows.
fn find_end(text: &str, close: char) -> Option<usize> {
    let ends = |at: &usize| {
        let after = text.get(at + close.len_utf8()..).and_then(|rest| rest.chars().next());
        !after.is_some_and(char::is_alphanumeric)
    };
    text.match_indices(close).map(|(at, _)| at).find(ends)
}

/// Words with a capital or an underscore inside: `max_turns`, `HotpotQA`, `NASA`. Where all is in capitals, none are.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let shouts = !text.chars().any(char::is_lowercase);
    let is_name = |word: &&str| word.chars().skip(1).any(|c| c.is_uppercase() || c == '_');
    words(text).filter(move |word| !shouts && is_name(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_keep_their_points_and_leave_the_full_stop() {
        assert_eq!(
            numbers("In 3.5, or 12,000 at 10:30. COVID-19, v1.2.3 ... 7."),
            ["3.5", "12,000", "10:30", "19", "1.2.3", "7"]
        );
    }

    #[test]
    fn phrases_are_found_in_all_kinds_of_quotation_marks() {
        assert_eq!(
            quoted(r#"Is "one two" or 'it's so' or `x y` or “a” or „b“ or «c»? users' dogs' """#),
            ["one two", "it's so", "x y", "a", "b", "c"]
        );
    }

    #[test]
    fn what_was_lost_is_named() {
        for (question, rewritten, what) in [
            ("and in 2019?", "What was the turnover in 2020?", Some("the number `2019`")),
            ("and in 12?", "What was it in 2012?", Some("the number `12`")),
            ("what is \"Deep Thought\"?", "What is deep thinking?", Some("the quoted words `Deep Thought`")),
            ("what is \"Deep  Thought\"?", "What is deep thought?", None),
            ("does max_turns bound it?", "Does the maximum bound the loop?", Some("the name `max_turns`")),
            ("is it NOT in RAG?", "Is the judge not in RAG?", None),
            ("WHY IS IT SLOW", "Why is the index slow?", None),
            ("", "", None),
        ] {
            assert_eq!(lost(question, rewritten).as_deref(), what, "{question}");
        }
    }

    proptest! {
        #[test]
        fn a_text_loses_nothing_to_itself(text in "([\"'`«»“”„0-9.,: a-zA-Z_]|\\PC){0,40}") {
            prop_assert_eq!(lost(&text, &text), None);
        }
    }
}
