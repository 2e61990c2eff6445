//! Asks a model for words or for JSON, and makes sure that something usable came back.

use anabranch_engine::backend::{self, ChatRequest, ChatResponse, FinishReason};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError};
use anabranch_engine::value::{Message, Role};
use jsonschema::Validator;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// Longest part of a model's own words that goes into an error, in characters.
const SHOWN_CHARS: usize = 200;
/// Most places in an answer at which JSON is looked for.
const CANDIDATES_MAX: usize = 100;

/// Asks for words; an answer without any is none.
pub(crate) async fn text(cx: &Cx, model: &ModelName, request: &ChatRequest) -> Result<ChatResponse, OpError> {
    let response = cx.chat(model, request).await?;
    if response.text.trim().is_empty() {
        let why = match response.finish_reason {
            FinishReason::Stop => "it is empty",
            FinishReason::Length => "`max_tokens` ran out before its first word; models that think need more",
            FinishReason::ContentFilter => "the server withheld it",
        };
        return Err(garbled(&response, why.to_owned()));
    }
    Ok(response)
}

/// Asks for JSON that satisfies `schema` and, where that is given, `check`.
///
/// Servers that take a schema are held to it. What comes back is still read with tolerance (a code fence or words
/// around the JSON are passed over) and validated; if it is unusable, the model is told why and asked again, up to
/// `repairs` times. After that the answer is garbled.
pub(crate) async fn json<T: DeserializeOwned>(
    cx: &Cx,
    model: &ModelName,
    mut request: ChatRequest,
    schema: &Json,
    repairs: u32,
    check: impl Fn(&T) -> Result<(), String>,
) -> Result<T, OpError> {
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| OpError::InvalidSetting(format!("the schema is none: {error}")))?;
    request.response_schema = Some(schema.clone());
    let mut repairs_left = repairs;
    loop {
        let response = cx.chat(model, &request).await?;
        let problem = match read(&response, &validator) {
            Ok(found) => match check(&found) {
                Ok(()) => return Ok(found),
                Err(problem) => problem,
            },
            Err(problem) => problem,
        };
        if repairs_left == 0 {
            return Err(garbled(&response, format!("{problem}; it says: {}", shown(&response.text))));
        }
        repairs_left -= 1;
        let again = format!(
            "That cannot be used: {problem}. Answer again, with nothing but JSON that satisfies this schema:\n{schema}"
        );
        let said = Message { role: Role::Assistant, content: response.text.into() };
        request.messages.extend([said, Message { role: Role::User, content: again.into() }]);
    }
}

fn read<T: DeserializeOwned>(response: &ChatResponse, validator: &Validator) -> Result<T, String> {
    let Some(found) = find_json(&response.text) else {
        return Err(match response.finish_reason {
            FinishReason::Length => "`max_tokens` ran out before the JSON was complete".to_owned(),
            FinishReason::ContentFilter => "the server withheld it".to_owned(),
            FinishReason::Stop => "it holds no JSON".to_owned(),
        });
    };
    if let Some(error) = validator.iter_errors(&found).next() {
        let place = error.instance_path().to_string();
        let at = if place.is_empty() { String::new() } else { format!(" at `{place}`") };
        return Err(format!("{error}{at}"));
    }
    serde_json::from_value(found).map_err(|error| error.to_string())
}

/// The JSON in `text`: all of it, what stands in a code fence, or the first object or list.
pub(crate) fn find_json(text: &str) -> Option<Json> {
    if let Ok(found) = serde_json::from_str(text.trim()) {
        return Some(found);
    }
    let brackets = text.match_indices(['{', '[']).take(CANDIDATES_MAX);
    brackets.filter_map(|(start, _)| first_value(text.get(start..)?)).next()
}

/// What a model answered after it thought aloud, if it did.
pub(crate) fn after_thinking(text: &str) -> &str {
    text.rsplit_once("</think>").map_or(text, |(_, answer)| answer).trim_start()
}

