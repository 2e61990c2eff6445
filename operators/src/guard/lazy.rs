//! Refuses to let a loop end before it has looked enough.

use anabranch_engine::cx::{Cx, Progress};
use anabranch_engine::operator::{OpError, Operator};
use anabranch_engine::ports;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

/// Refuses to let a loop end before it has looked enough.
///
/// A model that decides when to stop often stops too early, and answers from what it knows. `done` is accepted only
/// after `min_rounds` rounds that have brought `min_evidence` pieces of evidence; before that it is refused, which the
/// run notes, and the loop goes on: with `query` if there is one, else with the question. `max_turns` of the loop still
/// ends it. Use it in loops with `until: { done: guard.done }`, behind the node that says `done`. Asks no model.
///
/// Source: the retrieval laziness of Fishing for Answers (Lin et al. 2025, arXiv 2509.04820); the bounds are ours.
///
/// ```yaml
/// guard:
///   op: guard.lazy
///   with: { min_rounds: 2 }
///   in: { done: inputs.done, rounds: inputs.rounds, question: inputs.question }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lazy {
    /// Rounds before `done` is accepted.
    #[schemars(range(min = 0, max = 1000))]
    pub min_rounds: usize,
    /// Pieces of evidence before `done` is accepted; counts only where `evidence` is connected.
    #[schemars(range(min = 0, max = 10_000))]
    pub min_evidence: usize,
}

impl Default for Lazy {
    fn default() -> Self {
        Self { min_rounds: 1, min_evidence: 0 }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// Whether the loop would end.
        pub done: bool,
        /// Rounds so far, this one included.
        pub rounds: usize,
        /// The question as it was asked.
        pub question: String,
        /// What would be searched for next; empty or left out where there is nothing.
        pub query: Option<String>,
        /// Pieces of evidence found so far, such as the number of chunks.
        pub evidence: Option<usize>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// Whether the loop may end.
        pub done: bool,
        /// Whether it was `done` and is refused.
        pub refused: bool,
        /// What to search for if it goes on: the query, else the question.
        pub query: String,
        /// Why it is refused; absent if it is not.
        pub reason: Option<String>,
    }
}

impl Lazy {
    /// Why the loop must not end yet, if it must not.
    fn missing(&self, rounds: usize, evidence: Option<usize>) -> Option<String> {
        if rounds < self.min_rounds {
            return Some(format!("{rounds} of at least {} rounds were made", self.min_rounds));
        }
        let found = evidence.filter(|found| *found < self.min_evidence)?;
        Some(format!("{found} of at least {} pieces of evidence were found", self.min_evidence))
    }
}

#[async_trait]
impl Operator for Lazy {
    const NAME: &'static str = "guard.lazy";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let reason = if input.done { self.missing(input.rounds, input.evidence) } else { None };
        if let Some(reason) = &reason {
            cx.progress(Progress::Note(format!("not done yet: {reason}")));
        }
        let query = input.query.filter(|query| !query.trim().is_empty()).unwrap_or(input.question);
        Ok(Out { done: input.done && reason.is_none(), refused: reason.is_some(), query, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::validator;
    use anabranch_engine::testing::cx;

    async fn guard(done: bool, rounds: usize, evidence: Option<usize>, query: &str) -> Out {
        let settings = Lazy { min_rounds: 2, min_evidence: 3 };
        let input = In { done, rounds, question: "Who?".to_owned(), query: Some(query.to_owned()), evidence };
        settings.run(&cx(), input).await.unwrap()
    }

    #[tokio::test]
    async fn done_before_the_least_rounds_is_refused_and_says_why() {
        let out = guard(true, 1, Some(9), "").await;
        assert_eq!((out.done, out.refused, out.query.as_str()), (false, true, "Who?"));
        assert_eq!(out.reason.as_deref(), Some("1 of at least 2 rounds were made"));
    }

    #[tokio::test]
    async fn done_with_too_little_evidence_is_refused_if_evidence_is_counted() {
        assert!(guard(true, 2, Some(2), "").await.refused);
        for evidence in [None, Some(3)] {
            let out = guard(true, 2, evidence, "next").await;
            assert_eq!((out.done, out.refused, out.reason, out.query.as_str()), (true, false, None, "next"));
        }
    }

    #[tokio::test]
    async fn what_is_not_done_goes_on() {
        let out = guard(false, 1, Some(0), "next").await;
        assert_eq!((out.done, out.refused, out.query.as_str()), (false, false, "next"));
    }

    #[test]
    fn a_negative_number_of_rounds_is_refused() {
        assert!(!validator("guard.lazy").is_valid(&serde_json::json!({ "min_rounds": -1 })));
        assert!(validator("guard.lazy").is_valid(&serde_json::json!({})));
    }
}
