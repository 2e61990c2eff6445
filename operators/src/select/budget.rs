//! Takes the best chunks that fit into a number of tokens.

use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::Chunk;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tokens;

/// Takes the best chunks that fit into a number of tokens.
///
/// Chunks are taken in the order in which they come, which is best first after a retriever or reranker. Use it before
/// a reader, so that a prompt has a known length whatever was found. Asks no model.
///
/// Source: the token budget of context packing, as every RAG system has it.
///
/// ```yaml
/// select:
///   op: select.budget
///   with: { max_tokens: 1500 }
///   in: { chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Most tokens (cl100k) that the chunks taken may have together.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_tokens: usize,
    /// What happens at the first chunk that does not fit.
    pub on_overflow: OnOverflow,
}

/// What happens at the first chunk that does not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnOverflow {
    /// Nothing more is taken: no worse chunk goes before a better one.
    #[default]
    Stop,
    /// It is left out, and later ones that fit are taken.
    Skip,
}

impl Default for Budget {
    fn default() -> Self {
        Self { max_tokens: 2000, on_overflow: OnOverflow::Stop }
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
        /// The chunks taken, in the same order.
        pub chunks: Vec<Arc<Chunk>>,
        /// The chunks left out, in the same order.
        pub dropped: Vec<Arc<Chunk>>,
        /// Tokens of the chunks taken.
        pub tokens: usize,
    }
}

#[async_trait]
impl Operator for Budget {
    const NAME: &'static str = "select.budget";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        let mut out = Out { chunks: Vec::new(), dropped: Vec::new(), tokens: 0 };
        let mut full = false;
        for chunk in input.chunks {
            let needs = tokens::at_least(&chunk);
            if !full && out.tokens + needs <= self.max_tokens {
                out.tokens += needs;
                out.chunks.push(chunk);
            } else {
                full = self.on_overflow == OnOverflow::Stop;
                out.dropped.push(chunk);
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use anabranch_engine::testing::cx;

    async fn select(max_tokens: usize, on_overflow: OnOverflow) -> (Vec<String>, Vec<String>, usize) {
        let chunks = vec![
            testing::chunk("a", "one two"),
            testing::chunk("b", "one two three four"),
            testing::chunk("c", "one"),
        ];
        let out = Budget { max_tokens, on_overflow }.run(&cx(), In { chunks }).await.unwrap();
        let names = |chunks: &[Arc<Chunk>]| chunks.iter().map(|chunk| chunk.doc.to_string()).collect();
        (names(&out.chunks), names(&out.dropped), out.tokens)
    }

    #[tokio::test]
    async fn nothing_is_taken_after_the_first_that_does_not_fit() {
        assert_eq!(select(4, OnOverflow::Stop).await, (vec!["a".into()], vec!["b".into(), "c".into()], 2));
    }

    #[tokio::test]
    async fn skip_takes_what_still_fits() {
        assert_eq!(select(4, OnOverflow::Skip).await, (vec!["a".into(), "c".into()], vec!["b".into()], 3));
    }

    #[tokio::test]
    async fn a_chunk_that_says_too_little_of_itself_is_counted() {
        let mut chunk = Chunk::clone(&testing::chunk("a", &"word ".repeat(50)));
        chunk.tokens.0 = 1;
        let input = In { chunks: vec![Arc::new(chunk)] };
        let out = Budget { max_tokens: 40, on_overflow: OnOverflow::Skip }.run(&cx(), input).await.unwrap();
        assert_eq!((out.chunks.len(), out.dropped.len()), (0, 1));
    }

    #[tokio::test]
    async fn a_first_chunk_that_is_too_long_leaves_nothing() {
        assert_eq!(select(1, OnOverflow::Stop).await.2, 0);
    }

    #[test]
    fn an_unknown_way_to_overflow_is_refused() {
        let error = serde_json::from_str::<Budget>(r#"{"on_overflow": "cut"}"#).unwrap_err();
        assert!(error.to_string().contains("`stop` or `skip`"), "{error}");
    }
}
