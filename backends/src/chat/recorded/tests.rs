//! What recording keeps, and what replaying makes of it.

use super::*;
use crate::chat::scripted::Scripted;
use anabranch_engine::backend::{FinishReason, TokenLogprob, Usage};
use anabranch_engine::value::{Message, Role};
use serde_json::json;

const CALL: Call<'_> = Call::keyed("key");

fn request(content: &str) -> ChatRequest {
    ChatRequest {
        messages: vec![Message { role: Role::User, content: content.into() }],
        temperature: Some(0.1),
        ..ChatRequest::default()
    }
}

fn recorder(path: &Path, answers: &[&str]) -> Recorder {
    let inner = Arc::new(Scripted::queue(answers.iter().copied()));
    Recorder::new("default", inner, Recording::open(path).unwrap())
}

#[tokio::test]
async fn what_was_recorded_is_replayed_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tape.jsonl");
    let recorder = recorder(&path, &["one", "two", "three"]);
    for asked in ["1", "2", "1"] {
        recorder.chat(&request(asked), &CALL).await.unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2, "a request is kept once");
    let replay = Replay::new("default", Tape::load(&path).unwrap());
    for (asked, answer) in [("2", "two"), ("1", "one"), ("2", "two")] {
        assert_eq!(replay.chat(&request(asked), &CALL).await.unwrap().text, answer);
    }
}

#[tokio::test]
async fn an_unknown_request_is_refused_with_the_way_to_record_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tape.jsonl");
    std::fs::write(&path, "").unwrap();
    let replay = Replay::new("default", Tape::load(&path).unwrap());
    let error = replay.chat(&request("who\nwas it?"), &CALL).await.unwrap_err();
    let Error::Rejected { message, .. } = &error else { panic!("{error:?}") };
    let hash = request_hash("default", &request("who\nwas it?"));
    assert_eq!(
        *message,
        format!(
            "it has no answer of model `default` to the request {hash}, whose last message begins \
             \"who\\nwas it?\"; run once with a server and --record {}",
            path.display()
        )
    );
}

#[tokio::test]
async fn recording_goes_on_after_a_line_that_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tape.jsonl");
    recorder(&path, &["one"]).chat(&request("1"), &CALL).await.unwrap();
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"hash\": \"ab");
    std::fs::write(&path, &text).unwrap();
    recorder(&path, &["two"]).chat(&request("2"), &CALL).await.unwrap();
    let replay = Replay::new("default", Tape::load(&path).unwrap());
    assert_eq!(replay.chat(&request("1"), &CALL).await.unwrap().text, "one");
    assert_eq!(replay.chat(&request("2"), &CALL).await.unwrap().text, "two");
}

#[tokio::test]
async fn concurrent_calls_leave_whole_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tape.jsonl");
    let answers: Vec<String> = (0..50).map(|n| "long ".repeat(n * 100)).collect();
    let inner = Arc::new(Scripted::queue(answers));
    let recorder = Recorder::new("default", inner, Recording::open(&path).unwrap());
    let requests: Vec<ChatRequest> = (0..50).map(|n| request(&n.to_string())).collect();
    let answers =
        futures::future::join_all(requests.iter().map(|request| recorder.chat(request, &CALL))).await;
    let replay = Replay::new("default", Tape::load(&path).unwrap());
    for (request, answer) in requests.iter().zip(answers) {
        assert_eq!(replay.chat(request, &CALL).await.unwrap(), answer.unwrap());
    }
}

#[test]
fn a_garbled_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tape.jsonl");
    std::fs::write(&path, "\n{\"hash\": 3}\n").unwrap();
    let error = Tape::load(&path).unwrap_err().to_string();
    assert!(error.contains("tape.jsonl:2` is no recorded exchange"), "{error}");
}

