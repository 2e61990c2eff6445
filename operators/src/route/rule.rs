//! Chooses a route by conditions over its inputs.

use std::collections::BTreeMap;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, OpenIn, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Label, Text};
use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::rules::Condition;

/// Chooses a route by conditions over its inputs.
///
/// Any ports can be connected; the conditions name them. They are tried in the written order, and the first that holds
/// names the route. Conditions are written in CEL, like all expressions of a flow, and checked when the flow is
/// loaded. Use it to send easy and hard questions different ways, with `when: route.label == "simple"` at the
/// nodes of each way. Asks no model.
///
/// Source: the routing of Adaptive-RAG (Jeong et al. 2024), with rules in the place of a classifier.
///
/// ```yaml
/// route:
///   op: route.rule
///   with:
///     routes:
///       long: size(question) > 200
///       compare: question.contains(" or ")
///     default: simple
///   in: { question: inputs.question }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The routes with the condition of each, tried in the written order.
    #[schemars(with = "BTreeMap<String, String>", extend("minProperties" = 1))]
    pub routes: IndexMap<Text, Condition>,
    /// The route when no condition holds.
    #[schemars(length(min = 1))]
    pub default: Text,
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The route that was chosen.
        pub label: Label,
        /// Why, in words.
        pub reason: String,
    }
}

#[async_trait]
impl Operator for Rule {
    const NAME: &'static str = "route.rule";
    type In = OpenIn;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: OpenIn) -> Result<Out, OpError> {
        for (route, condition) in &self.routes {
            if condition.holds(&input.0)? {
                return Ok(Out { label: Label(route.clone()), reason: format!("`{condition}` holds") });
            }
        }
        Ok(Out { label: Label(self.default.clone()), reason: "no condition holds".to_owned() })
    }

    fn labels(&self) -> Option<Vec<Text>> {
        let default = (!self.routes.contains_key(&self.default)).then_some(&self.default);
        Some(self.routes.keys().chain(default).cloned().collect())
    }

    fn check(&self, given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let problems = |(route, condition): (&Text, &Condition)| {
            // As JSON pointers are written.
            let route = route.replace('~', "~0").replace('/', "~1");
            condition.problems(&format!("/routes/{route}"), given)
        };
        self.routes.iter().flat_map(problems).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anabranch_engine::testing::cx;
    use anabranch_engine::value::Value;

    fn rule() -> Rule {
        let json = r#"{"routes": {"z": "n > 10", "a": "n > 1", "b": "n > 1"}, "default": "small"}"#;
        serde_json::from_value(serde_json::from_str(json).unwrap()).unwrap()
    }

    async fn route(n: i64) -> String {
        let input = OpenIn([("n".into(), Value::Int(n))].into_iter().collect());
        rule().run(&cx(), input).await.unwrap().label.0.to_string()
    }

    #[tokio::test]
    async fn the_first_condition_that_holds_names_the_route() {
        assert_eq!(
            (route(11).await, route(2).await, route(0).await),
            ("z".into(), "a".into(), "small".into())
        );
    }

    #[test]
    fn every_bad_condition_is_refused_at_its_place() {
        let bad: Rule =
            serde_json::from_str(r#"{"routes": {"x": "m > 1", "y": "n >"}, "default": "z"}"#).unwrap();
        let pointers: Vec<String> =
            bad.check(&[("n".into(), Type::Int)]).into_iter().map(|problem| problem.pointer).collect();
        assert_eq!(pointers, ["/routes/x", "/routes/y"]);
        assert!(rule().check(&[("n".into(), Type::Int)]).is_empty());
    }

    #[test]
    fn its_labels_are_its_routes_and_the_default() {
        let labels: Vec<String> = rule().labels().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(labels, ["z", "a", "b", "small"]);
    }

    #[test]
    fn no_routes_are_refused() {
        let registry = crate::registry();
        let validator = &registry.get("route.rule").unwrap().validator;
        assert!(!validator.is_valid(&serde_json::json!({"routes": {}, "default": "a"})));
    }
}
