//! A job's run, told to those who watch it, to its trace, and to the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use anabranch_engine::cx::{Asking, WatchCall};
use anabranch_engine::run::{Notice, Observer};

use super::held::Held;
use crate::job::End;
use crate::store::Claimed;
use crate::telemetry::{JobOfRun, RunSpans, Telemetry};

/// Who observes a run.
pub(super) struct Traced {
    held: Arc<Held>,
    spans: RunSpans,
    flow: String,
    tenant: String,
    began: SystemTime,
}

impl Traced {
    pub(super) fn new(telemetry: &Telemetry, claimed: &Claimed, held: Arc<Held>) -> Self {
        let job = JobOfRun {
            id: claimed.id.clone(),
            tenant: claimed.tenant.clone(),
            flow: claimed.flow.clone(),
            session: claimed.session_id.clone(),
            user: claimed.created_by.clone(),
            batch: claimed.batch_id.clone(),
            trace: claimed.trace.clone(),
            inputs: if telemetry.is_on() { claimed.request.inputs.clone() } else { serde_json::Map::new() },
            created: created(&claimed.id),
        };
        Self {
            spans: RunSpans::new(telemetry, job),
            held,
            flow: claimed.flow.clone(),
            tenant: claimed.tenant.clone(),
            began: SystemTime::now(),
        }
    }

    /// The job has ended, and the store has it.
    pub(super) fn ended(&self, end: &End) {
        self.spans.end(end);
        let (job, flow, tenant, status) = (&*self.held.id, &self.flow, &self.tenant, end.status.as_str());
        let (ms, trace_id, usage) = (self.ms(), self.spans.trace_id(), end.usage);
        let (model_calls, tokens) =
            (usage.model_calls, usage.prompt_tokens.saturating_add(usage.completion_tokens));
        if let Some(error) = &end.error {
            let (code, scope, why) = (&error.code, &error.scope, &error.message);
            tracing::warn!(
                job,
                flow,
                tenant,
                trace_id,
                status,
                ms,
                model_calls,
                tokens,
                code,
                scope,
                why,
                "a job ended"
            );
        } else {
            tracing::info!(job, flow, tenant, trace_id, status, ms, model_calls, tokens, "a job ended");
        }
    }

    /// The job waits for answers, or for another process.
    pub(super) fn parked(&self) {
        let (job, flow, tenant) = (&*self.held.id, &self.flow, &self.tenant);
        tracing::info!(job, flow, tenant, trace_id = self.spans.trace_id(), ms = self.ms(), "a job waits");
    }

    fn ms(&self) -> u64 {
        let ms = self.began.elapsed().unwrap_or_default().as_millis();
        u64::try_from(ms).unwrap_or(u64::MAX)
    }
}

impl Observer for Traced {
    fn notice(&self, notice: &Notice) {
        self.spans.notice(notice, self.held.is_replaying.load(Ordering::Relaxed));
        self.held.notice(notice);
    }

    fn looked_up(&self, op: &str, is_hit: bool) {
        self.held.looked_up(op, is_hit);
    }

    fn replayed(&self) {
        self.held.replayed();
    }

    fn calling(&self, asking: &Asking<'_>) -> Option<Box<dyn WatchCall>> {
        Some(self.spans.calling(asking))
    }
}

/// When a job was submitted: its id begins with it.
fn created(id: &str) -> Option<SystemTime> {
    let ms = u64::from_str_radix(id.strip_prefix("job_")?.get(..12)?, 16).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms))
}
