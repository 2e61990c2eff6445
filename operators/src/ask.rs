//! Asks a model for words or for JSON, and makes sure that something usable came back.

use anabranch_engine::backend::{self, ChatRequest, ChatResponse, FinishReason};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError};
use anabranch_engine::value::{Message, Role};
use jsonschema::{ValidationError, Validator};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// Longest part of a model's own words that goes into an error, in characters.
const SHOWN_CHARS: usize = 200;
/// Most places in an answer at which JSON is looked for.
const CANDIDATES_MAX: usize = 100;
/// Most things that are said to be wrong with one answer.
const PROBLEMS_MAX: usize = 5;
/// Why an answer ends in the middle.
pub(crate) const CUT: &str = "the tokens of the answer ran out before its JSON was complete";

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
    let candidates = whole_json(&response.text);
    // Words may cite `[1]` before the answer: what satisfies the schema is meant, whatever stands before it.
    let meant = candidates.iter().position(|found| validator.is_valid(found)).unwrap_or_default();
    let Some(found) = candidates.into_iter().nth(meant) else {
        return Err(match response.finish_reason {
            FinishReason::Length => CUT.to_owned(),
            FinishReason::ContentFilter => "the server withheld it".to_owned(),
            FinishReason::Stop => "it holds no JSON".to_owned(),
        });
    };
    let problems: Vec<String> =
        validator.iter_errors(&found).take(PROBLEMS_MAX).map(|error| describe(&error)).collect();
    if !problems.is_empty() {
        return Err(problems.join("; "));
    }
    serde_json::from_value(found).map_err(|error| error.to_string())
}

