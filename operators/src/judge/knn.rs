//! Judges a text as its nearest examples were judged.

use anabranch_engine::backend::Passage;
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{EmbedderName, OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::{Label, Text};
use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::passage::cosine;

/// Most examples of one label.
const EXAMPLES_MAX: usize = 1000;

/// Judges a text as its nearest examples were judged.
///
/// There are two labels with examples of each, such as questions that a model answered well by itself and questions for
/// which it needed passages. The `k` nearest examples vote, and the vote is held against how common the labels are: the
/// label with more examples is given only if it leads among the nearest, and by no less than among all; else the other
/// one is. Use it to save a search, or a large model, where past questions tell which ones need it. Asks no chat model;
/// it asks the embedder once, for the text and every example anew, so give the node a `cache` where texts come again.
///
/// Source: SKR with nearest neighbours (Wang et al. 2023, "Self-Knowledge Guided Retrieval Augmentation for Large
/// Language Models"), whose rule this is, with k = 5.
///
/// ```yaml
/// need:
///   op: judge.knn
///   with:
///     examples:
///       search: [Who won the cup last week?, When does the shop in Oslo close?]
///       known: [What is the capital of France?, How many legs does a spider have?]
///     k: 3
///   in: { text: inputs.question }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Knn {
    /// The two labels, each with texts that were judged so. Where both are as common, the second is given on a tie.
    #[schemars(schema_with = "examples_schema")]
    pub examples: IndexMap<Text, Vec<Text>>,
    /// How many of the nearest examples vote.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 100))]
    pub k: usize,
    /// The embedder to ask.
    #[serde(default)]
    pub embedder: EmbedderName,
}

/// Texts by label, two labels with at least one each: bounds that types cannot say.
fn examples_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 2,
        "maxProperties": 2,
        "additionalProperties": {
            "type": "array",
            "minItems": 1,
            "maxItems": EXAMPLES_MAX,
            "items": { "type": "string", "minLength": 1 },
        },
    })
}

fn five() -> usize {
    5
}

ports! {
    /// What it reads.
    pub struct In {
        /// The text to judge, such as the question.
        pub text: String,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The label, one of the two of `examples`.
        pub label: Label,
        /// Whether it is the first label.
        pub pass: bool,
        /// The share of the nearest examples that have this label, 0 to 1.
        pub score: f64,
        /// The nearest examples, nearest first.
        pub nearest: Vec<String>,
        /// Why, in words.
        pub reason: String,
    }
}

/// Whether the first label is given, for counts of both labels among the nearest and among all.
fn is_first(near: [usize; 2], all: [usize; 2]) -> bool {
    let [first, second] = near.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let [all_first, all_second] = all.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let (lead, lead_of_all) = (first - second, all_first - all_second);
    // Rounded towards zero, as the paper's code does.
    let expected = lead_of_all * (first + second) / (all_first + all_second).max(1);
    if lead_of_all < 0 { !(lead < 0 && lead <= expected) } else { lead > 0 && lead >= expected }
}

