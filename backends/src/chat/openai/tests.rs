//! What the client makes of a server's answers, good and bad, over real sockets.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use anabranch_engine::backend::{FinishReason, TokenLogprob, Usage};
use anabranch_engine::value::{Message, Role};
use axum::Router;
use axum::body::{Body as AxumBody, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response as AxumResponse};
use axum::routing::{get, post};
use futures::stream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

mod dialect;
mod quirks;

/// A server that answers every chat request with what `answer` gives; its address.
async fn server<F, R>(answer: F) -> String
where
    F: Fn(HeaderMap, Value) -> R + Clone + Send + Sync + 'static,
    R: IntoResponse,
{
    let chat = post(move |headers: HeaderMap, body: axum::Json<Value>| {
        let answer = answer.clone();
        async move { answer(headers, body.0) }
    });
    let models = get(|| async { axum::Json(json!({ "data": [{ "id": "first" }, { "id": "second" }] })) });
    serve(Router::new().route("/v1/chat/completions", chat).route("/v1/models", models)).await
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// A server that reads a request, sends `bytes` as they are and closes; its address.
async fn raw_server(bytes: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 64 * 1024];
        let _n_read = socket.read(&mut request).await.unwrap();
        socket.write_all(bytes.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        // Unread bytes of the request would turn the close into a reset; both are fine, but one is enough.
        while socket.read(&mut request).await.is_ok_and(|n_read| n_read > 0) {}
    });
    url
}

fn settings(url: &str) -> OpenAiSettings {
    OpenAiSettings { model: Some("m".into()), ..OpenAiSettings::new(url) }
}

fn question() -> ChatRequest {
    ChatRequest {
        messages: vec![Message { role: Role::User, content: "who?".into() }],
        ..ChatRequest::default()
    }
}

async fn ask(settings: OpenAiSettings) -> Result<ChatResponse, Error> {
    let call = Call::keyed("key");
    OpenAiChat::new(settings).unwrap().chat(&question(), &call).await
}

