//! Cuts a document where its author did: at headings, paragraphs, functions.

use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Document, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::blocks::blocks;
use super::headings::sections;
use super::length::Length;
use super::pack::{Piece, between, cut_long, join, of_blocks, of_rows};
use super::place::Places;
use super::plain::{code_blocks, paragraphs};
use super::split::{CODE_SEPARATORS, JSON_SEPARATORS, SEPARATORS, Splitter};
use super::table;

/// Cuts a document where its author did: at headings, paragraphs, functions.
///
/// Markdown and HTML are cut at their headings, which every chunk keeps in `headings`; a section that is too long is cut between
/// its blocks, a list between its items, a table between its rows (a chunk that begins within a table has the header
/// row in `meta.table_header`), and only then as `chunk.recursive` does it. A code block that fits stays whole. Short
/// neighbours under the same heading are joined. CSV is cut between its records, with the header as for tables. Source code is cut at blank lines before top-level blocks, other text
/// at blank lines. Use it for documentation and notes, and wherever an answer should be cited by its section. Every
/// chunk is an exact range of the document. Asks no model.
///
/// Source: sections as chunks as in `NitiBench` (Akarajaradwong et al. 2025); whole table rows as in "Advancing
/// Retrieval-Augmented Generation for Structured Enterprise and Internal Data" (2025, arXiv 2507.12425).
///
/// ```yaml
/// cut:
///   op: chunk.structure
///   with: { chunk_size: 200, max_depth: 3 }
///   in: { document: inputs.document }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Structure {
    /// Longest chunk, in tokens (cl100k). Only a single table row may be longer.
    #[schemars(range(min = 8, max = 100_000))]
    pub chunk_size: usize,
    /// Chunks shorter than this, in tokens, are joined with the next one under the same parent heading.
    #[schemars(range(min = 0, max = 100_000))]
    pub min_size: usize,
    /// Deepest heading that begins a chunk: 2 means `#` and `##`.
    #[schemars(range(min = 1, max = 6))]
    pub max_depth: usize,
}

impl Default for Structure {
    fn default() -> Self {
        Self { chunk_size: 200, min_size: 40, max_depth: 4 }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The document to cut.
        pub document: Arc<Document>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks in the order of the document.
        pub chunks: Vec<Arc<Chunk>>,
    }
}

impl Structure {
    fn splitter(&self) -> Splitter {
        Splitter { size: self.chunk_size, overlap: 0, length: Length::Tokens, trim: true }
    }

    fn markdown(&self, text: &str) -> Vec<Piece> {
        let splitter = self.splitter();
        let mut pieces = Vec::new();
        for section in sections(text.len(), blocks(text), self.max_depth) {
            let whole = between(text, &section.range, &[], &section.path);
            let fits = |piece: &Piece| {
                splitter.length.of(text.get(piece.range.clone()).unwrap_or_default()) <= splitter.size
            };
            if whole.iter().all(fits) {
                pieces.extend(whole);
                continue;
            }
            let parts = of_blocks(text, &section.range, &section.blocks, &section.path);
            let parts = cut_long(text, parts, splitter, &SEPARATORS);
            pieces.extend(join(text, parts, splitter, splitter.size, |_, _| true));
        }
        join(text, pieces, splitter, self.min_size, is_sibling_or_child)
    }

    fn plain(&self, text: &str, starts: &[usize], separators: &[&str], enough: usize) -> Vec<Piece> {
        let pieces = between(text, &(0..text.len()), starts, &[]);
        let pieces = cut_long(text, pieces, self.splitter(), separators);
        join(text, pieces, self.splitter(), enough, |_, _| true)
    }

    /// The chunks of `document`.
    pub fn cut(&self, document: &Document) -> Vec<Arc<Chunk>> {
        let text = &document.text;
        let pieces = match &*document.kind {
            // The loader gives HTML as text with the structure of Markdown.
            "markdown" | "html" => self.markdown(text),
            // A function is a chunk of its own, prose is packed.
            "code" => self.plain(text, &code_blocks(text), &CODE_SEPARATORS, self.min_size),
            "json" => self.plain(text, &[], &JSON_SEPARATORS, self.chunk_size),
            "csv" => {
                let (starts, header) = table::rows(text);
                join(text, of_rows(text, &starts, header), self.splitter(), self.chunk_size, |_, _| true)
            }
            _ => self.plain(text, &paragraphs(text), &SEPARATORS, self.chunk_size),
        };
        let places = Places::new(document);
        let chunk = |piece: &Piece| {
            let mut chunk = places.chunk(&piece.range, &piece.path);
            if let Some(header) = &piece.table_header {
                chunk.meta.insert("table_header".to_owned(), serde_json::Value::from(&**header));
            }
            Arc::new(chunk)
        };
        pieces.iter().map(chunk).collect()
    }
}

/// Whether `next` stands under the same heading as `last`, or right below it.
fn is_sibling_or_child(last: &Piece, next: &Piece) -> bool {
    let common = last.path.iter().zip(&next.path).take_while(|(a, b)| a == b).count();
    next.path.len() <= common + 1
}

