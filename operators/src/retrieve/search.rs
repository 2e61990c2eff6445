//! The two searches of an index: by words and by meaning.

use std::sync::Arc;

use anabranch_engine::backend::{By, Filter, Namespace, Passage, SearchQuery};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{IndexName, OpError};
use anabranch_engine::value::Chunk;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::passage::parents;

/// How many times as many entries are looked at when too few chunks stood behind those that were found.
const DEEPER: usize = 4;
/// So many entries a chunk are looked at, at most.
const DEPTH_MAX: usize = 64;

/// What a text is embedded as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmbedAs {
    /// Something to look for: a question.
    #[default]
    Query,
    /// Something to be found: a passage that a model made up.
    Document,
}

impl From<EmbedAs> for Passage {
    fn from(embed_as: EmbedAs) -> Self {
        match embed_as {
            EmbedAs::Query => Self::Query,
            EmbedAs::Document => Self::Document,
        }
    }
}

/// Where to search, and how much to find.
pub(crate) struct Within<'a> {
    pub(crate) index: &'a IndexName,
    pub(crate) top_k: usize,
    pub(crate) filter: &'a Filter,
    pub(crate) namespace: &'a Namespace,
}

impl Within<'_> {
    /// The chunks whose words match `text` best, by BM25.
    pub(crate) async fn words(
        &self,
        cx: &Cx,
        text: &str,
        k1: f64,
        b: f64,
    ) -> Result<Vec<Arc<Chunk>>, OpError> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "small numbers; the rounding is below any effect"
        )]
        let by = By::Words { text: text.to_owned(), k1: k1 as f32, b: b as f32 };
        self.search(cx, by).await
    }

    /// The chunks whose vectors are nearest to that of `text`; a text without words has none.
    pub(crate) async fn meaning(
        &self,
        cx: &Cx,
        text: &str,
        as_: EmbedAs,
    ) -> Result<Vec<Arc<Chunk>>, OpError> {
        let embedder = cx.index_embedder(self.index)?;
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        let vectors = cx.embed(&embedder, &[text.into()], as_.into()).await?;
        // `Cx::embed` has seen to it that there is one.
        let Some(vector) = vectors.into_iter().next() else { return Ok(Vec::new()) };
        self.search(cx, By::Vector(vector)).await
    }

    async fn search(&self, cx: &Cx, by: By) -> Result<Vec<Arc<Chunk>>, OpError> {
        let mut query = SearchQuery {
            by,
            top_k: self.top_k,
            filter: self.filter.clone(),
            namespace: self.namespace.clone(),
        };
        let index = cx.index(self.index)?;
        loop {
            let entries = index.search(&query).await?;
            let is_all = entries.len() < query.top_k || query.top_k >= self.top_k.saturating_mul(DEPTH_MAX);
            let mut chunks = parents(entries);
            // Several entries can stand for one chunk: then it takes more of them.
            if is_all || chunks.len() >= self.top_k {
                chunks.truncate(self.top_k);
                return Ok(chunks);
            }
            query.top_k = query.top_k.saturating_mul(DEEPER);
        }
    }
}
