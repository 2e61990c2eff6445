//! Events of a server as notices of the engine, so that a job is shown as a run is.

use std::time::Duration;

use anabranch_engine::backend::Usage;
use anabranch_engine::cx::Progress;
use anabranch_engine::event::{Failure, FailureKind, Timing};
use anabranch_engine::run::{Notice, Opened};
use anabranch_engine::scope::Scope;
use anabranch_engine::value::Map;
use serde_json::Value as Json;

use super::text;

/// The notice that an event stands for; `None` for what no run of one's own has.
pub(super) fn notice(event: &str, data: &Json) -> Option<Notice> {
    let scope = || Scope::from(text(data, "/node").as_str());
    let number = |pointer: &str| data.pointer(pointer).and_then(Json::as_u64).unwrap_or_default();
    let count = |pointer: &str| usize::try_from(number(pointer)).unwrap_or(usize::MAX);
    let attempt = || u32::try_from(number("/attempt")).unwrap_or(u32::MAX);
    Some(match event {
        "node_started" => Notice::Started {
            scope: scope(),
            op: text(data, "/op").as_str().into(),
            attempt: attempt(),
            inputs: Map::new(),
        },
        "node_ended" => Notice::Ended {
            scope: scope(),
            op: text(data, "/op").as_str().into(),
            attempt: attempt(),
            outputs: Map::new(),
            failure: failure(&scope(), data),
            retry_in: None,
            usage: Usage::default(),
            timing: Timing { queued: time(data, "/queued_ms"), ran: time(data, "/ran_ms") },
        },
        "node_aborted" => Notice::Aborted {
            scope: scope(),
            op: "".into(),
            attempt: attempt(),
            usage: Usage::default(),
            timing: Timing::default(),
        },
        "node_skipped" => Notice::Skipped { scope: scope(), why: text(data, "/why").as_str().into() },
        "scope_opened" => Notice::Opened {
            scope: scope(),
            what: match text(data, "/kind").as_str() {
                "loop" => Opened::Loop(u32::try_from(number("/bound")).unwrap_or(u32::MAX)),
                "each" => Opened::Each(count("/bound")),
                "plan" => Opened::Plan(count("/bound")),
                _ => Opened::Flow,
            },
            inputs: Map::new(),
        },
        "part_started" => Notice::Part { scope: scope(), index: count("/index") },
        "scope_closed" => {
            Notice::Closed { scope: scope(), parts: count("/parts"), failure: failure(&scope(), data) }
        }
        "delta" => Notice::Progress {
            scope: scope(),
            progress: Some(Progress::Delta(text(data, "/text").as_str().into())),
        },
        "note" => Notice::Progress {
            scope: scope(),
            progress: Some(Progress::Note(text(data, "/text").as_str().into())),
        },
        _ => return None,
    })
}

fn failure(scope: &Scope, data: &Json) -> Option<Failure> {
    let error = data.get("error").filter(|error| !error.is_null())?;
    let code = error.get("code").cloned().unwrap_or_default();
    Some(Failure {
        scope: scope.clone(),
        attempt: error.get("attempt").and_then(Json::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        // A server that is newer than this program may know kinds that this one does not.
        kind: serde_json::from_value(code).unwrap_or(FailureKind::Internal),
        message: text(error, "/message"),
        retry_after: None,
    })
}

fn time(data: &Json, pointer: &str) -> Duration {
    let ms = data.pointer(pointer).and_then(Json::as_f64).unwrap_or_default();
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_shown_as_the_same_thing_in_a_run_is() {
        let data = json!({ "node": "hop[2]/search", "op": "retrieve.bm25", "attempt": 2, "ran_ms": 12.5,
                           "error": { "code": "unavailable", "message": "away", "attempt": 2 } });
        let Some(Notice::Ended { scope, failure, timing, .. }) = notice("node_ended", &data) else {
            panic!()
        };
        assert_eq!(scope.to_string(), "hop[2]/search");
        assert_eq!(failure.unwrap().kind, FailureKind::Unavailable);
        assert_eq!(timing.ran, Duration::from_micros(12_500));
        let data = json!({ "node": "fan", "kind": "each", "bound": 7 });
        assert_eq!(
            notice("scope_opened", &data),
            Some(Notice::Opened { scope: "fan".into(), what: Opened::Each(7), inputs: Map::new() })
        );
        assert_eq!(notice("snapshot", &json!({ "job": {} })), None);
    }
}
