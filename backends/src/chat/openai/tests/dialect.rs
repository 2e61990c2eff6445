//! Servers that refuse a part of the request that it can do without.

use super::*;
use axum::response::Response;

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// A server that refuses requests as `refuse` says, and answers the others; what it was asked, with the keys.
async fn picky(refuse: fn(&Value) -> Option<&'static str>) -> (OpenAiChat, Seen) {
    let seen = Seen::default();
    let keep = seen.clone();
    let url = server(move |headers, body| -> Response {
        let refusal = refuse(&body);
        keep.lock().unwrap().push((headers["idempotency-key"].to_str().unwrap().to_owned(), body));
        match refusal {
            Some(message) => {
                (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": { "message": message } })))
                    .into_response()
            }
            None => axum::Json(whole("{}", "stop")).into_response(),
        }
    })
    .await;
    (OpenAiChat::new(settings(&url)).unwrap(), seen)
}

fn formats(seen: &Seen) -> Vec<(String, Value)> {
    let seen = seen.lock().unwrap();
    seen.iter().map(|(key, body)| (key.clone(), body["response_format"]["type"].clone())).collect()
}

fn with_schema() -> ChatRequest {
    ChatRequest { response_schema: Some(json!({ "type": "object" })), ..question() }
}

const CALL: Call<'_> = Call::keyed("key");

#[tokio::test]
async fn a_server_without_schemas_is_asked_for_any_json_and_the_schema_is_in_the_question() {
    let (chat, seen) = picky(|body| {
        (body["response_format"]["type"] == "json_schema").then_some("response_format: missing field `value`")
    })
    .await;
    chat.chat(&with_schema(), &CALL).await.unwrap();
    let expected = [("key", "json_schema"), ("key-01", "json_object")];
    assert_eq!(formats(&seen), expected.map(|(key, format)| (key.to_owned(), json!(format))));
    let body = seen.lock().unwrap().pop().unwrap().1;
    assert_eq!(
        body["messages"],
        json!([{
            "role": "user",
            "content": "who?\n\nAnswer with nothing but JSON that satisfies this schema:\n{\"type\":\"object\"}",
        }])
    );
    assert_eq!(body["response_format"]["value"], json!({ "type": "object" }));
    // It is not asked for what it has refused again.
    seen.lock().unwrap().clear();
    chat.chat(&with_schema(), &CALL).await.unwrap();
    assert_eq!(formats(&seen), [("key-01".to_owned(), json!("json_object"))]);
}

#[tokio::test]
async fn a_server_without_any_format_is_only_asked() {
    let (chat, seen) =
        picky(|body| body.get("response_format").map(|_| "response_format is not supported")).await;
    chat.chat(&with_schema(), &CALL).await.unwrap();
    chat.chat(&question(), &CALL).await.unwrap();
    let formats = formats(&seen);
    assert_eq!(
        formats.iter().map(|(_, format)| format.as_str()).collect::<Vec<_>>(),
        [Some("json_schema"), Some("json_object"), None, None]
    );
}

#[tokio::test]
async fn one_refused_schema_says_nothing_of_the_next() {
    let (chat, seen) = picky(|body| {
        (body["response_format"]["type"] == "json_schema").then_some("Invalid schema for response_format")
    })
    .await;
    chat.chat(&with_schema(), &CALL).await.unwrap();
    chat.chat(&with_schema(), &CALL).await.unwrap();
    assert_eq!(formats(&seen).len(), 4);
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_asked_a_bounded_number_of_times() {
    let (chat, seen) = picky(|_| {
        Some(
            "unsupported: response_format, logprobs, max_tokens (use max_completion_tokens), temperature, seed, \
             stream_options",
        )
    })
    .await;
    let request = ChatRequest {
        logprobs: Some(1),
        max_tokens: Some(1),
        temperature: Some(1.0),
        seed: Some(1),
        ..with_schema()
    };
    let error = chat.chat(&request, &CALL).await.unwrap_err();
    assert!(matches!(error, Error::Rejected { .. }), "{error:?}");
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.len(), 8);
    let mut last = seen.pop().unwrap().1;
    last.as_object_mut().unwrap().remove("messages");
    assert_eq!(last, json!({ "model": "m", "stream": true, "max_completion_tokens": 1 }));
    // Refusals that led nowhere are not believed.
    assert_eq!(chat.known.dialect(), Dialect::default());
}

#[tokio::test]
async fn all_requests_of_a_call_share_one_deadline() {
    let slow = post(|| async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        (StatusCode::BAD_REQUEST, "response_format is not supported")
    });
    let url = serve(Router::new().route("/v1/chat/completions", slow)).await;
    let chat =
        OpenAiChat::new(OpenAiSettings { timeout: Duration::from_millis(100), ..settings(&url) }).unwrap();
    let error = chat.chat(&with_schema(), &CALL).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
}

#[test]
fn strictness_is_asked_for_where_a_schema_can_have_it() {
    let strict = |schema: Value| {
        let request = ChatRequest { response_schema: Some(schema), ..question() };
        let body =
            serde_json::to_value(Body::new("m", &request, &Names::default(), false, Dialect::default()))
                .unwrap();
        body["response_format"]["json_schema"]["strict"].as_bool().unwrap()
    };
    let closed = |properties: Value, required: Value| {
        json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        })
    };
    assert!(strict(closed(json!({ "a": { "type": "string" } }), json!(["a"]))));
    assert!(!strict(closed(json!({ "a": { "type": "string" } }), json!([]))));
    assert!(!strict(closed(json!({ "a": { "type": "object" } }), json!(["a"]))));
    assert!(!strict(json!({ "type": "object", "properties": {} })));
}

#[test]
fn a_schema_counts_as_part_of_the_prompt() {
    let chat = OpenAiChat::new(settings("http://h")).unwrap();
    assert_eq!(chat.estimate_prompt_tokens(&question()), 5);
    assert_eq!(chat.estimate_prompt_tokens(&with_schema()), 11);
}
