//! Tools in the chat completions API: how they are offered, how calls and results are told, how calls are read.

use std::borrow::Cow;
use std::collections::BTreeSet;

use anabranch_engine::backend::{ChatRequest, ToolCall, ToolChoice, ToolSpec};
use anabranch_engine::value::Message;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// Longest name of a function that servers take.
const NAME_CHARS_MAX: usize = 64;
/// Most calls of one answer; one with more is garbled.
pub(super) const CALLS_MAX: usize = 1_024;

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

/// A name with what servers refuse replaced.
fn plain(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.chars().take(NAME_CHARS_MAX).map(|c| if fits(c) { c } else { '_' }).collect()
}

impl Names {
    /// Those of `request`: of the tools that it offers, and of those that its earlier turns called.
    pub(super) fn of(request: &ChatRequest) -> Self {
        let called = request.turns.iter().flat_map(|turn| &turn.calls).map(|call| &call.name);
        let mut seen = BTreeSet::new();
        let all: Vec<&str> = request
            .tools
            .iter()
            .map(|tool| &tool.name)
            .chain(called)
            .map(|name| &**name)
            .filter(|name| seen.insert(*name))
            .collect();
        // A name that servers take is nobody else's.
        let mut taken: BTreeSet<String> =
            all.iter().filter(|name| plain(name) == **name).map(|name| (*name).to_owned()).collect();
        let names = all.into_iter().map(|own| {
            let plain = plain(own);
            let mut name = plain.clone();
            let mut n = 2;
            while name != own && !taken.insert(name.clone()) {
                let suffix = format!("_{n}");
                name = plain.chars().take(NAME_CHARS_MAX - suffix.len()).chain(suffix.chars()).collect();
                n += 1;
            }
            (own.to_owned(), name)
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
    /// A text; some servers count.
    #[serde(default, deserialize_with = "id")]
    id: Option<String>,
    #[serde(default)]
    function: Option<WireFunction>,
    /// Some write the function without its wrapper.
    #[serde(flatten)]
    bare: WireFunction,
}

/// What is to be called, as it also stands alone in answers of the first kind (`function_call`).
#[derive(Deserialize, Default)]
pub(super) struct WireFunction {
    #[serde(default)]
    name: Option<String>,
    /// A text; some servers send the object itself.
    #[serde(default)]
    arguments: Option<Value>,
}

impl From<WireFunction> for WireCall {
    fn from(function: WireFunction) -> Self {
        Self { index: None, id: None, function: Some(function), bare: WireFunction::default() }
    }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(id) => Some(id).filter(|id| !id.is_empty()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    })
}

/// The calls of an answer, as far as they have come in.
#[derive(Default)]
pub(super) struct Calls {
    made: Vec<Partial>,
    /// Whether a call may come in several pieces.
    is_streamed: bool,
    /// Calls beyond the most that are read.
    n_over: usize,
}

#[derive(Default)]
struct Partial {
    index: Option<usize>,
    id: Option<String>,
    name: String,
    arguments: String,
}

/// A piece of a call, read.
struct Piece {
    index: Option<usize>,
    id: Option<String>,
    name: Option<String>,
    arguments: String,
}

impl From<WireCall> for Piece {
    fn from(wire: WireCall) -> Self {
        let function = wire.function.unwrap_or(wire.bare);
        let arguments = match function.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(value) => value.to_string(),
        };
        let name = function.name.filter(|name| !name.is_empty());
        Self { index: wire.index, id: wire.id, name, arguments }
    }
}

impl Partial {
    /// Whether `piece`, which stands in the same place, is another call all the same: some servers number all calls 0,
    /// or give all of them the same id.
    fn is_other(&self, piece: &Piece) -> bool {
        if self.id.is_some() && piece.id.is_some() && self.id != piece.id {
            return true;
        }
        let Some(name) = &piece.name else { return false };
        let is_whole = serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok();
        let has_begun = is_whole || self.arguments.is_empty() && !name.starts_with(&self.name);
        // What repeats the name with every piece ends with one that brings nothing.
        has_begun && !self.name.is_empty() && (*name != self.name || !piece.arguments.is_empty())
    }
}

impl Calls {
    /// How many calls there were if there were more than are read.
    pub(super) fn too_many(&self) -> Option<usize> {
        (self.n_over > 0).then(|| self.made.len() + self.n_over)
    }

    /// Those of an answer that comes in pieces.
    pub(super) fn streamed() -> Self {
        Self { is_streamed: true, ..Self::default() }
    }

