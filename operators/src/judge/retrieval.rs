//! Judges what a search found by its scores: correct, ambiguous or incorrect.

use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Label, Score, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

const CORRECT: &str = "correct";
const AMBIGUOUS: &str = "ambiguous";
const INCORRECT: &str = "incorrect";

/// Judges what a search found by its scores: `correct`, `ambiguous` or `incorrect`.
///
/// If any chunk scores `upper` or more, the retrieval is `correct`; else, if any scores `lower` or more, it is
/// `ambiguous`; else, and where nothing was found, it is `incorrect`. A higher score never makes the label worse.
///
/// Use it behind a reranker to choose between the chunks that were found, a wider search, and both. What the scores
/// mean, and so where the two thresholds lie, is the reranker's affair: look at those of some good and bad questions
/// first. Asks no model.
///
/// Source: the three actions of corrective retrieval, CRAG (Yan et al. 2024, arXiv 2401.15884). Its evaluator, a
/// fine-tuned T5 that scores from -1 to 1, is used there with 0.592 and -0.995 on `PopQA`, and 0.5 and -0.915 on
/// `PubQA`.
///
/// ```yaml
/// grade:
///   op: judge.retrieval
///   with: { upper: 0.6, lower: 0.2 }
///   in: { chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retrieval {
    /// Score from which a chunk makes the retrieval `correct`.
    pub upper: f64,
    /// Score from which a chunk makes the retrieval `ambiguous`; at most `upper`.
    pub lower: f64,
}

ports! {
    /// What it reads.
    pub struct In {
        /// The chunks that were found, each with a score.
        pub chunks: Vec<Arc<Chunk>>,
        /// Their scores, in their order, in the place of those that they carry.
        pub scores: Option<Vec<Score>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// `correct`, `ambiguous` or `incorrect`.
        pub label: Label,
        /// Whether it is `correct`.
        pub pass: bool,
        /// The best score; absent if nothing was found.
        pub score: Option<Score>,
        /// How many chunks score `upper` or more.
        pub n_correct: usize,
        /// Why, in words.
        pub reason: String,
    }
}

impl Retrieval {
    fn judge(&self, scores: &[f64]) -> Out {
        let best = scores.iter().copied().max_by(f64::total_cmp);
        let n_correct = scores.iter().filter(|score| **score >= self.upper).count();
        let (label, reason) = match best {
            None => (INCORRECT, "nothing was found".to_owned()),
            Some(best) if best >= self.upper => {
                (CORRECT, format!("the best score, {best}, is not below {}", self.upper))
            }
            Some(best) if best >= self.lower => {
                (AMBIGUOUS, format!("the best score, {best}, is between {} and {}", self.lower, self.upper))
            }
            Some(best) => (INCORRECT, format!("the best score, {best}, is below {}", self.lower)),
        };
        Out {
            label: Label(label.into()),
            pass: label == CORRECT,
            score: best.and_then(Score::new),
            n_correct,
            reason,
        }
    }
}

/// The scores to judge by: those given beside the chunks, else those that the chunks carry.
fn scores(input: &In) -> Result<Vec<f64>, OpError> {
    if let Some(scores) = &input.scores {
        if scores.len() != input.chunks.len() {
            return Err(OpError::InvalidInput(format!(
                "there are {} scores for {} chunks; connect the scores of the node that gave the chunks",
                scores.len(),
                input.chunks.len()
            )));
        }
        return Ok(scores.iter().map(|score| score.get()).collect());
    }
    let of = |chunk: &Arc<Chunk>| {
        chunk.score.map(Score::get).ok_or_else(|| {
            OpError::InvalidInput(format!(
                "chunk `{}` has no score; `judge.retrieval` stands behind a node that gives chunks one (`retrieve.*`, `fuse.*`, `rerank.*`)",
                chunk.id
            ))
        })
    };
    input.chunks.iter().map(of).collect()
}

