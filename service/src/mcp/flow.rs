//! Every flow as a tool: declared by its inputs and outputs, called as a durable job.

use std::sync::Arc;

use rmcp::model::{
    CallToolResult, ContentBlock, JsonObject, MetaObject, ProgressNotificationParam, ProgressToken, Tool,
    ToolAnnotations,
};
use rmcp::service::{Peer, RequestContext};
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value as Json, json};

use super::{TOOLS_MAX, object, refused, text};
use crate::api::App;
use crate::api::caller::Caller;
use crate::api::jobs::{JobRequest, prepare};
use crate::api::layers::is_traceparent;
use crate::api::openai::answer::Gives;
use crate::api::openai::call::{ANSWER_TIME, failure, late};
use crate::api::problem::Problem;
use crate::flows::{Ready, schema};
use crate::job::{Job, Status, Submitted};
use crate::live::{Ear, Told};
use crate::runner::{Live, Said};

/// Longest name of a tool.
const NAME_CHARS: usize = 128;
/// Most notifications about the progress of one call.
const PROGRESS_MAX: u32 = 500;

/// A tool for each flow of the caller's tenant.
pub(super) async fn list(app: &App, caller: &Caller) -> Result<Vec<Tool>, Problem> {
    let flows = app.flows.list(&caller.tenant).await.map_err(|error| Problem::flow(error, None))?;
    let mut tools = Vec::new();
    for flow in flows.into_iter().filter(|flow| is_name(&flow.name)).take(TOOLS_MAX) {
        match app.flows.get(&caller.tenant, &flow.name, None).await {
            Ok(ready) => tools.push(tool(&ready)),
            // One that this build does not take any more is no reason to hide the others.
            Err(error) => tracing::warn!(flow = flow.name, %error, "a flow cannot be a tool"),
        }
    }
    Ok(tools)
}

/// Whether a tool can be called so.
fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

fn tool(flow: &Ready) -> Tool {
    let plan = &flow.plan;
    let about =
        plan.about.as_deref().map_or_else(|| format!("Runs the flow `{}`.", flow.name), str::to_owned);
    Tool::new_with_raw(flow.name.clone(), Some(about.into()), Arc::new(object(schema::inputs(plan))))
        .with_raw_output_schema(Arc::new(object(schema::outputs(plan))))
        .with_annotations(ToolAnnotations::new().destructive(false))
}

/// Runs a flow as a job, and waits for its end. Whoever takes the call back cancels the job.
pub(super) async fn call(
    app: &App,
    caller: &Caller,
    flow: Ready,
    arguments: JsonObject,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    let request = JobRequest {
        flow: Some(flow.name.clone()),
        version: flow.version,
        inputs: arguments,
        ..JobRequest::default()
    };
    let mut prepared = prepare(app, caller, request).await.map_err(|problem| refused(&told_once(problem)))?;
    if let Some(trace) = context.meta.get_traceparent().filter(|trace| is_traceparent(trace)) {
        // SEP-414: nearer to the call than a header, and over pipes there is none.
        prepared.job.trace = Some(trace.to_owned());
    }
    app.admission
        .enter(app, (&caller.tenant, caller.key_id.as_deref()), 1)
        .await
        .map_err(|problem| refused(&problem))?;
    let (id, flow) = (prepared.job.id.clone(), prepared.job.flow.clone());
    let gives = Gives::of(&prepared.flow.plan).ok();
    let guard = Guard::new(app, &caller.tenant, &id);
    let (receipt, heard) = app.runner.submit_watched(prepared.job, &prepared.flow);
    match receipt.await {
        Ok(Submitted::New) => app.metrics.submitted(&caller.tenant, &flow, 1),
        Ok(_) => return Err(ErrorData::internal_error("the job was there before", None)),
        Err(error) => return Err(refused(&error.into())),
    }
    let ended = async {
        if let Some(token) = context.meta.get_progress_token() {
            let ear = app.relay.ear(&id, Some(heard));
            show(&context.peer, token, ear, &caller.tenant).await;
        } else {
            drop(heard);
        }
        app.runner.wait(&caller.tenant, &id, ANSWER_TIME).await
    };
    let job = tokio::select! {
        ended = ended => ended.map_err(|error| refused(&error.into()))?,
        () = context.ct.cancelled() => {
            drop(guard);
            return Err(ErrorData::invalid_request(format!("the call was taken back; the job `{id}` is cancelled"), None));
        }
    };
    // What has not ended in time goes on, and can be asked for by its id.
    guard.disarm();
    let Some(job) = job else {
        return Ok(CallToolResult::error(vec![ContentBlock::text(words(&late(&id)))]));
    };
    Ok(result(&job, gives.as_ref()))
}