fn whole(content: &str, finish_reason: &str) -> Value {
    json!({
        "model": "m-8b",
        "choices": [{ "message": { "role": "assistant", "content": content }, "finish_reason": finish_reason }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": { "cached_tokens": 8 } },
    })
}

fn events(body: impl Into<AxumBody>) -> AxumResponse {
    AxumResponse::builder().header("content-type", "text/event-stream").body(body.into()).unwrap()
}

const PIECES: &str = concat!(
    "data: {\"model\":\"m-8b\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
    ": a comment keeps the line open\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"Ada \"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"Lovelace\"},\"finish_reason\":null}]}\n\n",
);
const END: &str = concat!(
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":3}}\n\n",
);

#[tokio::test]
async fn an_answer_in_one_piece_comes_with_its_usage() {
    let url = server(|_, _| axum::Json(whole("Ada", "stop"))).await;
    let answer = ask(OpenAiSettings { stream: false, ..settings(&url) }).await.unwrap();
    let usage = Usage { prompt_tokens: 10, cached_tokens: 8, completion_tokens: 3, ..Usage::default() };
    assert_eq!(
        answer,
        ChatResponse {
            text: "Ada".into(),
            finish_reason: FinishReason::Stop,
            usage,
            model: "m-8b".into(),
            tool_calls: Vec::new(),
            logprobs: Vec::new(),
        }
    );
}

#[tokio::test]
async fn everything_that_was_asked_reaches_the_server() {
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let url = server(move |headers, body| {
        *keep.lock().unwrap() = Some((headers, body));
        axum::Json(whole("Ada", "stop"))
    })
    .await;
    let chat = OpenAiChat::new(OpenAiSettings { api_key: Some("s3cret".into()), ..settings(&url) }).unwrap();
    let request = ChatRequest {
        temperature: Some(0.5),
        max_tokens: Some(7),
        stop: vec!["\n".into()],
        seed: Some(3),
        response_schema: Some(json!({ "type": "object" })),
        logprobs: Some(30),
        ..question()
    };
    chat.chat(&request, &Call::keyed("run/node")).await.unwrap();
    let (headers, body) = seen.lock().unwrap().take().unwrap();
    assert_eq!(headers["authorization"], "Bearer s3cret");
    assert_eq!(headers["idempotency-key"], "run/node");
    assert_eq!(
        body,
        json!({
            "model": "m",
            "messages": [{ "role": "user", "content": "who?" }],
            "stream": true,
            "stream_options": { "include_usage": true },
            "temperature": 0.5,
            "max_tokens": 7,
            "stop": ["\n"],
            "seed": 3,
            "logprobs": true,
            "top_logprobs": 20,
            "response_format": {
                "type": "json_schema",
                "json_schema": { "name": "answer", "schema": { "type": "object" }, "strict": false },
            },
        })
    );
    assert!(!format!("{chat:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_router_is_told_the_session_or_the_run_and_neither_by_name() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let url = server(move |headers, _| {
        let header = headers.get("x-session-id").map(|value| value.to_str().unwrap().to_owned());
        keep.lock().unwrap().push(header);
        axum::Json(whole("Ada", "stop"))
    })
    .await;
    let affinity_header = Some("x-session-id".into());
    let chat = OpenAiChat::new(OpenAiSettings { affinity_header, ..settings(&url) }).unwrap();
    for (session, run) in [
        (Some("ada"), Some("one")),
        (Some("ada"), Some("two")),
        (None, Some("one")),
        (None, Some("one")),
        (None, Some("two")),
        (None, None),
    ] {
        let caller =
            Caller { session: session.map(Into::into), run: run.map(Into::into), ..Caller::default() };
        chat.chat(&question(), &Call { caller: &caller, ..Call::keyed("k") }).await.unwrap();
    }
    let seen = seen.lock().unwrap().clone();
    assert!(seen[0].is_some() && seen[0] == seen[1], "whatever the run: {seen:?}");
    assert!(seen[2].is_some() && seen[2] == seen[3] && seen[2] != seen[4] && seen[2] != seen[0], "{seen:?}");
    assert_eq!(seen[5], None);
    assert!(!format!("{seen:?}").contains("ada"), "it goes into logs: {seen:?}");
}

#[tokio::test]
async fn a_look_tells_a_server_that_has_failed_from_one_that_only_refuses() {
    let routes = Router::new()
        .route("/health", get(|| async { "well, and long-winded" }))
        .route("/failed", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }));
    let url = serve(routes).await;
    let chat = OpenAiChat::new(settings(&url)).unwrap();
    assert_eq!(chat.look("/health", 1_000).await.as_deref(), Some(&b"well, and long-winded"[..]));
    assert!(chat.look("/health", 4).await.is_some_and(|body| body.len() <= 4));
    assert!(chat.look("/no/such/path", 1_000).await.is_some(), "it is there");
    assert!(chat.look("/failed", 1_000).await.is_none());
    let nobody = OpenAiChat::new(settings("http://127.0.0.1:1")).unwrap();
    assert!(nobody.look("/health", 1_000).await.is_none());
}

#[tokio::test]
async fn a_streamed_answer_is_shown_piece_by_piece_and_put_together() {
    let url = server(|_, _| events(format!("{PIECES}{END}data: [DONE]\n\n"))).await;
    let shown = Mutex::new(Vec::new());
    let on_delta = |delta: &str| shown.lock().unwrap().push(delta.to_owned());
    let chat = OpenAiChat::new(settings(&url)).unwrap();
    let answer = chat.chat(&question(), &Call { on_delta: &on_delta, ..Call::keyed("key") }).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.model.as_str()), ("Ada Lovelace", "m-8b"));
    assert_eq!(answer.usage, Usage { prompt_tokens: 10, completion_tokens: 3, ..Usage::default() });
    assert_eq!(shown.into_inner().unwrap(), ["Ada ", "Lovelace"]);
}

#[tokio::test]
async fn a_stream_may_end_without_its_end_mark_if_the_answer_was_complete() {
    let url = server(|_, _| events(format!("{PIECES}{END}"))).await;
    assert_eq!(ask(settings(&url)).await.unwrap().text, "Ada Lovelace");
}