    /// Takes in a call, or a piece of one.
    pub(super) fn add(&mut self, call: WireCall) {
        let piece = Piece::from(call);
        if !self.is_streamed {
            return self.begin(piece);
        }
        let known = match (piece.index, &piece.id) {
            // The last of them, where a number was given twice.
            (Some(index), _) => self.made.iter().rposition(|call| call.index == Some(index)),
            // Without an index, an id begins a call and whatever has none goes on with the last one.
            (None, Some(id)) => self.made.iter().rposition(|call| call.id.as_ref() == Some(id)),
            (None, None) => self.made.len().checked_sub(1).filter(|_| piece.name.is_none()),
        };
        match known.and_then(|at| self.made.get_mut(at)).filter(|call| !call.is_other(&piece)) {
            Some(call) => {
                call.id = piece.id.or_else(|| call.id.take());
                if let Some(name) = piece.name {
                    call.name = name;
                }
                call.arguments.push_str(&piece.arguments);
            }
            None => self.begin(piece),
        }
    }

    fn begin(&mut self, piece: Piece) {
        if self.made.len() >= CALLS_MAX {
            self.n_over += 1;
            return;
        }
        let Piece { index, id, name, arguments } = piece;
        self.made.push(Partial { index, id, name: name.unwrap_or_default(), arguments });
    }

    /// The calls, with the names that we know.
    pub(super) fn finish(self, names: &Names) -> Vec<ToolCall> {
        let call = |call: Partial| ToolCall {
            id: call.id.unwrap_or_default().into(),
            name: names.own(&call.name).into(),
            arguments: if call.arguments.trim().is_empty() { "{}".into() } else { call.arguments.into() },
        };
        self.made.into_iter().map(call).collect()
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
        let before = ToolCall { id: "1".into(), name: "old.tool name".into(), arguments: "{}".into() };
        let before = ToolTurn { after: 0, text: "".into(), calls: vec![before], results: Vec::new() };
        let names = Names::of(&ChatRequest {
            tools: vec![tool("math.add"), tool("math_add"), tool("a"), tool(&"x".repeat(80))],
            turns: vec![before],
            ..ChatRequest::default()
        });
        let sent: Vec<&str> = names.0.iter().map(|(_, sent)| sent.as_str()).collect();
        assert_eq!(sent, ["math_add_2", "math_add", "a", &"x".repeat(64), "old_tool_name"]);
        assert_eq!(
            (names.own("math_add"), names.own("math_add_2"), names.own("b")),
            ("math_add", "math.add", "b")
        );
        assert_eq!(names.sent("math.add"), "math_add_2");
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
        let names = Names::of(&request);
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
        let read = |pieces: Value| read(pieces, Calls::streamed());
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
        // Name and id with every piece, and with a last one that brings nothing.
        let pieces = json!([
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\""}},
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": ": 1}"}},
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
        ]);
        assert_eq!(read(pieces), ["a f {\"x\": 1}"]);
    }

    /// Gemini numbers all calls 0; others give all of them one id, or count them.
    #[test]
    fn calls_that_share_a_number_or_an_id_are_several() {
        let zeros = json!([
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
            {"index": 0, "id": "b", "function": {"name": "f", "arguments": "{\"x\""}},
            {"index": 0, "function": {"arguments": ": 1}"}},
            {"index": 0, "function": {"name": "g", "arguments": "{}"}},
            {"index": 0, "function": {"name": "g", "arguments": "{\"y\": 2}"}},
        ]);
        assert_eq!(read(zeros, Calls::streamed()), ["a f {}", "b f {\"x\": 1}", " g {}", " g {\"y\": 2}"]);
        let ids = json!([
            {"id": 3, "function": {"name": "f", "arguments": "{\"x\": 1}"}},
            {"id": 3, "function": {"name": "f", "arguments": "{\"x\": 2}"}},
            {"id": 3, "name": "g", "arguments": {}},
        ]);
        let several = ["3 f {\"x\": 1}", "3 f {\"x\": 2}", "3 g {}"];
        assert_eq!(read(ids.clone(), Calls::streamed()), several);
        assert_eq!(read(ids, Calls::default()), several);
        let same = json!([
            {"index": 0, "function": {"name": "f"}},
            {"index": 0, "function": {"name": "f"}},
        ]);
        assert_eq!(read(same, Calls::default()), [" f {}", " f {}"]);
    }

    #[test]
    fn calls_beyond_the_most_are_counted() {
        let mut calls = Calls::default();
        for _ in 0..CALLS_MAX {
            calls.add(WireFunction::default().into());
        }
        assert_eq!(calls.too_many(), None);
        calls.add(WireFunction::default().into());
        assert_eq!(calls.too_many(), Some(CALLS_MAX + 1));
    }

    fn read(pieces: Value, mut calls: Calls) -> Vec<String> {
        for call in serde_json::from_value::<Vec<WireCall>>(pieces).unwrap() {
            calls.add(call);
        }
        let calls = calls.finish(&Names::default());
        calls.iter().map(|call| format!("{} {} {}", call.id, call.name, call.arguments)).collect()
    }
}