fn result(job: &Job, gives: Option<&Gives>) -> CallToolResult {
    let (outputs, absent) = (job.outputs.clone().unwrap_or_default(), job.absent.clone().unwrap_or_default());
    let mut result = match failure(job) {
        Some(problem) => CallToolResult::error(vec![ContentBlock::text(words(&problem))]),
        None => CallToolResult::success(vec![ContentBlock::text(text::of_flow(gives, &outputs, &absent))]),
    };
    if job.status == Status::Succeeded {
        result.structured_content = Some(Json::Object(outputs));
    }
    let mut meta = MetaObject::new();
    meta.insert("anabranch/job_id".to_owned(), json!(job.id));
    meta.insert("anabranch/usage".to_owned(), json!(job.usage));
    if !absent.is_empty() {
        meta.insert("anabranch/absent".to_owned(), Json::Object(absent));
    }
    result.with_meta(Some(meta))
}

fn words(problem: &Problem) -> String {
    match &problem.hint {
        Some(hint) => format!("{}; {hint}", problem.detail),
        None => problem.detail.clone(),
    }
}

/// A problem whose mistakes stand in its words: models read those.
fn told_once(mut problem: Problem) -> Problem {
    let mistakes: Vec<&str> = problem.errors.iter().map(|mistake| mistake.message.as_str()).collect();
    if mistakes.len() > 1 {
        problem.detail = mistakes.join("; ");
    }
    problem
}

/// Tells which nodes begin and end, until the job has ended or waits.
async fn show(peer: &Peer<RoleServer>, token: ProgressToken, mut ear: Ear, tenant: &str) {
    let (mut n_sent, mut n_ended) = (0, 0_u32);
    while let Ok(Some(told)) = ear.follow(tenant).await {
        let message = match told {
            Told::Live(Live::Said(Said::Started { node, op, attempt: 1 })) => format!("{node} ({op}) began"),
            Told::Live(Live::Said(Said::Ended { node, is_last: true })) => {
                n_ended += 1;
                format!("{node} ended")
            }
            _ => continue,
        };
        n_sent += 1;
        if n_sent > PROGRESS_MAX {
            return;
        }
        // It has to grow with each; how much there will be in all is not known.
        let mut progress = ProgressNotificationParam::new(token.clone(), f64::from(n_sent));
        progress.message = Some(format!("{message}; {n_ended} nodes have ended"));
        if peer.notify_progress(progress).await.is_err() {
            return;
        }
    }
}

/// Cancels the job of a call that is dropped before its end.
struct Guard(Option<(App, String, String)>);

impl Guard {
    fn new(app: &App, tenant: &str, id: &str) -> Self {
        Self(Some((app.clone(), tenant.to_owned(), id.to_owned())))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some((app, tenant, id)) = self.0.take() else { return };
        tokio::spawn(async move {
            if let Err(error) = app.store.cancel(&tenant, &id, true).await {
                tracing::warn!(job = id, %error, "a job whose call was taken back could not be cancelled");
            }
            app.runner.look();
        });
    }
}
