//! How servers differ from one another, and what stays the same for all that.

#![allow(clippy::needless_pass_by_value)]

use super::*;

/// What `pieces` come to as a stream; each is the JSON of a `choices[0]`, or a whole piece if it says `choices` itself.
async fn streamed(pieces: &[&str]) -> Result<ChatResponse, Error> {
    let body: String = pieces
        .iter()
        .map(|piece| {
            let is_piece = piece.starts_with("{\"choices\"") || !piece.starts_with("{\"");
            if is_piece {
                format!("data: {piece}\n\n")
            } else {
                format!("data: {{\"choices\":[{piece}]}}\n\n")
            }
        })
        .collect();
    let url = server(move |_, _| events(body.clone())).await;
    ask(settings(&url)).await
}

async fn answered(answer: Value) -> Result<ChatResponse, Error> {
    let url = server(move |_, _| axum::Json(answer.clone())).await;
    ask(OpenAiSettings { stream: false, ..settings(&url) }).await
}

fn choice(message: Value, finish_reason: Value) -> Value {
    json!({ "choices": [{ "message": message, "finish_reason": finish_reason }] })
}

#[tokio::test]
async fn tgi_leaves_out_the_space_after_data_and_the_end_mark() {
    let body = "data:{\"choices\":[{\"delta\":{\"content\":\"Ada\"},\"finish_reason\":null}],\"usage\":null}\r\n\r\n\
                data:{\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"eos_token\"}]}\r\n\r\n";
    let url = server(move |_, _| events(body)).await;
    let answer = ask(settings(&url)).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.finish_reason), ("Ada", FinishReason::Stop));
}

#[tokio::test]
async fn an_empty_reason_is_no_end() {
    let pieces = [
        r#"{"delta":{"content":"A"},"finish_reason":""}"#,
        r#"{"delta":{"content":"da"},"finish_reason":""}"#,
    ];
    assert!(matches!(streamed(&pieces).await, Err(Error::Unavailable { .. })), "the stream broke off");
    let answer = streamed(&[pieces[0], pieces[1], "[DONE]"]).await.unwrap();
    assert_eq!(answer.text, "Ada");
}

