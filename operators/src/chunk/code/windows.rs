//! Split and merge over a syntax tree: whole nodes in windows of bounded size.
//!
//! A node stands for everything from its first byte to that of the next one, so that nothing between two nodes, and no
//! token that a grammar hides, is ever left out.

use std::ops::Range;

use anabranch_engine::value::Text;
use tree_sitter::{Node, Tree};

use super::Language;
use crate::chunk::plain::code_blocks;

/// How deep nodes are cut into their parts; deeper ones are cut by lines. Code that people write stays far below it.
const DEPTH_MAX: usize = 200;
/// Longest heading, in characters.
const HEADING_CHARS_MAX: usize = 200;

/// Something that the parts within it are named by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scope {
    /// Its first byte.
    pub(super) start: usize,
    /// Its first line.
    pub(super) line: Text,
}

/// Neighbouring nodes that make a chunk.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    /// Their bytes, each up to the next.
    pub(super) nodes: Vec<Range<usize>>,
    /// What is around all of them, outermost first.
    pub(super) scopes: Vec<Scope>,
    size: usize,
}

impl Window {
    /// From the first byte to the last.
    pub(super) fn range(&self) -> Option<Range<usize>> {
        Some(self.nodes.first()?.start..self.nodes.last()?.end)
    }
}

/// A node, or a stretch of text that has no syntax.
#[derive(Clone)]
struct Part<'t> {
    range: Range<usize>,
    node: Option<Node<'t>>,
}

/// Cuts `text` into windows of at most `limit` characters that are not space; without a tree by blocks and lines.
pub(super) fn cut(text: &str, tree: Option<&Tree>, language: Language, limit: usize) -> Vec<Window> {
    let cutter = Cutter { text, sizes: sizes(text), limit: limit.max(1), language };
    let whole = 0..text.len();
    let parts = if let Some(tree) = tree {
        cutter.parts(&whole, tree.root_node())
    } else {
        tiles(text, &whole, code_blocks(text).into_iter().map(|start| (start, None)))
    };
    cutter.windows(parts, &mut Vec::new(), 0)
}

/// How many characters before each byte are no space.
fn sizes(text: &str) -> Vec<u32> {
    let mut sizes = Vec::with_capacity(text.len() + 1);
    let mut size = 0;
    for c in text.chars() {
        sizes.extend(std::iter::repeat_n(size, c.len_utf8()));
        size += u32::from(!c.is_whitespace());
    }
    sizes.push(size);
    sizes
}

/// Parts that begin at `starts` and together are all of `whole`.
fn tiles<'t>(
    text: &str,
    whole: &Range<usize>,
    starts: impl Iterator<Item = (usize, Option<Node<'t>>)>,
) -> Vec<Part<'t>> {
    let mut parts: Vec<Part<'t>> = Vec::new();
    for (start, node) in starts {
        // What is before the first node belongs to it.
        let from = parts.last().map_or(whole.start, |last| last.range.start);
        let start = if parts.is_empty() { whole.start } else { text.floor_char_boundary(start) };
        let start = start.clamp(from, whole.end.max(from));
        if let Some(last) = parts.last_mut() {
            last.range.end = start;
        }
        parts.push(Part { range: start..whole.end, node });
    }
    parts.retain(|part| !part.range.is_empty());
    if parts.is_empty() && !whole.is_empty() {
        parts.push(Part { range: whole.clone(), node: None });
    }
    parts
}

struct Cutter<'a> {
    text: &'a str,
    sizes: Vec<u32>,
    limit: usize,
    language: Language,
}