/// Every object and list in `text`, in order, those within another one left out. Where the outer one is cut short, those
/// within it that are whole are given.
pub(crate) fn all_json(text: &str) -> Vec<Json> {
    let mut found = Vec::new();
    let (mut rest, mut tries_left) = (text, CANDIDATES_MAX);
    while let Some(start) = rest.find(['{', '[']).filter(|_| tries_left > 0) {
        let from = rest.get(start..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(from).into_iter();
        let end = if let Some(Ok(value)) = values.next() {
            found.push(value);
            values.byte_offset()
        } else {
            tries_left -= 1;
            1
        };
        rest = from.get(end..).unwrap_or_default();
    }
    found
}

/// The JSON value that `text` begins with, whatever follows it.
fn first_value(text: &str) -> Option<Json> {
    serde_json::Deserializer::from_str(text).into_iter().next()?.ok()
}

fn garbled(response: &ChatResponse, message: String) -> OpError {
    backend::Error::Garbled { backend: format!("model `{}`", response.model), message }.into()
}

fn shown(text: &str) -> String {
    let text = text.trim();
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scripted, asked};
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Grade {
        grade: u8,
    }

    fn schema() -> Json {
        json!({ "type": "object", "properties": { "grade": { "type": "integer" } }, "required": ["grade"] })
    }

    async fn grade(answers: &[&str], repairs: u32) -> (Result<Grade, OpError>, Vec<ChatRequest>) {
        let model = Scripted::new(answers);
        let check = |found: &Grade| if found.grade > 10 { Err("10 is the most".to_owned()) } else { Ok(()) };
        let cx = model.cx();
        let request = asked("grade it");
        let found = json(&cx, &ModelName::default(), request, &schema(), repairs, check).await;
        (found, model.requests())
    }

    #[test]
    fn json_is_found_among_words() {
        for text in [
            r#"{"grade": 3}"#,
            "Sure!\n```json\n{\"grade\": 3}\n```",
            r#"I think {so}: {"grade": 3} is right"#,
        ] {
            assert_eq!(find_json(text), Some(json!({ "grade": 3 })), "{text}");
        }
        assert_eq!(find_json("[1, 2"), None);
        assert_eq!(find_json(&"{".repeat(100_000)), None);
    }

    #[test]
    fn all_json_goes_into_what_is_cut_short() {
        assert_eq!(all_json(r#"[3] > [1], {"a": [2]}"#), [json!([3]), json!([1]), json!({ "a": [2] })]);
        assert_eq!(all_json(r#"{"all": [{"a": 1}, {"a": 2}, {"a"#), [json!({ "a": 1 }), json!({ "a": 2 })]);
        assert!(all_json(&"[\"".repeat(50_000)).is_empty());
    }

    #[tokio::test]
    async fn a_good_answer_is_taken_at_once_and_the_schema_is_sent() {
        let (found, requests) = grade(&[r#"{"grade": 3}"#], 1).await;
        assert_eq!(found.unwrap(), Grade { grade: 3 });
        assert_eq!((requests.len(), requests[0].response_schema.clone()), (1, Some(schema())));
    }

    #[tokio::test]
    async fn a_bad_answer_is_repaired_with_the_reason() {
        for bad in ["no idea", r#"{"grade": "three"}"#, r#"{"grade": 11}"#] {
            let (found, requests) = grade(&[bad, r#"{"grade": 4}"#], 1).await;
            assert_eq!(found.unwrap(), Grade { grade: 4 }, "{bad}");
            assert_eq!(requests[1].messages.len(), 3);
            assert!(requests[1].messages[2].content.starts_with("That cannot be used: "), "{bad}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_stays_bad_is_a_typed_error() {
        let (found, requests) = grade(&["no", "still no"], 1).await;
        let error = found.unwrap_err();
        assert!(matches!(error, OpError::Backend(backend::Error::Garbled { .. })), "{error}");
        assert!(error.to_string().ends_with(r#"it holds no JSON; it says: "still no""#), "{error}");
        assert_eq!(requests.len(), 2);
    }
}
