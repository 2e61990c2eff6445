//! Conversations with calls as model servers write them: read with tolerance, since they come from elsewhere too.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use anabranch_engine::backend::{ToolCall, ToolResult, ToolTurn};
use anabranch_engine::value::{Message, Role, Text};
use serde_json::{Map, Value, json};

/// What a model is told of a call whose result is missing: every call must have one.
const MISSING: &str = "error: there is no result of this call";

/// Messages, and beside them the turns in which the model asked for calls.
#[derive(Debug, Default, PartialEq)]
pub(super) struct History {
    pub(super) messages: Vec<Message>,
    pub(super) turns: Vec<ToolTurn>,
    /// Results that belong to no call, or to one that has its result: they are left out.
    pub(super) n_dropped: usize,
}

impl History {
    /// The conversation in `value`, a list of messages with `role`, `content`, `tool_calls` and `tool_call_id`.
    ///
    /// Calls have names of their own and one result each afterwards, in the order of the calls, whatever they had before.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let Value::Array(items) = value else { return Err("it is no list of messages".to_owned()) };
        let mut reader = Reader::default();
        for (n, item) in items.iter().enumerate() {
            reader.add(item).map_err(|problem| format!("message {n} {problem}"))?;
        }
        Ok(reader.finish())
    }

    /// The conversation as model servers write it.
    pub(super) fn write(messages: &[Message], turns: &[ToolTurn]) -> Value {
        let mut written = Vec::with_capacity(messages.len() + 2 * turns.len());
        let mut turns = turns.iter().peekable();
        for (n, message) in messages.iter().map(Some).chain([None]).enumerate() {
            while let Some(turn) = turns.next_if(|turn| turn.after <= n || message.is_none()) {
                let calls: Vec<Value> = turn.calls.iter().map(written_call).collect();
                written.push(json!({ "role": "assistant", "content": turn.text, "tool_calls": calls }));
                written.extend(turn.results.iter().map(
                    |result| json!({ "role": "tool", "tool_call_id": result.id, "content": result.content }),
                ));
            }
            written.extend(message.map(|message| json!(message)));
        }
        Value::Array(written)
    }
}

fn written_call(call: &ToolCall) -> Value {
    json!({
        "id": call.id,
        "type": "function",
        "function": { "name": call.name, "arguments": call.arguments },
    })
}

/// Names for calls that no two of a conversation share: servers leave them out, or give the same one twice.
#[derive(Debug, Default)]
pub(super) struct Ids(BTreeSet<Text>);

impl Ids {
    /// Those that these turns have.
    pub(super) fn of(turns: &[ToolTurn]) -> Self {
        Self(turns.iter().flat_map(|turn| &turn.calls).map(|call| call.id.clone()).collect())
    }

    /// `wanted` if it is free, otherwise another that tells where the call stands.
    pub(super) fn own(&mut self, wanted: &str, turn: usize, n: usize) -> Text {
        let mut id: Text = wanted.into();
        let mut suffix = String::new();
        while id.is_empty() || self.0.contains(&id) {
            id = format!("call_{turn}_{n}{suffix}").into();
            suffix.push('_');
        }
        self.0.insert(id.clone());
        id
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    messages: Vec<Message>,
    turns: Vec<(ToolTurn, Vec<Option<Text>>)>,
    ids: Ids,
    /// Where the calls of each name stand: turn and place.
    places: BTreeMap<String, Vec<(usize, usize)>>,
    n_dropped: usize,
}

impl Reader {
    fn add(&mut self, item: &Value) -> Result<(), String> {
        let Value::Object(fields) = item else { return Err("is no object".to_owned()) };
        let text = content(fields.get("content"))?;
        let role = match fields.get("role").and_then(Value::as_str).unwrap_or_default() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => {
                let calls = calls(fields)?;
                if !calls.is_empty() {
                    self.add_turn(&text, calls);
                    return Ok(());
                }
                let refusal = fields.get("refusal").and_then(Value::as_str).unwrap_or_default();
                let said = if text.is_empty() { refusal } else { &text };
                // Servers refuse an answer of nothing.
                if !said.is_empty() {
                    self.messages.push(Message { role: Role::Assistant, content: said.into() });
                }
                return Ok(());
            }
            "tool" | "function" => {
                self.add_result(fields, text.into());
                return Ok(());
            }
            role => {
                return Err(format!(
                    "has the role `{role}`; there are: `system`, `user`, `assistant`, `tool`"
                ));
            }
        };
        self.messages.push(Message { role, content: text.into() });
        Ok(())
    }

    fn add_turn(&mut self, text: &str, asked: Vec<ToolCall>) {
        let turn = self.turns.len();
        let mut calls = Vec::with_capacity(asked.len());
        for (n, call) in asked.into_iter().enumerate() {
            let id = self.ids.own(&call.id, turn, n);
            if !call.id.is_empty() {
                self.places.entry(call.id.to_string()).or_default().push((turn, n));
            }
            calls.push(ToolCall { id, ..call });
        }
        let open = calls.iter().map(|_| None).collect();
        let after = self.messages.len();
        self.turns.push((ToolTurn { after, text: text.into(), calls, results: Vec::new() }, open));
    }

