//! The same faults seen from a flow: failures by kind, stand-ins, attempts made again.

use anabranch_engine::cx::{Model, Resources};
use anabranch_engine::event::FailureKind;
use anabranch_engine::run::{self, Options, Report, run};
use anabranch_engine::testing;
use anabranch_engine::value::{Map, Value};

use super::server::{Step, response};
use super::*;

/// Runs a flow with one node that asks the server, under `policy`.
async fn run_flow(server: &Fake, policy: &str) -> Report {
    run_flow_within(server, policy, FAR_DEADLINE).await
}

async fn run_flow_within(server: &Fake, policy: &str, timeout: Duration) -> Report {
    let yaml = format!(
        "flow: f\ninputs: {{ question: text }}\nnodes:\n  \
         ask: {{ op: test.ask, in: {{ question: inputs.question }}{policy} }}\noutputs: {{ text: ask.text }}\n"
    );
    let plan = testing::plan(&yaml, &()).unwrap_or_else(|problems| panic!("{problems}"));
    let model: Arc<dyn ChatModel> = Arc::new(chat(&server.url, true, timeout));
    let models = [("default".to_owned(), Model::Chat(model))].into();
    let inputs: Map = [("question".into(), Value::Text("who?".into()))].into_iter().collect();
    run(plan, inputs, Arc::new(Resources { models, ..Resources::default() }), Options::default())
        .await
        .unwrap()
}

fn text(report: &Report) -> String {
    assert_eq!(report.outcome, run::Outcome::Succeeded);
    let outputs = serde_json::to_value(&report.outputs).unwrap();
    outputs["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_fault_fails_its_node_by_kind_and_a_stand_in_helps() {
    for fault in faults(&chat_shape(true)) {
        let steps = fault.steps.clone();
        let server = Fake::start(move |_| steps.clone()).await;
        let expected = match fault.outcome {
            Outcome::TimedOut => FailureKind::TimedOut,
            Outcome::Unavailable => FailureKind::Unavailable,
            Outcome::Overloaded { .. } => FailureKind::Overloaded,
            Outcome::Rejected => FailureKind::Rejected,
            Outcome::Garbled => FailureKind::Garbled,
            Outcome::Cut | Outcome::Answered => continue,
        };
        let timeout = if expected == FailureKind::TimedOut { DEADLINE } else { FAR_DEADLINE };
        let report = run_flow_within(&server, "", timeout).await;
        let run::Outcome::Failed(failure) = report.outcome else { panic!("{}: {report:?}", fault.name) };
        assert_eq!(failure.kind, expected, "{}", fault.name);
        let stand_in = ", on_error: { value: { text: nobody } }";
        let report = run_flow_within(&server, stand_in, timeout).await;
        assert_eq!(text(&report), "nobody", "{}", fault.name);
    }
}

fn overloaded(retry_after: &str) -> Vec<Step> {
    vec![Step::Send(response("429 Too Many Requests", &[("retry-after", retry_after)], b"busy"))]
}

fn good() -> Vec<Step> {
    vec![Step::Send(response(
        "200 OK",
        &[("content-type", "text/event-stream")],
        streamed("stop").as_bytes(),
    ))]
}

const RETRY: &str = ", retry: { attempts: 3, backoff: 1ms }";

#[tokio::test]
async fn an_overloaded_server_is_asked_again_under_the_same_key() {
    let server = Fake::start(|n| if n < 2 { overloaded("0") } else { good() }).await;
    let report = run_flow(&server, RETRY).await;
    assert!(text(&report).starts_with("Ada"));
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    let keys: Vec<_> = requests.iter().map(|request| request.header("idempotency-key").unwrap()).collect();
    assert!(keys.iter().all(|key| *key == keys[0] && !key.is_empty()), "{keys:?}");
}

#[tokio::test]
async fn an_overloaded_server_is_left_alone_for_as_long_as_it_asks() {
    // Fractions are no part of HTTP; they are taken all the same, and keep this test short.
    let server = Fake::start(|n| if n == 0 { overloaded("0.4") } else { good() }).await;
    let start = Instant::now();
    let report = run_flow(&server, RETRY).await;
    assert!(text(&report).starts_with("Ada"));
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_server_that_stays_overloaded_is_asked_no_more_often_than_allowed() {
    let server = Fake::start(|_| overloaded("0")).await;
    let run::Outcome::Failed(failure) = run_flow(&server, RETRY).await.outcome else { panic!() };
    assert_eq!((failure.kind, failure.attempt), (FailureKind::Overloaded, 3));
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_server_that_was_slow_once_is_asked_again() {
    let server = Fake::start(|n| if n == 0 { vec![Step::Hang] } else { good() }).await;
    let report = run_flow_within(&server, RETRY, DEADLINE).await;
    assert!(text(&report).starts_with("Ada"));
    assert!(server.requests().len() >= 2);
}

#[tokio::test]
async fn a_refusal_is_final() {
    let server = Fake::start(|_| vec![Step::Send(response("400 Bad Request", &[], b"too long"))]).await;
    let run::Outcome::Failed(failure) = run_flow(&server, RETRY).await.outcome else { panic!() };
    assert_eq!((failure.kind, failure.attempt), (FailureKind::Rejected, 1));
    assert!(failure.message.contains("400 Bad Request: too long"), "{}", failure.message);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_count_of_tokens_beyond_counting_breaks_no_sum() {
    let body = r#"{"choices":[{"message":{"content":"Ada"}}],
        "usage":{"prompt_tokens":18446744073709551615,"completion_tokens":18446744073709551615}}"#;
    let server = Fake::start(move |_| {
        vec![Step::Send(response("200 OK", &[("content-type", "application/json")], body.as_bytes()))]
    })
    .await;
    let report = run_flow(&server, " }\n  again: { op: test.ask, in: { question: ask.text }").await;
    assert_eq!(text(&report), "Ada");
    assert_eq!(report.usage.prompt_tokens, u64::MAX);
    assert_eq!(server.requests().len(), 2);
}
