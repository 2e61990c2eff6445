//! Packs texts into groups that fit a number of tokens.

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator};
use anabranch_engine::ports;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::tokens::Counter;

/// Packs texts into groups that fit a number of tokens, in their order.
///
/// Each group takes as many texts as there is room for; a text that does not fit by itself is a group of its own, which
/// `too_long` counts. Use it in a loop that makes one text of each group until a single group is left: stop when
/// `size(group.groups) <= 1`, and when `tokens` has not become less. Asks no model.
///
/// Source: the collapse of `LLMxMapReduce` (arXiv 2410.09342).
///
/// ```yaml
/// group:
///   op: context.group
///   with: { max_tokens: 2000 }
///   in: { texts: carry.thoughts }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Most tokens of a group, as `model` counts them.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_tokens: usize,
    /// Tokens that stand around each text where it is shown: a number, a blank line.
    #[schemars(range(max = 10_000))]
    pub around: usize,
    /// The model that will read the groups: tokens are counted as it counts them, or as `cl100k_base` where it does not
    /// say. It is not asked.
    pub model: ModelName,
}

impl Default for Group {
    fn default() -> Self {
        Self { max_tokens: 2000, around: 8, model: ModelName::default() }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The texts.
        pub texts: Vec<String>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The groups; together they are the texts, in their order.
        pub groups: Vec<Vec<String>>,
        /// Tokens of all texts with what stands around them.
        pub tokens: usize,
        /// How many texts are longer than a group may be.
        pub too_long: usize,
    }
}

#[async_trait]
impl Operator for Group {
    const NAME: &'static str = "context.group";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let counter = Counter::of(cx, &self.model)?;
        let mut out = Out { groups: Vec::new(), tokens: 0, too_long: 0 };
        let mut room = 0;
        for text in input.texts {
            let needs = counter.count(&text) + self.around;
            out.tokens += needs;
            out.too_long += usize::from(needs > self.max_tokens);
            if let Some(group) = out.groups.last_mut().filter(|_| needs <= room) {
                room -= needs;
                group.push(text);
            } else {
                room = self.max_tokens.saturating_sub(needs);
                out.groups.push(vec![text]);
            }
        }
        Ok(out)
    }

    fn model_calls_max(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shelf, validator};

    async fn group(max_tokens: usize, texts: &[&str]) -> Out {
        let group = Group { max_tokens, around: 1, ..Group::default() };
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        group.run(&Shelf::small().cx(), In { texts }).await.unwrap()
    }

    #[tokio::test]
    async fn groups_take_what_fits_in_order() {
        let out = group(6, &["one two", "three", "four", "five six seven eight nine ten", "a"]).await;
        let expected = [&["one two", "three"][..], &["four"], &["five six seven eight nine ten"], &["a"]];
        assert_eq!(out.groups, expected);
        assert_eq!((out.tokens, out.too_long), (16, 1));
        assert!(group(6, &[]).await.groups.is_empty());
    }

    #[test]
    fn a_group_of_nothing_is_refused() {
        assert!(!validator("context.group").is_valid(&serde_json::json!({"max_tokens": 0})));
    }
}
