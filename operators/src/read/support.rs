//! Whether the chunks that an answer cites say what the answer says, as far as words, names and numbers tell.

use std::collections::BTreeSet;
use std::sync::Arc;

use anabranch_engine::value::{ByteRange, Chunk, ChunkId, DocumentId, LineRange, TokenCount};

use super::marks::Marked;
use super::names::{Names, names};
use super::numbers::numbers;
use super::outline::Kind;
use super::sentences::{Sentence, sentences};
use crate::words::{is_stop_word, stem, terms, words};

/// The sentences of an answer that its citations do not bear out.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Checked {
    /// Those that carry no citation.
    pub(crate) uncited: Vec<String>,
    /// Those that say what the chunks cited do not.
    pub(crate) unsupported: Vec<String>,
    /// How many cite a chunk.
    pub(crate) n_cited: usize,
}

/// Looks up every sentence of the answer in the chunks that it cites.
///
/// A sentence is unsupported if it has a number, a quotation or a name that stands neither there nor in the question, or
/// if less than `min_support` of its words stand there. Words and quotations are only compared within a language, names
/// only in English, where a capital makes a name.
pub(crate) fn check(question: &str, marked: &Marked, chunks: &[Arc<Chunk>], min_support: f64) -> Checked {
    let mut checked = Checked::default();
    let language = Language::of(marked, chunks);
    for (sentence, cited) in claims(marked) {
        let Some(cited) = cited else {
            if claims_something(&sentence) {
                checked.uncited.push(sentence.words);
            }
            continue;
        };
        let cited: Vec<&Chunk> =
            cited.iter().filter_map(|index| chunks.get(*index)).map(|chunk| &**chunk).collect();
        // Marks that stand for nothing are listed elsewhere.
        if cited.is_empty() {
            continue;
        }
        checked.n_cited += 1;
        let evidence = Evidence::of(&cited);
        let words = &sentence.words;
        let is_borne_out = evidence.has_numbers(words, question)
            && (language == Language::Foreign
                || (evidence.has_quotes(words) && evidence.share(words, question) >= min_support))
            && (language != Language::English || evidence.has_names(words, question));
        if !is_borne_out {
            checked.unsupported.push(sentence.words);
        }
    }
    checked
}

/// The sentences of an answer that claim something, without their marks.
pub(crate) fn statements(marked: &Marked) -> Vec<String> {
    let sentences = sentences(&answer_as_chunk(&marked.bare));
    sentences.into_iter().filter(claims_something).map(|sentence| sentence.words).collect()
}

/// Whether a sentence without a citation should have one: headings, code, questions and what only announces a list
/// need none.
fn claims_something(sentence: &Sentence) -> bool {
    sentence.kind == Kind::Prose
        && !sentence.words.ends_with([':', '?', '：', '？'])
        && !terms(&sentence.words).is_empty()
}

/// The sentences of an answer, each with the chunks that its marks stand for; none where it has no mark.
fn claims(marked: &Marked) -> Vec<(Sentence, Option<BTreeSet<usize>>)> {
    let sentences = sentences(&answer_as_chunk(&marked.bare));
    let mut claims: Vec<(Sentence, Option<BTreeSet<usize>>)> =
        sentences.into_iter().map(|sentence| (sentence, None)).collect();
    for place in &marked.places {
        // A mark at the beginning of a line is about what follows, any other about what it stands behind.
        let before = marked.bare.get(..place.at).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        let begins_line = !line.contains(|c: char| c.is_alphabetic());
        let is_meant = |sentence: &Sentence| {
            if begins_line { sentence.range.end > place.at } else { sentence.range.start < place.at }
        };
        let meant = if begins_line {
            claims.iter_mut().find(|(sentence, _)| is_meant(sentence))
        } else {
            claims.iter_mut().rfind(|(sentence, _)| is_meant(sentence))
        };
        if let Some((_, cited)) = meant {
            cited.get_or_insert_default().extend(&place.chunks);
        }
    }
    claims
}

fn answer_as_chunk(text: &str) -> Chunk {
    let (doc, range) = (DocumentId("answer".into()), ByteRange { start: 0, end: text.len() as u64 });
    Chunk {
        id: ChunkId::new(&doc, range),
        doc,
        text: text.into(),
        range,
        lines: LineRange { first: 1, last: 1 },
        tokens: TokenCount(0),
        title: None,
        headings: Vec::new(),
        score: None,
        meta: std::collections::BTreeMap::default(),
    }
}

/// What can be compared between an answer and its passages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    /// Both are in English, as far as can be told.
    English,
    /// Neither is.
    Other,
    /// One is and the other is not: words cannot be compared.
    Foreign,
}

