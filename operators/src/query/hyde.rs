//! Writes the passage that would answer a question, to search for real ones like it.

use anabranch_engine::backend::ChatRequest;
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator, Prompt};
use anabranch_engine::ports;
use anabranch_engine::value::Value;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::ask;
use crate::prompt::Prompts;

/// Most passages of one step, and most of its calls that are in flight at once.
const PASSAGES_MAX: usize = 8;

/// Writes passages that would answer a question, to search for real ones like them.
///
/// A question and its answer are seldom alike; a made-up answer and a real one often are, even where the made-up one
/// is wrong. What it gives is a query and never something to answer from. Use it before `retrieve.dense` where
/// questions and documents use different words; with an embedder that knows spelling alone it gains little. Asks the
/// model once per passage, side by side.
///
/// Source: `HyDE` (Gao et al. 2022).
///
/// ```yaml
/// imagine:
///   op: query.hyde
///   with: { n: 2 }
///   in: { question: inputs.question }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hyde {
    /// How many passages to write.
    #[schemars(range(min = 1, max = 8))]
    pub n: usize,
    /// The model to ask.
    pub model: ModelName,
    /// What the model is told about its task. Besides the ports it can use `fence`.
    #[schemars(extend("x-variables" = ["fence"]))]
    pub system: Prompt,
    /// What the model is asked. Besides the ports it can use `fence`; `fence` is a line that none of
    /// the texts contains.
    #[schemars(extend("x-variables" = ["fence"]))]
    pub prompt: Prompt,
    /// Most tokens of each passage; one that is cut there still serves.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_tokens: u32,
    /// How freely the model chooses its words: 0 gives the likeliest ones.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
}

impl Default for Hyde {
    fn default() -> Self {
        Self {
            n: 1,
            model: ModelName::default(),
            system: Prompt(include_str!("../../prompts/query.hyde.system.md").into()),
            prompt: Prompt(include_str!("../../prompts/query.hyde.md").into()),
            max_tokens: 256,
            temperature: 0.7,
        }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The question as it was asked.
        pub question: String,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The passages.
        pub passages: Vec<String>,
        /// The first of them.
        pub passage: String,
    }
}

#[async_trait]
impl Operator for Hyde {
    const NAME: &'static str = "query.hyde";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let variables = [("question", Value::text(input.question.as_str()))];
        let prompts = Prompts { system: &self.system, prompt: &self.prompt };
        let request = ChatRequest {
            temperature: Some(self.temperature),
            max_tokens: Some(self.max_tokens),
            ..prompts.request(cx, &variables, std::iter::once(input.question.as_str()))?
        };
        // Another seed for each: equal requests would be one call to a server that knows calls by their key.
        let numbers = (1_u64..).take(self.n.min(PASSAGES_MAX));
        let requests: Vec<ChatRequest> = numbers
            .map(|seed| ChatRequest { seed: (self.n > 1).then_some(seed), ..request.clone() })
            .collect();
        let write = |request: ChatRequest| async move { ask::text(cx, &self.model, &request).await };
        let passages: Vec<String> = stream::iter(requests)
            .map(write)
            .buffered(PASSAGES_MAX)
            .map_ok(|response| response.text.trim().to_owned())
            .try_collect()
            .await?;
        let passage = passages.first().cloned().unwrap_or_default();
        Ok(Out { passages, passage })
    }

    fn model_calls_max(&self) -> u64 {
        self.n.min(PASSAGES_MAX) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scripted, rendered};

    async fn imagine(n: usize, answers: &[&str]) -> (Result<Out, OpError>, Vec<ChatRequest>) {
        let model = Scripted::new(answers);
        let input = In { question: "Who wrote Emma?".to_owned() };
        let out = Hyde { n, ..Hyde::default() }.run(&model.cx(), input).await;
        (out, model.requests())
    }

    #[tokio::test]
    async fn every_passage_is_a_call_of_its_own_and_they_keep_their_order() {
        let (out, requests) = imagine(3, &[" Jane Austen did.\n", "b", "c"]).await;
        let out = out.unwrap();
        assert_eq!(
            (out.passages, out.passage.as_str()),
            (vec!["Jane Austen did.".into(), "b".into(), "c".into()], "Jane Austen did.")
        );
        let seeds: Vec<Option<u64>> = requests.iter().map(|request| request.seed).collect();
        assert_eq!(seeds, [Some(1), Some(2), Some(3)]);
        assert!(
            requests
                .iter()
                .all(|request| request.temperature == Some(0.7) && request.max_tokens == Some(256))
        );
    }

    #[tokio::test]
    async fn an_empty_passage_is_an_error() {
        for answers in [&[" "][..], &["a", ""]] {
            let error = imagine(answers.len(), answers).await.0.unwrap_err();
            assert!(error.to_string().contains("it is empty"), "{error}");
        }
    }

    #[tokio::test]
    async fn the_prompt_fences_the_question() {
        let (_, requests) = imagine(1, &["a"]).await;
        insta::assert_snapshot!(rendered(&requests[0]));
    }

    #[test]
    fn it_says_how_often_it_asks_and_refuses_more_than_eight() {
        assert_eq!(Hyde { n: 5, ..Hyde::default() }.model_calls_max(), 5);
        let registry = crate::registry();
        let validator = &registry.get("query.hyde").unwrap().validator;
        assert!(!validator.is_valid(&serde_json::json!({"n": 9})));
        assert!(validator.is_valid(&serde_json::json!({"n": PASSAGES_MAX})));
    }
}
