//! `anabranch jobs`: submitted, watched, listed, stopped, repeated, answered, compared, exported.

use serde_json::{Value as Json, json};

use super::Asked;
use crate::outside::service::Service;

#[test]
fn a_job_is_submitted_and_its_outputs_are_waited_for() {
    let asked = Asked::new();
    let waited = asked.run(&["jobs", "submit", "larger", "-i", "n=7", "--wait"]);
    assert_eq!((waited.code, waited.out.trim()), (Some(0), "larger: true"), "{}", waited.err);
    assert!(waited.err.contains("succeeded"), "{}", waited.err);
    let job = asked.json(&["jobs", "submit", "larger", "-i", "n=3", "--wait", "--label", "by=hand"]);
    assert_eq!((&job["status"], &job["outputs"]["larger"]), (&json!("succeeded"), &json!(false)));
    let id = job["id"].as_str().unwrap();
    assert_eq!(asked.json(&["jobs", "show", id])["labels"], json!({ "by": "hand" }));
    let shown = asked.out(&["jobs", "show", id, "--nodes"]);
    for part in [id, "larger@1", "succeeded", "by=hand", "compare", "judge.rule"] {
        assert!(shown.contains(part), "`{part}`: {shown}");
    }
    assert_eq!(asked.json(&["jobs", "show", id, "--nodes"])["nodes"][0]["node"], "compare");

    let watched = asked.run(&["jobs", "submit", "larger", "-i", "n=7", "--watch"]);
    assert_eq!((watched.code, watched.out.trim()), (Some(0), "larger: true"));
    assert!(watched.err.contains("compare"), "{}", watched.err);
    let file = asked.run(&["jobs", "submit", "flows/larger.yaml", "-i", "n=7", "--wait", "--quiet"]);
    assert_eq!((file.code, file.out.trim(), file.err.as_str()), (Some(0), "larger: true", ""));
    let run = asked.run(&["run", "larger", "-i", "n=7", "--server", &asked.service.url]);
    assert_eq!((run.code, run.out.trim()), (Some(0), "larger: true"), "{}", run.err);
}

#[test]
fn what_cannot_be_submitted_is_told_with_its_place() {
    let asked = Asked::new();
    let submit = |args: &[&str]| asked.run(&[&["jobs", "submit"], args].concat());
    let nothing = submit(&["lrger", "-i", "n=7"]);
    assert_eq!(nothing.code, Some(2), "{}", nothing.err);
    assert!(nothing.err.contains("lrger"), "{}", nothing.err);
    let wrong = submit(&["larger", "-i", "n=many", "-i", "m=1"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("/inputs/n") && wrong.err.contains("/inputs/m"), "{}", wrong.err);
    std::fs::write(asked.service.folder().join("bad.yaml"), "flow: bad\nnodes: { a: { op: no.such } }\n")
        .unwrap();
    let invalid = submit(&["bad.yaml"]);
    assert_eq!(invalid.code, Some(3), "{}", invalid.err);
    assert!(invalid.err.contains("FLOW"), "{}", invalid.err);
    let failed = submit(&["few", "-i", "items=[1, 2]", "--wait", "--json"]);
    assert_eq!(failed.code, Some(1), "{}", failed.err);
    assert_eq!(failed.json()["status"], "failed", "it prints the job all the same");
    assert!(failed.err.contains("the job failed: `fan`"), "{}", failed.err);
}

#[test]
fn the_same_key_gives_the_same_job() {
    let asked = Asked::new();
    let submit = || asked.job(&["larger", "-i", "n=7", "--idempotency-key", "once"]);
    assert_eq!(submit(), submit());
    let other = asked.run(&["jobs", "submit", "larger", "-i", "n=8", "--idempotency-key", "once"]);
    assert_eq!(other.code, Some(2), "the same key for something else: {}", other.err);
}

#[test]
fn every_event_is_a_line_and_the_last_one_is_the_job() {
    let asked = Asked::new();
    let id = asked.job(&["larger", "-i", "n=7"]);
    let out = asked.out(&["jobs", "watch", &id, "--jsonl"]);
    let lines: Vec<Json> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["status"], "succeeded", "{out}");
    assert!(lines.iter().any(|line| line["type"] == "node_ended" && line["node"] == "compare"), "{out}");
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line["seq"].as_u64()).collect();
    assert!(numbers.is_sorted() && numbers.len() > 2, "{numbers:?}");
    let after = numbers[numbers.len() - 2].to_string();
    let rest = asked.out(&["jobs", "watch", &id, "--jsonl", "--after", &after]);
    assert!(rest.lines().count() < lines.len(), "{rest}");
    assert_eq!(asked.json(&["jobs", "watch", &id])["status"], "succeeded");
}

