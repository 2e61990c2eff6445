//! Adds new chunks to those gathered before, each passage once.

use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::Chunk;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tokens;

/// Adds new chunks to those gathered before, each passage once.
///
/// A chunk that lies within another chunk of the same document is left out. Use it in a loop to carry what was found
/// from turn to turn: `added` is 0 when a turn brought nothing new, which is a good reason to stop. Asks no model.
///
/// Source: the growing context of iterative retrieval, ITER-RETGEN (Shao et al. 2023) and `IRCoT`
/// (Trivedi et al. 2023).
///
/// ```yaml
/// keep:
///   op: context.append
///   with: { max_tokens: 3000 }
///   in: { old: carry.chunks, new: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Append {
    /// Most tokens (cl100k) that the chunks kept may have together; those that no longer fit are left out.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_tokens: usize,
    /// In which order chunks are kept, and so which are left out when there are too many.
    pub order: Order,
}

/// In which order chunks are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The old ones first.
    #[default]
    Append,
    /// The highest score first; those without a score last.
    Score,
}

impl Default for Append {
    fn default() -> Self {
        Self { max_tokens: 3000, order: Order::Append }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The chunks gathered before.
        pub old: Vec<Arc<Chunk>>,
        /// The chunks to add.
        pub new: Vec<Arc<Chunk>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks kept.
        pub chunks: Vec<Arc<Chunk>>,
        /// How many of them were not there before.
        pub added: usize,
        /// How many passages were left out because they no longer fit.
        pub dropped: usize,
    }
}

/// Whether `inner` lies within `outer`, or is the same.
fn within(inner: &Chunk, outer: &Chunk) -> bool {
    inner.doc == outer.doc && outer.range.start <= inner.range.start && inner.range.end <= outer.range.end
}

#[async_trait]
impl Operator for Append {
    const NAME: &'static str = "context.append";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        // Each chunk with whether it is new.
        let mut union: Vec<(Arc<Chunk>, bool)> = Vec::with_capacity(input.old.len() + input.new.len());
        let old = input.old.into_iter().map(|chunk| (chunk, false));
        for (chunk, is_new) in old.chain(input.new.into_iter().map(|chunk| (chunk, true))) {
            if union.iter().any(|(kept, _)| within(&chunk, kept)) {
                continue;
            }
            // A longer passage takes the place of the first one that lies within it.
            let place = union.iter().position(|(kept, _)| within(kept, &chunk)).unwrap_or(union.len());
            union.retain(|(kept, _)| !within(kept, &chunk));
            union.insert(place.min(union.len()), (chunk, is_new));
        }
        if self.order == Order::Score {
            let score =
                |chunk: &Chunk| chunk.score.map_or(f64::NEG_INFINITY, anabranch_engine::value::Score::get);
            union.sort_by(|(a, _), (b, _)| score(b).total_cmp(&score(a)));
        }
        let mut out = Out { chunks: Vec::new(), added: 0, dropped: 0 };
        let mut total = 0;
        for (chunk, is_new) in union {
            let needs = tokens::of_chunk(&chunk);
            if total + needs > self.max_tokens {
                out.dropped += 1;
                continue;
            }
            total += needs;
            out.added += usize::from(is_new);
            out.chunks.push(chunk);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{chunk, chunk_at, scored};
    use anabranch_engine::testing::cx;

    async fn append(settings: Append, old: &[Arc<Chunk>], new: &[Arc<Chunk>]) -> (Vec<String>, usize, usize) {
        let out = settings.run(&cx(), In { old: old.to_vec(), new: new.to_vec() }).await.unwrap();
        (out.chunks.iter().map(|chunk| chunk.id.to_string()).collect(), out.added, out.dropped)
    }

    #[tokio::test]
    async fn what_is_there_already_is_not_added_again() {
        let (a, b) = (chunk("a", "one"), chunk("b", "two"));
        let got = append(Append::default(), std::slice::from_ref(&a), &[b, a.clone()]).await;
        assert_eq!(got, (vec!["a#0-3".into(), "b#0-3".into()], 1, 0));
    }

    #[tokio::test]
    async fn a_passage_within_another_is_left_out_whichever_came_first() {
        let (inner, outer) = (chunk_at("a", 4, 1, "two"), chunk("a", "one two three"));
        let first =
            append(Append::default(), std::slice::from_ref(&outer), std::slice::from_ref(&inner)).await;
        assert_eq!(first, (vec!["a#0-13".into()], 0, 0));
        let second = append(Append::default(), &[inner, chunk("b", "x")], &[outer]).await;
        assert_eq!(second, (vec!["a#0-13".into(), "b#0-1".into()], 1, 0));
    }

    #[tokio::test]
    async fn what_no_longer_fits_is_counted() {
        let settings = Append { max_tokens: 2, order: Order::Append };
        let got =
            append(settings, &[chunk("a", "one")], &[chunk("b", "one two three"), chunk("c", "two")]).await;
        assert_eq!(got, (vec!["a#0-3".into(), "c#0-3".into()], 1, 1));
    }

    #[tokio::test]
    async fn order_by_score_keeps_the_best() {
        let settings = Append { max_tokens: 1, order: Order::Score };
        let old = [scored(&chunk("a", "one"), 1.0)];
        let got = append(settings, &old, &[scored(&chunk("b", "two"), 2.0)]).await;
        assert_eq!(got, (vec!["b#0-3".into()], 1, 1));
    }

    #[test]
    fn an_unknown_order_is_refused() {
        assert!(serde_json::from_str::<Append>(r#"{"order": "newest"}"#).is_err());
    }
}