    /// Gives a result to its call: by its name, and if it gives none, to the first of the last turn that is without.
    fn add_result(&mut self, fields: &Map<String, Value>, content: Text) {
        let id = fields.get("tool_call_id").or_else(|| fields.get("id")).and_then(id);
        let place = match id {
            Some(id) => self.open_of(&id),
            None => self.first_open(fields.get("name").and_then(Value::as_str)),
        };
        match place.and_then(|(turn, n)| self.turns.get_mut(turn)?.1.get_mut(n)) {
            Some(slot) => *slot = Some(content),
            None => self.n_dropped += 1,
        }
    }

    /// Of the calls of this name that have no result, the first of the last turn.
    fn open_of(&self, id: &str) -> Option<(usize, usize)> {
        let places = self.places.get(id)?.iter().copied();
        let is_open = |(turn, n): &(usize, usize)| {
            self.turns.get(*turn).and_then(|(_, slots)| slots.get(*n)).is_some_and(Option::is_none)
        };
        places.filter(is_open).max_by_key(|(turn, n)| (*turn, Reverse(*n)))
    }

    fn first_open(&self, name: Option<&str>) -> Option<(usize, usize)> {
        let turn = self.turns.len().checked_sub(1)?;
        let (last, open) = self.turns.get(turn)?;
        let fits = |(call, slot): (&ToolCall, &Option<Text>)| {
            slot.is_none() && name.is_none_or(|name| *call.name == *name)
        };
        last.calls.iter().zip(open).position(fits).map(|n| (turn, n))
    }

    fn finish(self) -> History {
        let turns = self.turns.into_iter().map(|(mut turn, results)| {
            let result = |(call, content): (&ToolCall, Option<Text>)| ToolResult {
                id: call.id.clone(),
                content: content.unwrap_or_else(|| MISSING.into()),
            };
            turn.results = turn.calls.iter().zip(results).map(result).collect();
            turn
        });
        History { messages: self.messages, turns: turns.collect(), n_dropped: self.n_dropped }
    }
}

/// The name of a call: a text, or a number where somebody counts.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(id) => Some(id.clone()).filter(|id| !id.is_empty()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// A content in words: a text, or a list of parts.
fn content(value: Option<&Value>) -> Result<String, String> {
    match value {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let part = |part: &Value| match part {
                Value::String(text) => Ok(text.clone()),
                Value::Object(part) => {
                    let text = part.get("text").or_else(|| part.get("refusal")).and_then(Value::as_str);
                    let kind = || part.get("type").and_then(Value::as_str).unwrap_or("part");
                    // A picture or a sound: the model is told that there was one.
                    Ok(text.map_or_else(|| format!("[{}]", kind()), str::to_owned))
                }
                _ => Err("has a part that is neither a text nor an object".to_owned()),
            };
            parts.iter().map(part).collect::<Result<Vec<_>, _>>().map(|parts| parts.concat())
        }
        // What a tool gave, as it is.
        Some(value) => Ok(value.to_string()),
    }
}

/// The calls of an answer: `tool_calls`, or `function_call` as it was before.
fn calls(fields: &Map<String, Value>) -> Result<Vec<ToolCall>, String> {
    let before = fields.get("function_call").filter(|call| call.is_object());
    let asked: &[Value] = match fields.get("tool_calls") {
        None | Some(Value::Null) => before.map_or(&[][..], std::slice::from_ref),
        Some(Value::Array(calls)) => calls,
        Some(_) => return Err("has `tool_calls` that are no list".to_owned()),
    };
    asked.iter().enumerate().map(|(n, call)| one_call(n, call)).collect()
}

