//! Looking into a run: when everything happened, one node with all that is known of it, and what it asked its model.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anabranch_engine::testing;
use serde_json::{Value as Json, json};

use super::harness::{SOON, Service};

fn by_name(timeline: &Json) -> BTreeMap<String, Json> {
    let items = timeline["items"].as_array().unwrap().iter();
    items.map(|item| (item["node"].as_str().unwrap().to_owned(), item.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_has_every_execution_in_the_order_of_time() {
    let service = Service::start().await;
    let job = service.run("steps").await;
    let timeline = service.get(&format!("/v1/jobs/{}/timeline", job["id"].as_str().unwrap())).await.body;
    let items = by_name(&timeline);
    assert_eq!(items.keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    let at = |node: &str, key: &str| items[node][key].as_f64().unwrap_or_else(|| panic!("{key} of {node}"));
    for (one, next) in [("a", "b"), ("b", "c"), ("c", "d")] {
        assert!(at(one, "began_ms") < at(one, "ended_ms"), "{timeline}");
        assert!(at(one, "ended_ms") <= at(next, "began_ms") + 1.0, "{timeline}");
    }
    assert!(
        timeline["upto"].as_u64().unwrap() >= 4
            && timeline["elapsed_ms"].as_f64().unwrap() >= at("d", "ended_ms")
    );
    assert!(items["a"].get("inputs").is_none() && items["a"]["status"] == "succeeded", "{timeline}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_of_a_run_that_goes_on_tells_what_is_under_way_and_from_where_events_go_on() {
    let service = Service::start().await;
    let id = service.submit("slow").await;
    let timeline = async || service.get(&format!("/v1/jobs/{id}/timeline")).await.body;
    let until = Instant::now() + SOON;
    while by_name(&timeline().await).get("b").is_none_or(|b| b["status"] != "running") {
        assert!(Instant::now() < until, "{}", timeline().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let timeline = timeline().await;
    let items = by_name(&timeline);
    assert_eq!((&items["a"]["status"], &items["b"]["status"]), (&json!("succeeded"), &json!("running")));
    assert!(items["b"]["began_ms"].is_number() && items["b"].get("ended_ms").is_none(), "{timeline}");
    let upto = &timeline["upto"];
    let later = service.get(&format!("/v1/jobs/{id}/events?after={upto}")).await.body;
    assert_eq!(later["events"], json!([]));
    service.post(&format!("/v1/jobs/{id}/cancel"), &json!({ "mode": "now" })).await;
    assert_eq!(service.ended(&id).await["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_not_begun_has_an_empty_timeline() {
    let service = Service::start().await;
    let later = service.post("/v1/jobs", &json!({ "flow": "quick", "run_at": "1h" })).await.body;
    let timeline = service.get(&format!("/v1/jobs/{}/timeline", later["id"].as_str().unwrap())).await.body;
    assert_eq!(timeline, json!({ "items": [], "upto": null, "elapsed_ms": 0.0, "rests": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_shown_with_its_settings_what_it_reads_and_each_attempt() {
    let yaml = "flow: tries\ninputs: { n: { type: int, default: 1 } }\nnodes:\n  a:\n    op: test.work\n    about: Works.\n    \
                in: { a: inputs.n }\n    with: { fail_times: 1, fail: unavailable, salt: '${ inputs.n }' }\n    retry: { \
                attempts: 3, backoff: 1ms }\noutputs: { text: a.text }\n";
    let service = Service::with_flow("tries", yaml, testing::resources()).await;
    let id = service.run("tries").await["id"].as_str().unwrap().to_owned();
    let node = service.get(&format!("/v1/jobs/{id}/nodes/a")).await.body;
    assert_eq!(
        (&node["op"], &node["attempts"], &node["kept"]),
        (&json!("test.work"), &json!(2), &json!(false))
    );
    let plan = &node["plan"];
    assert_eq!((&plan["about"], &plan["in"]), (&json!("Works."), &json!({ "a": "inputs.n" })), "{node}");
    assert_eq!(plan["with"], json!({ "fail_times": 1, "fail": "unavailable", "salt": "${ inputs.n }" }));
    let tries = node["tries"].as_array().unwrap();
    assert_eq!(tries.len(), 2, "{node}");
    assert_eq!((&tries[0]["error"]["code"], tries[1].get("error")), (&json!("unavailable"), None), "{node}");
    assert!(node["began_ms"].as_f64().unwrap() <= tries[0]["ended_ms"].as_f64().unwrap());
    assert_eq!(node["ended_ms"], tries[1]["ended_ms"]);
    // What is put in place of a result was not done there.
    let patch = json!({ "from": "start", "patch": { "a": { "value": 7, "text": "seven" } } });
    let again = service.post(&format!("/v1/jobs/{id}/retry"), &patch).await;
    let again = again.body["id"].as_str().unwrap().to_owned();
    assert_eq!(service.ended(&again).await["outputs"]["text"], "seven");
    let kept = service.get(&format!("/v1/jobs/{again}/nodes/a")).await.body;
    assert_eq!((&kept["kept"], &kept["tries"]), (&json!(true), &json!([])), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_job_tells_what_it_kept() {
    let service = Service::start().await;
    let id = service.submit("broken").await;
    assert_eq!(service.ended(&id).await["status"], "failed");
    let again = service.post(&format!("/v1/jobs/{id}/retry"), &json!({})).await;
    let again = again.body["id"].as_str().unwrap().to_owned();
    service.ended(&again).await;
    let items = by_name(&service.get(&format!("/v1/jobs/{again}/timeline")).await.body);
    assert_eq!((items["a"]["kept"].as_bool(), items["b"].get("kept")), (Some(true), None), "{items:?}");
    for (node, is_kept) in [("a", true), ("b", false)] {
        let shown = service.get(&format!("/v1/jobs/{again}/nodes/{node}")).await.body;
        assert_eq!(shown["kept"], is_kept, "{shown}");
    }
    let first = by_name(&service.get(&format!("/v1/jobs/{id}/timeline")).await.body);
    assert_eq!(first["a"].get("kept"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_asks_its_model_is_worked_out_without_asking_it() {
    let yaml = "flow: asks\ninputs: { question: text }\nnodes:\n  a: { op: test.ask, in: { question: inputs.question } }\n  b: { op: \
                test.work, in: { a: a.text } }\noutputs: { text: b.text }\n";
    let service = Service::with_flow("asks", yaml, testing::resources()).await;
    let request = json!({ "flow": "asks", "inputs": { "question": "What is it?" } });
    let id = service.post("/v1/jobs", &request).await.body["id"].as_str().unwrap().to_owned();
    let before = service.ended(&id).await["usage"]["model_calls"].clone();
    let prompts = service.get(&format!("/v1/jobs/{id}/prompts/a")).await.body;
    let items = prompts["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["model"]), (1, &json!("default")), "{prompts}");
    let messages = items[0]["request"]["messages"].as_array().unwrap();
    assert!(messages.last().unwrap()["content"].as_str().unwrap().contains("What is it?"), "{prompts}");
    let none = service.get(&format!("/v1/jobs/{id}/prompts/b")).await.body;
    assert_eq!((&none["items"], &none["why_none"]), (&json!([]), &json!("it asks no model")));
    let missing = service.get(&format!("/v1/jobs/{id}/prompts/z")).await;
    assert_eq!(missing.problem(404), "not_found");
    assert_eq!(service.ended(&id).await["usage"]["model_calls"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_of_a_job_has_nodes_and_edges() {
    let service = Service::start().await;
    let id = service.run("steps").await["id"].as_str().unwrap().to_owned();
    let graph = service.get(&format!("/v1/jobs/{id}/graph")).await.body;
    let flow = service.get("/v1/flows/steps/graph").await.body;
    assert_eq!(graph["graph"], flow);
    assert_eq!(graph["nodes"]["d"], "succeeded");
    assert_eq!(graph["flow"]["nodes"][0]["with"], json!({ "delay_ms": 5 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_tells_jobs_apart_by_what_they_were_asked() {
    let yaml = "flow: says\ninputs: { question: text }\nnodes:\n  a: { op: test.work, in: { a: inputs.question } }\noutputs: { \
                text: a.text }\n";
    let service = Service::with_flow("says", yaml, testing::resources()).await;
    for question in ["What is it?".to_owned(), "long ".repeat(1_000)] {
        service.post("/v1/jobs", &json!({ "flow": "says", "inputs": { "question": question } })).await;
    }
    let list = service.get("/v1/jobs").await.body;
    let previews: Vec<&Json> = list["items"].as_array().unwrap().iter().map(|job| &job["preview"]).collect();
    assert_eq!(previews, [&Json::Null, &json!("What is it?")], "what is long stands in the job alone");
    assert!(list["items"][1].get("inputs").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_draws_a_flow_that_loads_and_tells_what_it_takes() {
    let service = Service::start().await;
    let yaml = "flow: fresh\ninputs: { word: text }\nnodes:\n  a: { op: test.work, in: { a: inputs.word } }\noutputs: { text: \
                a.text }\n";
    let check = async |query: &str, yaml: &str| {
        let request = service.request(reqwest::Method::POST, &format!("/v1/flows/check{query}"));
        let request = request.header("content-type", "application/yaml").body(yaml.to_owned());
        super::harness::Answer::of(request.send().await.unwrap()).await
    };
    let checked = check("?include=graph,schema", yaml).await.body;
    assert_eq!(checked["graph"]["nodes"][0]["id"], "a");
    assert_eq!(checked["schema"]["inputs"]["required"], json!(["word"]));
    let plain = check("", yaml).await.body;
    assert!(
        plain.get("graph").is_none() && plain.get("schema").is_none() && plain["valid"] == true,
        "{plain}"
    );
    let broken = check("?include=graph", &yaml.replace("test.work", "test.wrok")).await.body;
    assert!(broken["valid"] == false && broken.get("graph").is_none(), "{broken}");
    assert_eq!(check("?include=all", yaml).await.problem(400), "bad_parameter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_told_who_they_are_taken_for() {
    let service = Service::start().await;
    let me = service.get("/v1/whoami").await.body;
    assert_eq!(me["tenant"], "default");
    assert_eq!(me["scopes"], json!(["read", "run", "edit", "admin"]));
    assert_eq!((me.get("key_id"), &me["runs_jobs"]), (None, &json!(true)));
}

/// A flow that asks.
const ASKS: &str =
    "flow: asks\nnodes:\n  may: { wait: { for: bool, deadline: 1h } }\noutputs: { may: may.value }\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_tells_how_long_no_process_had_the_run() {
    let service = Service::with_flow("asks", ASKS, testing::resources()).await;
    let id = service.submit("asks").await;
    let timeline = async || service.get(&format!("/v1/jobs/{id}/timeline")).await.body;
    let until = Instant::now() + SOON;
    // It rests, and for longer each time that somebody looks.
    while timeline().await["rests"][0]["rested_ms"].as_f64().is_none_or(|rested| rested < 20.0) {
        assert!(Instant::now() < until, "{}", timeline().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    service.post(&format!("/v1/jobs/{id}/resume"), &json!({ "value": true })).await;
    assert_eq!(service.ended(&id).await["status"], "succeeded");
    let timeline = timeline().await;
    let rests = timeline["rests"].as_array().unwrap();
    assert_eq!(rests.len(), 1, "{timeline}");
    let (at, rested) = (rests[0]["at_ms"].as_f64().unwrap(), rests[0]["rested_ms"].as_f64().unwrap());
    let wait = &by_name(&timeline)["may"];
    assert!(rested >= 20.0 && at >= wait["began_ms"].as_f64().unwrap(), "{timeline}");
    assert!(at <= wait["ended_ms"].as_f64().unwrap(), "{timeline}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tests_of_a_flow_are_run_without_a_job() {
    let service = Service::start().await;
    let yaml = format!(
        "{ASKS}tests:\n  - name: is allowed\n    stub: {{ may: {{ value: true, answered: true }} }}\n    expect: {{ outputs: \
         {{ may: true }} }}\n  - name: is not allowed\n    stub: {{ may: {{ value: true, answered: true }} }}\n    expect: \
         {{ outputs: {{ may: false }} }}\n  - name: was recorded\n    replay: asks.jsonl\n    expect: {{ outputs: {{ may: true }} }}\n"
    );
    let found = service.post("/v1/flows/test", &json!({ "flow": yaml })).await;
    assert_eq!(found.status, 200, "{}", found.text);
    let found = found.body;
    assert_eq!((&found["passed"], &found["failed"], &found["left_out"]), (&json!(1), &json!(2), &json!(0)));
    assert_eq!((&found["tests"][0]["passed"], &found["tests"][0]["line"]), (&json!(true), &json!(6)));
    let unmet = &found["tests"][1]["unmet"][0];
    assert_eq!(
        (&unmet["what"], &unmet["expected"], &unmet["got"]),
        (&json!("output `may`"), &json!("false"), &json!("true"))
    );
    assert!(found["tests"][2]["error"].as_str().unwrap().contains("anabranch test"), "{found}");
    assert_eq!(service.get("/v1/jobs").await.body["items"], json!([]));
    assert_eq!(service.post("/v1/flows/test", &json!({ "flow": "flow: x" })).await.status, 422);
}