#[test]
fn jobs_are_listed_filtered_and_paged() {
    let asked = Asked::new();
    for n in 0..3 {
        asked.job(&["larger", "-i", &format!("n={n}"), "--wait", "--label", &format!("n={n}")]);
    }
    let all = asked.out(&["jobs", "list"]);
    assert_eq!(all.lines().count(), 4, "a head and three jobs: {all}");
    let one =
        asked.json(&["jobs", "list", "--label", "n=1", "--status", "succeeded,failed", "--flow", "larger"]);
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    let page = asked.json(&["jobs", "list", "--limit", "2"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = asked.json(&["jobs", "list", "--limit", "2", "--cursor", cursor]);
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Json::Null));
    let found = asked.json(&["jobs", "list", "--query", "larg"]);
    assert_eq!(found["items"].as_array().unwrap().len(), 3);
    let none = asked.run(&["jobs", "list", "--status", "failed"]);
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""));
    assert!(none.err.contains("no such jobs"), "{}", none.err);
    let wrong = asked.run(&["jobs", "list", "--status", "done"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
}

#[test]
fn a_job_that_waits_is_answered() {
    let asked = Asked::new();
    let id = asked.job(&["asks"]);
    asked.until(&id, "waiting");
    let shown = asked.out(&["jobs", "show", &id]);
    assert!(shown.contains("`approve` for `bool`") && shown.contains("May it go on?"), "{shown}");
    let wrong = asked.run(&["jobs", "resume", &id, "perhaps"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
    let nowhere = asked.run(&["jobs", "resume", &id, "true", "--wait-node", "aprove"]);
    assert_eq!(nowhere.code, Some(2), "{}", nowhere.err);
    let done = asked.json(&["jobs", "resume", &id, "true", "--wait-node", "approve", "--wait"]);
    assert_eq!(done["outputs"]["approved"], true, "{done}");
    let late = asked.run(&["jobs", "resume", &id, "true"]);
    assert_eq!(late.code, Some(2), "nobody is asked any more: {}", late.err);
}

#[test]
fn jobs_are_stopped_one_by_one_or_by_a_filter() {
    let asked = Asked::new();
    let ids: Vec<String> = (0..3).map(|n| asked.job(&["asks", "--label", &format!("n={n}")])).collect();
    for id in &ids {
        asked.until(id, "waiting");
    }
    let one = asked.out(&["jobs", "cancel", &ids[0]]);
    assert!(one.contains(&ids[0]), "{one}");
    asked.until(&ids[0], "cancelled");
    let dry = asked.out(&["jobs", "cancel", "--flow", "asks", "--status", "waiting", "--dry-run"]);
    assert_eq!(dry.trim(), "2 would be cancelled");
    let some = asked.json(&["jobs", "cancel", "--label", "n=1"]);
    assert_eq!(some["ids"], json!([ids[1]]), "{some}");
    asked.until(&ids[1], "cancelled");
    assert_eq!(asked.json(&["jobs", "show", &ids[2]])["status"], "waiting");
    let later = asked.job(&["larger", "-i", "n=1", "--run-at", "2h"]);
    assert_eq!(asked.json(&["jobs", "show", &later])["status"], "queued");
    assert_eq!(asked.json(&["jobs", "cancel", &later, "--now"])[0]["status"], "cancelled");
    assert_eq!(asked.run(&["jobs", "cancel"]).code, Some(2), "nothing is named");
    let gone = asked.run(&["jobs", "cancel", "job_0"]);
    assert_eq!(gone.code, Some(2), "{}", gone.err);
}

#[test]
fn a_job_is_repeated_and_compared_with_the_first() {
    let asked = Asked::new();
    let first = asked.json(&["jobs", "submit", "larger", "-i", "n=7", "--wait"]);
    let first = first["id"].as_str().unwrap();
    let again = asked.json(&["jobs", "retry", first, "--from", "start", "--wait"]);
    let again = again["id"].as_str().unwrap();
    assert_eq!(asked.json(&["jobs", "show", again])["retry_of"], first);
    let same = asked.json(&["jobs", "diff", first, again]);
    assert_eq!((&same["same_flow"], &same["nodes"]), (&json!(true), &json!([])), "{same}");
    let patch = "{compare: {pass: false}}";
    let patched = asked.json(&["jobs", "retry", first, "--from", "start", "--patch", patch, "--wait"]);
    assert_eq!(patched["outputs"]["larger"], false, "{patched}");
    let patched = patched["id"].as_str().unwrap();
    let differs = asked.json(&["jobs", "diff", first, patched]);
    assert_eq!(differs["outputs"][0]["name"], "larger", "{differs}");
    assert!(asked.out(&["jobs", "diff", first, patched]).contains("compare"));
    let nowhere = asked.run(&["jobs", "retry", first, "--from", "no_such_node"]);
    assert_eq!(nowhere.code, Some(2), "{}", nowhere.err);
    let running = asked.job(&["asks"]);
    asked.until(&running, "waiting");
    let early = asked.run(&["jobs", "retry", &running]);
    assert_eq!(early.code, Some(2), "it has not ended: {}", early.err);
}

#[test]
fn all_that_is_known_of_a_job_is_exported() {
    let asked = Asked::new();
    let job = asked.json(&["jobs", "submit", "larger", "-i", "n=7", "--wait"]);
    let id = job["id"].as_str().unwrap();
    let exported: Json = serde_json::from_str(&asked.out(&["jobs", "export", id])).unwrap();
    assert_eq!(exported["job"]["id"], id, "{exported}");
    asked.out(&["jobs", "export", id, "--out", "job.json"]);
    let file = std::fs::read_to_string(asked.service.folder().join("job.json")).unwrap();
    assert_eq!(serde_json::from_str::<Json>(&file).unwrap()["job"], exported["job"]);
}

#[test]
fn a_job_that_waits_outlives_the_server() {
    let mut asked = Asked { service: Service::start("server: { lease: 1s }\n"), key: None };
    let id = asked.job(&["asks"]);
    asked.until(&id, "waiting");
    asked.service.again("api,worker");
    let job = asked.json(&["jobs", "show", &id]);
    assert_eq!((&job["status"], &job["waits"][0]["wait"]), (&json!("waiting"), &json!("approve")));
    let done = asked.json(&["jobs", "resume", &id, "false", "--wait"]);
    assert_eq!(done["outputs"]["approved"], false);
}
