//! What kind of answer a question asks for, and whether a sentence can be one.

use crate::words::words;

/// The kind of answer that a question word asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cue {
    /// A name: who, where.
    Name,
    /// A date or time: when.
    Time,
    /// A number: how many.
    Number,
}

const MONTHS_AND_DAYS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "today",
    "tomorrow",
    "yesterday",
    "tonight",
    "century",
];

const NUMBERS: &[&str] = &[
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "twenty", "thirty", "forty", "fifty", "hundred", "thousand", "million", "billion", "dozen", "half",
    "once", "twice",
];

/// What `question` asks for, where its words tell.
pub(crate) fn cue(question: &str) -> Option<Cue> {
    let words: Vec<String> = words(question).map(str::to_lowercase).collect();
    let pairs = words.iter().zip(words.iter().skip(1).map(String::as_str).chain([""]));
    pairs.into_iter().find_map(|(word, next)| match (word.as_str(), next) {
        ("who" | "whom" | "whose" | "where", _) => Some(Cue::Name),
        ("when", _) | ("what" | "which", "year" | "date" | "day" | "month" | "century" | "time") => {
            Some(Cue::Time)
        }
        ("how", "many" | "much" | "long" | "old" | "often" | "far" | "tall" | "large" | "big")
        | ("what", "percentage" | "number" | "percent") => Some(Cue::Number),
        _ => None,
    })
}

/// Whether `sentence` has something of that kind that the question does not have already.
pub(crate) fn has(sentence: &str, cue: Cue, is_asked: impl Fn(&str) -> bool) -> bool {
    let is_number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let mut new = words(sentence).enumerate().filter(|(_, word)| !is_asked(word));
    match cue {
        // The first word has a capital anyway.
        Cue::Name => new.any(|(n, word)| n > 0 && word.starts_with(char::is_uppercase) && word.len() > 1),
        Cue::Time => new.any(|(_, word)| is_number(word) || is_one_of(MONTHS_AND_DAYS, word)),
        Cue::Number => new.any(|(_, word)| is_number(word) || is_one_of(NUMBERS, word)),
    }
}

fn is_one_of(list: &[&str], word: &str) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_word_tells_what_is_asked_for() {
        for (question, kind) in [
            ("Who wrote it?", Some(Cue::Name)),
            ("In what year did it end?", Some(Cue::Time)),
            ("How many turns are there?", Some(Cue::Number)),
            ("How do I stop it?", None),
        ] {
            assert_eq!(cue(question), kind, "{question}");
        }
    }

    #[test]
    fn what_the_question_says_itself_is_no_answer() {
        let has = |sentence, kind| has(sentence, kind, |word| word == "Rollo" || word == "911");
        assert!(has("The treaty was with Charles.", Cue::Name));
        assert!(!has("There Rollo stayed.", Cue::Name));
        assert!(has("He came in 912.", Cue::Time) && has("He came in May or June.", Cue::Time));
        assert!(!has("He came in 911.", Cue::Time));
        assert!(has("It has twelve parts.", Cue::Number) && !has("It has parts.", Cue::Number));
    }
}
