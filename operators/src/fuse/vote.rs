//! Lets several answers vote.

use std::borrow::Cow;
use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Score, Text, Value};
use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// Lets several answers vote, and gives the one with the most votes.
///
/// Answers are the same if they read the same: case, punctuation around them, `the` and `a`, and how a number is written
/// (`1,200`, `$1200.00`) do not tell them apart; `exact` compares them as they are. Empty answers do not vote. Of answers
/// with as many votes, the one that was given first wins, so put the branch that you trust most first. Use it behind
/// branches that answer the same question in different ways, or behind an `each` with one reader a chunk; with the
/// scores of those chunks connected, each vote counts by the softmax of its score. Answers come as texts, numbers or
/// answers with citations; `index` says which of them won. Asks no model.
///
/// Source: the vote of self-consistency (Wang et al. 2022, arXiv 2203.11171). The weights by score are those of REPLUG
/// (Shi et al. 2023, arXiv 2301.12652), which mixes the likelihoods of every token: that needs the model's insides, over
/// HTTP only whole answers can be weighed.
///
/// ```yaml
/// vote:
///   op: fuse.vote
///   with: { weights: [2, 1, 1] }
///   in: { answers: inputs.answers }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Vote {
    /// When two answers are the same.
    pub same: Same,
    /// How much each answer counts, by its position in `answers`; 1 each if left out.
    #[schemars(inner(range(min = 0.0, max = 1_000_000.0)))]
    pub weights: Vec<f64>,
    /// How far scores are apart in the softmax: the lower, the more the best one counts. Without `scores` it does
    /// nothing.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub temperature: f64,
}

/// When two answers are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Same {
    /// When they read the same.
    #[default]
    Text,
    /// When every character is the same.
    Exact,
}

impl Default for Vote {
    fn default() -> Self {
        Self { same: Same::Text, weights: Vec::new(), temperature: 1.0 }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The answers: texts, numbers or answers; empty ones do not vote.
        pub answers: Vec<Value>,
        /// How good what each answer rests on is, in their order.
        pub scores: Option<Vec<Score>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The answer that won, as it was first written; absent if nobody voted.
        pub answer: Option<String>,
        /// Its position in `answers`, from 0; absent if nobody voted.
        pub index: Option<usize>,
        /// How many answers are the same as it.
        pub votes: usize,
        /// The share of all weight that it has, 0 to 1.
        pub share: f64,
        /// Whether all who voted gave it.
        pub unanimous: bool,
        /// All different answers, each with `answer`, `votes` and `weight`, in the order in which they were given first.
        pub groups: Vec<Json>,
    }
}

struct Group {
    index: usize,
    answer: String,
    votes: usize,
    weight: f64,
}

/// The text of an answer; none if it is empty.
fn text(index: usize, answer: &Value) -> Result<Option<String>, OpError> {
    let text = match answer {
        Value::Text(text) => text.trim().to_owned(),
        Value::Answer(answer) => answer.text.trim().to_owned(),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => answer.to_string(),
        Value::Null => String::new(),
        other => {
            return Err(OpError::InvalidInput(format!(
                "`answers[{index}]` is of type `{}`; an answer is a text, a number or an answer",
                other.ty()
            )));
        }
    };
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// What answers that read the same have in common.
pub(crate) fn key(answer: &str) -> String {
    let lower = answer.to_lowercase();
    let bare = lower.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '-' | '%'));
    let digits = without_separators(bare);
    // As JSON writes them, `7.0` and `7` differ; as numbers they do not.
    if let Some(number) = digits.parse::<f64>().ok().filter(|number| number.is_finite()) {
        return (number + 0.0).to_string();
    }
    let words =
        |is_kept: fn(&&str) -> bool| bare.split_whitespace().filter(is_kept).collect::<Vec<_>>().join(" ");
    let key = words(|word| !matches!(*word, "a" | "an" | "the"));
    // Of a choice, `A` is all that there is.
    if key.is_empty() { words(|_| true) } else { key }
}

/// A number without the commas between its thousands; what has others is a list, and stays what it is.
fn without_separators(text: &str) -> Cow<'_, str> {
    let whole = text.split('.').next().unwrap_or_default();
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default().trim_start_matches('-');
    let is_group = |group: &str, least: usize| {
        (least..=3).contains(&group.len()) && group.chars().all(|c| c.is_ascii_digit())
    };
    if whole.contains(',') && is_group(first, 1) && groups.all(|group| is_group(group, 3)) {
        return text.replace(',', "").into();
    }
    text.into()
}

