//! Groups chunks by what they are about, and takes the groups nearest to the query.

use std::sync::Arc;

use anabranch_engine::backend::Passage;
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{EmbedderName, OpError, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Score, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::clusters::{Group, groups};
use crate::passage::{cosine, whole};

/// Groups chunks by what they are about, and takes the groups nearest to the query.
///
/// The chunks are turned into vectors, dense regions of at least `min_size` are groups, and groups of more than
/// `max_size` are cut; every chunk belongs to one. The `top_clusters` groups whose centres are most like the query are
/// given, nearest first, of each the `top_k` chunks that are most like it. Use it behind a wide search whose results
/// are about several things, to read one of them at a time: an `each` over `clusters` answers from each group, and
/// `fuse.llm` makes one answer of them. Asks no chat model; it asks the embedder once, for the query and every chunk.
///
/// Source: MODE (arXiv 2509.00100), which groups a whole collection once (HDBSCAN, then k-means for large groups); here
/// what was found is grouped, which needs no index of its own. Equal chunks in another order can fall into other groups.
///
/// ```yaml
/// about:
///   op: route.cluster
///   with: { top_clusters: 2 }
///   in: { query: inputs.question, chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// How many groups to take.
    #[schemars(range(min = 1, max = 100))]
    pub top_clusters: usize,
    /// Most chunks of each group.
    #[schemars(range(min = 1, max = 1000))]
    pub top_k: usize,
    /// Least chunks of a group; with less than twice as many chunks in all there is one group.
    #[schemars(range(min = 2, max = 1000))]
    pub min_size: usize,
    /// Chunks from which on a group is cut; at least `min_size`.
    #[schemars(range(min = 2, max = 10_000))]
    pub max_size: usize,
    /// The embedder to ask.
    pub embedder: EmbedderName,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { top_clusters: 2, top_k: 10, min_size: 10, max_size: 30, embedder: EmbedderName::default() }
    }
}

/// Most chunks that are grouped: all of them are compared with each other.
const CHUNKS_MAX: usize = 2000;

ports! {
    /// What it reads.
    pub struct In {
        /// What is searched for.
        pub query: String,
        /// The chunks to group, at most 2,000.
        pub chunks: Vec<Arc<Chunk>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks of the groups that were taken, nearest group first, with how alike each is to the query as score.
        pub chunks: Vec<Arc<Chunk>>,
        /// The same, group by group.
        pub clusters: Vec<Vec<Arc<Chunk>>>,
        /// How alike the query and the centre of each group are, nearest first: a cosine, -1 to 1.
        pub scores: Vec<Score>,
        /// How many groups there are in all.
        pub n_clusters: usize,
    }
}

