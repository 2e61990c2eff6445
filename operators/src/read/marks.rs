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
}

/// Looks the marks of `text` up among `chunks`, the first of which is `[1]`. Marks within code are left alone.
pub(crate) fn check(text: &str, chunks: &[Arc<Chunk>]) -> Marked {
    let mut marked =
        Marked { text: String::with_capacity(text.len()), citations: Vec::new(), unknown: Vec::new() };
    // The chunks cited so far, by their index.
    let mut cited: Vec<usize> = Vec::new();
    let mut rest = text;
    let mut in_code = false;
    while let Some(at) = rest.find(['[', '`']) {
        let (before, from) = rest.split_at(at);
        marked.text.push_str(before);
        let numbers = if in_code { None } else { numbers(from) };
        if let Some((numbers, len)) = numbers {
            let numbers: Vec<String> = numbers
                .into_iter()
                .map(|number| {
                    let index = number.checked_sub(1).filter(|index| *index < chunks.len());
                    let Some(index) = index else {
                        marked.unknown.push(format!("[{number}]"));
                        return number.to_string();
                    };
                    let known = cited.iter().position(|other| *other == index);
                    let place = known.unwrap_or_else(|| {
                        cited.push(index);
                        cited.len() - 1
                    });
                    (place + 1).to_string()
                })
                .collect();
            marked.text.push('[');
            marked.text.push_str(&numbers.join(", "));
            marked.text.push(']');
            rest = from.get(len..).unwrap_or_default();
        } else {
            in_code ^= from.starts_with('`');
            marked.text.push_str(from.get(..1).unwrap_or_default());
            rest = from.get(1..).unwrap_or_default();
        }
    }
    marked.text.push_str(rest);
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
    fn years_links_words_and_code_are_no_marks() {
        let text = "in [2024], [1](x.md), [one], `a[1]` [";
        assert_eq!(checked(text), (text.into(), vec![], vec![]));
    }
}