#[test]
fn a_hash_knows_the_model_and_not_the_order_of_keys() {
    let with = |schema: Value| ChatRequest { response_schema: Some(schema), ..request("1") };
    let (ab, ba) = (with(json!({ "a": 1, "b": [2] })), with(json!({ "b": [2], "a": 1 })));
    assert_eq!(request_hash("m", &ab), request_hash("m", &ba));
    assert_ne!(request_hash("m", &ab), request_hash("n", &ab));
    assert_ne!(request_hash("m", &ab), request_hash("m", &with(json!({ "a": 1, "b": [3] }))));
}

#[test]
fn a_hash_knows_of_schemas_and_likelihoods() {
    let asked = [
        request("1"),
        ChatRequest { response_schema: Some(json!({})), ..request("1") },
        ChatRequest { logprobs: Some(0), ..request("1") },
        ChatRequest { logprobs: Some(1), ..request("1") },
    ];
    let hashes: BTreeSet<String> = asked.iter().map(|request| request_hash("m", request)).collect();
    assert_eq!(hashes.len(), asked.len());
}

#[tokio::test]
async fn likelihoods_are_recorded_and_replayed() {
    #[derive(Debug)]
    struct Sure;
    #[async_trait]
    impl ChatModel for Sure {
        fn name(&self) -> &'static str {
            "sure"
        }
        async fn chat(&self, _: &ChatRequest, _: &Call<'_>) -> Result<ChatResponse, Error> {
            let top = vec![("yes".to_owned(), -0.1), ("no".to_owned(), -2.1)];
            Ok(ChatResponse {
                text: "yes".into(),
                finish_reason: FinishReason::Stop,
                usage: Usage { prompt_tokens: 3, cached_tokens: 2, ..Usage::default() },
                model: "sure-8b".into(),
                tool_calls: Vec::new(),
                logprobs: vec![TokenLogprob { token: "yes".into(), logprob: -0.1, top }],
            })
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tape.jsonl");
    let recorder = Recorder::new("default", Arc::new(Sure), Recording::open(&path).unwrap());
    let request = ChatRequest { logprobs: Some(2), response_schema: Some(json!({})), ..request("1") };
    let answer = recorder.chat(&request, &CALL).await.unwrap();
    let replay = Replay::new("default", Tape::load(&path).unwrap());
    assert_eq!(replay.chat(&request, &CALL).await.unwrap(), answer);
}

#[tokio::test]
async fn a_file_from_before_likelihoods_still_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tape.jsonl");
    // A line as it was written then, with the hash that it had.
    let line = concat!(
        r#"{"hash":"31f500050f35c7d6bc275aedc287dbb04d081faf80b0ca5773404b32d466defd","model":"default","#,
        r#""request":{"messages":[{"role":"user","content":"1"}],"temperature":0.1},"#,
        r#""response":{"text":"one","finish_reason":"stop","model":"m-8b","#,
        r#""usage":{"model_calls":0,"prompt_tokens":1,"cached_tokens":0,"completion_tokens":1,"cost":0.0}}}"#,
        "\n",
    );
    std::fs::write(&path, line).unwrap();
    let replay = Replay::new("default", Tape::load(&path).unwrap());
    let answer = replay.chat(&request("1"), &CALL).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.logprobs.len()), ("one", 0));
}

#[tokio::test]
async fn a_file_with_one_model_answers_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tape.jsonl");
    recorder(&path, &["one"]).chat(&request("1"), &CALL).await.unwrap();
    let replay = Replay::sole("canned", &Tape::load(&path).unwrap()).unwrap();
    assert_eq!(replay.chat(&request("1"), &CALL).await.unwrap().text, "one");
    let inner = Arc::new(Scripted::queue(["two"]));
    let small = Recorder::new("small", inner, Recording::open(&path).unwrap());
    small.chat(&request("1"), &CALL).await.unwrap();
    let error = Replay::sole("canned", &Tape::load(&path).unwrap()).unwrap_err().to_string();
    assert!(error.ends_with("no exchanges with model `canned`, only with `default`, `small`"), "{error}");
}
