//! Tools in the chat completions API: how they are offered, how calls and results are told, how calls are read.

use std::borrow::Cow;
use std::collections::BTreeSet;

use anabranch_engine::backend::{ChatRequest, ToolCall, ToolChoice, ToolSpec};
use anabranch_engine::value::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longest name of a function that servers take.
const NAME_CHARS_MAX: usize = 64;
/// Most calls that are read from one answer; whatever comes after is left out.
const CALLS_MAX: usize = 128;

/// A message as it is sent.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum WireMessage<'a> {
    Said(Cow<'a, Message>),
    Calls { role: &'static str, content: Option<&'a str>, tool_calls: Vec<Value> },
    Result { role: &'static str, tool_call_id: &'a str, content: &'a str },
}

/// The names of tools as servers take them: letters, digits, `_` and `-`, and no two alike.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<(String, String)>);

impl Names {
    pub(super) fn of(tools: &[ToolSpec]) -> Self {
        let mut taken = BTreeSet::new();
        let names = tools.iter().map(|tool| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            let plain: String =
                tool.name.chars().take(NAME_CHARS_MAX).map(|c| if fits(c) { c } else { '_' }).collect();
            let mut name = plain.clone();
            let mut n = 2;
            while !taken.insert(name.clone()) {
                let suffix = format!("_{n}");
                name = plain.chars().take(NAME_CHARS_MAX - suffix.len()).chain(suffix.chars()).collect();
                n += 1;
            }
            (tool.name.to_string(), name)
        });
        Self(names.collect())
    }

    /// As the server knows it.
    fn sent<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.iter().find(|(own, _)| own == name).map_or(name, |(_, sent)| sent)
    }

    /// As we know it; a name that was never offered stays what it is.
    fn own<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.iter().find(|(_, sent)| sent == name).map_or(name, |(own, _)| own)
    }
}

/// The messages of a request with the calls and results that stand between them.
pub(super) fn messages<'a>(
    request: &'a ChatRequest,
    messages: Cow<'a, [Message]>,
    names: &Names,
) -> Vec<WireMessage<'a>> {
    let n_messages = messages.len();
    let said: Vec<Cow<'a, Message>> = match messages {
        Cow::Borrowed(messages) => messages.iter().map(Cow::Borrowed).collect(),
        Cow::Owned(messages) => messages.into_iter().map(Cow::Owned).collect(),
    };
    let mut sent = Vec::new();
    let mut turns = request.turns.iter().peekable();
    for (n, message) in said.into_iter().map(Some).chain([None]).enumerate() {
        while let Some(turn) = turns.next_if(|turn| turn.after <= n || n == n_messages) {
            let call = |call: &ToolCall| {
                json!({
                    "id": call.id,
                    "type": "function",
                    "function": { "name": names.sent(&call.name), "arguments": call.arguments },
                })
            };
            sent.push(WireMessage::Calls {
                role: "assistant",
                content: Some(&*turn.text).filter(|text| !text.is_empty()),
                tool_calls: turn.calls.iter().map(call).collect(),
            });
            sent.extend(turn.results.iter().map(|result| WireMessage::Result {
                role: "tool",
                tool_call_id: &result.id,
                content: &result.content,
            }));
        }
        sent.extend(message.map(WireMessage::Said));
    }
    sent
}

/// The tools as they are offered.
pub(super) fn offered(tools: &[ToolSpec], names: &Names) -> Vec<Value> {
    let tool = |tool: &ToolSpec| {
        json!({
            "type": "function",
            "function": {
                "name": names.sent(&tool.name),
                "description": tool.description,
                "parameters": tool.schema,
            },
        })
    };
    tools.iter().map(tool).collect()
}

/// How the choice is written; `auto` is what servers do anyway.
pub(super) fn choice(choice: ToolChoice) -> Option<&'static str> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::Required => Some("required"),
        ToolChoice::None => Some("none"),
    }
}

/// A call of an answer, or a piece of one.
#[derive(Deserialize)]
pub(super) struct WireCall {
    #[serde(default)]
    index: Option<usize>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<WireFunction>,
}

#[derive(Deserialize)]
struct WireFunction {
    #[serde(default)]
    name: Option<String>,
    /// A text; some servers send the object itself.
    #[serde(default)]
    arguments: Option<Value>,
}

/// The calls of an answer, as far as they have come in.
#[derive(Default)]
pub(super) struct Calls(Vec<Partial>);

