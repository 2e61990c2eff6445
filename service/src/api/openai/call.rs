//! One call of a flow as a model: from a conversation to a job, and from its end to an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_engine::value::Message;
use axum::http::HeaderMap;

use super::answer::Gives;
use super::conversation::Takes;
use super::models::Named;
use super::request::Common;
use crate::api::App;
use crate::api::caller::Caller;
use crate::api::headers::idempotency_key;
use crate::api::jobs::submit::made_before;
use crate::api::jobs::{JobRequest, Prepared, prepare};
use crate::api::problem::{Code, Problem};
use crate::flows::Ready;
use crate::job::{Idempotency, Job, Status, Submitted};
use crate::live::Ear;

/// Longest time that a caller is kept waiting for an answer; what `OpenAI`'s own clients wait.
pub(crate) const ANSWER_TIME: Duration = Duration::from_mins(10);

/// A flow that can be called as a model.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) flow: Ready,
    pub(super) takes: Takes,
    pub(super) gives: Gives,
}

/// What a call is known by, so that sending it again does no harm.
pub(super) struct Once {
    key: Option<String>,
    endpoint: &'static str,
    body_hash: String,
}

/// A job that was taken in.
pub(super) struct Begun {
    pub(super) id: String,
    /// What happens in it, from its beginning.
    pub(super) ear: Ear,
}

impl Model {
    /// The flow that `model` names, if it can be called as one.
    pub(super) async fn find(app: &App, caller: &Caller, model: &str) -> Result<Self, Problem> {
        let named = Named::parse(model)?;
        let flow = app.flows.get(&caller.tenant, &named.flow, named.version).await;
        // As OpenAI has it: what the body names and is not there is 404.
        let flow = flow.map_err(|error| Problem::flow(error, None))?;
        let (takes, gives) = (Takes::of(&flow.plan)?, Gives::of(&flow.plan)?);
        Ok(Self { flow, takes, gives })
    }

    /// The job that answers a conversation; `pointer` is where the request has it.
    pub(super) async fn prepare(
        &self,
        app: &App,
        caller: &Caller,
        asked: Asked<'_>,
    ) -> Result<Prepared, Problem> {
        let extension = asked.common.anabranch.clone().unwrap_or_default();
        let inputs = self.takes.inputs(asked.messages, &extension.inputs, asked.pointer)?;
        let mut labels = asked.common.labels();
        labels.extend(asked.labels);
        let request = JobRequest {
            flow: Some(self.flow.name.clone()),
            version: self.flow.version,
            inputs,
            labels,
            priority: extension.priority.unwrap_or_default(),
            session_id: extension.session_id.or(asked.session_id),
            seed: asked.seed.map(i64::unsigned_abs),
            ..JobRequest::default()
        };
        prepare(app, caller, request).await
    }
}

/// What a request asks of a flow.
pub(super) struct Asked<'a> {
    pub(super) common: &'a Common,
    pub(super) messages: &'a [Message],
    /// Where the request has the conversation.
    pub(super) pointer: &'static str,
    pub(super) seed: Option<i64>,
    pub(super) session_id: Option<String>,
    /// Labels besides those that the caller gave.
    pub(super) labels: BTreeMap<String, String>,
}

impl Once {
    /// Of a request to `endpoint` with these headers, whose body has this hash.
    pub(super) fn of(
        headers: &HeaderMap,
        endpoint: &'static str,
        body_hash: String,
    ) -> Result<Self, Problem> {
        Ok(Self { key: idempotency_key(headers)?, endpoint, body_hash })
    }

    fn mark(self, prepared: &mut Prepared) {
        let Self { key, endpoint, body_hash } = self;
        prepared.job.idempotency =
            key.map(|key| Idempotency { endpoint: endpoint.to_owned(), key, body_hash });
    }
}

