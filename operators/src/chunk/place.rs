//! From offsets of a document's text to exact places in its source file.

use std::ops::Range;

use anabranch_engine::value::{ByteRange, Chunk, ChunkId, Document, LineRange, Metadata, Text};
use serde_json::Value as Json;

use crate::tokens;

/// Key of a document's metadata: segments `[text_start, source_start, len]`, sorted by `text_start`.
pub const SOURCE_MAP: &str = "source_map";
/// Key of a document's metadata: byte offsets at which the lines of the source begin.
pub const LINE_STARTS: &str = "line_starts";

/// A stretch of text that stands in the source as it is.
#[derive(Debug, Clone, Copy)]
struct Segment {
    text: usize,
    source: usize,
    len: usize,
}

/// Places in the source of one document.
#[derive(Debug)]
pub struct Places<'a> {
    doc: &'a Document,
    /// `None` where the text is the source.
    map: Option<Vec<Segment>>,
    /// Where the lines of the source begin.
    line_starts: Vec<usize>,
    meta: Metadata,
}

impl<'a> Places<'a> {
    /// Reads what the loader left in the document's metadata.
    pub fn new(doc: &'a Document) -> Self {
        let map: Option<Vec<Segment>> = doc.meta.get(SOURCE_MAP).and_then(Json::as_array).map(|segments| {
            segments
                .iter()
                .filter_map(|segment| match *numbers(segment)?.as_slice() {
                    [text, source, len] => Some(Segment { text, source, len }),
                    _ => None,
                })
                .collect()
        });
        let line_starts = match (doc.meta.get(LINE_STARTS).and_then(numbers), &map) {
            (Some(starts), _) => starts,
            (None, None) => line_starts(&doc.text),
            (None, Some(_)) => Vec::new(),
        };
        let mut meta = doc.meta.clone();
        meta.remove(SOURCE_MAP);
        meta.remove(LINE_STARTS);
        if !doc.kind.is_empty() {
            meta.entry("kind".to_owned()).or_insert_with(|| Json::from(&*doc.kind));
        }
        Self { doc, map, line_starts, meta }
    }

    /// The bytes of the source that `text[range]` came from.
    pub fn bytes(&self, range: &Range<usize>) -> ByteRange {
        let (start, end) = match &self.map {
            None => (range.start, range.end),
            Some(map) => {
                let start = source_start(map, range.start);
                (start, source_end(map, range.end).max(start))
            }
        };
        ByteRange { start: start as u64, end: end as u64 }
    }

    /// The lines of the source that `bytes` touches; the first line where nothing is known of lines.
    pub fn lines(&self, bytes: ByteRange) -> LineRange {
        let line = |at: u64| {
            let before = self.line_starts.partition_point(|start| *start as u64 <= at);
            u32::try_from(before.max(1)).unwrap_or(u32::MAX)
        };
        LineRange { first: line(bytes.start), last: line(bytes.end.saturating_sub(1).max(bytes.start)) }
    }

    /// The chunk `text[range]`.
    pub fn chunk(&self, range: &Range<usize>, headings: &[Text]) -> Chunk {
        let text = self.doc.text.get(range.clone()).unwrap_or_default();
        let bytes = self.bytes(range);
        Chunk {
            id: ChunkId::new(&self.doc.id, bytes),
            doc: self.doc.id.clone(),
            text: text.into(),
            range: bytes,
            lines: self.lines(bytes),
            tokens: tokens::token_count(text),
            title: self.doc.title.clone(),
            headings: headings.to_vec(),
            score: None,
            meta: self.meta.clone(),
        }
    }
}

fn numbers(json: &Json) -> Option<Vec<usize>> {
    json.as_array()?.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect()
}

/// Byte offsets at which the lines of `text` begin.
pub fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// Where the text at `at` begins in the source; between two segments, where the next one begins.
fn source_start(map: &[Segment], at: usize) -> usize {
    let next = map.partition_point(|segment| segment.text <= at);
    let inside = next.checked_sub(1).and_then(|i| map.get(i)).filter(|seg| at - seg.text < seg.len);
    match (inside, map.get(next)) {
        (Some(segment), _) => segment.source + (at - segment.text),
        (None, Some(following)) => following.source,
        (None, None) => map.last().map_or(0, |last| last.source + last.len),
    }
}

/// Where the text before `at` ends in the source; between two segments, where the previous one ends.
fn source_end(map: &[Segment], at: usize) -> usize {
    let next = map.partition_point(|segment| segment.text < at);
    let last = next.checked_sub(1).and_then(|i| map.get(i));
    last.map_or(0, |segment| segment.source + (at - segment.text).min(segment.len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anabranch_engine::value::DocumentId;

    fn document(text: &str, meta: serde_json::Value) -> Document {
        Document {
            id: DocumentId("a.html".into()),
            title: None,
            text: text.into(),
            kind: "html".into(),
            meta: serde_json::from_value(meta).unwrap(),
        }
    }

    #[test]
    fn text_that_is_the_source_keeps_its_offsets_and_counts_lines() {
        let doc = document("one\ntwo\nthree", serde_json::json!({}));
        let places = Places::new(&doc);
        let bytes = places.bytes(&(4..13));
        assert_eq!(bytes, ByteRange { start: 4, end: 13 });
        assert_eq!(places.lines(bytes), LineRange { first: 2, last: 3 });
        assert_eq!(places.lines(ByteRange { start: 0, end: 4 }), LineRange { first: 1, last: 1 });
    }

    #[test]
    fn mapped_text_points_into_the_source() {
        // source: `<p>one</p>\n<p>two</p>`, text: `one\ntwo`.
        let meta = serde_json::json!({
            "source_map": [[0, 3, 3], [4, 14, 3]], "line_starts": [0, 11], "path": "a.html"
        });
        let doc = document("one\ntwo", meta);
        let places = Places::new(&doc);
        assert_eq!(places.bytes(&(0..3)), ByteRange { start: 3, end: 6 });
        assert_eq!(places.bytes(&(4..7)), ByteRange { start: 14, end: 17 });
        assert_eq!(places.bytes(&(3..7)), ByteRange { start: 14, end: 17 }, "a gap belongs to what follows");
        assert_eq!(places.bytes(&(0..4)), ByteRange { start: 3, end: 6 }, "or to what came before");
        let chunk = places.chunk(&(4..7), &[]);
        assert_eq!((&*chunk.text, chunk.lines), ("two", LineRange { first: 2, last: 2 }));
        assert_eq!(chunk.meta.keys().collect::<Vec<_>>(), ["kind", "path"], "the map itself is dropped");
    }
}