#[async_trait]
impl Operator for Cluster {
    const NAME: &'static str = "route.cluster";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let In { query, chunks } = input;
        if chunks.len() > CHUNKS_MAX {
            return Err(OpError::InvalidInput(format!(
                "there are {} chunks; at most {CHUNKS_MAX} are grouped, so search for fewer",
                chunks.len()
            )));
        }
        let texts: Vec<Text> = chunks.iter().map(|chunk| whole(chunk)).collect();
        if texts.is_empty() {
            return Ok(Out { chunks, clusters: Vec::new(), scores: Vec::new(), n_clusters: 0 });
        }
        let asked = cx.embed(&self.embedder, &[query.into()], Passage::Query).await?;
        let vectors = cx.embed(&self.embedder, &texts, Passage::Document).await?;
        let Some(asked) = asked.first() else {
            return Err(OpError::InvalidInput("the embedder gave no vectors".to_owned()));
        };
        let groups = groups(&vectors, self.min_size, self.max_size);
        let mut ranked: Vec<(f64, &Group)> =
            groups.iter().map(|group| (cosine(asked, &group.centre), group)).collect();
        // Stable: equally near groups stay in the order of their first chunks.
        ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        ranked.truncate(self.top_clusters);
        let of_group = |group: &Group| {
            let mut own: Vec<(f64, &Arc<Chunk>)> = group
                .places
                .iter()
                .filter_map(|place| Some((cosine(asked, vectors.get(*place)?), chunks.get(*place)?)))
                .collect();
            own.sort_by(|(a, _), (b, _)| b.total_cmp(a));
            own.truncate(self.top_k);
            let with_score = |(score, chunk): (f64, &Arc<Chunk>)| {
                Arc::new(Chunk { score: Score::new(score), ..Chunk::clone(chunk) })
            };
            own.into_iter().map(with_score).collect::<Vec<_>>()
        };
        let clusters: Vec<Vec<Arc<Chunk>>> = ranked.iter().map(|(_, group)| of_group(group)).collect();
        Ok(Out {
            chunks: clusters.concat(),
            clusters,
            scores: ranked.iter().filter_map(|(score, _)| Score::new(*score)).collect(),
            n_clusters: groups.len(),
        })
    }

    fn check(&self, _: &[(Text, Type)]) -> Vec<SettingProblem> {
        if self.min_size <= self.max_size {
            return Vec::new();
        }
        vec![SettingProblem {
            pointer: "/max_size".to_owned(),
            message: format!("`max_size` is {}, below `min_size`, which is {}", self.max_size, self.min_size),
            hint: Some("raise `max_size` or lower `min_size`".to_owned()),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{chunk, docs_of, encoders, validator};
    use anabranch_engine::testing::cx_with;
    use serde_json::json;

    // The embedder of tests counts letters: texts of the same letters are at 1, of none in common at 0.
    async fn cluster(settings: serde_json::Value, query: &str, texts: &[&str]) -> Out {
        let settings: Cluster = serde_json::from_value(settings).unwrap();
        let chunks = texts.iter().map(|text| chunk(text, text)).collect();
        settings.run(&cx_with(encoders()), In { query: query.to_owned(), chunks }).await.unwrap()
    }

    #[tokio::test]
    async fn the_groups_nearest_to_the_query_are_taken_and_ranked_within() {
        let settings = json!({ "min_size": 3, "top_clusters": 1, "top_k": 2 });
        let texts = ["xy", "aab", "xxy", "abb", "xyy", "ab"];
        let out = cluster(settings, "ab", &texts).await;
        assert_eq!((docs_of(&out.chunks), out.n_clusters), (vec!["ab".to_owned(), "aab".to_owned()], 2));
        assert_eq!(out.clusters.len(), 1);
        assert!(out.scores[0].get() > 0.9 && out.chunks[0].score.unwrap().get() > 0.99);
    }

    #[tokio::test]
    async fn few_chunks_are_one_group_and_none_are_none() {
        let out = cluster(json!({}), "ab", &["xy", "ab"]).await;
        assert_eq!((docs_of(&out.chunks), out.n_clusters), (vec!["ab".to_owned(), "xy".to_owned()], 1));
        let out = cluster(json!({}), "ab", &[]).await;
        assert_eq!((out.chunks.len(), out.n_clusters), (0, 0));
    }

    #[tokio::test]
    async fn more_chunks_than_can_be_compared_are_refused() {
        let chunks = vec![chunk("a", "x"); CHUNKS_MAX + 1];
        let input = In { query: "q".to_owned(), chunks };
        let error = Cluster::default().run(&cx_with(encoders()), input).await.unwrap_err();
        assert!(error.to_string().starts_with("there are 2001 chunks"), "{error}");
    }

    #[test]
    fn sizes_in_the_wrong_order_and_too_small_ones_are_refused() {
        let turned = Cluster { min_size: 5, max_size: 4, ..Cluster::default() };
        assert_eq!(turned.check(&[])[0].pointer, "/max_size");
        assert!(Cluster::default().check(&[]).is_empty());
        assert!(!validator("route.cluster").is_valid(&json!({ "min_size": 1 })));
    }
}
