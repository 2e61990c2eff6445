//! What an encoder is shown of a chunk, and how near two vectors are.

use anabranch_engine::backend::Vector;
use anabranch_engine::value::{Chunk, Text};

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