#[tokio::test]
async fn without_a_model_the_first_that_the_server_lists_is_asked() {
    let url = server(|_, body| axum::Json(whole(body["model"].as_str().unwrap(), "stop"))).await;
    let chat = OpenAiChat::new(OpenAiSettings::new(&url)).unwrap();
    let call = Call::keyed("key");
    assert_eq!(chat.chat(&question(), &call).await.unwrap().text, "first");
    assert_eq!(chat.name(), "first");
}

#[tokio::test]
async fn an_answer_cut_by_its_length_says_so() {
    let url = server(|_, _| axum::Json(whole("Ada Love", "length"))).await;
    assert_eq!(ask(settings(&url)).await.unwrap().finish_reason, FinishReason::Length);
}

#[tokio::test]
async fn a_server_that_never_answers_times_out() {
    let hang = post(|| async { std::future::pending::<()>().await });
    let url = serve(Router::new().route("/v1/chat/completions", hang)).await;
    let error =
        ask(OpenAiSettings { timeout: Duration::from_millis(30), ..settings(&url) }).await.unwrap_err();
    assert!(matches!(&error, Error::TimedOut { message, .. } if message.contains("`timeout`")), "{error}");
}

#[tokio::test]
async fn a_stream_that_stands_still_times_out() {
    let url = server(|_, _| {
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(PIECES.as_bytes()))]);
        events(AxumBody::from_stream(futures::StreamExt::chain(first, stream::pending())))
    })
    .await;
    let error =
        ask(OpenAiSettings { idle_timeout: Duration::from_millis(30), ..settings(&url) }).await.unwrap_err();
    assert!(
        matches!(&error, Error::TimedOut { message, .. } if message.contains("`idle_timeout`")),
        "{error}"
    );
}