/// Takes a job in, and watches it from its beginning.
pub(super) async fn begin(app: &App, mut prepared: Prepared, once: Once) -> Result<Begun, Problem> {
    once.mark(&mut prepared);
    let job = &prepared.job;
    if let Err(problem) = app.admission.enter(app, (&job.tenant, job.created_by.as_deref()), 1).await {
        let before = made_before(app, &job.tenant, job.idempotency.as_ref()).await;
        return before.map(|id| Begun { ear: app.relay.ear(&id, None), id }).ok_or(problem);
    }
    let (id, flow, tenant) = known(&prepared);
    let (receipt, heard) = app.runner.submit_watched(prepared.job, &prepared.flow);
    match receipt.await? {
        Submitted::New => {
            app.metrics.submitted(&tenant, &flow, 1);
            Ok(Begun { ear: app.relay.ear(&id, Some(heard)), id })
        }
        Submitted::Before(id) => Ok(Begun { ear: app.relay.ear(&id, None), id }),
        Submitted::OtherBody => Err(reused()),
    }
}

/// Takes a job in and waits for its end.
pub(super) async fn finish(app: &App, mut prepared: Prepared, once: Once) -> Result<Job, Problem> {
    once.mark(&mut prepared);
    let job = &prepared.job;
    if let Err(problem) = app.admission.enter(app, (&job.tenant, job.created_by.as_deref()), 1).await {
        let before = made_before(app, &job.tenant, job.idempotency.as_ref()).await;
        let id = before.ok_or(problem)?;
        return app.runner.wait(&job.tenant, &id, ANSWER_TIME).await?.ok_or_else(|| late(&id));
    }
    let (id, flow, tenant) = known(&prepared);
    let (submitted, job) = app.runner.submit_and_wait(prepared.job, &prepared.flow, ANSWER_TIME).await?;
    let id = match submitted {
        Submitted::New => {
            app.metrics.submitted(&tenant, &flow, 1);
            id
        }
        Submitted::Before(id) => id,
        Submitted::OtherBody => return Err(reused()),
    };
    job.ok_or_else(|| late(&id))
}

/// What is known of a job when it has been given away: its id, its flow, its tenant.
fn known(prepared: &Prepared) -> (String, String, String) {
    let job = &prepared.job;
    (job.id.clone(), job.flow.clone(), job.tenant.clone())
}

/// The problem of a job that did not succeed; `None` if it did.
pub(crate) fn failure(job: &Job) -> Option<Problem> {
    let error = job.error.as_ref();
    let why = error.map_or_else(
        || job.status.as_str().to_owned(),
        |error| {
            let at = error.scope.as_ref().map(|scope| format!(" at `{scope}`")).unwrap_or_default();
            format!("{} ({}{at})", error.message, error.code)
        },
    );
    let id = &job.id;
    match job.status {
        Status::Succeeded => None,
        Status::Cancelled => Some(Problem::new(Code::Conflict, format!("the job `{id}` was cancelled"))),
        Status::TimedOut => Some(Problem::new(Code::Late, format!("the deadline of the job `{id}` passed"))),
        Status::Failed => Some(Problem::new(Code::JobFailed, format!("the job `{id}` failed: {why}"))),
        Status::Waiting => {
            let waits: Vec<String> = job.waits.iter().map(|wait| format!("`{}`", wait.wait)).collect();
            let detail = format!("the job `{id}` waits for an answer at {}", waits.join(", "));
            Some(
                Problem::new(Code::Conflict, detail)
                    .hint(format!("answer it with `POST /v1/jobs/{id}/resume`")),
            )
        }
        Status::Queued | Status::Running => Some(late(id)),
    }
}

/// The problem of a job that has not ended in time.
pub(crate) fn late(id: &str) -> Problem {
    let detail = format!("the job `{id}` has not ended within {} s, and goes on", ANSWER_TIME.as_secs());
    Problem::new(Code::Late, detail).hint(format!("ask for it with `GET /v1/jobs/{id}`"))
}

fn reused() -> Problem {
    Problem::new(Code::KeyReused, "the `Idempotency-Key` was used for another request")
        .hint("send another key, or the same body")
}
