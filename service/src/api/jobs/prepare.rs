//! From a submission to a job: everything is checked first, and all mistakes are told at once.

use anabranch_engine::run::check_each_input;
use anabranch_engine::value::{Map, Value};

use super::request::{JobRequest, moment};
use crate::api::App;
use crate::api::body::escape;
use crate::api::caller::Caller;
use crate::api::layers::Ids;
use crate::api::problem::{Code, Mistake, Problem};
use crate::flows::{Given, Ready};
use crate::job::{NewJob, Request, new_id};

/// Most labels of a job.
pub const LABELS_MAX: usize = 32;
/// Longest label, name and value each.
pub const LABEL_BYTES: usize = 256;
/// Longest `session_id`.
pub const SESSION_BYTES: usize = 256;
/// Greatest priority; the least is its opposite.
const PRIORITY_MAX: i16 = 100;
/// Latest `run_at` and `deadline`, from now.
const LATEST_MS: i64 = 366 * 24 * 3_600_000;

/// A job that can be submitted, with its flow.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The job.
    pub job: NewJob,
    /// Its flow.
    pub flow: Ready,
}

/// Checks a submission.
pub async fn prepare(app: &App, caller: &Caller, request: JobRequest) -> Result<Prepared, Problem> {
    let now = app.now_ms();
    let mut mistakes = settings(&request, now);
    let webhook = match webhook(app, caller, request.webhook.as_deref()).await? {
        Ok(webhook) => webhook,
        Err(mistake) => {
            mistakes.push(mistake);
            None
        }
    };
    let flow = match find_flow(app, caller, &request).await {
        Ok(flow) => Some(flow),
        // What is wrong with a flow has places of its own and is told alone.
        Err(problem) if problem.code != Code::Invalid => return Err(problem),
        Err(problem) => {
            mistakes.extend(problem.errors);
            None
        }
    };
    let mut code = Code::Invalid;
    if let Some(flow) = &flow {
        let wrong = inputs(flow, &request);
        if mistakes.is_empty() && !wrong.is_empty() {
            code = Code::InvalidInputs;
        }
        mistakes.extend(wrong);
    }
    let Some(flow) = flow.filter(|_| mistakes.is_empty()) else {
        return Err(refuse(code, mistakes));
    };
    let at = |text: &Option<String>| text.as_deref().and_then(|text| moment(text, now).ok());
    let job = NewJob {
        id: new_id("job"),
        tenant: caller.tenant.clone(),
        flow: flow.name.clone(),
        version: flow.version,
        hash: flow.hash.clone(),
        run_at_ms: at(&request.run_at).unwrap_or(now),
        deadline_ms: at(&request.deadline),
        request: Request {
            budget: request.budget.as_ref().and_then(|budget| budget.read().ok()).unwrap_or_default(),
            inputs: request.inputs,
            seed: request.seed.unwrap_or_default(),
            cache: request.cache.unwrap_or(true),
        },
        priority: request.priority,
        labels: request.labels,
        webhook,
        session_id: request.session_id,
        trace: Ids::current().map(|ids| ids.traceparent()),
        created_by: caller.key_id.clone(),
        created_ms: now,
        ..NewJob::default()
    };
    Ok(Prepared { job, flow })
}

/// The webhook that a job names by its id or its address: one of the tenant's, so that what is sent is signed.
async fn webhook(
    app: &App,
    caller: &Caller,
    named: Option<&str>,
) -> Result<Result<Option<String>, Mistake>, Problem> {
    let Some(named) = named else { return Ok(Ok(None)) };
    Ok(if let Some(id) = app.store.find_webhook(&caller.tenant, named).await? {
        Ok(Some(id))
    } else {
        let hint = Some("make it first: `POST /v1/webhooks`; it gives the secret that signs".to_owned());
        Err(Mistake { hint, ..Mistake::at("/webhook", format!("there is no webhook `{named}`")) })
    })
}

/// The problem of these mistakes, worst first.
fn refuse(code: Code, mistakes: Vec<Mistake>) -> Problem {
    let detail = match mistakes.as_slice() {
        [one] => one.message.clone(),
        many => format!("{} things are wrong; `errors` lists them", many.len()),
    };
    let hint = match mistakes.as_slice() {
        [one] => one.hint.clone(),
        _ => None,
    };
    Problem::new(code, detail).maybe_hint(hint).errors(mistakes)
}