#[tokio::test]
async fn an_overloaded_server_is_left_alone_for_as_long_as_it_asks() {
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
        let url =
            server(move |_, _| (status, [("retry-after", "7")], r#"{"error":{"message":"busy"}}"#)).await;
        let error = ask(settings(&url)).await.unwrap_err();
        assert!(
            matches!(&error, Error::Overloaded { retry_after: Some(after), message, .. }
                if *after == Duration::from_secs(7) && message.ends_with(": busy")),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_failing_server_is_unavailable() {
    for status in
        [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE]
    {
        let url = server(move |_, _| status).await;
        let error = ask(settings(&url)).await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = ask(settings(&url)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unreached { message, is_late: false, .. } if message.starts_with("cannot connect")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_refusal_carries_the_servers_words_and_never_the_key() {
    let url = server(|_, _| (StatusCode::BAD_REQUEST, r#"{"error":{"message":"prompt is too long"}}"#)).await;
    let error = ask(OpenAiSettings { api_key: Some("s3cret".into()), ..settings(&url) }).await.unwrap_err();
    let host = url.trim_start_matches("http://");
    assert_eq!(
        error.to_string(),
        format!("model `m` at {host} rejected the request: 400 Bad Request: prompt is too long")
    );
}

#[tokio::test]
async fn a_redirect_is_refused_with_its_target() {
    let url = server(|_, _| (StatusCode::TEMPORARY_REDIRECT, [("location", "https://else/v1")])).await;
    let error = ask(settings(&url)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Rejected { message, .. } if message.contains("https://else/v1")),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_is_no_answer_is_garbled() {
    for body in [
        "<html>hello</html>",
        r#"{"choices": []}"#,
        r#"{"choices": "none"}"#,
        r#"{"choices": [{"message": {"content": 7}}]}"#,
        r#"{"choices": [{"finish_reason": "stop"}]}"#,
        "{}",
        "[]",
    ] {
        let url = server(move |_, _| body).await;
        let error = ask(settings(&url)).await.unwrap_err();
        assert!(matches!(&error, Error::Garbled { .. }), "{body}: {error:?}");
    }
}

/// After calls a model may have nothing to say; what needs words asks for them itself.
#[tokio::test]
async fn an_answer_of_nothing_is_one() {
    for said in [r#"{"content": null}"#, r#"{"content": null, "tool_calls": []}"#, "{}"] {
        let body = format!(r#"{{"choices": [{{"message": {said}, "finish_reason": "stop"}}]}}"#);
        let url = server(move |_, _| body.clone()).await;
        let response = ask(settings(&url)).await.unwrap();
        assert_eq!((response.text.as_str(), response.tool_calls.len()), ("", 0), "{said}");
    }
}

/// As it was before there could be several; and without a wrapper, with numbers for names.
#[tokio::test]
async fn calls_are_read_however_they_are_written() {
    for said in [
        r#"{"content": "", "function_call": {"name": "f", "arguments": "{\"x\": 1}"}}"#,
        r#"{"content": null, "tool_calls": [], "function_call": {"name": "f", "arguments": {"x": 1}}}"#,
        r#"{"content": null, "tool_calls": [{"id": 7, "name": "f", "arguments": {"x": 1}}]}"#,
    ] {
        let body = format!(r#"{{"choices": [{{"message": {said}, "finish_reason": "stop"}}]}}"#);
        let url = server(move |_, _| body.clone()).await;
        let response = ask(settings(&url)).await.unwrap();
        let call = &response.tool_calls[0];
        assert_eq!((&*call.name, call.arguments.replace(' ', "").as_str()), ("f", r#"{"x":1}"#), "{said}");
    }
}

#[tokio::test]
async fn a_stream_of_something_else_is_garbled() {
    for body in ["data: {\"choices\": 3}\n\n", "data: hello\n\n", "data: [DONE]\n\n"] {
        let url = server(move |_, _| events(body)).await;
        let error = ask(settings(&url)).await.unwrap_err();
        assert!(matches!(&error, Error::Garbled { .. }), "{body}: {error:?}");
    }
}

#[tokio::test]
async fn an_error_within_a_stream_is_told_by_its_code() {
    let body = format!("{PIECES}data: {{\"error\": {{\"message\": \"out of memory\", \"code\": 500}}}}\n\n");
    let url = server(move |_, _| events(body.clone())).await;
    let error = ask(settings(&url)).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { message, .. } if message == "out of memory"), "{error:?}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_unavailable() {
    let url = server(|_, _| events(PIECES)).await;
    let error = ask(settings(&url)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable { message, .. } if message.contains("broke off")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_connection_closed_in_the_middle_is_unavailable() {
    for bytes in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"choices\": [",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"choices\": [",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/event-stream\r\n\r\n5\r\ndata:",
    ] {
        let url = raw_server(bytes).await;
        let error = ask(settings(&url)).await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable { .. }), "{bytes}: {error:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    for content_type in ["application/json", "text/event-stream"] {
        let url = server(move |_, _| {
            let endless = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4096])));
            let body = AxumBody::from_stream(endless);
            AxumResponse::builder().header("content-type", content_type).body(body).unwrap()
        })
        .await;
        let error = ask(OpenAiSettings { max_response_bytes: 50_000, ..settings(&url) }).await.unwrap_err();
        assert!(
            matches!(&error, Error::Garbled { message, .. } if message.contains("larger than 50000 bytes")),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_announces_a_gigabyte_is_not_read() {
    let url = raw_server("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n{").await;
    let error = ask(settings(&url)).await.unwrap_err();
    assert!(matches!(&error, Error::Garbled { message, .. } if message.contains("larger")), "{error:?}");
}

#[tokio::test]
async fn dropping_the_call_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let call = tokio::spawn(async move { ask(settings(&url)).await });
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut request = vec![0; 64 * 1024];
    assert!(socket.read(&mut request).await.unwrap() > 0, "the request is on its way");
    call.abort();
    // Ends at once with a close or a reset; were the call still waiting, this would wait for its 120 seconds.
    while socket.read(&mut request).await.is_ok_and(|n_read| n_read > 0) {}
}
