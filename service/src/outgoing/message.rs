//! What a webhook is sent: `{type, timestamp, data}`, with the job as it is.

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use crate::api::jobs::view::WaitView;
use crate::job::{Job, OpenWait, Status};

/// Most bytes of outputs that are sent along; larger ones are fetched with the job.
pub const MAX_BYTES: usize = 16 * 1024;

/// A job as it was when it waited for these, whatever has become of it since.
pub fn as_it_waited(job: Job, waits: Vec<OpenWait>) -> Job {
    Job { status: Status::Waiting, waits, outputs: None, error: None, finished_ms: None, ..job }
}

/// The body for `event` of a job, which happened then (unix ms). `base` begins the links: where the API is found from outside, or nothing.
pub fn of_job(event: &str, job: &Job, at_ms: i64, base: &str) -> String {
    let mut data = Map::new();
    let mut put = |name: &str, value: Json| {
        if !value.is_null() {
            data.insert(name.to_owned(), value);
        }
    };
    put("id", json!(job.id));
    put("flow", json!(job.flow));
    put("version", json!(job.version));
    put("status", json!(job.status.as_str()));
    put("labels", if job.labels.is_empty() { Json::Null } else { json!(job.labels) });
    put("session_id", json!(job.session_id));
    put("batch_id", json!(job.batch_id));
    put("retry_of", json!(job.retry_of));
    put("error", json!(job.error));
    put("usage", json!(job.usage));
    put("created_at", time(Some(job.created_ms)));
    put("started_at", time(job.started_ms));
    put("finished_at", time(job.finished_ms));
    put("links", json!({ "job": format!("{base}/v1/jobs/{}", job.id) }));
    if job.status == Status::Waiting {
        // As the API shows them.
        let waits: Vec<WaitView> = job.waits.iter().cloned().map(WaitView::from).collect();
        small(&mut put, "waits", json!(waits));
    }
    if let Some(outputs) = job.outputs.as_ref().filter(|outputs| !outputs.is_empty()) {
        small(&mut put, "outputs", json!(outputs));
    }
    body(event, at_ms, &data.into())
}

/// The body of a webhook that is tried out.
pub fn test(now_ms: i64) -> String {
    body(super::TEST_EVENT, now_ms, &json!({ "message": "this webhook works" }))
}

fn body(event: &str, at_ms: i64, data: &Json) -> String {
    json!({ "type": event, "timestamp": time(Some(at_ms)), "data": data }).to_string()
}

/// Puts what is small enough, and says so of what is not.
fn small(put: &mut impl FnMut(&str, Json), name: &str, value: Json) {
    if value.to_string().len() <= MAX_BYTES {
        put(name, value);
    } else {
        put(&format!("{name}_omitted"), Json::Bool(true));
    }
}

/// Unix ms as the API writes times.
fn time(ms: Option<i64>) -> Json {
    ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map_or(Json::Null, |at| json!(at.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Progress, Request, Usage};

    pub(crate) fn job(outputs: &Json) -> Job {
        Job {
            id: "job_1".into(),
            tenant: "t".into(),
            flow: "qa".into(),
            version: Some(2),
            hash: "h".into(),
            status: Status::Succeeded,
            priority: 0,
            request: Request::default(),
            outputs: outputs.as_object().cloned(),
            absent: None,
            error: None,
            waits: Vec::new(),
            usage: Usage::default(),
            progress: Progress::default(),
            labels: std::collections::BTreeMap::new(),
            webhook: None,
            session_id: None,
            trace: None,
            batch_id: None,
            retry_of: None,
            owner: None,
            epoch: 1,
            wake_ms: 0,
            deadline_ms: None,
            created_ms: 0,
            started_ms: Some(0),
            finished_ms: Some(1_000),
            created_by: None,
        }
    }

    fn read(body: &str) -> Json {
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn a_message_says_what_happened_when_with_the_small_outputs() {
        let sent =
            read(&of_job("job.succeeded", &job(&json!({ "text": "yes" })), 1_000, "https://rag.example.org"));
        assert_eq!(sent["type"], "job.succeeded");
        assert_eq!(sent["timestamp"], "1970-01-01T00:00:01Z");
        assert_eq!(sent["data"]["outputs"], json!({ "text": "yes" }));
        assert_eq!(sent["data"]["links"]["job"], "https://rag.example.org/v1/jobs/job_1");
        assert_eq!(sent["data"].get("error"), None);
    }

    #[test]
    fn a_wait_is_told_as_it_was_whatever_became_of_the_job() {
        let wait = OpenWait {
            wait: "approve".into(),
            ty: "bool".into(),
            about: Some("May it go on?".into()),
            shown: Map::new(),
            since_ms: Some(1_000),
            until_ms: 9_000,
        };
        let since = Job { status: Status::Cancelled, ..job(&json!({ "text": "yes" })) };
        let sent = read(&of_job("job.waiting", &as_it_waited(since, vec![wait]), 500, ""));
        assert_eq!(
            (&sent["data"]["status"], &sent["timestamp"]),
            (&json!("waiting"), &json!("1970-01-01T00:00:00.5Z"))
        );
        assert_eq!(sent["data"]["waits"][0]["about"], "May it go on?");
        for later in ["outputs", "error", "finished_at"] {
            assert_eq!(sent["data"].get(later), None, "{later}");
        }
    }

    #[test]
    fn large_outputs_stay_where_they_are() {
        let sent = read(&of_job("job.succeeded", &job(&json!({ "text": "x".repeat(MAX_BYTES) })), 1_000, ""));
        assert_eq!((sent["data"].get("outputs"), &sent["data"]["outputs_omitted"]), (None, &json!(true)));
        assert_eq!(sent["data"]["links"]["job"], "/v1/jobs/job_1");
    }
}