impl Vote {
    /// How much the answer at each place counts.
    fn weights(&self, n: usize, scores: Option<&[Score]>) -> Result<Vec<f64>, OpError> {
        let own = |index: usize| self.weights.get(index).copied().unwrap_or(1.0);
        let Some(scores) = scores else { return Ok((0..n).map(own).collect()) };
        if scores.len() != n {
            return Err(OpError::InvalidInput(format!(
                "there are {} scores for {n} answers; each answer needs one",
                scores.len()
            )));
        }
        // The best score is taken off, so that no exponential overflows.
        let best = scores.iter().map(|score| score.get()).fold(f64::NEG_INFINITY, f64::max);
        let parts: Vec<f64> =
            scores.iter().map(|score| ((score.get() - best) / self.temperature).exp()).collect();
        let sum: f64 = parts.iter().sum();
        Ok(parts.into_iter().enumerate().map(|(index, part)| own(index) * part / sum).collect())
    }
}

#[async_trait]
impl Operator for Vote {
    const NAME: &'static str = "fuse.vote";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        let weights = self.weights(input.answers.len(), input.scores.as_deref())?;
        let mut groups: IndexMap<Arc<str>, Group> = IndexMap::new();
        for (index, (answer, weight)) in input.answers.iter().zip(weights).enumerate() {
            let Some(answer) = text(index, answer)? else { continue };
            let key = if self.same == Same::Exact { answer.clone() } else { key(&answer) };
            let group = groups.entry(key.into()).or_insert(Group { index, answer, votes: 0, weight: 0.0 });
            group.votes += 1;
            group.weight += weight;
        }
        let total: f64 = groups.values().map(|group| group.weight).sum();
        let mut best: Option<&Group> = None;
        for group in groups.values() {
            // Of equal ones the first stays.
            if best.is_none_or(|best| group.weight > best.weight) {
                best = Some(group);
            }
        }
        let listed =
            |group: &Group| json!({ "answer": group.answer, "votes": group.votes, "weight": group.weight });
        Ok(Out {
            answer: best.map(|group| group.answer.clone()),
            index: best.map(|group| group.index),
            votes: best.map_or(0, |group| group.votes),
            share: best.filter(|_| total > 0.0).map_or(0.0, |group| group.weight / total),
            unanimous: groups.len() == 1,
            groups: groups.values().map(listed).collect(),
        })
    }

    fn check(&self, _given: &[(Text, Type)]) -> Vec<SettingProblem> {
        if self.weights.is_empty() || self.weights.iter().any(|weight| *weight > 0.0) {
            return Vec::new();
        }
        vec![SettingProblem {
            pointer: "/weights".to_owned(),
            message: "all weights are 0, so no answer would count".to_owned(),
            hint: Some("give at least one answer a weight above 0".to_owned()),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run_flow, validator};
    use anabranch_engine::cx::Resources;
    use anabranch_engine::testing::cx;
    use proptest::prelude::*;

    async fn vote(settings: Json, answers: Json, scores: Option<&[f64]>) -> Out {
        let settings: Vote = serde_json::from_value(settings).unwrap();
        let Value::List(answers) = Value::from_json(answers) else { panic!("answers are a list") };
        let scores = scores.map(|scores| scores.iter().map(|score| Score::new(*score).unwrap()).collect());
        settings.run(&cx(), In { answers: answers.to_vec(), scores }).await.unwrap()
    }

    #[tokio::test]
    async fn the_answer_with_the_most_votes_wins_as_it_was_first_written() {
        let out = vote(json!({}), json!(["Rome", "The Paris.", "paris"]), None).await;
        assert_eq!((out.answer.as_deref(), out.index, out.votes), (Some("The Paris."), Some(1), 2));
        assert!((out.share - 2.0 / 3.0).abs() < 1e-12 && !out.unanimous);
        assert_eq!(out.groups[1], json!({ "answer": "The Paris.", "votes": 2, "weight": 2.0 }));
    }

    #[tokio::test]
    async fn on_a_tie_the_first_given_wins() {
        for answers in [["a1", "b2"], ["b2", "a1"]] {
            let out = vote(json!({}), json!(answers), None).await;
            assert_eq!(out.answer.as_deref(), Some(answers[0]));
        }
    }

    #[tokio::test]
    async fn numbers_are_the_same_however_they_are_written() {
        let out = vote(json!({}), json!(["$1,200.00", 1200, "1200", 7.0]), None).await;
        assert_eq!((out.answer.as_deref(), out.votes), (Some("$1,200.00"), 3));
        let out = vote(json!({ "same": "exact" }), json!(["1,200", "1200", "1200"]), None).await;
        assert_eq!((out.answer.as_deref(), out.votes), (Some("1200"), 2));
        assert_ne!(key("-5"), key("5"));
        assert_eq!(key("1,234,567.50"), key("1234567.5"));
        assert_ne!(key("1,5"), key("15"));
        assert_ne!(key("1,2,3"), key("123"));
        assert_eq!((key("A").as_str(), key("The A").as_str()), ("a", "the a"));
        assert_ne!(key("5%"), key("5"));
        assert_eq!(key("-0"), key("0"));
    }

    #[tokio::test]
    async fn empty_answers_do_not_vote_and_without_any_there_is_no_answer() {
        let out = vote(json!({}), json!(["", " ", "x"]), None).await;
        assert_eq!((out.answer.as_deref(), out.index, out.unanimous), (Some("x"), Some(2), true));
        for answers in [json!([]), json!(["", null])] {
            let out = vote(json!({}), answers, None).await;
            assert_eq!((out.answer, out.index, out.votes, out.share), (None, None, 0, 0.0));
        }
    }

    #[tokio::test]
    async fn weights_and_scores_count() {
        let out = vote(json!({ "weights": [3] }), json!(["x", "y", "y"]), None).await;
        assert_eq!(out.answer.as_deref(), Some("x"));
        let out = vote(json!({}), json!(["x", "y", "y"]), Some(&[2.0, 0.0, 0.0])).await;
        let (e, share) = (2.0_f64.exp(), out.share);
        assert_eq!(out.answer.as_deref(), Some("x"));
        assert!((share - e / (e + 2.0)).abs() < 1e-12, "{share}");
        let out = vote(json!({ "temperature": 100 }), json!(["x", "y", "y"]), Some(&[2.0, 0.0, 0.0])).await;
        assert_eq!(out.answer.as_deref(), Some("y"));
        // Scores without bounds do not overflow.
        let out = vote(json!({}), json!(["x", "y"]), Some(&[9000.0, -9000.0])).await;
        assert_eq!((out.answer.as_deref(), out.share), (Some("x"), 1.0));
    }

    proptest! {
        #[test]
        fn which_answer_wins_does_not_depend_on_the_order_unless_it_is_a_tie(
            answers in prop::collection::vec("[ab]", 1..8),
        ) {
            let run = |answers: &[String]| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(vote(json!({}), json!(answers), None)).answer
            };
            let turned: Vec<String> = answers.iter().rev().cloned().collect();
            let n_a = answers.iter().filter(|answer| *answer == "a").count();
            if n_a * 2 == answers.len() {
                prop_assert_eq!(run(&answers), answers.first().cloned());
            } else {
                prop_assert_eq!(run(&answers), run(&turned));
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_none_and_scores_of_another_length_are_errors() {
        let input = In { answers: vec![Value::text("x"), Value::list([])], scores: None };
        let error = Vote::default().run(&cx(), input).await.unwrap_err().to_string();
        assert!(error.starts_with("`answers[1]` is of type `list<any>`"), "{error}");
        let input = In { answers: vec![Value::text("x")], scores: Some(Vec::new()) };
        let error = Vote::default().run(&cx(), input).await.unwrap_err().to_string();
        assert_eq!(error, "there are 0 scores for 1 answers; each answer needs one");
    }

    #[test]
    fn a_temperature_of_zero_and_weights_that_are_all_zero_are_refused() {
        assert!(!validator("fuse.vote").is_valid(&json!({ "temperature": 0 })));
        let settings: Vote = serde_json::from_value(json!({ "weights": [0, 0] })).unwrap();
        assert!(!settings.check(&[]).is_empty());
    }

    #[tokio::test]
    async fn in_a_flow_branches_that_gave_nothing_do_not_vote() {
        let flow = r#"
flow: voted
inputs: { a: text?, b: text?, c: text? }
nodes:
  vote: { op: fuse.vote, in: { answers: "all_present([inputs.a, inputs.b, inputs.c])" } }
outputs: { answer: vote.answer, unanimous: vote.unanimous }
"#;
        let found = run_flow(flow, json!({ "b": "Paris", "c": "paris" }), Resources::default()).await;
        assert_eq!(found, json!({ "answer": "Paris", "unanimous": true }));
    }
}