/// Every object and list in `text`, in order, up to the first that is broken or cut short: what stands within that one
/// is a part of the answer and must not be taken for all of it.
pub(crate) fn whole_json(text: &str) -> Vec<Json> {
    if let Ok(whole) = serde_json::from_str(text.trim()) {
        return vec![whole];
    }
    let mut found = Vec::new();
    let (mut rest, mut tries_left) = (text, CANDIDATES_MAX);
    while let Some(start) = rest.find(['{', '[']).filter(|_| tries_left > 0) {
        tries_left -= 1;
        let from = rest.get(start..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(from).into_iter();
        let end = match values.next() {
            Some(Ok(value)) => {
                found.push(value);
                values.byte_offset()
            }
            _ if begins_json(from) => return found,
            _ => 1,
        };
        rest = from.get(end..).unwrap_or_default();
    }
    found
}

/// Whether the bracket at the start is meant as JSON, and not as one of prose: `{so}`, `[see there]`.
fn begins_json(text: &str) -> bool {
    let mut chars = text.chars();
    let open = chars.next();
    let next = chars.find(|c| !c.is_whitespace());
    match open {
        Some('{') => next == Some('"'),
        _ => matches!(next, Some('{' | '[' | '"')),
    }
}

/// What is wrong, and where. Long values are cut: the model knows what it said.
fn describe(error: &ValidationError<'_>) -> String {
    let place = error.instance_path().to_string();
    let at = if place.is_empty() { String::new() } else { format!(" at `{place}`") };
    let what = error.to_string();
    match what.char_indices().nth(SHOWN_CHARS) {
        Some((cut, _)) => format!("{}…{at}", what.get(..cut).unwrap_or_default()),
        None => format!("{what}{at}"),
    }
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

/// What a model said when it was asked for an object.
pub(crate) enum Said {
    /// An object; the one with the field that was asked for, if there is one.
    Object(Json),
    /// Words without form.
    Words(String),
}

/// An answer to a question whose schema has the field `key`, read with tolerance: servers that take no schema leave the
/// form to the model. What begins as JSON and is none, because it is broken or was cut short, is garbled, not words.
pub(crate) fn said(response: &ChatResponse, key: &str) -> Result<Said, OpError> {
    let text = after_thinking(&response.text).trim();
    let mut objects: Vec<Json> = whole_json(text).into_iter().filter(Json::is_object).collect();
    let meant = objects.iter().position(|object| object.get(key).is_some());
    let bare = text.trim_start_matches('`').trim_start_matches("json").trim_start();
    if let Some(meant) = meant.or_else(|| (bare.starts_with('{') && !objects.is_empty()).then_some(0)) {
        return Ok(Said::Object(objects.swap_remove(meant)));
    }
    let is_cut = response.finish_reason == FinishReason::Length;
    let is_form =
        |text: &str| text.match_indices('{').any(|(at, _)| begins_json(text.get(at..).unwrap_or_default()));
    if begins_json(bare) || is_cut && is_form(text) {
        let why = if is_cut { CUT } else { "its JSON is broken" };
        return Err(garbled(response, format!("{why}; it says: {}", shown(text))));
    }
    Ok(Said::Words(text.to_owned()))
}

/// The `answer` of a model that was asked for an object with one; words without form are an answer too.
pub(crate) fn answer(response: &ChatResponse) -> Result<String, OpError> {
    let text = match said(response, "answer")? {
        Said::Words(words) => words,
        Said::Object(object) => match object.get("answer") {
            Some(Json::String(answer)) => answer.trim().to_owned(),
            Some(Json::Null) | None => String::new(),
            Some(other) => other.to_string(),
        },
    };
    if text.is_empty() {
        let why = format!("it holds no `answer`; it says: {}", shown(&response.text));
        return Err(garbled(response, why));
    }
    Ok(text)
}

pub(crate) fn garbled(response: &ChatResponse, message: String) -> OpError {
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
    use anabranch_engine::backend::Usage;
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
            assert_eq!(whole_json(text), [json!({ "grade": 3 })], "{text}");
        }
        assert_eq!(whole_json("[1, 2"), Vec::<Json>::new());
        assert_eq!(whole_json(&"{".repeat(100_000)), Vec::<Json>::new());
    }

    #[test]
    fn all_json_goes_into_what_is_cut_short() {
        assert_eq!(all_json(r#"[3] > [1], {"a": [2]}"#), [json!([3]), json!([1]), json!({ "a": [2] })]);
        assert_eq!(all_json(r#"{"all": [{"a": 1}, {"a": 2}, {"a"#), [json!({ "a": 1 }), json!({ "a": 2 })]);
        assert!(all_json(&"[\"".repeat(50_000)).is_empty());
    }

    #[test]
    fn an_answer_is_a_field_or_words_and_never_half_an_object() {
        let answer = |text: &str, finish_reason| {
            let response = ChatResponse {
                text: text.to_owned(),
                tool_calls: Vec::new(),
                finish_reason,
                usage: Usage::default(),
                model: "m".to_owned(),
                logprobs: Vec::new(),
            };
            answer(&response).map_err(|error| error.to_string())
        };
        for (text, expected) in [
            (r#"{"rationale": "r", "answer": " blue "}"#, "blue"),
            (r#"As {"note": 1} says: {"answer": "blue"}"#, "blue"),
            ("<think>{</think>It was blue.", "It was blue."),
            (
                r#"It is written {so}, and {"a": 1} is an object."#,
                r#"It is written {so}, and {"a": 1} is an object."#,
            ),
            (r#"{"answer": 4}"#, "4"),
        ] {
            assert_eq!(answer(text, FinishReason::Stop).as_deref(), Ok(expected), "{text}");
        }
        for text in
            [r#"{"rationale": "it w"#, "```json\n{\"rationale\": \"it w", r#"Sure! {"rationale": "it w"#]
        {
            assert!(answer(text, FinishReason::Length).unwrap_err().contains(CUT), "{text}");
        }
        assert!(
            answer(r#"{"rationale": "it" "#, FinishReason::Stop).unwrap_err().contains("its JSON is broken")
        );
        for text in [r#"{"answer": null}"#, r#"{"answer": ""}"#, r#"{"rationale": "r"}"#] {
            assert!(answer(text, FinishReason::Stop).unwrap_err().contains("it holds no `answer`"), "{text}");
        }
        assert_eq!(answer("It was bl", FinishReason::Length).as_deref(), Ok("It was bl"));
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
    async fn json_that_satisfies_the_schema_is_found_behind_json_that_does_not() {
        let (found, _) = grade(&[r#"As [1] says ({"grade": "B"}), {"grade": 5}."#], 0).await;
        assert_eq!(found.unwrap(), Grade { grade: 5 });
    }

    #[tokio::test]
    async fn a_part_of_a_broken_answer_is_not_taken_for_the_answer() {
        for broken in [
            r#"{"worst": {"grade": 1}, "grade": "#,
            r#"{"said": "a "b" c", "worst": {"grade": 1}, "grade": 5}"#,
            r#"[{"grade": 1}, {"grade""#,
        ] {
            let error = grade(&[broken], 0).await.0.unwrap_err().to_string();
            assert!(error.contains("it holds no JSON"), "{error}");
        }
    }

    #[tokio::test]
    async fn long_values_are_cut_in_errors() {
        let bad = format!(r#"{{"grade": "{}"}}"#, "x".repeat(5000));
        let error = grade(&[&bad], 0).await.0.unwrap_err().to_string();
        assert!(error.contains("… at `/grade`") && error.len() < 1000, "{error}");
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
