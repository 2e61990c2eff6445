//! `anabranch jobs show`: one job, as it is.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use super::super::print::{self, BOLD, DIM};
use super::super::{Ended, remote};
use super::{between, labels, span, status, table, text};
use crate::client::Ask;
use crate::exit::Exit;

/// Show a job: where it is, what it gave, what it waits for
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch jobs show job_0198...
  anabranch jobs show job_0198... --nodes
  anabranch jobs show job_0198... --json

JSON (--json):
  {id, flow, version, status, outcome?, inputs, outputs?, absent?,
   error?: {type, code, message, scope?, attempt?, retryable},
   waits?: [{wait, type, about?, shown, since?, until}],
   usage: {model_calls, encoder_calls, prompt_tokens, cached_tokens,
           shareable_tokens, completion_tokens, unanswered_calls?, cost},
   labels, priority, session_id?, retry_of?, created_at, started_at,
   finished_at, queue_wait_ms, progress: {nodes_ended, nodes_running},
   nodes?: [{node, op, status, attempts, ...}], links}")]
pub(super) struct Args {
    /// The job
    job: String,
    /// Show every node execution
    #[arg(long)]
    nodes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: remote::Args,
}

pub(super) async fn run(args: &Args) -> Ended {
    let include = args.nodes.then_some("nodes");
    let job = args.remote.client()?.json(Ask::get(&["jobs", &args.job]).maybe("include", include)).await?;
    if args.json {
        print::json(&job)?;
    } else {
        print::data(&describe(&job))?;
    }
    Ok(Exit::Ok)
}

fn describe(job: &Json) -> String {
    let mut shown = String::new();
    let mut put = |name: &str, value: String| {
        if !value.is_empty() {
            writeln!(shown, "{DIM}{name:<10}{DIM:#}  {value}").ok();
        }
    };
    put("job", text(job, "/id"));
    let version = text(job, "/version");
    let version = if version.is_empty() { String::new() } else { format!("@{version}") };
    put("flow", format!("{}{version}", text(job, "/flow")));
    put("status", status(&text(job, "/status")));
    put("created", text(job, "/created_at"));
    put("took", between(job, "/started_at", "/finished_at").map_or_else(String::new, span));
    put("queued", job.get("queue_wait_ms").and_then(Json::as_i64).map_or_else(String::new, span));
    put("labels", labels(job));
    put("session", text(job, "/session_id"));
    put("repeats", text(job, "/retry_of"));
    put("error", text(job, "/error/message"));
    put("at", text(job, "/error/scope"));
    put("calls", text(job, "/usage/model_calls"));
    for wait in job.get("waits").and_then(Json::as_array).into_iter().flatten() {
        let (node, until) = (text(wait, "/wait"), text(wait, "/until"));
        put("waits", format!("`{node}` for `{}` until {until}", text(wait, "/type")));
        put("", text(wait, "/about"));
    }
    if let Some(nodes) = job.get("nodes").and_then(Json::as_array) {
        let took = |node: &Json| {
            let ran = node.get("ran_ms").and_then(Json::as_f64).unwrap_or_default();
            format!("{ran:.0} ms")
        };
        let rows: Vec<Vec<String>> = nodes
            .iter()
            .map(|node| {
                vec![
                    text(node, "/node"),
                    text(node, "/op"),
                    text(node, "/status"),
                    text(node, "/attempts"),
                    took(node),
                ]
            })
            .collect();
        write!(shown, "\n{}", table(&["NODE", "OP", "STATUS", "ATTEMPTS", "RAN"], &rows)).ok();
    }
    if let Some(values) = job.get("outputs").and_then(Json::as_object).filter(|map| !map.is_empty()) {
        write!(shown, "\n{BOLD}outputs{BOLD:#}\n{}", outputs(values)).ok();
    }
    shown
}

/// Outputs as a person reads them: one text alone as it stands, else as YAML.
pub(super) fn outputs(outputs: &Map<String, Json>) -> String {
    let mut only = outputs.values();
    if let (Some(Json::String(words)), None) = (only.next(), only.next()) {
        return format!("{}\n", words.trim_end());
    }
    yaml(&Json::Object(outputs.clone()))
}

/// JSON as YAML, which is easier on the eye.
pub(super) fn yaml(value: &Json) -> String {
    let mut text = serde_yaml::to_string(value).unwrap_or_else(|_| value.to_string());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_text_stands_alone_and_several_outputs_have_their_names() {
        let shown = |value: Json| outputs(value.as_object().unwrap());
        assert_eq!(shown(json!({ "answer": "Yes.\n\n" })), "Yes.\n");
        assert_eq!(shown(json!({ "count": 3, "ok": true })), "count: 3\nok: true\n");
    }
}