#[async_trait]
impl Operator for Retrieval {
    const NAME: &'static str = "judge.retrieval";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        Ok(self.judge(&scores(&input)?))
    }

    fn labels(&self) -> Option<Vec<Text>> {
        Some([CORRECT, AMBIGUOUS, INCORRECT].map(Text::from).into())
    }

    fn check(&self, _: &[(Text, Type)]) -> Vec<SettingProblem> {
        if self.lower <= self.upper {
            return Vec::new();
        }
        vec![SettingProblem {
            pointer: "/lower".to_owned(),
            message: format!("`lower` is {}, above `upper`, which is {}", self.lower, self.upper),
            hint: Some("scores between the two are `ambiguous`: lower `lower` or raise `upper`".to_owned()),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{chunk, scored, validator};
    use anabranch_engine::testing::cx;
    use proptest::prelude::*;

    const JUDGE: Retrieval = Retrieval { upper: 0.592, lower: -0.995 };

    fn label(scores: &[f64]) -> String {
        JUDGE.judge(scores).label.0.to_string()
    }

    #[test]
    fn the_best_score_decides_among_three() {
        for (scores, expected) in [
            (&[-1.0, 0.592][..], "correct"),
            (&[0.591, -1.0], "ambiguous"),
            (&[-0.995], "ambiguous"),
            (&[-0.996, -1.0], "incorrect"),
            (&[], "incorrect"),
        ] {
            assert_eq!(label(scores), expected, "{scores:?}");
        }
        let out = JUDGE.judge(&[0.6, 0.7, 0.1]);
        assert_eq!((out.pass, out.score, out.n_correct), (true, Score::new(0.7), 2));
    }

    fn rank(label: &str) -> usize {
        [INCORRECT, AMBIGUOUS, CORRECT].iter().position(|one| *one == label).unwrap()
    }

    proptest! {
        #[test]
        fn there_is_exactly_one_label_and_higher_scores_never_make_it_worse(
            scores in prop::collection::vec(-2.0..2.0_f64, 0..8), more in 0.0..1.0_f64, at in 0_usize..8,
        ) {
            let before = rank(&label(&scores));
            let mut raised = scores.clone();
            if let Some(score) = raised.get_mut(at) { *score += more }
            prop_assert!(rank(&label(&raised)) >= before);
            raised.push(more);
            prop_assert!(rank(&label(&raised)) >= before);
            let mut turned = scores.clone();
            turned.reverse();
            prop_assert_eq!(label(&turned), label(&scores));
        }
    }

    #[tokio::test]
    async fn scores_come_from_the_chunks_or_from_beside_them() {
        let chunks = vec![scored(&chunk("a", "x"), 0.9)];
        let out = JUDGE.run(&cx(), In { chunks: chunks.clone(), scores: None }).await.unwrap();
        assert_eq!(&*out.label.0, "correct");
        let scores = Some(vec![Score::new(-1.0).unwrap()]);
        let out = JUDGE.run(&cx(), In { chunks: chunks.clone(), scores }).await.unwrap();
        assert_eq!(&*out.label.0, "incorrect");
        let error = JUDGE.run(&cx(), In { chunks, scores: Some(Vec::new()) }).await.unwrap_err();
        assert!(error.to_string().starts_with("there are 0 scores for 1 chunks"), "{error}");
        let bare = In { chunks: vec![chunk("a", "x")], scores: None };
        let error = JUDGE.run(&cx(), bare).await.unwrap_err();
        assert!(error.to_string().starts_with("chunk `a#0-1` has no score"), "{error}");
    }

    #[test]
    fn thresholds_in_the_wrong_order_and_missing_ones_are_refused() {
        let turned = Retrieval { upper: 0.1, lower: 0.2 };
        assert_eq!(turned.check(&[])[0].pointer, "/lower");
        assert!(JUDGE.check(&[]).is_empty());
        assert!(!validator("judge.retrieval").is_valid(&serde_json::json!({ "upper": 1 })));
    }

    #[tokio::test]
    async fn in_a_flow_it_chooses_between_what_was_found_and_a_wider_search() {
        let flow = r#"
flow: corrected
inputs: { question: text }
nodes:
  search: { op: retrieve.bm25, in: { query: inputs.question }, with: { top_k: 1 } }
  grade: { op: judge.retrieval, in: { chunks: search.chunks }, with: { upper: 2, lower: 1 } }
  wider: { when: grade.label != "correct", op: retrieve.dense, in: { query: inputs.question }, with: { top_k: 3 } }
  all: { op: fuse.rrf, in: { rankings: "all_present([search.chunks, wider.chunks])" } }
outputs: { label: grade.label, n: size(all.chunks) }
"#;
        let resources = || crate::testing::Shelf::small().resources();
        let found =
            crate::testing::run_flow(flow, serde_json::json!({ "question": "one" }), resources()).await;
        assert_eq!(found["label"], serde_json::json!("ambiguous"));
        let found =
            crate::testing::run_flow(flow, serde_json::json!({ "question": "nobody" }), resources()).await;
        assert_eq!(found["label"], serde_json::json!("incorrect"));
    }
}
