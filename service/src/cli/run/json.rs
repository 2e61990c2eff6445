//! A run and its notices as JSON: times in milliseconds, scopes as paths.

use anabranch_engine::cx::Progress;
use anabranch_engine::run::{Notice, Outcome, Report};
use serde_json::{Value as Json, json};

/// The whole report: `{flow, status, outputs, absent, error?, usage, nodes, elapsed_ms}`.
pub(crate) fn report(flow: &str, report: &Report) -> Json {
    let status = match &report.outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed(_) => "failed",
        Outcome::Cancelled { .. } => "cancelled",
        Outcome::Waiting { .. } => "waiting",
        Outcome::Paused => "paused",
    };
    let mut json = json!({
        "flow": flow,
        "status": status,
        "outputs": report.outputs,
        "absent": report.absent,
    });
    if let Some(object) = json.as_object_mut() {
        match &report.outcome {
            Outcome::Failed(failure) => {
                object.insert("error".to_owned(), plain(&json!(failure)));
            }
            Outcome::Cancelled { reason } => {
                object.insert("error".to_owned(), json!({ "kind": "cancelled", "message": reason }));
            }
            Outcome::Waiting { waits } => {
                object.insert("waits".to_owned(), json!(waits));
            }
            Outcome::Succeeded | Outcome::Paused => {}
        }
        object.insert("usage".to_owned(), json!(report.usage));
        let nodes: Vec<Json> = report
            .nodes
            .iter()
            .map(|node| {
                // What operators gave is left as it is: only the engine's own fields are times.
                let mut json =
                    plain(&json!({ "node": &node.scope, "op": &node.op, "attempts": node.attempts }));
                if let Some(object) = json.as_object_mut() {
                    if let Some(why) = &node.skipped {
                        object.insert("skipped".to_owned(), json!(why));
                    }
                    if let Some(failure) = &node.failure {
                        object.insert("error".to_owned(), plain(&json!(failure)));
                    }
                    if node.aborted {
                        object.insert("aborted".to_owned(), json!(true));
                    }
                    if !node.inputs.is_empty() {
                        object.insert("inputs".to_owned(), json!(node.inputs));
                    }
                    if !node.outputs.is_empty() {
                        object.insert("outputs".to_owned(), json!(node.outputs));
                    }
                    object.insert("usage".to_owned(), json!(node.usage));
                    object.insert("queued_ms".to_owned(), millis(node.timing.queued));
                    object.insert("ran_ms".to_owned(), millis(node.timing.ran));
                }
                json
            })
            .collect();
        object.insert("nodes".to_owned(), nodes.into());
        object.insert("elapsed_ms".to_owned(), millis(report.elapsed));
    }
    json
}

/// One notice: `{notice, scope, ...}`.
pub(crate) fn notice(notice: &Notice) -> Json {
    let mut json = plain(&json!(notice));
    if let (Notice::Progress { progress: Some(progress), .. }, Some(object)) = (notice, json.as_object_mut())
    {
        match progress {
            Progress::Delta(text) => object.insert("delta".to_owned(), json!(text)),
            Progress::Note(text) => object.insert("note".to_owned(), json!(text)),
        };
    }
    json
}

fn millis(duration: std::time::Duration) -> Json {
    // Microseconds are worth showing: most operators take less than a millisecond.
    json!((duration.as_secs_f64() * 1e6).round() / 1e3)
}

/// Durations as serde writes them (`{secs, nanos}`) become numbers, their keys gain `_ms`.
fn plain(json: &Json) -> Json {
    match json {
        Json::Object(object) => object
            .iter()
            .map(|(key, value)| match duration(value) {
                // What a node gave is its own affair.
                _ if key == "outputs" => (key.clone(), value.clone()),
                Some(duration) => (format!("{key}_ms"), millis(duration)),
                None => (key.clone(), plain(value)),
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Json::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

fn duration(json: &Json) -> Option<std::time::Duration> {
    let object = json.as_object().filter(|object| object.len() == 2)?;
    let nanos = u32::try_from(object.get("nanos")?.as_u64()?).ok()?;
    Some(std::time::Duration::new(object.get("secs")?.as_u64()?, nanos))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn durations_become_milliseconds_under_keys_that_say_so() {
        let json = notice(&Notice::Ended {
            scope: "hop[1]/search".into(),
            op: "x.y".into(),
            attempt: 1,
            outputs: [(
                "took".into(),
                serde_json::from_value(serde_json::json!({"secs": 1, "nanos": 0})).unwrap(),
            )]
            .into_iter()
            .collect(),
            failure: None,
            retry_in: Some(Duration::from_micros(1_500)),
            usage: anabranch_engine::backend::Usage::default(),
            timing: anabranch_engine::event::Timing::default(),
        });
        assert_eq!(json["notice"], "ended");
        assert_eq!(json["scope"], "hop[1]/search");
        assert_eq!(json["retry_in_ms"], 1.5);
        assert_eq!(json["timing"]["ran_ms"], 0.0);
        assert_eq!(json["outputs"]["took"]["secs"], 1, "what a node gave is left as it is");
    }

    #[test]
    fn a_piece_of_an_answer_is_in_its_notice() {
        let json = notice(&Notice::Progress {
            scope: "answer".into(),
            progress: Some(Progress::Delta("It".to_owned())),
        });
        assert_eq!(json, serde_json::json!({ "notice": "progress", "scope": "answer", "delta": "It" }));
    }
}