#[derive(Default)]
struct Partial {
    index: Option<usize>,
    id: String,
    name: String,
    arguments: String,
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in a call, or a piece of one.
    pub(super) fn add(&mut self, piece: WireCall) {
        let id = piece.id.filter(|id| !id.is_empty());
        let known = match (piece.index, &id) {
            (Some(index), _) => self.0.iter().position(|call| call.index == Some(index)),
            // Without an index, an id begins a call and whatever has none goes on with the last one.
            (None, Some(id)) => self.0.iter().position(|call| call.id == *id),
            (None, None) => self
                .0
                .len()
                .checked_sub(1)
                .filter(|_| piece.function.as_ref().is_some_and(|f| f.name.is_none())),
        };
        let at = known.unwrap_or(self.0.len());
        if known.is_none() {
            if self.0.len() >= CALLS_MAX {
                return;
            }
            self.0.push(Partial { index: piece.index, ..Partial::default() });
        }
        let Some(call) = self.0.get_mut(at) else { return };
        if let Some(id) = id {
            call.id = id;
        }
        let Some(function) = piece.function else { return };
        if let Some(name) = function.name.filter(|name| !name.is_empty()) {
            call.name = name;
        }
        match function.arguments {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => call.arguments.push_str(&text),
            Some(value) => call.arguments.push_str(&value.to_string()),
        }
    }

    /// The calls, with the names that we know.
    pub(super) fn finish(self, names: &Names) -> Vec<ToolCall> {
        let call = |call: Partial| ToolCall {
            id: call.id.into(),
            name: names.own(&call.name).into(),
            arguments: if call.arguments.trim().is_empty() { "{}".into() } else { call.arguments.into() },
        };
        self.0.into_iter().map(call).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anabranch_engine::backend::{ToolResult, ToolTurn};
    use anabranch_engine::value::Role;

    fn tool(name: &str) -> ToolSpec {
        ToolSpec { name: name.into(), description: "does it".into(), schema: json!({ "type": "object" }) }
    }

    #[test]
    fn names_that_servers_refuse_are_changed_and_changed_back() {
        let names = Names::of(&[tool("math.add"), tool("math_add"), tool("a"), tool(&"x".repeat(80))]);
        let sent: Vec<&str> = names.0.iter().map(|(_, sent)| sent.as_str()).collect();
        assert_eq!(sent, ["math_add", "math_add_2", "a", &"x".repeat(64)]);
        assert_eq!(
            (names.own("math_add"), names.own("math_add_2"), names.own("b")),
            ("math.add", "math_add", "b")
        );
        assert_eq!(names.sent("math.add"), "math_add");
    }

    #[test]
    fn calls_and_results_stand_where_they_happened() {
        let message = |content: &str| Message { role: Role::User, content: content.into() };
        let call = ToolCall { id: "1".into(), name: "math.add".into(), arguments: "{}".into() };
        let result = ToolResult { id: "1".into(), content: "3".into() };
        let turn = |after| ToolTurn {
            after,
            text: "".into(),
            calls: vec![call.clone()],
            results: vec![result.clone()],
        };
        let request = ChatRequest {
            messages: vec![message("a"), message("b")],
            turns: vec![turn(1), turn(2)],
            tools: vec![tool("math.add")],
            ..ChatRequest::default()
        };
        let names = Names::of(&request.tools);
        let sent =
            serde_json::to_value(messages(&request, Cow::Borrowed(&request.messages), &names)).unwrap();
        let calls = json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "math_add", "arguments": "{}"}}
        ]});
        let result = json!({"role": "tool", "tool_call_id": "1", "content": "3"});
        let user = |content: &str| json!({"role": "user", "content": content});
        assert_eq!(sent, json!([user("a"), calls, result, user("b"), calls, result]));
    }

    #[test]
    fn calls_are_put_together_from_what_servers_send() {
        let read = |pieces: Value| {
            let mut calls = Calls::default();
            for piece in serde_json::from_value::<Vec<WireCall>>(pieces).unwrap() {
                calls.add(piece);
            }
            let calls = calls.finish(&Names::default());
            calls
                .iter()
                .map(|call| format!("{} {} {}", call.id, call.name, call.arguments))
                .collect::<Vec<_>>()
        };
        // OpenAI, vLLM: pieces by index.
        let pieces = json!([
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
            {"index": 0, "function": {"arguments": "{\"x\""}},
            {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}},
            {"index": 0, "function": {"arguments": ": 1}"}},
        ]);
        assert_eq!(read(pieces), ["a f {\"x\": 1}", "b g {}"]);
        // Ollama and others: whole calls, the arguments as they are, without an id or an index.
        let whole = json!([
            {"function": {"name": "f", "arguments": {"x": 1}}},
            {"function": {"name": "f", "arguments": {"x": 2}}},
        ]);
        assert_eq!(read(whole), [" f {\"x\":1}", " f {\"x\":2}"]);
        // Without an index, what has neither id nor name goes on with the last call.
        let pieces = json!([
            {"id": "a", "function": {"name": "f", "arguments": "{\"x\""}},
            {"id": null, "function": {"arguments": ": 1}"}},
        ]);
        assert_eq!(read(pieces), ["a f {\"x\": 1}"]);
        assert_eq!(read(json!([{"id": "a", "function": {"name": "f"}}])), ["a f {}"]);
    }
}
