//! Asks the more general question behind a question.

use anabranch_engine::backend::ChatRequest;
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator, Prompt};
use anabranch_engine::ports;
use anabranch_engine::value::Value;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{QUERY_CHARS_MAX, is_too_long, key, one_line};
use crate::ask;
use crate::prompt::Prompts;

/// Asks the more general question behind a question.
///
/// Documents often hold the rule and not the case: what happens to a gas at twice the temperature is answered by the
/// law for gases. Search for both questions, and answer the one that was asked. Use it before retrieval, with an `each`
/// over `queries` and `fuse.rrf` behind it, where questions are about single cases. Asks the model once, and once more
/// if its answer cannot be used.
///
/// Source: Step-Back Prompting (Zheng et al. 2023, arXiv 2310.06117).
///
/// ```yaml
/// back:
///   op: query.step_back
///   with: { max_tokens: 100 }
///   in: { question: inputs.question }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StepBack {
    /// The model to ask.
    pub model: ModelName,
    /// What the model is told about its task. Besides the ports it can use `fence`.
    #[schemars(extend("x-variables" = ["fence"]))]
    pub system: Prompt,
    /// What the model is asked. Besides the ports it can use `fence`; `fence` is a line that none of
    /// the texts contains.
    #[schemars(extend("x-variables" = ["fence"]))]
    pub prompt: Prompt,
    /// Most tokens of the question.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_tokens: u32,
    /// How freely the model chooses its words: 0 gives the likeliest ones.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
}

impl Default for StepBack {
    fn default() -> Self {
        Self {
            model: ModelName::default(),
            system: Prompt(include_str!("../../prompts/query.step_back.system.md").into()),
            prompt: Prompt(include_str!("../../prompts/query.step_back.md").into()),
            max_tokens: 256,
            temperature: 0.0,
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
        /// The more general question.
        pub query: String,
        /// The question as it was asked and the more general one; one alone where they are the same.
        pub queries: Vec<String>,
        /// Whether they differ.
        pub changed: bool,
    }
}

#[derive(Debug, Deserialize)]
struct Said {
    query: String,
}

impl Said {
    fn check(&self) -> Result<(), String> {
        if self.query.trim().is_empty() {
            Err("`query` is empty".to_owned())
        } else if is_too_long(&one_line(&self.query)) {
            Err(format!("`query` is longer than {QUERY_CHARS_MAX} characters"))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl Operator for StepBack {
    const NAME: &'static str = "query.step_back";
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
        let schema = json!({
            "type": "object",
            "properties": { "query": { "type": "string" } },
            "required": ["query"],
            "additionalProperties": false,
        });
        let said = ask::json(cx, &self.model, request, &schema, 1, Said::check).await?;
        let query = one_line(&said.query);
        let changed = key(&query) != key(&input.question);
        let queries = [input.question].into_iter().chain(changed.then(|| query.clone())).collect();
        Ok(Out { query, queries, changed })
    }

    fn model_calls_max(&self) -> u64 {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scripted, rendered, validator};

    async fn step(answers: &[&str]) -> (Result<Out, OpError>, Vec<ChatRequest>) {
        let model = Scripted::new(answers);
        let question = "Which school did Estella Leopold attend in 1954?".to_owned();
        let out = StepBack::default().run(&model.cx(), In { question }).await;
        (out, model.requests())
    }

    #[tokio::test]
    async fn the_general_question_stands_beside_the_one_that_was_asked() {
        let (out, requests) = step(&["{\"query\": \"What was Estella\\nLeopold's education?\"}"]).await;
        let out = out.unwrap();
        assert_eq!((out.query.as_str(), out.changed), ("What was Estella Leopold's education?", true));
        assert_eq!(
            out.queries,
            ["Which school did Estella Leopold attend in 1954?", "What was Estella Leopold's education?"]
        );
        assert_eq!(requests.len(), 1);
    }

    #[tokio::test]
    async fn a_question_that_is_general_already_stands_alone() {
        let same = r#"{"query": "which school did  Estella Leopold attend in 1954? "}"#;
        let out = step(&[same]).await.0.unwrap();
        assert_eq!((out.changed, out.queries.len()), (false, 1));
    }

    #[tokio::test]
    async fn a_question_that_cannot_be_used_is_repaired_then_an_error() {
        let long = format!("{{\"query\": \"{}\"}}", "x".repeat(1001));
        for (bad, why) in [
            (r#"{"query": " "}"#, "`query` is empty"),
            (long.as_str(), "longer than 1000 characters"),
            ("What?", "it holds no JSON"),
        ] {
            let (out, requests) = step(&[bad, r#"{"query": "What?"}"#]).await;
            assert_eq!((out.unwrap().query.as_str(), requests.len()), ("What?", 2), "{bad}");
            let error = step(&[bad, bad]).await.0.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[tokio::test]
    async fn the_prompt_fences_the_question() {
        let (_, requests) = step(&[r#"{"query": "What?"}"#]).await;
        insta::assert_snapshot!(rendered(&requests[0]));
    }

    #[test]
    fn no_tokens_at_all_are_refused() {
        assert!(!validator("query.step_back").is_valid(&json!({ "max_tokens": 0 })));
    }
}
