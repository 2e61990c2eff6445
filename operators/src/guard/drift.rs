//! Brings a query back that has moved away from the question.

use anabranch_engine::backend::Passage;
use anabranch_engine::cx::{Cx, Progress};
use anabranch_engine::operator::{EmbedderName, OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::Text;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::passage::cosine;
use crate::query::{key, one_line};

/// Brings a query back that has moved away from the question.
///
/// In a loop each query is made from what the last one found, and after some turns it may be about something else. A
/// query that is less like the question than `min_similarity` gets the question put before it; it is never dropped,
/// since it may still ask for the missing link. Use it between the node that makes the next query and the search, in
/// loops of several hops. How alike two texts are is the embedder's view: the built-in `hashed` one compares spelling.
/// Asks no chat model; it asks the embedder once, for two texts.
///
/// Source: the query drift of Fishing for Answers (Lin et al. 2025, arXiv 2509.04820); the threshold is ours.
///
/// ```yaml
/// guard:
///   op: guard.drift
///   with: { min_similarity: 0.3 }
///   in: { question: inputs.question, query: inputs.question }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drift {
    /// Lowest similarity of a query that is left as it is: a cosine, -1 to 1.
    #[schemars(range(min = -1.0, max = 1.0))]
    pub min_similarity: f64,
    /// The embedder to ask.
    pub embedder: EmbedderName,
}

impl Default for Drift {
    fn default() -> Self {
        Self { min_similarity: 0.3, embedder: EmbedderName::default() }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The question as it was asked.
        pub question: String,
        /// The query that is to be searched for next.
        pub query: String,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The query, with the question before it where it had drifted.
        pub query: String,
        /// Whether it had drifted.
        pub drifted: bool,
        /// How alike question and query were: a cosine, -1 to 1.
        pub similarity: f64,
    }
}

#[async_trait]
impl Operator for Drift {
    const NAME: &'static str = "guard.drift";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        // A query without words can only be the question.
        if input.query.trim().is_empty() {
            return Ok(Out { query: input.question, drifted: true, similarity: 0.0 });
        }
        if key(&input.query) == key(&input.question) {
            return Ok(Out { query: input.query, drifted: false, similarity: 1.0 });
        }
        let texts = [Text::from(input.question.as_str()), Text::from(input.query.as_str())];
        let vectors = cx.embed(&self.embedder, &texts, Passage::Query).await?;
        let similarity = match vectors.as_slice() {
            [question, query] => cosine(question, query),
            _ => return Err(OpError::InvalidInput("the embedder gave no vectors".to_owned())),
        };
        let drifted = similarity < self.min_similarity;
        let query = if drifted {
            cx.progress(Progress::Note(format!("the query has drifted (similarity {similarity:.2})")));
            one_line(&format!("{} {}", input.question, input.query))
        } else {
            input.query
        };
        Ok(Out { query, drifted, similarity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{encoders, validator};
    use anabranch_engine::testing::cx_with;

    async fn guard(query: &str) -> Out {
        let input = In { question: "abc".to_owned(), query: query.to_owned() };
        Drift::default().run(&cx_with(encoders()), input).await.unwrap()
    }

    #[tokio::test]
    async fn a_query_near_the_question_stays_as_it_is() {
        let out = guard("cab d").await;
        assert_eq!((out.query.as_str(), out.drifted), ("cab d", false));
        assert!(out.similarity > 0.8);
    }

    #[tokio::test]
    async fn a_query_that_drifted_is_anchored_and_not_dropped() {
        let out = guard("xyz\nw").await;
        assert_eq!((out.query.as_str(), out.drifted, out.similarity), ("abc xyz w", true, 0.0));
    }

    #[tokio::test]
    async fn an_empty_query_is_the_question_and_the_question_itself_is_not_compared() {
        assert_eq!(guard(" ").await.query, "abc");
        let input = In { question: "Who?".to_owned(), query: "who? ".to_owned() };
        // Without any embedder: it is not asked.
        let out = Drift::default().run(&anabranch_engine::testing::cx(), input).await.unwrap();
        assert_eq!((out.query.as_str(), out.drifted), ("who? ", false));
    }

    #[tokio::test]
    async fn an_unknown_embedder_is_an_error() {
        let input = In { question: "a".to_owned(), query: "b".to_owned() };
        let error = Drift::default().run(&anabranch_engine::testing::cx(), input).await.unwrap_err();
        assert!(matches!(error, OpError::InvalidSetting(_)), "{error}");
    }

    #[test]
    fn a_similarity_that_no_cosine_has_is_refused() {
        assert!(!validator("guard.drift").is_valid(&serde_json::json!({ "min_similarity": 1.5 })));
    }
}
