//! Submitting the jobs of schedules, as a request of whoever made the schedule would.

use async_trait::async_trait;

use crate::access::Denied;
use crate::api::App;
use crate::api::caller::{Caller, Scope};
use crate::api::jobs::{JobRequest, prepare, submit::take_in};
use crate::api::problem::{Code, Problem};
use crate::job::Idempotency;
use crate::schedules::{Refused, Submit};
use crate::store::Schedule;

/// Submits jobs through the same checks as requests.
pub struct Submitter(pub App);

/// What a schedule submits.
pub(super) fn request(schedule: &Schedule) -> Result<JobRequest, Problem> {
    serde_json::from_value(schedule.request.clone())
        .map_err(|error| Problem::invalid("/job", format!("this build cannot read the job: {error}")))
}

/// Whoever the schedule submits for: the key behind it may no more now than if it were shown.
async fn caller(app: &App, schedule: &Schedule) -> Result<Caller, Problem> {
    let Some(id) = &schedule.created_by else {
        // It was made on this machine, where no key was needed.
        return Ok(Caller { tenant: schedule.tenant.clone(), ..Caller::of_this_machine() });
    };
    let gone = |why| {
        Problem::new(
            Code::NoKey,
            format!(
                "the key `{id}`, which the schedule submits with, {why}: resume the schedule with another key"
            ),
        )
    };
    let caller = match app.access.by_id(&schedule.tenant, id).await {
        Ok(identity) => Caller::of(identity),
        Err(Denied::Unknown) => return Err(gone("was revoked")),
        Err(Denied::Expired) => return Err(gone("has expired")),
        Err(Denied::Store(error)) => return Err(error.into()),
    };
    caller.must_have(Scope::Run)?;
    Ok(caller)
}

#[async_trait]
impl Submit for Submitter {
    async fn submit(&self, schedule: &Schedule, key: &str) -> Result<String, Refused> {
        self.once(schedule, key).await.map_err(|problem| {
            let status = problem.code.status();
            let is_passing = status.is_server_error() || status.as_u16() == 429;
            Refused { why: problem.detail, is_passing }
        })
    }
}

impl Submitter {
    async fn once(&self, schedule: &Schedule, key: &str) -> Result<String, Problem> {
        let Self(app) = self;
        let caller = caller(app, schedule).await?;
        let mut prepared = prepare(app, &caller, request(schedule)?).await?;
        prepared.job.idempotency = Some(Idempotency {
            endpoint: "schedule".to_owned(),
            key: key.to_owned(),
            // A schedule that is changed between two attempts at a firing does not make two jobs of it.
            body_hash: String::new(),
        });
        app.admission.enter(app, (&schedule.tenant, schedule.created_by.as_deref()), 1).await?;
        take_in(app, prepared, None).await.map(|taken| taken.id)
    }
}
