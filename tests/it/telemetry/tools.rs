//! Traces that go on behind the tools that a run calls.

use serde_json::json;

use super::{Collector, Fake, Scope, Service, Step, response};
use crate::served::{Place, ROOT_KEY, Served};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLS: &str = "flow: calls\ninputs: { arguments: json }\nnodes:\n  near: { op: tool.run, with: { tool: near }, in: { \
                     arguments: inputs.arguments } }\n  far: { op: tool.run, with: { tool: far.quick }, in: { arguments: \
                     inputs.arguments } }\noutputs: { near: near.value, far: far.value }\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_in_addresses_and_servers_of_tools() {
    let (collector, endpoint) = Collector::grpc().await;
    let near =
        Fake::start(|_| vec![Step::Send(response("200 OK", &[("content-type", "application/json")], b"{}"))])
            .await;
    let place = Place::new();
    let far = Served::start(&place);
    let key = place.folder().join("key");
    std::fs::write(&key, ROOT_KEY).unwrap();
    let service = Service::start(&format!(
        "telemetry: {{ endpoint: '{endpoint}' }}\ntools:\n  near: {{ about: Looks., url: '{}/look', arguments: {{ question: {{ \
         type: string }} }}, allow: [127.0.0.1] }}\n  far: {{ mcp: '{}/mcp', headers: {{ Authorization: 'Bearer \
         ${{file:{}}}' }}, allow: [127.0.0.1] }}\n",
        near.url,
        far.url,
        key.display()
    ))
    .await;
    let key = service.key("default", &Scope::ALL).await;
    let put = service.ask("PUT", "/v1/flows/calls").key(&key).yaml(CALLS).send().await;
    assert_eq!(put.status, 201, "{}", put.text);
    let asked = service.ask("POST", "/v1/jobs").key(&key).header("prefer", "wait=60");
    let asked = asked.header("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let arguments = json!({ "question": "Where do herons nest?" });
    let answer = asked.json(&json!({ "flow": "calls", "inputs": { "arguments": arguments } })).send().await;
    assert_eq!(answer.json()["status"], "succeeded", "{}", answer.text);
    service.app.telemetry.close().await;

    let spans = collector.spans();
    let called = |tool: &str| {
        let of = spans.iter().find(|seen| seen.span.name == format!("execute_tool {tool}"));
        of.unwrap_or_else(|| panic!("{:?}", spans.iter().map(|seen| &seen.span.name).collect::<Vec<_>>()))
            .id()
    };
    let sent = near.requests()[0].header("traceparent").map(str::to_owned);
    assert_eq!(sent, Some(format!("00-{TRACE}-{}-01", called("near"))));
    let jobs: serde_json::Value = crate::support::client()
        .get(format!("{}/v1/jobs", far.url))
        .bearer_auth(ROOT_KEY)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(jobs["items"][0]["trace_id"], TRACE, "{jobs}");
    called("quick");
}