fn one_call(n: usize, call: &Value) -> Result<ToolCall, String> {
    let function = call.get("function").unwrap_or(call);
    let name = function.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let Some(name) = name else { return Err(format!("has a call that names no tool (`tool_calls[{n}]`)")) };
    let arguments = match function.get("arguments") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let id = call.get("id").and_then(id).unwrap_or_default();
    Ok(ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, city: &str) -> Value {
        json!({ "id": id, "type": "function", "function": { "name": "weather", "arguments": format!("{{\"city\":\"{city}\"}}") } })
    }

    fn told(history: &History) -> Vec<String> {
        let turns = history.turns.iter().flat_map(|turn| turn.calls.iter().zip(&turn.results));
        turns.map(|(call, result)| format!("{} {} {}", call.id, result.id, result.content)).collect()
    }

    #[test]
    fn what_is_read_is_written_the_same() {
        let written = json!([
            { "role": "user", "content": "Warm?" },
            { "role": "assistant", "content": "", "tool_calls": [call("a", "Oslo"), call("b", "Rome")] },
            { "role": "tool", "tool_call_id": "a", "content": "18" },
            { "role": "tool", "tool_call_id": "b", "content": "30" },
            { "role": "assistant", "content": "Yes." },
            { "role": "user", "content": "Sure?" },
            { "role": "assistant", "content": "Again.", "tool_calls": [call("c", "Oslo")] },
            { "role": "tool", "tool_call_id": "c", "content": "17" },
        ]);
        let history = History::read(&written).unwrap();
        assert_eq!(history.turns.iter().map(|turn| turn.after).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(History::write(&history.messages, &history.turns), written);
    }

    #[test]
    fn every_call_has_one_result_in_its_place() {
        let history = History::read(&json!([
            { "role": "tool", "tool_call_id": "z", "content": "of no call" },
            { "role": "assistant", "content": null, "tool_calls": [call("a", "Oslo"), call("b", "Rome"), call("c", "Bonn")] },
            { "role": "tool", "tool_call_id": "b", "content": "30" },
            { "role": "user", "content": "Well?" },
            { "role": "tool", "tool_call_id": "a", "content": { "degrees": 18 } },
            { "role": "tool", "tool_call_id": "a", "content": "once more" },
        ]))
        .unwrap();
        let expected = ["a a {\"degrees\":18}".to_owned(), "b b 30".to_owned(), format!("c c {MISSING}")];
        assert_eq!(told(&history), expected);
        assert_eq!((history.n_dropped, history.messages.len()), (2, 1));
    }

    #[test]
    fn calls_of_one_name_are_told_apart() {
        let history = History::read(&json!([
            { "role": "assistant", "tool_calls": [call("a", "Oslo"), call("a", "Rome"), call("", "Bonn")] },
            { "role": "tool", "tool_call_id": "a", "content": "30" },
            { "role": "tool", "content": "18" },
            { "role": "tool", "name": "weather", "content": "20" },
            { "role": "assistant", "tool_calls": [call("a", "Oslo")] },
            { "role": "tool", "tool_call_id": "a", "content": "17" },
        ]))
        .unwrap();
        let expected = ["a a 30", "call_0_1 call_0_1 18", "call_0_2 call_0_2 20", "call_1_0 call_1_0 17"];
        assert_eq!(told(&history), expected);
        // Who counts them may give the results in another order.
        let counted = History::read(&json!([
            { "role": "assistant", "tool_calls": [{ "id": 1, "name": "one" }, { "id": 2, "name": "two" }] },
            { "role": "tool", "tool_call_id": 2, "content": "of two" },
            { "role": "tool", "tool_call_id": 1, "content": "of one" },
        ]))
        .unwrap();
        assert_eq!(told(&counted), ["1 1 of one", "2 2 of two"]);
    }

    #[test]
    fn older_and_looser_ways_of_writing_are_read() {
        let history = History::read(&json!([
            { "role": "developer", "content": [{ "type": "text", "text": "Be " }, "brief."] },
            { "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:" } }, "What is it?"] },
            { "role": "assistant", "function_call": { "name": "weather", "arguments": { "city": "Oslo" } } },
            { "role": "function", "name": "weather", "content": "18" },
            { "role": "assistant", "content": "" },
            { "role": "assistant", "content": null, "refusal": "I can not." },
            { "role": "assistant", "content": null, "tool_calls": [{ "id": "x", "name": "tide" }] },
        ]))
        .unwrap();
        let said = |role, content: &str| Message { role, content: content.into() };
        assert_eq!(
            history.messages,
            [
                said(Role::System, "Be brief."),
                said(Role::User, "[image_url]What is it?"),
                said(Role::Assistant, "I can not.")
            ]
        );
        assert_eq!(&*history.turns[0].calls[0].arguments, r#"{"city":"Oslo"}"#);
        assert_eq!(told(&history), ["call_0_0 call_0_0 18".to_owned(), format!("x x {MISSING}")]);
        assert_eq!(&*history.turns[1].calls[0].arguments, "{}");
    }

    #[test]
    fn what_is_no_conversation_says_why() {
        for (value, why) in [
            (json!({}), "it is no list of messages"),
            (json!([3]), "message 0 is no object"),
            (json!([{ "role": "oracle", "content": "" }]), "message 0 has the role `oracle`"),
            (
                json!([{ "role": "user", "content": [7] }]),
                "message 0 has a part that is neither a text nor an object",
            ),
            (
                json!([{ "role": "assistant", "tool_calls": 3 }]),
                "message 0 has `tool_calls` that are no list",
            ),
            (json!([{ "role": "assistant", "tool_calls": [{}] }]), "(`tool_calls[0]`)"),
        ] {
            let problem = History::read(&value).unwrap_err();
            assert!(problem.contains(why), "{problem}");
        }
    }
}