#[tokio::test]
async fn usage_comes_last_and_may_count_the_cache_in_several_ways() {
    let last = |usage: &str| format!("{{\"choices\":[],\"usage\":{usage}}}");
    for (usage, cached) in [
        (r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}"#, 4),
        (r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":null}"#, 0),
        (r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_cache_hit_tokens":5}"#, 5),
        (r#"{"prompt_tokens":9,"completion_tokens":2,"cached_tokens":6}"#, 6),
        (r#"{"prompt_tokens":9,"completion_tokens":2,"cached_tokens":60}"#, 9),
    ] {
        let said = r#"{"delta":{"content":"Ada"},"finish_reason":"stop"}"#;
        let answer = streamed(&[said, &last(usage), "[DONE]"]).await.unwrap();
        let expected =
            Usage { prompt_tokens: 9, cached_tokens: cached, completion_tokens: 2, ..Usage::default() };
        assert_eq!(answer.usage, expected, "{usage}");
    }
}

#[tokio::test]
async fn thoughts_are_no_part_of_the_answer() {
    for message in [
        json!({ "content": "Ada", "reasoning_content": "Who was it?" }),
        json!({ "content": "Ada", "reasoning": "Who was it?", "reasoning_content": null }),
        json!({ "content": "<think>\nWho was it?\n</think>\n\nAda" }),
        json!({ "content": "Who was it?\n</think>\n\nAda" }),
        json!({ "content": [{ "type": "thinking", "thinking": [] }, { "type": "text", "text": "Ada" }] }),
    ] {
        assert_eq!(answered(choice(message.clone(), json!("stop"))).await.unwrap().text, "Ada", "{message}");
    }
    let cut = answered(choice(json!({ "content": "<think>Who was" }), json!("length"))).await.unwrap();
    assert_eq!((cut.text.as_str(), cut.finish_reason), ("", FinishReason::Length));
}

#[tokio::test]
async fn a_model_that_thinks_shows_life_and_no_words() {
    let body = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"Who\"}}]}\n\n\
                data: {\"choices\":[{\"delta\":{\"content\":\"<think>was\"}}]}\n\n\
                data: {\"choices\":[{\"delta\":{\"content\":\" it?</think>\\nAda\"}}]}\n\ndata: [DONE]\n\n";
    let url = server(move |_, _| events(body)).await;
    let shown = Mutex::new(Vec::new());
    let on_delta = |delta: &str| shown.lock().unwrap().push(delta.to_owned());
    let chat = OpenAiChat::new(settings(&url)).unwrap();
    let answer = chat.chat(&question(), &Call { on_delta: &on_delta, ..Call::keyed("key") }).await.unwrap();
    assert_eq!(answer.text, "Ada");
    assert_eq!(shown.into_inner().unwrap(), ["", "", "Ada"]);
}

fn logprob(token: &str, logprob: f64, top: Value) -> Value {
    json!({ "token": token, "logprob": logprob, "bytes": null, "top_logprobs": top })
}

#[tokio::test]
async fn how_likely_each_token_was_is_told_likeliest_first() {
    let top = json!([{ "token": "no", "logprob": -2.5, "id": 3 }, { "token": "yes", "logprob": 1e-9, "bytes": [] }]);
    let tokens = json!({ "content": [logprob("yes", 1e-9, top), logprob(".", -0.5, json!([]))] });
    let expected = vec![
        TokenLogprob {
            token: "yes".into(),
            logprob: 0.0,
            top: vec![("yes".into(), 0.0), ("no".into(), -2.5)],
        },
        TokenLogprob { token: ".".into(), logprob: -0.5, top: Vec::new() },
    ];
    let whole = json!({ "choices": [{ "message": { "content": "yes." }, "logprobs": tokens }] });
    assert_eq!(answered(whole).await.unwrap().logprobs, expected);
    let piece = |n: usize| {
        let said = json!({ "content": (["yes", "."][n]) });
        json!({ "delta": said, "logprobs": { "content": [tokens["content"][n]] } }).to_string()
    };
    let answer =
        streamed(&[&piece(0), &piece(1), r#"{"delta":{},"logprobs":null}"#, "[DONE]"]).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.logprobs), ("yes.", expected));
}

#[tokio::test]
async fn how_likely_the_prompt_was_is_asked_for_in_one_piece_and_told() {
    let place = |id: &str, logprob: f64, token: &str| json!({ id: { "logprob": logprob, "rank": 7, "decoded_token": token } });
    let whole = json!({
        "choices": [{ "message": { "content": "x" }, "finish_reason": "length" }],
        "prompt_logprobs": [null, place("9", -1.5, "Her"), place("3", -0.5, "ons")],
    });
    let asked = std::sync::Arc::new(Mutex::new(Vec::<Value>::new()));
    let url = {
        let asked = asked.clone();
        server(move |_, body| {
            asked.lock().unwrap().push(body);
            axum::Json(whole.clone())
        })
        .await
    };
    let request = ChatRequest { prompt_logprobs: true, ..question() };
    let answer = OpenAiChat::new(settings(&url)).unwrap().chat(&request, &Call::keyed("key")).await.unwrap();
    let told: Vec<(&str, f64)> = answer.logprobs.iter().map(|t| (t.token.as_str(), t.logprob)).collect();
    assert_eq!(told, [("Her", -1.5), ("ons", -0.5)]);
    let asked = asked.lock().unwrap();
    assert_eq!((&asked[0]["prompt_logprobs"], &asked[0]["stream"]), (&json!(0), &json!(false)));
}

#[tokio::test]
async fn tokens_of_thoughts_are_left_out() {
    let tokens = ["<think>", "no", "</think>", "\n\n", "no"].map(|token| logprob(token, -0.5, json!([])));
    let whole = json!({
        "choices": [{ "message": { "content": "<think>no</think>\n\nno" }, "logprobs": { "content": tokens } }],
    });
    let answer = answered(whole).await.unwrap();
    assert_eq!(answer.logprobs, [TokenLogprob { token: "no".into(), logprob: -0.5, top: Vec::new() }]);
}

#[tokio::test]
async fn likelihoods_of_another_shape_are_passed_over() {
    for logprobs in [json!(3), json!({ "tokens": ["yes"] }), json!({ "content": [{ "token": "yes" }] })] {
        let whole = json!({ "choices": [{ "message": { "content": "yes" }, "logprobs": logprobs }] });
        assert_eq!(answered(whole).await.unwrap().logprobs, [], "{logprobs}");
    }
}

#[tokio::test]
async fn an_error_in_place_of_an_answer_is_told_by_its_code_or_kind() {
    for (error, expected) in [
        (json!({ "error": { "message": "busy", "code": 429 } }), "overloaded"),
        (json!({ "error": { "message": "busy", "code": "429" } }), "overloaded"),
        (json!({ "error": { "message": "busy", "type": "rate_limit_error" } }), "overloaded"),
        (json!({ "error": "busy", "error_type": "overloaded" }), "overloaded"),
        (json!({ "error": { "message": "too long", "code": 400 } }), "rejected"),
        (json!({ "error": "too long", "error_type": "validation" }), "rejected"),
        (
            json!({ "object": "error", "message": "too long", "code": 400, "type": "BadRequestError" }),
            "rejected",
        ),
        (json!({ "error": { "message": "out of memory" } }), "unavailable"),
        (json!({ "error": "the model crashed" }), "unavailable"),
        (choice(json!({ "content": "Ad" }), json!("abort")), "unavailable"),
    ] {
        for found in
            [answered(error.clone()).await, streamed(&[&error.to_string().replacen('{', "{ ", 1)]).await]
        {
            let kind = match found {
                Err(Error::Overloaded { .. }) => "overloaded",
                Err(Error::Rejected { .. }) => "rejected",
                Err(Error::Unavailable { .. }) => "unavailable",
                other => panic!("{error}: {other:?}"),
            };
            assert_eq!(kind, expected, "{error}");
        }
    }
}
