//! What an encoder is shown of a chunk, and how near two vectors are.

use std::collections::BTreeSet;
use std::sync::Arc;

use anabranch_engine::backend::Vector;
use anabranch_engine::value::{Chunk, ChunkId, SEARCHED, SURROGATE, Text};

/// What a chunk says: the title of its document, the headings above it, its text; a line each.
pub(crate) fn whole(chunk: &Chunk) -> Text {
    let title = chunk.title.as_deref().unwrap_or_default();
    // The title is often the outermost heading; said twice it would count twice.
    let headings = chunk.headings.iter().map(AsRef::as_ref).filter(|heading: &&str| *heading != title);
    let around = std::iter::once(title).chain(headings).filter(|line| !line.is_empty());
    let mut text: String = around.flat_map(|line| [line, "\n"]).collect();
    text.push_str(&chunk.text);
    text.into()
}

/// The chunks that entries of an index stand for, each once and where the first of its entries stood, with its own id; what
/// searches look at is left out. Chunks that are their own entries stay as they are.
pub(crate) fn parents(entries: Vec<Arc<Chunk>>) -> Vec<Arc<Chunk>> {
    let has_surrogates = entries.iter().any(|entry| entry.meta.contains_key(SURROGATE));
    let mut seen = BTreeSet::new();
    let is_new = |entry: &Arc<Chunk>| !has_surrogates || seen.insert((entry.doc.clone(), entry.range));
    entries.into_iter().filter(is_new).map(own).collect()
}

fn own(mut entry: Arc<Chunk>) -> Arc<Chunk> {
    if entry.meta.contains_key(SEARCHED) || entry.meta.contains_key(SURROGATE) {
        let chunk = Arc::make_mut(&mut entry);
        chunk.meta.remove(SEARCHED);
        if chunk.meta.remove(SURROGATE).is_some() {
            chunk.id = ChunkId::new(&chunk.doc, chunk.range);
        }
    }
    entry
}

/// The cosine of two vectors of unit length.
pub(crate) fn cosine(a: &Vector, b: &Vector) -> f64 {
    a.iter().zip(b.iter()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>().clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_title_that_is_a_heading_too_is_said_once() {
        let mut chunk = Chunk::clone(&testing::chunk("a.md", "It ends."));
        assert_eq!(&*whole(&chunk), "It ends.");
        chunk.title = Some("Loops".into());
        chunk.headings = vec!["Loops".into(), "Bounds".into()];
        assert_eq!(&*whole(&chunk), "Loops\nBounds\nIt ends.");
    }
}
