//! A chunk's text as a reader sees it: blocks of words without markup, each character with its place.

use std::ops::Range;

use anabranch_engine::value::Chunk;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use crate::chunk::markdown_options;

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// Words in sentences.
    #[default]
    Prose,
    /// A heading.
    Heading,
    /// A row of a table.
    Row,
    /// Code.
    Code,
}

/// A paragraph, list item, table row, heading or code block.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Block {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its words, without markup.
    pub(crate) words: String,
    /// Stretches of `words` with the bytes of the chunk's text that they came from. Marks of markup are stretches
    /// without words.
    places: Vec<(Range<usize>, Range<usize>)>,
}

impl Block {
    fn push(&mut self, words: &str, place: Range<usize>) {
        let start = self.words.len();
        self.words.push_str(words);
        self.places.push((start..self.words.len(), place));
    }

    /// The bytes of the chunk's text that `words[range]` came from, with the marks around it.
    pub(crate) fn place(&self, range: &Range<usize>) -> Range<usize> {
        let start = self.places.iter().filter_map(|(words, place)| {
            let inside = words.start == range.start || words.contains(&range.start);
            inside.then(|| exact(words, place, range.start).unwrap_or(place.start))
        });
        let end = self.places.iter().filter_map(|(words, place)| {
            let inside = words.end == range.end || (words.start < range.end && range.end < words.end);
            inside.then(|| exact(words, place, range.end).unwrap_or(place.end))
        });
        let start = start.min().unwrap_or(0);
        start..end.max().unwrap_or(start).max(start)
    }
}

/// The place of the byte `at` in a stretch whose words stand in the text as they are.
fn exact(words: &Range<usize>, place: &Range<usize>, at: usize) -> Option<usize> {
    (words.len() == place.len()).then(|| place.start + (at - words.start))
}

/// The blocks of a chunk, in order. What its `meta.kind` says decides how it is read; Markdown is assumed.
pub(crate) fn blocks(chunk: &Chunk) -> Vec<Block> {
    match chunk.meta.get("kind").and_then(|kind| kind.as_str()) {
        Some("code") => code(&chunk.text),
        Some("text" | "corpus") => plain(&chunk.text),
        _ => markdown(&chunk.text),
    }
}

fn markdown(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut current = Block::default();
    let mut hidden = 0_usize;
    for (event, range) in Parser::new_ext(text, markdown_options()).into_offset_iter() {
        match event {
            Event::Start(Tag::MetadataBlock(_) | Tag::HtmlBlock) => hidden += 1,
            Event::End(TagEnd::MetadataBlock(_) | TagEnd::HtmlBlock) => hidden = hidden.saturating_sub(1),
            _ if hidden > 0 => {}
            Event::Start(tag) if is_inline(&tag) => current.push("", range.start..range.start),
            Event::End(TagEnd::TableCell) => current.push(" | ", range.end..range.end),
            Event::End(
                TagEnd::Link | TagEnd::Image | TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough,
            ) => current.push("", range.end..range.end),
            Event::Start(Tag::TableCell) => {}
            Event::Start(tag) => {
                flush(&mut blocks, &mut current);
                current.kind = match tag {
                    // A table's header row tells what the cells are, and answers nothing.
                    Tag::Heading { .. } | Tag::TableHead => Kind::Heading,
                    Tag::TableRow => Kind::Row,
                    Tag::CodeBlock(_) => Kind::Code,
                    _ => Kind::Prose,
                };
            }
            Event::End(_) => {
                flush(&mut blocks, &mut current);
                current.kind = Kind::Prose;
            }
            Event::Text(words) => current.push(&words, range),
            Event::Code(words) => current.push(&format!("`{words}`"), range),
            // Rows of a table whose header is in another chunk.
            Event::SoftBreak if current.words.starts_with('|') => {
                flush(&mut blocks, &mut current);
            }
            Event::SoftBreak | Event::HardBreak => current.push(" ", range),
            _ => {}
        }
    }
    flush(&mut blocks, &mut current);
    blocks
}

fn is_inline(tag: &Tag<'_>) -> bool {
    matches!(tag, Tag::Link { .. } | Tag::Image { .. } | Tag::Emphasis | Tag::Strong | Tag::Strikethrough)
}

