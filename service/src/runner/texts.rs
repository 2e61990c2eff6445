//! What the running nodes of a job have written so far: whoever begins to watch in the middle of a sentence reads it from
//! its beginning.

use std::collections::BTreeMap;

/// Bytes that are kept of a node's text; of a longer one, its end.
const TEXT_BYTES: usize = 64 << 10;
/// Nodes of a job whose texts are kept at once; further ones are only told live.
const TEXTS: usize = 64;

/// A text that a running node has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningText {
    /// Which node.
    pub node: String,
    /// What it has written, or the end of that.
    pub text: String,
    /// Bytes that were written before and are not kept.
    pub left_out: usize,
}

/// The texts of the nodes that run, by node.
#[derive(Debug, Default)]
pub(super) struct Texts(BTreeMap<String, Kept>);

#[derive(Debug, Default)]
struct Kept {
    text: String,
    left_out: usize,
}

impl Texts {
    /// A piece that a node has written.
    pub(super) fn push(&mut self, node: &str, piece: &str) {
        if !self.0.contains_key(node) {
            if self.0.len() >= TEXTS {
                return;
            }
            self.0.insert(node.to_owned(), Kept::default());
        }
        let Some(kept) = self.0.get_mut(node) else { return };
        kept.text.push_str(piece);
        // Twice as much as is kept, so that not every piece moves all of it.
        if kept.text.len() > 2 * TEXT_BYTES {
            let from = kept.text.ceil_char_boundary(kept.text.len() - TEXT_BYTES);
            kept.text.drain(..from);
            kept.left_out += from;
        }
    }

    /// A node has begun again, or ended.
    pub(super) fn forget(&mut self, node: &str) {
        self.0.remove(node);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<RunningText> {
        let shown = |(node, kept): (&String, &Kept)| {
            let from = kept.text.ceil_char_boundary(kept.text.len().saturating_sub(TEXT_BYTES));
            RunningText {
                node: node.clone(),
                text: kept.text.get(from..).unwrap_or_default().to_owned(),
                left_out: kept.left_out + from,
            }
        };
        self.0.iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_from_its_beginning_and_of_a_long_one_the_end() {
        let mut texts = Texts::default();
        texts.push("a", "one ");
        texts.push("a", "two");
        let text = |node: &str, text: &str| RunningText { node: node.into(), text: text.into(), left_out: 0 };
        assert_eq!(texts.list(), [text("a", "one two")]);
        let piece = "äöü ".repeat(100);
        let mut whole = String::new();
        for _ in 0..500 {
            texts.push("b", &piece);
            whole.push_str(&piece);
            let shown = texts.list().remove(1);
            assert!(shown.text.len() <= TEXT_BYTES && whole.ends_with(&shown.text));
            assert_eq!(shown.left_out + shown.text.len(), whole.len());
            assert!(texts.0["b"].text.len() <= 2 * TEXT_BYTES);
        }
        texts.forget("b");
        assert_eq!(texts.list(), [text("a", "one two")]);
    }

    #[test]
    fn more_nodes_than_are_kept_do_not_push_out_others() {
        let mut texts = Texts::default();
        for n in 0..2 * TEXTS {
            texts.push(&format!("{n:03}"), "x");
        }
        assert_eq!(texts.list().len(), TEXTS);
        assert_eq!(texts.list()[0].node, "000");
    }
}
