//! The blocks of a Markdown text: where each begins, and where it may be cut.

use anabranch_engine::value::Text;
use pulldown_cmark::{Event, Options, Parser, Tag};

/// A block at the top level of a Markdown text. It reaches to the beginning of the next one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    /// Its first byte.
    pub(crate) start: usize,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a block is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A heading with its level, 1 to 6, and its words.
    Heading { level: usize, text: Text },
    /// A code block.
    Code,
    /// A table: its header row, and where its rows begin.
    Table { header: Text, rows: Vec<usize> },
    /// A list: where its items begin.
    List { items: Vec<usize> },
    /// Anything else.
    Other,
}

/// The extensions of Markdown that are understood.
pub(crate) fn options() -> Options {
    Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
}

/// The blocks of `text`, in order.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut depth = 0_usize;
    for (event, range) in Parser::new_ext(text, options()).into_offset_iter() {
        match event {
            Event::Start(tag) => {
                if depth == 0 {
                    blocks.push(Block { start: range.start, kind: kind_of(&tag) });
                } else if let Some(block) = blocks.last_mut() {
                    note_inner(block, &tag, depth, &range, text);
                }
                depth += 1;
            }
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Text(part) | Event::Code(part) => {
                if let Some(Block { kind: Kind::Heading { text, .. }, .. }) = blocks.last_mut() {
                    *text = format!("{text}{part}").into();
                }
            }
            _ if depth == 0 => blocks.push(Block { start: range.start, kind: Kind::Other }),
            _ => {}
        }
    }
    blocks
}

fn kind_of(tag: &Tag<'_>) -> Kind {
    match tag {
        Tag::Heading { level, .. } => Kind::Heading { level: *level as usize, text: "".into() },
        Tag::CodeBlock(_) => Kind::Code,
        Tag::Table(_) => Kind::Table { header: "".into(), rows: Vec::new() },
        Tag::List(_) => Kind::List { items: Vec::new() },
        _ => Kind::Other,
    }
}

fn note_inner(block: &mut Block, tag: &Tag<'_>, depth: usize, range: &std::ops::Range<usize>, text: &str) {
    match (&mut block.kind, tag) {
        (Kind::Table { header, .. }, Tag::TableHead) => {
            *header = text.get(range.clone()).unwrap_or_default().trim().into();
        }
        (Kind::Table { rows, .. }, Tag::TableRow) => rows.push(range.start),
        (Kind::List { items }, Tag::Item) if depth == 1 => items.push(range.start),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_tell_what_they_are_and_where_they_may_be_cut() {
        let text = "# A `b`\n\npara\n\n- x\n  - y\n- z\n\n|h|\n|-|\n|1|\n|2|\n\n```\n# no\n```\n";
        let blocks = blocks(text);
        assert_eq!(
            blocks.iter().map(|block| &block.kind).collect::<Vec<_>>(),
            [
                &Kind::Heading { level: 1, text: "A b".into() },
                &Kind::Other,
                &Kind::List { items: vec![15, 25] },
                &Kind::Table { header: "|h|".into(), rows: vec![38, 42] },
                &Kind::Code,
            ]
        );
    }
}