#[async_trait]
impl Operator for Knn {
    const NAME: &'static str = "judge.knn";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let examples: Vec<(usize, &Text)> = self
            .examples
            .values()
            .enumerate()
            .flat_map(|(label, texts)| texts.iter().map(move |text| (label, text)))
            .collect();
        let texts: Vec<Text> = std::iter::once(Text::from(input.text.as_str()))
            .chain(examples.iter().map(|(_, text)| (*text).clone()))
            .collect();
        let vectors = cx.embed(&self.embedder, &texts, Passage::Query).await?;
        let Some((own, others)) = vectors.split_first() else {
            return Err(OpError::InvalidInput("the embedder gave no vectors".to_owned()));
        };
        let mut ranked: Vec<(f64, usize, &Text)> = examples
            .iter()
            .zip(others)
            .map(|((label, text), vector)| (cosine(own, vector), *label, *text))
            .collect();
        // Stable: equally near examples stay in the order in which they are written.
        ranked.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        ranked.truncate(self.k);
        let count = |label: usize| ranked.iter().filter(|(_, other, _)| *other == label).count();
        let all = |label: usize| self.examples.get_index(label).map_or(0, |(_, texts)| texts.len());
        let (near, all) = ([count(0), count(1)], [all(0), all(1)]);
        let pass = is_first(near, all);
        let chosen = usize::from(!pass);
        let label = self.examples.get_index(chosen).map(|(label, _)| label.clone()).unwrap_or_default();
        let n_label = count(chosen);
        let reason = format!(
            "{n_label} of the {} nearest examples are `{label}`; of all {} it is {}",
            ranked.len(),
            examples.len(),
            all.get(chosen).copied().unwrap_or_default()
        );
        let score = if ranked.is_empty() { 0.0 } else { n_label as f64 / ranked.len() as f64 };
        let nearest = ranked.iter().map(|(.., text)| text.to_string()).collect();
        Ok(Out { label: Label(label), pass, score, nearest, reason })
    }

    fn labels(&self) -> Option<Vec<Text>> {
        Some(self.examples.keys().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{encoders, validator};
    use anabranch_engine::testing::cx_with;
    use proptest::prelude::*;
    use serde_json::json;

    // The embedder of tests counts letters: texts of the same letters are at 1, of none in common at 0.
    async fn judge(examples: serde_json::Value, k: usize, text: &str) -> Out {
        let settings: Knn = serde_json::from_value(json!({ "examples": examples, "k": k })).unwrap();
        settings.run(&cx_with(encoders()), In { text: text.to_owned() }).await.unwrap()
    }

    #[tokio::test]
    async fn the_nearest_examples_vote() {
        let examples = json!({ "need": ["abc", "abd"], "known": ["xyz", "xyw"] });
        let out = judge(examples.clone(), 1, "cab").await;
        assert_eq!((&*out.label.0, out.pass, out.score), ("need", true, 1.0));
        assert_eq!(out.nearest, ["abc"]);
        let out = judge(examples, 3, "wyx").await;
        assert_eq!((&*out.label.0, out.pass), ("known", false));
        assert_eq!(out.reason, "2 of the 3 nearest examples are `known`; of all 4 it is 2");
    }

    #[tokio::test]
    async fn equally_near_examples_stand_in_the_order_in_which_they_are_written() {
        let out = judge(json!({ "a": ["ab", "ba"], "b": ["ab"] }), 2, "ab").await;
        assert_eq!(out.nearest, ["ab", "ba"]);
    }

    #[test]
    fn the_commoner_label_must_lead_by_as_much_as_among_all() {
        // Worked out with the rule of FlashRAG: near (5), all, expected.
        for (near, all, first) in [
            ([3, 2], [50, 50], true),
            ([2, 3], [50, 50], false),
            ([3, 2], [90, 10], false),
            ([4, 1], [80, 20], true),
            ([5, 0], [90, 10], true),
            ([2, 3], [10, 90], true),
            ([0, 5], [10, 90], false),
            ([1, 4], [20, 80], false),
        ] {
            assert_eq!(is_first(near, all), first, "{near:?} of {all:?}");
        }
    }

    proptest! {
        #[test]
        fn more_of_a_label_among_the_nearest_never_takes_it_away(
            k in 1_usize..9, all in [1_usize..200, 1..200], n in 0_usize..9,
        ) {
            let n = n.min(k - 1);
            let before = is_first([n, k - n], all);
            prop_assert!(!before || is_first([n + 1, k - n - 1], all));
        }
    }

    #[test]
    fn one_label_three_and_none_of_one_are_refused() {
        let validator = validator("judge.knn");
        assert!(validator.is_valid(&json!({ "examples": { "a": ["x"], "b": ["y"] } })));
        for examples in [
            json!({ "a": ["x"] }),
            json!({ "a": ["x"], "b": ["y"], "c": ["z"] }),
            json!({ "a": ["x"], "b": [] }),
        ] {
            assert!(!validator.is_valid(&json!({ "examples": examples })), "{examples}");
        }
        assert!(!validator.is_valid(&json!({ "examples": { "a": ["x"], "b": ["y"] }, "k": 0 })));
    }

    #[tokio::test]
    async fn in_a_flow_it_saves_a_search() {
        let flow = r#"
flow: known
inputs: { question: text }
nodes:
  need: { op: judge.knn, in: { text: inputs.question }, with: { examples: { search: [one, two], known: [xyz, zyx] }, k: 2 } }
  search: { when: need.pass, op: retrieve.bm25, in: { query: inputs.question } }
outputs: { label: need.label, n: "present(search.chunks) ? 1 : 0" }
"#;
        let resources = || crate::testing::Shelf::small().resources();
        let found = crate::testing::run_flow(flow, json!({ "question": "one" }), resources()).await;
        assert_eq!(found, json!({ "label": "search", "n": 1 }));
        let found = crate::testing::run_flow(flow, json!({ "question": "yzx" }), resources()).await;
        assert_eq!(found, json!({ "label": "known", "n": 0 }));
    }
}