fn flush(blocks: &mut Vec<Block>, current: &mut Block) {
    let mut block = std::mem::take(current);
    current.kind = block.kind;
    if block.words.starts_with('|') && block.kind == Kind::Prose {
        block.kind = Kind::Row;
    }
    if !block.words.trim().is_empty() {
        blocks.push(block);
    }
}

/// Paragraphs between blank lines.
fn plain(text: &str) -> Vec<Block> {
    by_line(text, |line| (!line.trim().is_empty()).then_some((Kind::Prose, 0)))
}

/// Comments are prose, all else is code.
fn code(text: &str) -> Vec<Block> {
    by_line(text, |line| {
        let words = line.trim_start();
        if words.trim_end().is_empty() {
            return None;
        }
        let mark = ["///", "//!", "//", "/**", "/*", "*/", "*", "#!", "##", "#", "--", "\"\"\"", ";;"]
            .into_iter()
            .find(|mark| words.starts_with(mark) && !words.starts_with("#["));
        Some(match mark {
            Some(mark) => (Kind::Prose, line.len() - words.len() + mark.len()),
            None => (Kind::Code, 0),
        })
    })
}

/// Joins neighbouring lines of one kind. `kind_of` tells a line's kind and how many bytes of it are no words; `None`
/// ends a block.
fn by_line(text: &str, kind_of: impl Fn(&str) -> Option<(Kind, usize)>) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut current = Block::default();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let kind = kind_of(line);
        if kind.is_none_or(|(kind, _)| kind != current.kind) {
            flush(&mut blocks, &mut current);
        }
        if let Some((kind, skip)) = kind {
            current.kind = kind;
            let words = line.get(skip..).unwrap_or_default();
            current.push(words, at + skip..at + line.len());
        }
        at += line.len();
    }
    flush(&mut blocks, &mut current);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::chunk;

    fn kinds(chunk: &Chunk) -> Vec<(Kind, String)> {
        blocks(chunk).into_iter().map(|block| (block.kind, block.words.trim().to_owned())).collect()
    }

    #[test]
    fn markdown_is_read_without_its_marks() {
        let text =
            "# Head\n\n- an [item](x.md) with `code`\n- **two**\n\n|a|b|\n|-|-|\n|1|2|\n\n```\nlet x;\n```\n";
        assert_eq!(
            kinds(&chunk("a.md", text)),
            [
                (Kind::Heading, "Head".to_owned()),
                (Kind::Prose, "an item with `code`".to_owned()),
                (Kind::Prose, "two".to_owned()),
                (Kind::Heading, "a | b |".to_owned()),
                (Kind::Row, "1 | 2 |".to_owned()),
                (Kind::Code, "let x;".to_owned()),
            ]
        );
    }

    #[test]
    fn places_are_exact_and_hold_the_marks_around() {
        let text = "See [the guide](x.md) first. Then `run` it.";
        let chunk = chunk("a.md", text);
        let block = &blocks(&chunk)[0];
        let place = |words: &str| {
            let start = block.words.find(words).unwrap();
            &text[block.place(&(start..start + words.len()))]
        };
        assert_eq!(place("See the guide first."), "See [the guide](x.md) first.");
        assert_eq!(place("the guide"), "[the guide](x.md)");
        assert_eq!(place("Then `run` it."), "Then `run` it.");
    }

    #[test]
    fn rows_without_their_header_are_rows() {
        let rows = [(Kind::Row, "|1|2|".to_owned()), (Kind::Row, "|3|4|".to_owned())];
        assert_eq!(kinds(&chunk("a.md", "|1|2|\n|3|4|\n")), rows);
    }

    #[test]
    fn comments_in_code_are_prose() {
        let mut chunk = Chunk::clone(&chunk("a.rs", "/// Adds two\n/// numbers.\n#[inline]\nfn add() {}\n"));
        chunk.meta.insert("kind".to_owned(), "code".into());
        assert_eq!(
            kinds(&chunk),
            [
                (Kind::Prose, "Adds two\n numbers.".to_owned()),
                (Kind::Code, "#[inline]\nfn add() {}".to_owned())
            ]
        );
    }
}
