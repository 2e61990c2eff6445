//! `anabranch top` against the real server.

use serde_json::json;

use super::Asked;

#[test]
fn it_shows_the_jobs_of_the_server_once_where_nobody_watches() {
    let asked = Asked::new();
    asked.job(&["larger", "-i", "n=7", "--wait"]);
    let seen = asked.json(&["top"]);
    assert_eq!(seen["queue"], json!({ "queued": 0, "running": 0, "waiting": 0 }), "{seen}");
    assert_eq!((&seen["day"]["jobs"], &seen["day"]["succeeded"]), (&json!(1), &json!(1)), "{seen}");
    assert_eq!(
        (&seen["jobs"][0]["status"], &seen["tenant"]),
        (&json!("succeeded"), &json!("default")),
        "{seen}"
    );
    let text = asked.out(&["top"]);
    assert!(text.starts_with("anabranch ") && text.contains("0 running  0 waiting  0 queued"), "{text}");
    assert!(text.contains("STATUS") && text.contains("succeeded"), "{text}");
    assert_eq!(asked.out(&["top", "--once", "--flow", "few"]).lines().last(), Some("no jobs yet"));
    let unknown = asked.run(&["top", "--once", "--flow", "no_such_flow"]);
    assert_eq!((unknown.code, unknown.out.as_str()), (Some(2), ""), "{}", unknown.err);
    assert!(unknown.err.contains("there is no flow `no_such_flow`"), "{}", unknown.err);
}

#[test]
fn a_server_that_is_not_there_is_said_and_nothing_is_drawn() {
    let mut asked = Asked::new();
    asked.service.url = "http://127.0.0.1:1".to_owned();
    let ran = asked.run(&["top"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(4), ""), "{}", ran.err);
}
