//! Marks such as `[2, 3]` in what a model wrote: which chunks they stand for.

use std::sync::Arc;

use anabranch_engine::value::{Chunk, Citation};

use super::cite;

/// A text whose marks were looked up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Marked {
    /// The text; its marks count along `citations`.
    pub(crate) text: String,
    /// What the marks stand for, in the order in which the text has them.
    pub(crate) citations: Vec<Citation>,
    /// Marks that stand for nothing, as they are written.
    pub(crate) unknown: Vec<String>,
    /// The text without its marks.
    pub(crate) bare: String,
    /// Where in `bare` the marks stood, in order.
    pub(crate) places: Vec<Place>,
}

/// Where a mark stood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    /// Up to where the text without marks came before it, in bytes, spaces before the mark left out.
    pub(crate) at: usize,
    /// The chunks that it stands for, by their index.
    pub(crate) chunks: Vec<usize>,
}

impl Marked {
    /// Adds words that are no mark.
    fn push(&mut self, words: &str) {
        self.text.push_str(words);
        let after_mark = self.places.last().is_some_and(|place| place.at == self.bare.len());
        if after_mark && words.starts_with(char::is_alphanumeric) && !self.bare.ends_with('\n') {
            self.bare.push(' ');
        }
        self.bare.push_str(words);
    }
}

/// Looks the marks of `text` up among `chunks`, the first of which is `[1]`. Marks within code are left alone.
pub(crate) fn check(text: &str, chunks: &[Arc<Chunk>]) -> Marked {
    let mut marked = Marked {
        text: String::with_capacity(text.len()),
        citations: Vec::new(),
        unknown: Vec::new(),
        bare: String::with_capacity(text.len()),
        places: Vec::new(),
    };
    // The chunks cited so far, by their index.
    let mut cited: Vec<usize> = Vec::new();
    let mut rest = text;
    let mut in_code = false;
    while let Some(at) = rest.find(['[', '`']) {
        let (before, from) = rest.split_at(at);
        marked.push(before);
        let numbers = if in_code { None } else { numbers(from) };
        if let Some((numbers, len)) = numbers {
            marked.bare.truncate(marked.bare.trim_end_matches(' ').len());
            let mut place = Place { at: marked.bare.len(), chunks: Vec::new() };
            let mut renumbered: Vec<String> = Vec::new();
            for number in numbers {
                let Some(index) = number.checked_sub(1).filter(|index| *index < chunks.len()) else {
                    marked.unknown.push(format!("[{number}]"));
                    renumbered.push(number.to_string());
                    continue;
                };
                place.chunks.push(index);
                let known = cited.iter().position(|other| *other == index);
                let position = known.unwrap_or_else(|| {
                    cited.push(index);
                    cited.len() - 1
                });
                renumbered.push((position + 1).to_string());
            }
            marked.places.push(place);
            marked.text.push('[');
            marked.text.push_str(&renumbered.join(", "));
            marked.text.push(']');
            rest = from.get(len..).unwrap_or_default();
        } else {
            in_code ^= from.starts_with('`');
            marked.push(from.get(..1).unwrap_or_default());
            rest = from.get(1..).unwrap_or_default();
        }
    }
    marked.push(rest);
    marked.citations =
        cited.iter().filter_map(|index| chunks.get(*index)).map(|chunk| cite::whole(chunk)).collect();
    marked
}

/// The numbers of a mark at the beginning of `text`, and the mark's length. `[1-3]` is `[1, 2, 3]`.
fn numbers(text: &str) -> Option<(Vec<usize>, usize)> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(']')?;
    let inner = inner.get(..end)?;
    // `[see](1)` and `[1](url)` are links.
    if text.get(end + 2..).is_some_and(|after| after.starts_with('(')) {
        return None;
    }
    let mut numbers = Vec::new();
    for part in inner.split([',', ';']) {
        match part.trim().split_once(['-', '–']) {
            // A range as long as this is no list of passages.
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last && last - first < 100).then_some(())?;
                numbers.extend(first..=last);
            }
            None => numbers.push(number(part)?),
        }
    }
    Some((numbers, end + 2))
}

/// A number of at most three digits: `[2024]` is a year.
fn number(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::chunk;

    fn checked(text: &str) -> (String, Vec<String>, Vec<String>) {
        let chunks = [chunk("a", "x"), chunk("b", "x"), chunk("c", "x")];
        let marked = check(text, &chunks);
        let docs = marked.citations.iter().map(|citation| citation.doc.to_string()).collect();
        (marked.text, docs, marked.unknown)
    }

    #[test]
    fn lists_and_ranges_are_read() {
        assert_eq!(
            checked("x [2;3] y [1–3]"),
            ("x [1, 2] y [3, 1, 2]".into(), vec!["b".into(), "c".into(), "a".into()], vec![])
        );
    }

    #[test]
    fn what_stands_for_nothing_is_listed() {
        assert_eq!(checked("x [0] [4]"), ("x [0] [4]".into(), vec![], vec!["[0]".into(), "[4]".into()]));
    }

    #[test]
    fn the_text_is_also_given_without_marks_and_with_their_places() {
        let marked =
            check("One [1]. Two.[2, 9] [3]And `a[1]`", &["a", "b", "c"].map(|name| chunk(name, "x")));
        assert_eq!(marked.bare, "One. Two. And `a[1]`");
        let places: Vec<_> = marked.places.into_iter().map(|place| (place.at, place.chunks)).collect();
        assert_eq!(places, [(3, vec![0]), (9, vec![1]), (9, vec![2])]);
    }

    #[test]
    fn years_links_words_and_code_are_no_marks() {
        let text = "in [2024], [1](x.md), [one], `a[1]` [";
        assert_eq!(checked(text), (text.into(), vec![], vec![]));
    }
}
