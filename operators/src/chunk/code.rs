//! Cuts source code along its syntax.

use std::ops::Range;
use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::{Chunk, Document, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

pub use self::language::Language;
use self::windows::{Scope, Window};
use super::place::Places;

mod language;
#[cfg(test)]
mod tests;
mod windows;

/// Cuts source code along its syntax: functions, classes and statements stay whole where they fit.
///
/// The code is parsed. What fits into `chunk_size` stays together; what does not is cut between the parts that it is made
/// of, and small parts beside one another are joined again. A single part without parts of its own that is too long,
/// such as a docstring, is cut between its lines, and a line that is too long between characters: nothing is ever left
/// out. Code with mistakes in it is cut all the same. Chunks begin at the beginning of a line where only space is
/// before them, keep every byte as it was, and name the first line of each class and function around them in
/// `headings`, which searches look at, too. `meta.language` says how the document was read. Rust, Python, JavaScript, TypeScript,
/// Go, Java and C are known; anything else is cut before top-level blocks after blank lines, then between lines.
/// Use it for the sources of programs; for documentation with code in it `chunk.structure` is better. Asks no model.
///
/// Source: `cAST`, split and merge over the syntax tree (arXiv 2506.15655), which leaves out parts that are too long.
///
/// ```yaml
/// cut:
///   op: chunk.code
///   with: { chunk_size: 1200 }
///   in: { document: inputs.document }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Code {
    /// Longest chunk, in characters that are not space; three of them are about a token.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub chunk_size: usize,
    /// How many parts at the end of the chunk before, and as many of the one after, a chunk repeats. They come on top of
    /// `chunk_size`.
    #[schemars(range(min = 0, max = 100))]
    pub overlap_nodes: usize,
    /// The language; `auto` goes by the ending of the document's name, `lines` parses nothing.
    pub language: Language,
}

impl Default for Code {
    fn default() -> Self {
        Self { chunk_size: 1800, overlap_nodes: 0, language: Language::Auto }
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

impl Code {
    /// The chunks of `document`.
    pub fn cut(&self, document: &Document) -> Vec<Arc<Chunk>> {
        let text = &*document.text;
        let language = self.language.of(&document.id.0);
        let tree = language.parse(text);
        let windows = windows::cut(text, tree.as_ref(), language, self.chunk_size);
        let places = Places::new(document);
        (0..windows.len())
            .filter_map(|at| {
                let range = whole_lines(text, self.overlapping(&windows, at)?)?;
                let headings = headings(windows.get(at)?, range.start);
                let mut chunk = places.chunk(&range, &headings);
                if tree.is_some() {
                    let name = || Json::from(language.name());
                    chunk.meta.entry("language".to_owned()).or_insert_with(name);
                }
                Some(Arc::new(chunk))
            })
            .collect()
    }

    /// The bytes of window `at`, with what it repeats of its neighbours.
    fn overlapping(&self, windows: &[Window], at: usize) -> Option<Range<usize>> {
        let mut range = windows.get(at)?.range()?;
        if let Some(last) = self.overlap_nodes.checked_sub(1) {
            let before = at.checked_sub(1).and_then(|before| windows.get(before));
            if let Some(nodes) = before.map(|window| &window.nodes) {
                let first = nodes.len().saturating_sub(self.overlap_nodes);
                range.start = nodes.get(first).map_or(range.start, |node| node.start);
            }
            if let Some(nodes) = windows.get(at + 1).map(|window| &window.nodes) {
                range.end = nodes.get(last).or(nodes.last()).map_or(range.end, |node| node.end);
            }
        }
        Some(range)
    }
}

/// The range without blank lines and space at its ends, but with the indentation of its first line; `None` if nothing is
/// left.
fn whole_lines(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let range = super::split::trim(text, range);
    let before = text.get(..range.start)?;
    let indentation = before.rsplit('\n').next().filter(|line| line.chars().all(char::is_whitespace));
    (!range.is_empty()).then(|| range.start - indentation.map_or(0, str::len)..range.end)
}

/// The first lines of what is around the window, but for what begins within it.
fn headings(window: &Window, start: usize) -> Vec<Text> {
    let is_around = |scope: &&Scope| scope.start < start;
    window.scopes.iter().filter(is_around).map(|scope| scope.line.clone()).collect()
}

#[async_trait]
impl Operator for Code {
    const NAME: &'static str = "chunk.code";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        Ok(Out { chunks: self.cut(&input.document) })
    }
}