impl Language {
    fn of(marked: &Marked, chunks: &[Arc<Chunk>]) -> Self {
        /// In English at least this share of the words carry no meaning of their own; in other languages less.
        const ENGLISH: f64 = 0.2;
        const OTHER: f64 = 0.1;
        let cited: BTreeSet<usize> =
            marked.places.iter().flat_map(|place| place.chunks.iter().copied()).collect();
        let passages = cited.iter().filter_map(|index| chunks.get(*index)).map(|chunk| &*chunk.text);
        // Where too few words tell nothing, English is assumed.
        let passages = english(passages).unwrap_or(ENGLISH);
        let answer = english([&*marked.bare].into_iter()).unwrap_or(passages);
        if (answer < OTHER && passages >= ENGLISH) || (answer >= ENGLISH && passages < OTHER) {
            Self::Foreign
        } else if passages >= ENGLISH {
            Self::English
        } else {
            Self::Other
        }
    }
}

/// The share of words that are English and carry no meaning of their own; none if there are too few to tell.
fn english<'a>(texts: impl Iterator<Item = &'a str>) -> Option<f64> {
    const WORDS_MIN: usize = 8;
    let (mut n, mut n_stop) = (0_usize, 0_usize);
    for word in texts.flat_map(words) {
        n += 1;
        n_stop += usize::from(word.is_ascii() && is_stop_word(&word.to_lowercase()));
    }
    (n >= WORDS_MIN).then(|| n_stop as f64 / n as f64)
}

/// What the chunks say that a sentence cites.
struct Evidence {
    /// The words in order, in lower case, those of each text apart.
    texts: Vec<Vec<String>>,
    terms: BTreeSet<String>,
    numbers: BTreeSet<String>,
    names: Names,
}

/// How much a name counts against another word.
const NAME_WEIGHT: f64 = 2.0;

impl Evidence {
    fn of(chunks: &[&Chunk]) -> Self {
        let texts: Vec<&str> = chunks
            .iter()
            .flat_map(|chunk| chunk.title.iter().chain(&chunk.headings).chain([&chunk.text]))
            .map(|text| &**text)
            .collect();
        Self {
            texts: texts.iter().map(|text| lower_words(text)).collect(),
            terms: texts.iter().flat_map(|text| terms(text)).collect(),
            numbers: texts.iter().flat_map(|text| numbers(text, true)).flatten().collect(),
            names: Names::of(texts.iter().copied()),
        }
    }

    /// Whether every number of the sentence stands there, or in the question.
    fn has_numbers(&self, sentence: &str, question: &str) -> bool {
        let asked: BTreeSet<String> = numbers(question, true).into_iter().flatten().collect();
        let mut numbers = numbers(sentence, false).into_iter();
        numbers.all(|forms| forms.iter().any(|form| self.numbers.contains(form) || asked.contains(form)))
    }

    /// Whether some part of every name of the sentence stands there, or in the question.
    fn has_names(&self, sentence: &str, question: &str) -> bool {
        let asked = Names::of([question].into_iter());
        names(sentence).iter().all(|name| self.names.has(name) || asked.has(name))
    }

    /// Whether every phrase of several words that the sentence quotes stands there.
    fn has_quotes(&self, sentence: &str) -> bool {
        let mut parts = quotes(sentence)
            .into_iter()
            .flat_map(|quote| quote.split(['…']).flat_map(|part| part.split("...")));
        parts.all(|part| {
            let part = lower_words(part);
            let stands_in = |text: &Vec<String>| text.windows(part.len()).any(|window| window == part);
            part.len() < 2 || self.texts.iter().any(stands_in)
        })
    }

    /// The share of the sentence's words that stand there. Names count more; words of the question that do not stand
    /// there count neither way, since the question may name what the chunk calls `he`.
    fn share(&self, sentence: &str, question: &str) -> f64 {
        let asked: BTreeSet<String> = terms(question).into_iter().collect();
        let (mut found, mut missing) = (0.0, 0.0);
        for (position, word) in words(sentence).enumerate() {
            let lower = word.to_lowercase();
            // Numbers are looked at by themselves; a letter is an initial or what is left of `Ann's`.
            if is_stop_word(&lower) || lower.starts_with(|c: char| c.is_ascii_digit()) || is_letter(&lower) {
                continue;
            }
            let is_name = position > 0 && word.starts_with(char::is_uppercase);
            let weight = if is_name { NAME_WEIGHT } else { 1.0 };
            let term = stem(&lower);
            if self.has(&term)
                || numbers(&lower, true).into_iter().flatten().any(|form| self.numbers.contains(&form))
            {
                found += weight;
            } else if !asked.contains(&term) {
                missing += weight;
            }
        }
        if found + missing > 0.0 { found / (found + missing) } else { 1.0 }
    }

