//! Judges by a condition over its inputs.

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, OpenIn, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Label, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::rules::Condition;

/// Judges by a condition over its inputs.
///
/// Any ports can be connected; the condition names them. It is written in CEL, like all expressions of a flow, and
/// checked when the flow is loaded. Use it where a judgement has a name and is looked at in a run, or is used by
/// several nodes; for a single node a `when` is shorter. Asks no model.
///
/// Source: the confidence gate of corrective retrieval, CRAG (Yan et al. 2024), with a rule in the place of a model.
///
/// ```yaml
/// enough:
///   op: judge.rule
///   with: { pass: "size(chunks) > 0 && scores[0] >= 2.0" }
///   in: { chunks: search.chunks, scores: search.scores }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The condition under which the judgement is `pass`. Its names are the ports that are connected; one without a
    /// value must be asked for with `present(name)`.
    #[schemars(with = "String", length(min = 1))]
    pub pass: Condition,
}

ports! {
    /// What it gives.
    pub struct Out {
        /// Whether the condition holds.
        pub pass: bool,
        /// `pass` or `fail`.
        pub label: Label,
        /// Why, in words.
        pub reason: String,
    }
}

#[async_trait]
impl Operator for Rule {
    const NAME: &'static str = "judge.rule";
    type In = OpenIn;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: OpenIn) -> Result<Out, OpError> {
        let pass = self.pass.holds(&input.0)?;
        let label = if pass { "pass" } else { "fail" };
        let verb = if pass { "holds" } else { "does not hold" };
        Ok(Out { pass, label: Label(label.into()), reason: format!("`{}` {verb}", self.pass) })
    }

    fn labels(&self) -> Option<Vec<Text>> {
        Some(vec!["pass".into(), "fail".into()])
    }

    fn check(&self, given: &[(Text, Type)]) -> Vec<SettingProblem> {
        self.pass.problems("/pass", given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anabranch_engine::testing::cx;
    use anabranch_engine::value::Value;

    fn rule(pass: &str) -> Rule {
        Rule { pass: pass.to_owned().into() }
    }

    async fn judge(pass: &str, score: f64) -> Result<Out, OpError> {
        rule(pass).run(&cx(), OpenIn([("score".into(), Value::Float(score))].into_iter().collect())).await
    }

    #[tokio::test]
    async fn a_condition_that_holds_passes() {
        let out = judge("score > 0.5", 0.7).await.unwrap();
        assert_eq!((out.pass, &*out.label.0, out.reason.as_str()), (true, "pass", "`score > 0.5` holds"));
        let out = judge("score > 0.5", 0.2).await.unwrap();
        assert_eq!((out.pass, &*out.label.0), (false, "fail"));
    }

    #[tokio::test]
    async fn an_input_without_a_value_can_be_asked_for() {
        assert!(!judge("present(other)", 0.0).await.unwrap().pass);
        assert!(judge("other > 1", 0.0).await.is_err());
    }

    #[test]
    fn a_condition_that_is_none_is_refused() {
        let given = [("score".into(), Type::Float)];
        for pass in ["scor > 0.5", "score >", "score"] {
            let problems = rule(pass).check(&given);
            assert_eq!(problems[0].pointer, "/pass", "{pass}");
        }
        assert!(rule("score > 0.5").check(&given).is_empty());
        assert!(serde_json::from_str::<Rule>("{}").is_err());
    }
}
