//! The conversation of a model call in both vocabularies, with the tools that were offered and called.

use anabranch_engine::backend::{ChatRequest, ChatResponse, ToolCall, ToolResult, ToolTurn};
use anabranch_engine::value::Role;
use serde_json::{Value as Json, json};

use super::attributes::Attributes;
use super::{Contents, names};

/// Messages and tools of a request that are told; a span has room for so many attributes.
const MESSAGES: usize = 32;
/// Calls of a message that are told.
const CALLS: usize = 16;

/// A message as model servers have it.
#[derive(Clone, Copy)]
enum Told<'a> {
    /// Somebody says something.
    Said(&'static str, &'a str),
    /// The model asks for calls.
    Asked(&'a str, &'a [ToolCall]),
    /// What came of one.
    Result(&'a ToolResult),
}

/// What a model is asked.
pub(super) fn asked(attributes: &mut Attributes, request: &ChatRequest, contents: &Contents) {
    let messages = conversation(request);
    for (index, message) in messages.iter().take(MESSAGES).enumerate() {
        tell(attributes, &format!("llm.input_messages.{index}"), *message, contents);
    }
    let all = || messages.iter().map(|message| json_of(*message)).collect();
    attributes.set_some(names::INPUT_MESSAGES, contents.json(all));
    for (index, spec) in request.tools.iter().take(MESSAGES).enumerate() {
        let tool = || json!({ "type": "function", "function": { "name": &*spec.name, "description": &*spec.description, "parameters": spec.schema } });
        if let Some(tool) = contents.json(tool) {
            attributes.set(format!("llm.tools.{index}.tool.json_schema"), tool);
        }
    }
}

/// What it answers.
pub(super) fn answered(
    attributes: &mut Attributes,
    answer: &ChatResponse,
    reason: &str,
    contents: &Contents,
) {
    let message = Told::Asked(&answer.text, &answer.tool_calls);
    tell(attributes, "llm.output_messages.0", message, contents);
    let all = || {
        let mut message = json_of(message);
        if let Some(fields) = message.as_object_mut() {
            fields.insert("finish_reason".to_owned(), json!(reason));
        }
        json!([message])
    };
    attributes.set_some(names::OUTPUT_MESSAGES, contents.json(all));
}

/// Messages and turns with calls, in their order.
fn conversation(request: &ChatRequest) -> Vec<Told<'_>> {
    let mut turns = request.turns.iter().peekable();
    let mut all = Vec::new();
    for (before, message) in request.messages.iter().enumerate() {
        while let Some(turn) = turns.next_if(|turn| turn.after <= before) {
            all.extend(told(turn));
        }
        all.push(Told::Said(role(message.role), &message.content));
    }
    all.extend(turns.flat_map(told));
    all
}

fn told(turn: &ToolTurn) -> impl Iterator<Item = Told<'_>> {
    std::iter::once(Told::Asked(&turn.text, &turn.calls)).chain(turn.results.iter().map(Told::Result))
}

fn tell(attributes: &mut Attributes, at: &str, message: Told<'_>, contents: &Contents) {
    let (role, text) = match message {
        Told::Said(role, text) => (role, text),
        Told::Asked(text, _) => ("assistant", text),
        Told::Result(result) => ("tool", &*result.content),
    };
    attributes.set(format!("{at}.message.role"), role);
    let is_told = !text.is_empty() || !matches!(message, Told::Asked(_, [_, ..]));
    if let Some(text) = contents.text(text).filter(|_| is_told) {
        attributes.set(format!("{at}.message.content"), text);
    }
    match message {
        Told::Said(..) => {}
        Told::Asked(_, calls) => {
            for (index, call) in calls.iter().take(CALLS).enumerate() {
                let at = format!("{at}.message.tool_calls.{index}.tool_call");
                attributes.set(format!("{at}.id"), call.id.to_string());
                attributes.set(format!("{at}.function.name"), call.name.to_string());
                if let Some(arguments) = contents.text(&call.arguments) {
                    attributes.set(format!("{at}.function.arguments"), arguments);
                }
            }
        }
        Told::Result(result) => attributes.set(format!("{at}.message.tool_call_id"), result.id.to_string()),
    }
}

