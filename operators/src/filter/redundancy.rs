//! Leaves out chunks that say nearly the same as a better one.

use std::sync::Arc;

use anabranch_engine::backend::{Passage, Vector};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{EmbedderName, OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::{Chunk, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::passage::cosine;

/// Leaves out chunks that say nearly the same as a better one.
///
/// The chunks are gone through as they come, best first: one whose text is more alike than `max_similarity` to a chunk
/// that was kept is dropped. Use it behind a search where documents repeat one another (versions, quotations,
/// overlapping chunks), so that copies do not fill the prompt; to weigh variety against relevance there is
/// `rerank.mmr`. What is alike is up to the embedder, and so is the right number: start with 0.9 and look at `dropped`.
/// Asks no chat model; calls the embedder once.
///
/// Source: the redundancy filter of `ChunkRAG` (arXiv 2410.19572).
///
/// ```yaml
/// fresh:
///   op: filter.redundancy
///   with: { max_similarity: 0.9 }
///   in: { chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redundancy {
    /// Highest cosine between the texts of two chunks that are both kept; 1 keeps all.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_similarity: f64,
    /// The embedder that says what is alike.
    pub embedder: EmbedderName,
}

impl Default for Redundancy {
    fn default() -> Self {
        Self { max_similarity: 0.9, embedder: EmbedderName::default() }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The chunks, best first.
        pub chunks: Vec<Arc<Chunk>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks that are kept, in the order in which they came.
        pub chunks: Vec<Arc<Chunk>>,
        /// The chunks that repeat a better one, in the order in which they came.
        pub dropped: Vec<Arc<Chunk>>,
    }
}

#[async_trait]
impl Operator for Redundancy {
    const NAME: &'static str = "filter.redundancy";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let mut out = Out { chunks: Vec::new(), dropped: Vec::new() };
        let texts: Vec<Text> = input.chunks.iter().map(|chunk| chunk.text.clone()).collect();
        let vectors = cx.embed(&self.embedder, &texts, Passage::Document).await?;
        let is_kept = distinct(&vectors, self.max_similarity);
        for (chunk, is_kept) in input.chunks.into_iter().zip(is_kept) {
            if is_kept { out.chunks.push(chunk) } else { out.dropped.push(chunk) }
        }
        Ok(out)
    }
}

/// Whether each vector is at most `most` alike to all that were kept before it.
fn distinct(vectors: &[Vector], most: f64) -> Vec<bool> {
    let mut kept: Vec<&Vector> = Vec::new();
    let is_new = |vector| {
        let is_new = kept.iter().all(|other| cosine(other, vector) <= most);
        kept.extend(is_new.then_some(vector));
        is_new
    };
    vectors.iter().map(is_new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shelf, chunk, docs_of, letters, problems, validator};
    use anabranch_engine::testing::cx;
    use proptest::prelude::*;
    use serde_json::json;

    async fn filter(max_similarity: f64, texts: &[&str]) -> (Vec<String>, Vec<String>) {
        let settings = Redundancy { max_similarity, ..Redundancy::default() };
        let chunks = texts.iter().map(|text| chunk(text, text)).collect();
        let out = settings.run(&Shelf::small().cx(), In { chunks }).await.unwrap();
        (docs_of(&out.chunks), docs_of(&out.dropped))
    }

    #[tokio::test]
    async fn the_first_of_two_alike_is_kept() {
        let (kept, dropped) = filter(0.9, &["aab", "c", "aaab", "aba"]).await;
        assert_eq!((kept.join(" "), dropped.join(" ")), ("aab c".to_owned(), "aaab aba".to_owned()));
    }

    #[tokio::test]
    async fn with_1_all_are_kept_and_with_0_only_what_shares_nothing() {
        assert_eq!(filter(1.0, &["ab", "ab", "ba"]).await.0.len(), 3);
        assert_eq!(filter(0.0, &["ab", "bc", "c", "d"]).await.0, ["ab", "c", "d"]);
    }

    #[tokio::test]
    async fn no_chunks_need_no_embedder() {
        let out = Redundancy::default().run(&cx(), In { chunks: Vec::new() }).await.unwrap();
        assert!(out.chunks.is_empty() && out.dropped.is_empty());
    }

    #[test]
    fn a_similarity_above_1_and_an_unknown_embedder_are_refused() {
        assert!(!validator("filter.redundancy").is_valid(&json!({"max_similarity": 90})));
        let found = problems("filter.redundancy", "{ chunks: inputs.chunks }", "{ embedder: emb }");
        assert!(found.contains("no embedder `emb`"), "{found}");
    }

    proptest! {
        #[test]
        fn what_is_dropped_repeats_something_kept_before_it_and_nothing_kept_does(
            texts in proptest::collection::vec("[abc]{1,4}", 0..10), most in 0.0..=1.0_f64,
        ) {
            let vectors: Vec<Vector> =
                texts.iter().map(|text| futures::executor::block_on(letters(text))).collect();
            let kept = distinct(&vectors, most);
            for place in 0..vectors.len() {
                let repeats = (0..place).any(|other| kept[other] && cosine(&vectors[other], &vectors[place]) > most);
                prop_assert_eq!(kept[place], !repeats);
            }
            // What comes later changes nothing of what came before.
            for n in 0..vectors.len() {
                prop_assert_eq!(distinct(&vectors[..n], most), &kept[..n]);
            }
        }
    }
}