#[async_trait]
impl Operator for Structure {
    const NAME: &'static str = "chunk.structure";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        Ok(Out { chunks: self.cut(&input.document) })
    }

    fn check(&self, _given: &[(Text, Type)]) -> Vec<SettingProblem> {
        if self.min_size <= self.chunk_size {
            return Vec::new();
        }
        vec![SettingProblem {
            pointer: "/min_size".to_owned(),
            message: format!("`min_size` is {}, more than `chunk_size` ({})", self.min_size, self.chunk_size),
            hint: Some("a fifth of `chunk_size` is a good start".to_owned()),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use proptest::prelude::*;

    fn settings(chunk_size: usize, min_size: usize) -> Structure {
        Structure { chunk_size, min_size, max_depth: 4 }
    }

    fn cut(settings: &Structure, kind: &str, text: &str) -> Vec<Arc<Chunk>> {
        let document = testing::document("a", kind, text);
        let chunks = settings.cut(&document);
        testing::assert_exact(&document, &chunks);
        testing::assert_covers(&document, &chunks);
        assert!(chunks.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
        chunks
    }

    #[test]
    fn a_min_size_above_chunk_size_is_refused() {
        assert_eq!(settings(10, 11).check(&[])[0].pointer, "/min_size");
        assert!(Structure::default().check(&[]).is_empty());
    }

    #[test]
    fn sections_keep_their_headings() {
        let chunks =
            cut(&settings(200, 0), "markdown", "# Loops\n\nRun.\n\n## Limits\n\n`max_turns` is required.\n");
        let headings: Vec<String> = chunks.iter().map(|chunk| chunk.headings.join(" > ")).collect();
        assert_eq!(headings, ["Loops", "Loops > Limits"]);
        assert_eq!((chunks[1].lines.first, chunks[1].lines.last), (5, 7));
    }

    #[test]
    fn short_neighbours_are_joined_under_the_heading_they_share() {
        let text = "# A\n\n## B\n\nb\n\n## C\n\nc\n\n# D\n\nd\n";
        let chunks = cut(&settings(200, 12), "markdown", text);
        let headings: Vec<String> = chunks.iter().map(|chunk| chunk.headings.join(" > ")).collect();
        assert_eq!(headings, ["A", "D"]);
    }

    #[test]
    fn a_code_block_that_fits_is_not_cut() {
        let code = "```rust\nfn main() {\n    println!(\"one\");\n\n    println!(\"two\");\n}\n```";
        let prose = "Some words to fill the section up. ".repeat(12);
        let chunks = cut(&settings(60, 0), "markdown", &format!("# A\n\n{prose}\n\n{code}\n\n{prose}\n"));
        assert!(chunks.iter().any(|chunk| chunk.text.contains(code)));
        assert!(chunks.iter().all(|chunk| chunk.tokens.0 <= 60));
    }

    #[test]
    fn csv_is_cut_between_records_and_the_header_is_kept() {
        let rows: Vec<String> = (0..30).map(|i| format!("{i},\"value\nnumber {i}\"\n")).collect();
        let rows = rows.concat();
        let chunks = cut(&settings(60, 0), "csv", &format!("n,value\n{rows}"));
        assert!(chunks.len() > 2);
        assert!(chunks[0].text.starts_with("n,value\n0,") && !chunks[0].meta.contains_key("table_header"));
        for chunk in &chunks[1..] {
            assert_eq!(chunk.meta["table_header"], "n,value");
            assert!(chunk.text.ends_with('"'), "{}", chunk.text);
        }
    }

    #[test]
    fn a_table_is_cut_between_rows_and_the_header_is_kept() {
        let rows: Vec<String> = (0..30).map(|i| format!("| {i} | value number {i} |\n")).collect();
        let rows = rows.concat();
        let chunks = cut(&settings(60, 0), "markdown", &format!("# T\n\n| n | value |\n|---|---|\n{rows}"));
        assert!(chunks.len() > 2);
        for chunk in &chunks[1..] {
            assert_eq!(chunk.meta["table_header"], "| n | value |");
            assert!(chunk.text.lines().all(|line| line.starts_with('|') && line.ends_with('|')));
        }
        assert!(!chunks[0].meta.contains_key("table_header"));
    }

    #[test]
    fn functions_are_chunks_of_their_own() {
        let text = "use std::fmt;\n\nfn one() {\n    a();\n\n    b();\n}\n\nfn two() {\n    c();\n}\n";
        let chunks = cut(&settings(30, 0), "code", text);
        let first_lines: Vec<&str> = chunks.iter().map(|chunk| chunk.text.lines().next().unwrap()).collect();
        assert_eq!(first_lines, ["use std::fmt;", "fn one() {", "fn two() {"]);
        assert_eq!(chunks[0].meta["kind"], "code");
    }

    proptest! {
        #[test]
        fn chunks_are_exact_ordered_bounded_and_lose_nothing(
            text in "(# |## |- |\\| |\\|-\\|\n|```\n|\n\n|\n|    |[a-zé.]{1,8}| |\\[x\\]: y\n|<b>|>|---\n|\r\n){0,80}",
            chunk_size in 8_usize..40,
            kind in prop_oneof![Just("markdown"), Just("code"), Just("text")],
        ) {
            for chunk in cut(&settings(chunk_size, chunk_size / 2), kind, &text) {
                let row = chunk.text.contains('|') || chunk.meta.contains_key("table_header");
                prop_assert!(chunk.tokens.0 as usize <= chunk_size || row, "`{}` is too long", chunk.text);
            }
        }
    }
}
