//! Calls one tool with arguments of the flow.

use anabranch_engine::backend;
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator, ToolName};
use anabranch_engine::ports;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::check_effects;
use super::offered::Offered;

/// Calls one tool with arguments that the flow gives.
///
/// The arguments are held against the tool's schema before anything is sent. A tool that says that the call was wrong
/// fails the node, so that `on_error` can put something else in its place. Use it where the flow knows which tool is
/// needed: a search, a look-up, a program that a model wrote. Asks no model.
///
/// Source: the executor of program-of-thoughts prompting (Chen et al. 2022) and of `Chameleon` (Lu et al. 2023).
///
/// ```yaml
/// run:
///   op: tool.run
///   with: { tool: program, effects: false }
///   in:
///     arguments: '{"source": "ans = len(tags) * 2", "inputs": {"tags": inputs.tags}}'
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The tool.
    pub tool: ToolName,
    /// Whether the tool may change something outside that must not be changed twice. Without effects the tool must be
    /// one that can be called twice without harm; then a restart makes the call again, where it otherwise fails the node.
    #[serde(default = "has_effects")]
    pub effects: bool,
}

fn has_effects() -> bool {
    true
}

ports! {
    /// What it reads.
    pub struct In {
        /// The arguments: an object that satisfies the tool's schema.
        pub arguments: Value,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// What the tool answered: JSON where it is JSON, otherwise a text.
        pub value: Value,
        /// The same in words: a text as it is, anything else as JSON.
        pub text: String,
    }
}

#[async_trait]
impl Operator for Run {
    const NAME: &'static str = "tool.run";
    const HAS_EFFECTS: bool = true;
    type In = In;
    type Out = Out;

    fn has_effects(&self) -> bool {
        self.effects
    }

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let tools = cx.tools(std::slice::from_ref(&self.tool)).await?;
        check_effects(&tools, self.effects)?;
        let offered = Offered::of(tools, std::slice::from_ref(&self.tool))?;
        let Some(tool) = offered.only() else {
            let message = format!("`{}` has several tools; name one of them", self.tool);
            return Err(OpError::InvalidSetting(message));
        };
        let Value::Object(arguments) = input.arguments else {
            return Err(OpError::InvalidInput("`arguments` is no object".to_owned()));
        };
        let arguments = tool.check(arguments).map_err(OpError::InvalidInput)?;
        let answer = cx.call_tool(&tool.named, &arguments, 0).await?;
        let text = answer.words().to_string();
        if answer.is_error {
            let backend = format!("tool `{}`", self.tool);
            return Err(backend::Error::Rejected { backend, message: text }.into());
        }
        Ok(Out { value: answer.value, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Pretend, validator};
    use serde_json::json;

    async fn run(settings: Value, arguments: Value) -> (Result<Out, OpError>, Vec<String>) {
        let tools = Pretend::tools();
        let operator: Run = serde_json::from_value(settings).unwrap();
        let out = operator.run(&tools.cx(), In { arguments }).await;
        (out, tools.calls())
    }

    #[tokio::test]
    async fn a_tool_is_called_once_with_the_arguments_of_the_flow() {
        let (out, calls) = run(json!({ "tool": "weather" }), json!({ "city": "Oslo" })).await;
        assert_eq!(out.unwrap(), Out { value: json!({ "degrees": 18 }), text: r#"{"degrees":18}"#.into() });
        assert_eq!(calls, [r#"weather {"city":"Oslo"}"#]);
    }

    #[tokio::test]
    async fn arguments_that_do_not_fit_are_never_sent() {
        for (arguments, why) in [
            (json!({ "city": 3 }), "3 is not of type \"string\" (at `/city`)"),
            (json!({}), "\"city\" is a required property"),
            (json!({ "city": "Oslo", "day": 1 }), "'day' was unexpected"),
            (json!("Oslo"), "`arguments` is no object"),
        ] {
            let (out, calls) = run(json!({ "tool": "weather" }), arguments).await;
            let error = out.unwrap_err();
            assert!(matches!(&error, OpError::InvalidInput(text) if text.contains(why)), "{error}");
            assert!(calls.is_empty());
        }
    }

    #[tokio::test]
    async fn a_tool_that_refuses_fails_the_node() {
        let (out, _) = run(json!({ "tool": "weather" }), json!({ "city": "Atlantis" })).await;
        let error = out.unwrap_err().to_string();
        assert_eq!(error, "tool `weather` rejected the request: there is no city `Atlantis`");
    }

    #[tokio::test]
    async fn a_tool_with_effects_is_refused_where_the_node_has_none() {
        let (out, calls) = run(json!({ "tool": "pay", "effects": false }), json!({ "amount": 3 })).await;
        let error = out.unwrap_err().to_string();
        assert!(error.contains("tool `pay` must not be called twice") && calls.is_empty(), "{error}");
        let (out, calls) = run(json!({ "tool": "pay" }), json!({ "amount": 3 })).await;
        assert!(out.is_ok() && calls.len() == 1);
        let (out, _) = run(json!({ "tool": "sea" }), json!({})).await;
        assert_eq!(out.unwrap_err().to_string(), "`sea` has several tools; name one of them");
        let (out, _) = run(json!({ "tool": "sea.tide" }), json!({})).await;
        assert_eq!(out.unwrap().text, "high");
        let (out, _) = run(json!({ "tool": "sea.wind" }), json!({})).await;
        let error = out.unwrap_err().to_string();
        assert_eq!(error, "the tools of `sea` have no `wind`; there are: tide, weather");
    }

    #[test]
    fn a_node_without_a_tool_is_refused() {
        assert!(!validator("tool.run").is_valid(&json!({})));
        assert!(!validator("tool.run").is_valid(&json!({ "tool": "a", "tools": [] })));
    }
}