async fn find_flow(app: &App, caller: &Caller, request: &JobRequest) -> Result<Ready, Problem> {
    match (&request.flow, &request.flow_yaml) {
        (Some(name), None) => {
            let (name, version) = versioned(name, request.version)?;
            let found = app.flows.get(&caller.tenant, name, version).await;
            found.map_err(|error| Problem::flow(error, Some("/flow")))
        }
        (None, Some(yaml)) if request.version.is_none() => {
            let given = Given { flow: yaml.clone(), ..Given::default() };
            let found = app.flows.sent_along(&caller.tenant, given).await;
            found.map_err(|error| Problem::flow(error, Some("/flow_yaml")))
        }
        (None, Some(_)) => Err(Problem::invalid("/version", "a flow that is sent along has no version")),
        (Some(_), Some(_)) => {
            Err(Problem::invalid("/flow_yaml", "give either `flow` or `flow_yaml`, not both"))
        }
        (None, None) => Err(Problem::invalid("/flow", "`flow` is missing: the name of a flow")),
    }
}

/// `name@3` is version 3 of `name`.
fn versioned(name: &str, version: Option<i32>) -> Result<(&str, Option<i32>), Problem> {
    let Some((name, written)) = name.split_once('@') else { return Ok((name, version)) };
    match (written.parse(), version) {
        (Ok(written), None) => Ok((name, Some(written))),
        (Ok(written), Some(version)) if written == version => Ok((name, Some(version))),
        (Ok(_), Some(_)) => Err(Problem::invalid("/version", "`flow` names another version")),
        (Err(_), _) => Err(Problem::invalid("/flow", format!("`{written}` is no version: write `{name}@3`"))),
    }
}

fn inputs(flow: &Ready, request: &JobRequest) -> Vec<Mistake> {
    let given: Map = request
        .inputs
        .iter()
        .map(|(name, value)| (name.as_str().into(), Value::from_json(value.clone())))
        .collect();
    let problems = check_each_input(&flow.plan.root.inputs, given).err().unwrap_or_default();
    problems
        .into_iter()
        .map(|problem| Mistake::at(format!("/inputs/{}", escape(&problem.input)), problem.message))
        .collect()
}

/// What is wrong with everything but the flow and its inputs.
fn settings(request: &JobRequest, now: i64) -> Vec<Mistake> {
    let mut mistakes = labels(&request.labels);
    let mut wrong = |pointer: &str, message: String| mistakes.push(Mistake::at(pointer, message));
    if !(-PRIORITY_MAX..=PRIORITY_MAX).contains(&request.priority) {
        wrong("/priority", format!("`priority` is between -{PRIORITY_MAX} and {PRIORITY_MAX}"));
    }
    let mut at =
        |pointer: &'static str, text: &Option<String>| match text.as_deref().map(|text| moment(text, now)) {
            Some(Ok(ms)) if ms > now.saturating_add(LATEST_MS) => {
                wrong(pointer, "it lies more than a year ahead".to_owned());
                None
            }
            Some(Ok(ms)) => Some(ms),
            Some(Err(problem)) => {
                wrong(pointer, problem);
                None
            }
            None => None,
        };
    let (run_at, deadline) = (at("/run_at", &request.run_at), at("/deadline", &request.deadline));
    if let Some(deadline) = deadline {
        if deadline <= now {
            wrong("/deadline", "it has passed".to_owned());
        } else if run_at.is_some_and(|run_at| run_at >= deadline) {
            wrong("/deadline", "it lies before `run_at`".to_owned());
        }
    }
    if let Some(Err(problems)) = request.budget.as_ref().map(super::request::BudgetRequest::read) {
        for (pointer, problem) in problems {
            wrong(pointer, problem);
        }
    }
    if let Some(session) = &request.session_id
        && (session.is_empty() || session.len() > SESSION_BYTES)
    {
        wrong("/session_id", format!("it has 1 to {SESSION_BYTES} bytes"));
    }
    mistakes
}

/// What is wrong with labels.
pub fn labels(labels: &std::collections::BTreeMap<String, String>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if labels.len() > LABELS_MAX {
        let message = format!("there are {} labels; a job has at most {LABELS_MAX}", labels.len());
        mistakes.push(Mistake::at("/labels", message));
    }
    for (name, value) in labels.iter().take(LABELS_MAX) {
        if name.is_empty() || name.len() > LABEL_BYTES || value.len() > LABEL_BYTES {
            let message =
                format!("a label has a name, and at most {LABEL_BYTES} bytes in each of name and value");
            mistakes.push(Mistake::at(format!("/labels/{}", escape(name)), message));
        }
    }
    mistakes
}
