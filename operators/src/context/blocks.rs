//! Joins chunks of one document that stand side by side.

use std::sync::Arc;

use anabranch_engine::value::{ByteRange, Chunk, ChunkId, LineRange, Score};

use crate::tokens;

/// A chunk that is to be given.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) chunk: Arc<Chunk>,
    /// The first and the last of the document's chunks that it covers, by position; none if it covers none.
    pub(crate) span: Option<(usize, usize)>,
    /// Its place among the chunks that came; none if it was added.
    pub(crate) came: Option<usize>,
}

/// Chunks joined into one, and the place of the first among them that came.
pub(crate) type Joined = (Arc<Chunk>, Option<usize>);

/// Chunks while they are being joined.
struct Block {
    /// What all of them have; its text is that of the first one.
    chunk: Arc<Chunk>,
    /// The text of all, if there are several.
    text: Option<String>,
    came: Option<usize>,
    /// The last of the document's chunks that it covers.
    end: Option<usize>,
}

/// Joins the parts of one document whose ranges touch or overlap, or between which the document has no other chunk.
pub(crate) fn join(mut parts: Vec<Part>) -> Vec<Joined> {
    parts.sort_by_key(|part| part.chunk.range);
    let mut blocks: Vec<Block> = Vec::new();
    for part in parts {
        if let Some(block) = blocks.last_mut().filter(|block| block.is_beside(&part)) {
            block.add(&part);
        } else {
            let end = part.span.map(|(_, last)| last);
            blocks.push(Block { chunk: part.chunk, text: None, came: part.came, end });
        }
    }
    blocks.into_iter().map(Block::finish).collect()
}

impl Block {
    /// Whether nothing lies between this and a part that does not begin before it.
    fn is_beside(&self, part: &Part) -> bool {
        let is_next = matches!((self.end, part.span), (Some(last), Some((first, _))) if first <= last.saturating_add(1));
        is_next || part.chunk.range.start <= self.chunk.range.end
    }

    fn add(&mut self, part: &Part) {
        let (a, b) = (&*self.chunk, &*part.chunk);
        if b.range.end > a.range.end {
            let text = self.text.get_or_insert_with(|| a.text.as_ref().to_owned());
            let gap = between(a, b);
            let rest = if gap.is_empty() { behind_overlap(text, a.range, b) } else { &*b.text };
            text.extend([gap, rest]);
        }
        let shared = a.headings.iter().zip(&b.headings).take_while(|(a, b)| a == b);
        let both = a.meta.iter().filter(|(key, value)| b.meta.get(*key) == Some(value));
        self.chunk = Arc::new(Chunk {
            range: ByteRange { start: a.range.start, end: a.range.end.max(b.range.end) },
            lines: LineRange {
                first: a.lines.first.min(b.lines.first),
                last: a.lines.last.max(b.lines.last),
            },
            title: a.title.clone().or_else(|| b.title.clone()),
            headings: shared.map(|(heading, _)| heading.clone()).collect(),
            score: best(a.score, b.score),
            // What both say: facts of the document, not of one of its places.
            meta: both.map(|(key, value)| (key.clone(), value.clone())).collect(),
            ..a.clone()
        });
        self.came = self.came.into_iter().chain(part.came).min();
        self.end = self.end.max(part.span.map(|(_, last)| last));
    }

    fn finish(self) -> Joined {
        let Some(text) = self.text else { return (self.chunk, self.came) };
        let chunk = Chunk {
            id: ChunkId::new(&self.chunk.doc, self.chunk.range),
            tokens: tokens::token_count(&text),
            text: text.into(),
            ..Chunk::clone(&self.chunk)
        };
        (Arc::new(chunk), self.came)
    }
}

fn best(a: Option<Score>, b: Option<Score>) -> Option<Score> {
    a.into_iter().chain(b).min_by(|a, b| Score::best_first(*a, *b))
}

/// What stands between `a` and `b` where neither has it: the line breaks that their lines tell of, or else a blank line.
fn between(a: &Chunk, b: &Chunk) -> &'static str {
    const BREAKS: &str = "\n\n\n\n\n\n\n\n";
    let bytes = b.range.start.saturating_sub(a.range.end);
    let breaks = b.lines.first.saturating_sub(a.lines.last);
    match breaks {
        _ if bytes == 0 => "",
        0 => " ",
        _ if u64::from(breaks) == bytes => {
            usize::try_from(breaks).ok().and_then(|n| BREAKS.get(..n)).unwrap_or("\n\n")
        }
        _ => "\n\n",
    }
}

/// The text of `b` behind what `text`, that of the range `a`, has of it already.
fn behind_overlap<'b>(text: &str, a: ByteRange, b: &'b Chunk) -> &'b str {
    let shared = a.end.saturating_sub(b.range.start);
    // Where texts are the bytes of their source, ranges say what is shared; else it is the most that both have.
    let by_range = usize::try_from(shared).ok().and_then(|shared| b.text.split_at_checked(shared));
    let starts = b.text.char_indices().map(|(at, _)| at).chain([b.text.len()]);
    let by_words = starts.rev().filter_map(|at| b.text.split_at_checked(at));
    let mut splits = by_range.into_iter().chain(by_words);
    splits.find(|(shared, _)| text.ends_with(shared)).map_or(&*b.text, |(_, rest)| rest)
}
