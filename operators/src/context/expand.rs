//! Adds to each chunk what stands around it in its document.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anabranch_engine::backend::Namespace;
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{IndexName, OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::{Chunk, DocumentId, Score};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blocks::{self, Part};
use crate::passage::parents;
use crate::tokens;

/// Documents that are fetched at once.
const FETCHES: usize = 8;

/// Adds to each chunk what stands around it in its document.
///
/// Small chunks are found well and read badly: this finds by the small ones and reads more. Chunks of a document that
/// then stand side by side become one, with the exact range and lines of the whole and the best score in it; what lies
/// between two of them and belongs to neither (white space, markup) becomes the line breaks that were there or, where
/// these are not known, a blank line. The best chunks are expanded first, nearest first, until `max_tokens` are
/// reached; chunks that came are never left out. The best score goes first; without scores the order stays. Keep
/// `window` small and look at `tokens_added`: more context is not always better. Use it between a search or reranker
/// and a reader. Asks no model; fetches each document once from the index.
///
/// Source: the chunk merging of `MacRAG` (arXiv 2505.06569), with exact ranges instead of a search for shared text.
///
/// ```yaml
/// wide:
///   op: context.expand
///   with: { mode: section, max_tokens: 3000 }
///   in: { chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expand {
    /// The index that has the documents.
    pub index: IndexName,
    /// What is added: `neighbors`, the `window` chunks before and after; `section`, what has the same headings above;
    /// `parent`, what is below the heading one level up; `document`, all of it.
    pub mode: Mode,
    /// How many chunks each side `neighbors` adds; 0 changes nothing. The other modes do not look at it.
    #[schemars(range(min = 0, max = 100))]
    pub window: usize,
    /// Most tokens (cl100k) of the chunks given, added ones included. Chunks that came stay even if they have more.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_tokens: usize,
    /// Whose chunks are looked at, in an index with namespaces.
    pub namespace: Namespace,
}

/// What is added to a chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The chunks before and after it.
    #[default]
    Neighbors,
    /// The chunks around it that have the same headings above.
    Section,
    /// The chunks around it that are below the heading one level up.
    Parent,
    /// All chunks of its document.
    Document,
}

impl Default for Expand {
    fn default() -> Self {
        Self {
            index: IndexName("docs".into()),
            mode: Mode::Neighbors,
            window: 1,
            max_tokens: 4000,
            namespace: Namespace::default(),
        }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The chunks to expand.
        pub chunks: Vec<Arc<Chunk>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks with what was added, best first.
        pub chunks: Vec<Arc<Chunk>>,
        /// How many chunks of the index were added.
        pub added: usize,
        /// How many tokens the chunks have more than those that came.
        pub tokens_added: usize,
    }
}

/// The chunks of a document in their order, as the index has them, and which of them are to be given.
#[derive(Debug, Default)]
struct Around {
    all: Vec<Arc<Chunk>>,
    /// The chunks that came.
    came: Vec<Part>,
    added: BTreeSet<usize>,
}

impl Around {
    /// The first and last position in the document that `chunk` covers: its own, or those joined in it.
    fn covered(&self, chunk: &Chunk) -> Option<(usize, usize)> {
        let is_same = |one: &Arc<Chunk>| one.id == chunk.id;
        let range = chunk.range;
        let is_within = |one: &Arc<Chunk>| range.start <= one.range.start && one.range.end <= range.end;
        self.ends(is_same).or_else(|| self.ends(is_within))
    }

    /// The first and last position in the document that `chunk` shares something with.
    fn touched(&self, chunk: &Chunk) -> Option<(usize, usize)> {
        self.ends(|one| chunk.range.start < one.range.end && one.range.start < chunk.range.end)
    }

    fn ends(&self, test: impl Fn(&Arc<Chunk>) -> bool) -> Option<(usize, usize)> {
        Some((self.all.iter().position(&test)?, self.all.iter().rposition(&test)?))
    }

    fn has(&self, place: usize) -> bool {
        let covers = |(first, last): (usize, usize)| (first..=last).contains(&place);
        self.added.contains(&place) || self.came.iter().any(|part| part.span.is_some_and(covers))
    }

    /// The first and last position of what belongs to `chunk`, which covers `span`.
    fn reach(&self, mode: Mode, window: usize, chunk: &Chunk, span: (usize, usize)) -> (usize, usize) {
        let end = self.all.len().saturating_sub(1);
        let parent = chunk.headings.split_last().map_or(&[][..], |(_, above)| above);
        match mode {
            Mode::Neighbors => (span.0.saturating_sub(window), span.1.saturating_add(window).min(end)),
            Mode::Section => self.stretch(span, |one| one.headings == chunk.headings),
            Mode::Parent => self.stretch(span, |one| one.headings.starts_with(parent)),
            Mode::Document => (0, end),
        }
    }

