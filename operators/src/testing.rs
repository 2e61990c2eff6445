//! What the tests of several operators share.

use std::sync::Arc;

use anabranch_engine::value::{
    ByteRange, Chunk, ChunkId, Document, DocumentId, LineRange, Score, TokenCount,
};

/// A document whose text is its source.
pub(crate) fn document(id: &str, kind: &str, text: &str) -> Document {
    Document {
        id: DocumentId(id.into()),
        title: None,
        text: text.into(),
        kind: kind.into(),
        meta: std::collections::BTreeMap::default(),
    }
}

/// A chunk of `doc` that starts at byte `start`, on line `line`.
pub(crate) fn chunk_at(doc: &str, start: u64, line: u32, text: &str) -> Arc<Chunk> {
    let range = ByteRange { start, end: start + text.len() as u64 };
    let doc = DocumentId(doc.into());
    let newlines = u32::try_from(text.matches('\n').count()).unwrap();
    Arc::new(Chunk {
        id: ChunkId::new(&doc, range),
        doc,
        text: text.into(),
        range,
        lines: LineRange { first: line, last: line + newlines },
        tokens: TokenCount(0),
        title: None,
        headings: Vec::new(),
        score: None,
        meta: std::collections::BTreeMap::default(),
    })
}

/// A chunk at the beginning of `doc`.
pub(crate) fn chunk(doc: &str, text: &str) -> Arc<Chunk> {
    chunk_at(doc, 0, 1, text)
}

/// The chunk with another score.
pub(crate) fn scored(chunk: &Arc<Chunk>, score: f64) -> Arc<Chunk> {
    Arc::new(Chunk { score: Score::new(score), ..Chunk::clone(chunk) })
}

/// Every chunk is the bytes and lines that it says it is.
pub(crate) fn assert_exact(document: &Document, chunks: &[Arc<Chunk>]) {
    for chunk in chunks {
        let (start, end) =
            (usize::try_from(chunk.range.start).unwrap(), usize::try_from(chunk.range.end).unwrap());
        assert_eq!(&document.text[start..end], &*chunk.text);
        let line = |at: usize| {
            let newlines = document.text.bytes().take(at).filter(|byte| *byte == b'\n').count();
            1 + u32::try_from(newlines).unwrap()
        };
        assert_eq!(chunk.lines, LineRange { first: line(start), last: line(end - 1) });
        assert_eq!(chunk.id, ChunkId::new(&document.id, chunk.range));
    }
}

/// Every character that is not space is in some chunk.
pub(crate) fn assert_covers(document: &Document, chunks: &[Arc<Chunk>]) {
    let mut covered = vec![false; document.text.len()];
    for chunk in chunks {
        let range = usize::try_from(chunk.range.start).unwrap()..usize::try_from(chunk.range.end).unwrap();
        covered[range].fill(true);
    }
    for (at, c) in document.text.char_indices() {
        assert!(c.is_whitespace() || covered[at], "byte {at} (`{c}`) is in no chunk of {:?}", document.text);
    }
}
