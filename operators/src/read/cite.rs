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

/// `chunk.text[range]`, at its exact place if the chunk's text stands in the source as it is, else at the chunk's.
pub(crate) fn part(chunk: &Chunk, range: &Range<usize>) -> Citation {
    let quote = chunk.text.get(range.clone()).unwrap_or_default();
    let mut citation = Citation { quote: Some(quote.into()), ..whole(chunk) };
    if chunk.range.end.saturating_sub(chunk.range.start) == chunk.text.len() as u64 {
        let at = chunk.range.start;
        citation.range = ByteRange { start: at + range.start as u64, end: at + range.end as u64 };
        let newlines = |text: Option<&str>| {
            u32::try_from(text.unwrap_or_default().matches('\n').count()).unwrap_or(u32::MAX)
        };
        let first = chunk.lines.first.saturating_add(newlines(chunk.text.get(..range.start)));
        citation.lines = LineRange { first, last: first.saturating_add(newlines(Some(quote))) };
    }
    citation
}