    /// `span`, made longer on both sides for as long as chunks pass the test.
    fn stretch(&self, (first, last): (usize, usize), test: impl Fn(&Chunk) -> bool) -> (usize, usize) {
        let before = self.all.iter().take(first).rev().take_while(|one| test(one)).count();
        let after = self.all.iter().skip(last + 1).take_while(|one| test(one)).count();
        (first - before, last + after)
    }
}

/// The positions between `span` and `reach`, nearest to `span` first.
fn outward(span: (usize, usize), reach: (usize, usize)) -> impl Iterator<Item = usize> {
    let steps = (reach.1.saturating_sub(span.1)).max(span.0.saturating_sub(reach.0));
    (1..=steps).flat_map(move |step| {
        let after = Some(span.1 + step).filter(|place| *place <= reach.1);
        let before = span.0.checked_sub(step).filter(|place| *place >= reach.0);
        after.into_iter().chain(before)
    })
}

/// The better score first; without any, and where they are equal, in the order in which they came.
fn best_first(a: &Chunk, b: &Chunk) -> std::cmp::Ordering {
    let score = |chunk: &Chunk| chunk.score.map_or(f64::NEG_INFINITY, Score::get);
    score(b).total_cmp(&score(a))
}

impl Expand {
    /// The documents of `chunks`, each fetched once.
    async fn documents(
        &self,
        cx: &Cx,
        chunks: &[Arc<Chunk>],
    ) -> Result<BTreeMap<DocumentId, Around>, OpError> {
        let index = cx.index(&self.index)?;
        let ids: BTreeSet<DocumentId> = chunks.iter().map(|chunk| chunk.doc.clone()).collect();
        let fetch = async |doc: DocumentId| {
            let all = parents(index.chunks_of(&self.namespace, &doc).await?);
            Ok::<_, OpError>((doc, Around { all, ..Around::default() }))
        };
        let mut documents: BTreeMap<DocumentId, Around> =
            futures::stream::iter(ids).map(fetch).buffered(FETCHES).try_collect().await?;
        for (place, chunk) in chunks.iter().enumerate() {
            if let Some(around) = documents.get_mut(&chunk.doc) {
                let span = around.covered(chunk);
                around.came.push(Part { chunk: chunk.clone(), span, came: Some(place) });
            }
        }
        Ok(documents)
    }

    /// Marks what is to be added: around the best chunks first, nearest first, until the tokens are reached.
    fn fill(&self, documents: &mut BTreeMap<DocumentId, Around>, chunks: &[Arc<Chunk>]) {
        let mut tokens: usize = chunks.iter().map(|chunk| tokens::of_chunk(chunk)).sum();
        let mut order: Vec<&Arc<Chunk>> = chunks.iter().collect();
        order.sort_by(|a, b| best_first(a, b));
        for chunk in order {
            let Some(around) = documents.get_mut(&chunk.doc) else { continue };
            // Of a chunk that was cut anew, the whole that it is part of is added first.
            let Some(span) = around.covered(chunk).or_else(|| around.touched(chunk)) else { continue };
            let reach = around.reach(self.mode, self.window, chunk, span);
            for place in (span.0..=span.1).chain(outward(span, reach)) {
                if around.has(place) {
                    continue;
                }
                tokens += around.all.get(place).map_or(0, |one| tokens::of_chunk(one));
                if tokens > self.max_tokens {
                    return;
                }
                around.added.insert(place);
            }
        }
    }
}

#[async_trait]
impl Operator for Expand {
    const NAME: &'static str = "context.expand";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        if input.chunks.is_empty() || (self.mode == Mode::Neighbors && self.window == 0) {
            return Ok(Out { chunks: input.chunks, added: 0, tokens_added: 0 });
        }
        let mut documents = self.documents(cx, &input.chunks).await?;
        self.fill(&mut documents, &input.chunks);
        let added = documents.values().map(|around| around.added.len()).sum();
        let mut found = Vec::new();
        for Around { all, came, added } in documents.into_values() {
            let new = added.into_iter().filter_map(|place| {
                let chunk = all.get(place)?.clone();
                Some(Part { chunk, span: Some((place, place)), came: None })
            });
            found.extend(blocks::join(came.into_iter().chain(new).collect()));
        }
        found.sort_by(|(a, a_came), (b, b_came)| best_first(a, b).then(a_came.cmp(b_came)));
        let chunks: Vec<Arc<Chunk>> = found.into_iter().map(|(chunk, _)| chunk).collect();
        let tokens =
            |chunks: &[Arc<Chunk>]| chunks.iter().map(|chunk| tokens::of_chunk(chunk)).sum::<usize>();
        let tokens_added = tokens(&chunks).saturating_sub(tokens(&input.chunks));
        Ok(Out { chunks, added, tokens_added })
    }
}

#[cfg(test)]
mod tests;
