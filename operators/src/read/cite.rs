//! Citations: from a passage, or a sentence in it, to its place in the source.

use std::ops::Range;

use anabranch_engine::value::{ByteRange, Chunk, Citation, LineRange};

/// The whole chunk.
pub(crate) fn whole(chunk: &Chunk) -> Citation {
    Citation {
        chunk_id: chunk.id.clone(),
        doc: chunk.doc.clone(),
        range: chunk.range,
        lines: chunk.lines,
        quote: None,
    }
}

/// `chunk.text[range]`, at its exact place if the chunk's text stands in the source as it is, else at the chunk's. Where
/// the chunk's lines are not those of its text, as with the pages of a PDF, they are the quote's as well.
pub(crate) fn part(chunk: &Chunk, range: &Range<usize>) -> Citation {
    let quote = chunk.text.get(range.clone()).unwrap_or_default();
    let mut citation = Citation { quote: Some(quote.into()), ..whole(chunk) };
    if chunk.range.end.saturating_sub(chunk.range.start) == chunk.text.len() as u64 {
        let at = chunk.range.start;
        citation.range = ByteRange { start: at + range.start as u64, end: at + range.end as u64 };
        if Some(chunk.lines) == lines_of(&chunk.text, chunk.lines.first) {
            let before = chunk.text.get(..range.start).unwrap_or_default();
            let first = chunk.lines.first.saturating_add(newlines(before));
            citation.lines = lines_of(quote, first).unwrap_or(chunk.lines);
        }
    }
    citation
}

/// The lines of a text that begins in the line `first`; the break that ends a line belongs to it.
fn lines_of(text: &str, first: u32) -> Option<LineRange> {
    let last = first.checked_add(newlines(text.strip_suffix('\n').unwrap_or(text)))?;
    Some(LineRange { first, last })
}

fn newlines(text: &str) -> u32 {
    u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const TEXT: &str = "Herons nest\nin trees.\nOwls sleep\nby day.\n";

    #[test]
    fn a_sentence_has_the_lines_that_it_stands_on() {
        let chunk = testing::chunk_at("birds.md", 100, 7, TEXT);
        let chunk = Chunk { lines: LineRange { first: 7, last: 10 }, ..Chunk::clone(&chunk) };
        let cited = part(&chunk, &(22..40));
        assert_eq!(cited.quote.as_deref(), Some("Owls sleep\nby day."));
        assert_eq!(cited.lines, LineRange { first: 9, last: 10 });
        assert_eq!(cited.range, ByteRange { start: 122, end: 140 });
    }

    #[test]
    fn a_sentence_of_a_pdf_has_the_pages_of_its_chunk() {
        let chunk = testing::chunk_at("birds.pdf", 100, 7, TEXT);
        for last in [7, 8] {
            let pages = LineRange { first: 7, last };
            let cited = part(&Chunk { lines: pages, ..Chunk::clone(&chunk) }, &(22..40));
            assert_eq!(cited.lines, pages);
            assert_eq!(cited.range, ByteRange { start: 122, end: 140 });
        }
    }
}