/// As OpenTelemetry has it: a role with parts.
fn json_of(message: Told<'_>) -> Json {
    match message {
        Told::Said(role, text) => json!({ "role": role, "parts": [{ "type": "text", "content": text }] }),
        Told::Asked(text, calls) => {
            let said =
                (!text.is_empty() || calls.is_empty()).then(|| json!({ "type": "text", "content": text }));
            let call = |call: &ToolCall| {
                let arguments =
                    serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!(&*call.arguments));
                json!({ "type": "tool_call", "id": &*call.id, "name": &*call.name, "arguments": arguments })
            };
            let parts: Vec<Json> = said.into_iter().chain(calls.iter().map(call)).collect();
            json!({ "role": "assistant", "parts": parts })
        }
        Told::Result(result) => json!({
            "role": "tool",
            "parts": [{ "type": "tool_call_response", "id": &*result.id, "response": &*result.content }],
        }),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use anabranch_engine::backend::FinishReason;
    use anabranch_engine::value::Message;

    use super::*;
    use crate::config::ContentLevel;

    fn call(id: &str) -> ToolCall {
        ToolCall { id: id.into(), name: "weather".into(), arguments: r#"{"city":"Oslo"}"#.into() }
    }

    fn attributes(level: ContentLevel) -> std::collections::BTreeMap<String, String> {
        let contents = Contents::new(level, Arc::default());
        let said = |role, content: &str| Message { role, content: content.into() };
        let results = vec![ToolResult { id: "c1".into(), content: "18 degrees".into() }];
        let request = ChatRequest {
            messages: vec![
                said(Role::User, "Is it warm?"),
                said(Role::Assistant, "It is."),
                said(Role::User, "And now?"),
            ],
            turns: vec![ToolTurn { after: 1, text: "".into(), calls: vec![call("c1")], results }],
            ..ChatRequest::default()
        };
        let answer = ChatResponse {
            text: "I look again.".to_owned(),
            finish_reason: FinishReason::Stop,
            usage: anabranch_engine::backend::Usage::default(),
            model: "m".to_owned(),
            logprobs: Vec::new(),
            tool_calls: vec![call("c2")],
        };
        let mut attributes = Attributes::default();
        asked(&mut attributes, &request, &contents);
        answered(&mut attributes, &answer, "stop", &contents);
        attributes.0.into_iter().map(|one| (one.key.to_string(), one.value.to_string())).collect()
    }

    #[test]
    fn calls_and_their_results_stand_between_the_messages() {
        let all = attributes(ContentLevel::Full);
        let roles: Vec<&str> =
            (0..5).map(|n| all[&format!("llm.input_messages.{n}.message.role")].as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "assistant", "user"]);
        let asked = "llm.input_messages.1.message.tool_calls.0.tool_call";
        assert_eq!(all[&format!("{asked}.function.name")], "weather");
        assert_eq!(all[&format!("{asked}.function.arguments")], r#"{"city":"Oslo"}"#);
        assert!(!all.contains_key("llm.input_messages.1.message.content"), "it said nothing");
        assert_eq!(all["llm.input_messages.2.message.tool_call_id"], "c1");
        assert_eq!(all["llm.input_messages.2.message.content"], "18 degrees");
        assert_eq!(all["llm.output_messages.0.message.tool_calls.0.tool_call.id"], "c2");
        let messages: Json = serde_json::from_str(&all["gen_ai.input.messages"]).unwrap();
        assert_eq!(messages[1]["parts"][0]["arguments"]["city"], "Oslo");
        assert_eq!(messages[2]["parts"][0]["response"], "18 degrees");
        let said: Json = serde_json::from_str(&all["gen_ai.output.messages"]).unwrap();
        assert_eq!(said[0]["parts"][0]["content"], "I look again.");
        assert_eq!(
            (&said[0]["parts"][1]["name"], &said[0]["finish_reason"]),
            (&json!("weather"), &json!("stop"))
        );
    }

    #[test]
    fn without_contents_names_stay() {
        let all = attributes(ContentLevel::None);
        assert_eq!(all["llm.output_messages.0.message.tool_calls.0.tool_call.function.name"], "weather");
        assert!(all.values().all(|value| !value.contains("Oslo") && !value.contains("warm")), "{all:?}");
    }
}
