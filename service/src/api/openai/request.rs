//! What `OpenAI`'s clients send: messages in all their forms, and parameters that no flow can obey.

use std::collections::BTreeMap;

use anabranch_engine::value::{Message, Role};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use crate::api::problem::Problem;

/// Most messages of a request.
pub const MESSAGES_MAX: usize = 2_000;

/// A message of a conversation.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ChatMessage {
    /// `system`, `developer`, `user` or `assistant`.
    pub role: String,
    /// What is said: a text, or a list of parts of text.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub content: Json,
    /// Calls of tools, which flows do not take.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub tool_calls: Json,
}

/// What only this service knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Extension {
    /// Inputs of the flow besides the question and the conversation.
    #[schema(value_type = Object)]
    pub inputs: Map<String, Json>,
    /// The conversation that the job belongs to.
    pub session_id: Option<String>,
    /// Jobs of a higher priority begin first.
    pub priority: Option<i16>,
}

/// What both kinds of requests say besides the conversation; anything else is tolerated, as `OpenAI` does.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Common {
    /// Who is asked for, by the caller's own system: kept as the label `user`.
    pub user: Option<String>,
    /// What to find the job by: kept as its labels.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Whether to answer in pieces.
    pub stream: Option<bool>,
    /// Tools, which flows do not call: refused unless there are none.
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Vec<Json>>,
    /// Where the caller is, for this service alone.
    pub anabranch: Option<Extension>,
}

impl Common {
    /// Refuses what would be answered otherwise than it was asked.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
            return Err(Problem::invalid("/tools", "a flow calls no tools of its caller")
                .hint("leave `tools` out; what a flow calls stands in the flow"));
        }
        Ok(())
    }

    /// What the job is found by.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.metadata.clone().unwrap_or_default();
        if let Some(user) = self.user.clone().filter(|user| !user.is_empty()) {
            labels.entry("user".to_owned()).or_insert(user);
        }
        labels
    }
}

/// The messages at `pointer` as the engine has them.
pub(super) fn messages(given: &[ChatMessage], pointer: &str) -> Result<Vec<Message>, Problem> {
    if given.len() > MESSAGES_MAX {
        return Err(Problem::invalid(
            pointer,
            format!("there are {} messages; at most {MESSAGES_MAX} are taken", given.len()),
        ));
    }
    given.iter().enumerate().map(|(index, message)| one(message, &format!("{pointer}/{index}"))).collect()
}

fn one(message: &ChatMessage, pointer: &str) -> Result<Message, Problem> {
    let role = match message.role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => {
            return Err(Problem::invalid(format!("{pointer}/role"), "a flow takes no results of tools"));
        }
        role => {
            return Err(Problem::invalid(format!("{pointer}/role"), format!("there is no role `{role}`"))
                .hint("there are `system`, `developer`, `user` and `assistant`"));
        }
    };
    let is_call = !matches!(&message.tool_calls, Json::Null) && message.tool_calls != Json::Array(Vec::new());
    if is_call {
        return Err(Problem::invalid(format!("{pointer}/tool_calls"), "a flow takes no calls of tools"));
    }
    let content = text(&message.content, &format!("{pointer}/content"))?;
    Ok(Message { role, content: content.into() })
}

/// The text of a message: a string, or parts of text.
pub(super) fn text(content: &Json, pointer: &str) -> Result<String, Problem> {
    let parts = match content {
        Json::String(text) => return Ok(text.clone()),
        Json::Array(parts) => parts,
        Json::Null => return Err(Problem::invalid(pointer, "the message says nothing")),
        _ => return Err(Problem::invalid(pointer, "the content is neither a text nor a list of parts")),
    };
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let kind = part.get("type").and_then(Json::as_str).unwrap_or_default();
        let said = part.get("text").or_else(|| part.get("refusal")).and_then(Json::as_str);
        if let ("text" | "input_text" | "output_text" | "refusal", Some(said)) = (kind, said) {
            texts.push(said);
        } else {
            let message = format!("a flow takes text, and no parts of the type `{kind}`");
            return Err(Problem::invalid(format!("{pointer}/{index}"), message));
        }
    }
    Ok(texts.join("\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(given: Json) -> Result<Vec<(Role, String)>, String> {
        let given: Vec<ChatMessage> = serde_json::from_value(given).unwrap();
        let messages = messages(&given, "/messages").map_err(|problem| {
            let pointer = problem.errors[0].pointer.clone().unwrap();
            format!("{pointer}: {}", problem.detail)
        })?;
        Ok(messages.into_iter().map(|message| (message.role, message.content.to_string())).collect())
    }

    #[test]
    fn messages_are_texts_or_parts_of_text() {
        let read = read(json!([
            { "role": "developer", "content": "Be brief." },
            { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "input_text", "text": "b" }] },
            { "role": "assistant", "content": "c", "tool_calls": [] },
        ]));
        let said = |role, text: &str| (role, text.to_owned());
        assert_eq!(
            read.unwrap(),
            [said(Role::System, "Be brief."), said(Role::User, "a\nb"), said(Role::Assistant, "c")]
        );
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_place() {
        let refused = |message: Json| read(json!([message])).unwrap_err();
        assert_eq!(
            refused(json!({ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] })),
            "/messages/0/content/0: a flow takes text, and no parts of the type `image_url`"
        );
        assert_eq!(
            refused(json!({ "role": "tool", "content": "1" })),
            "/messages/0/role: a flow takes no results of tools"
        );
        assert_eq!(
            refused(json!({ "role": "assistant", "tool_calls": [{ "id": "1" }] })),
            "/messages/0/tool_calls: a flow takes no calls of tools"
        );
        assert_eq!(refused(json!({ "role": "user" })), "/messages/0/content: the message says nothing");
    }
}