    /// Whether the term, or a form of the same word, stands there.
    fn has(&self, term: &str) -> bool {
        /// Letters that two words must begin with to be forms of one: `conquest` and `conquered`.
        const PREFIX: usize = 5;
        if self.terms.contains(term) {
            return true;
        }
        let Some((prefix, _)) = term.char_indices().nth(PREFIX).map(|(at, _)| term.split_at(at)) else {
            return false;
        };
        let mut near = self.terms.range(prefix.to_owned()..).take_while(|other| other.starts_with(prefix));
        near.next().is_some()
    }
}

fn is_letter(word: &str) -> bool {
    word.len() == 1 && word.is_ascii()
}

fn lower_words(text: &str) -> Vec<String> {
    words(text).map(str::to_lowercase).collect()
}

/// What stands between quotation marks.
fn quotes(text: &str) -> Vec<&str> {
    const MARKS: [(char, char); 5] = [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('「', '」')];
    let mut quotes = Vec::new();
    let mut rest = text;
    while let Some((at, open)) = rest.char_indices().find(|(_, c)| MARKS.iter().any(|(open, _)| open == c)) {
        let after = rest.get(at + open.len_utf8()..).unwrap_or_default();
        let closing = |c: char| MARKS.contains(&(open, c));
        let Some(end) = after.find(closing) else { break };
        quotes.extend(after.get(..end));
        rest =
            after.get(end..).and_then(|rest| rest.get(rest.chars().next()?.len_utf8()..)).unwrap_or_default();
    }
    quotes
}

#[cfg(test)]
mod tests {
    use super::super::marks;
    use super::*;
    use crate::testing::chunk;

    const ANN: &str = "Ann Lee founded the Shaker community near Albany in 1776. The settlement of 12 houses later \
        grew to about 2,500 people. She called it \"a heaven upon earth\" in her letters to England.";
    const BEN: &str = "Ben Poe runs a bakery.";

    fn checked(question: &str, answer: &str) -> Checked {
        let chunks = [chunk("ann", ANN), chunk("ben", BEN)];
        check(question, &marks::check(answer, &chunks), &chunks, 0.4)
    }

    fn is_supported(answer: &str) -> bool {
        checked("Who was she?", answer).unsupported.is_empty()
    }

    #[test]
    fn paraphrases_are_supported() {
        for answer in [
            "The Shakers' founder was Ann Lee [1].",
            "Her community began with twelve houses [1] and grew to 2500 people [1].",
            "Lee started a community close to Albany [1].",
            "In a letter she wrote of \"a heaven upon earth\" [1].",
            "Poe is a baker, and Lee a founder [1, 2].",
        ] {
            assert!(is_supported(answer), "{answer}");
        }
    }

    #[test]
    fn other_numbers_names_quotations_and_things_are_not() {
        for answer in [
            "Ann Lee founded the Shaker community in 1786 [1].",
            "Eve Low founded the Shaker community near Albany in 1776 [1].",
            "Ann Lee founded the Shaker community near Boston [1].",
            "She called the settlement \"a hell upon earth\" in her letters [1].",
            "She died poor, of some illness that no doctor could cure [1].",
            "Ann Lee founded the Shaker community [2].",
        ] {
            assert!(!is_supported(answer), "{answer}");
        }
    }

    #[test]
    fn what_the_question_names_need_not_stand_in_the_chunk() {
        let answer = "Mother Ann founded them in 1776 and lived in Watervliet in 1780 [1].";
        assert_eq!(checked("Where did they live?", answer).unsupported.len(), 1);
        let question = "Where did Mother Ann live, in 1780: in Watervliet?";
        assert!(checked(question, answer).unsupported.is_empty());
    }

    #[test]
    fn sentences_without_a_citation_are_listed() {
        let answer = "# Ann\n\nAnn Lee founded it.[1] She was rich. Two things are known:\n\n- [1] It grew to 2,500 people.\n- It \
            is gone. Why?\n\n```\nx = 1\n```\n";
        let found = checked("", answer);
        assert_eq!(found.uncited, ["She was rich.", "It is gone."]);
        assert!(found.unsupported.is_empty(), "{found:?}");
    }

    #[test]
    fn a_mark_before_or_after_the_full_stop_is_that_of_the_sentence() {
        for answer in
            ["Ann Lee founded it [1]. Ben Poe bakes [2].", "Ann Lee founded it. [1] Ben Poe bakes.[2]"]
        {
            let found = checked("", answer);
            assert_eq!((found.n_cited, found.uncited, found.unsupported), (2, vec![], vec![]), "{answer}");
        }
    }

    #[test]
    fn in_another_language_only_numbers_are_compared() {
        let german =
            "Die Gemeinde wurde von Ann Lee im Jahr 1776 gegründet und wuchs auf 2500 Menschen an [1].";
        assert!(is_supported(german));
        assert!(!is_supported(&german.replace("1776", "1786")));
        let chinese = "这个社区由安李于1776年创立，后来发展到两千五百人 [1]。";
        assert!(is_supported(chinese));
        assert!(!is_supported(&chinese.replace("1776", "1786")));
    }
}