impl Cutter<'_> {
    fn size(&self, range: &Range<usize>) -> usize {
        let before = |at: usize| self.sizes.get(at).copied().unwrap_or_default();
        before(range.end).saturating_sub(before(range.start)) as usize
    }

    /// The children of a node that covers `whole`.
    fn parts<'t>(&self, whole: &Range<usize>, node: Node<'t>) -> Vec<Part<'t>> {
        let children = node.children(&mut node.walk()).collect::<Vec<_>>();
        let starts = children.into_iter().map(|child| (child.start_byte(), Some(child)));
        tiles(self.text, whole, starts)
    }

    /// The windows of neighbouring parts. A part that is too large is cut on its own, and its windows are merged.
    fn windows(&self, parts: Vec<Part<'_>>, scopes: &mut Vec<Scope>, depth: usize) -> Vec<Window> {
        let mut windows: Vec<Window> = Vec::new();
        // Whether the last window takes more nodes.
        let mut is_open = false;
        for part in parts {
            let size = self.size(&part.range);
            match windows.last_mut() {
                Some(last) if is_open && last.size + size <= self.limit => {
                    last.nodes.push(part.range);
                    last.size += size;
                }
                _ if size <= self.limit => {
                    windows.push(Window { nodes: vec![part.range], scopes: scopes.clone(), size });
                    is_open = true;
                }
                _ => {
                    windows.extend(self.merged(self.opened(&part, scopes, depth)));
                    is_open = false;
                }
            }
        }
        windows
    }

    /// The windows of what a part that is too large is made of.
    fn opened(&self, part: &Part<'_>, scopes: &mut Vec<Scope>, depth: usize) -> Vec<Window> {
        let node = part.node.filter(|node| depth < DEPTH_MAX && node.child_count() > 0);
        let Some(node) = node else { return self.lines(&part.range, scopes) };
        let is_scope = self.language.is_scope(node.kind());
        if is_scope {
            scopes.push(self.scope(node));
        }
        let windows = self.windows(self.parts(&part.range, node), scopes, depth + 1);
        if is_scope {
            scopes.pop();
        }
        windows
    }

    fn scope(&self, node: Node<'_>) -> Scope {
        let line = self.text.get(node.byte_range()).and_then(|text| text.lines().next()).unwrap_or_default();
        let line: String = line.trim_end_matches(['{', ' ', '\t']).chars().take(HEADING_CHARS_MAX).collect();
        Scope { start: node.start_byte(), line: line.into() }
    }

    /// Joins neighbours within one parent as far as they fit.
    fn merged(&self, windows: Vec<Window>) -> Vec<Window> {
        let mut merged: Vec<Window> = Vec::with_capacity(windows.len());
        for window in windows {
            match merged.last_mut() {
                Some(last) if last.size + window.size <= self.limit => {
                    // A brace that closes something says nothing of what it closes.
                    if !self.has_words(last) {
                        last.scopes = window.scopes;
                    } else if self.has_words(&window) {
                        let both = last.scopes.iter().zip(&window.scopes);
                        last.scopes.truncate(both.take_while(|(a, b)| a == b).count());
                    }
                    last.nodes.extend(window.nodes);
                    last.size += window.size;
                }
                _ => merged.push(window),
            }
        }
        merged
    }

    fn has_words(&self, window: &Window) -> bool {
        let text = window.range().and_then(|range| self.text.get(range)).unwrap_or_default();
        text.contains(char::is_alphanumeric)
    }

    /// The lines of what has no parts, those that are too long in pieces.
    fn lines(&self, range: &Range<usize>, scopes: &[Scope]) -> Vec<Window> {
        let mut windows: Vec<Window> = Vec::new();
        let mut start = range.start;
        for line in self.text.get(range.clone()).unwrap_or_default().split_inclusive('\n') {
            let whole = start..start + line.len();
            start = whole.end;
            let mut pieces = vec![whole.clone()];
            if self.size(&whole) > self.limit {
                pieces = self.pieces(&whole);
            }
            for piece in pieces {
                let size = self.size(&piece);
                windows.push(Window { nodes: vec![piece], scopes: scopes.to_vec(), size });
            }
        }
        self.merged(windows)
    }

    /// A line that is too long, cut between characters.
    fn pieces(&self, line: &Range<usize>) -> Vec<Range<usize>> {
        let mut pieces = Vec::new();
        let mut from = line.start;
        for (at, c) in self.text.get(line.clone()).unwrap_or_default().char_indices() {
            let end = line.start + at + c.len_utf8();
            if self.size(&(from..end)) > self.limit {
                pieces.push(from..line.start + at);
                from = line.start + at;
            }
        }
        pieces.push(from..line.end);
        pieces
    }
}
