//! When every node execution of a job began and ended, in a line each: for whoever draws runs of thousands of them.

use std::collections::HashMap;
use std::time::Duration;

use anabranch_engine::event::{Event, Record, Timer};
use anabranch_engine::run::{AbortedNode, inspect};
use anabranch_engine::scope::Scope;
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::nodes::{self, NodeError, NodeStatus};
use super::{find, view};
use crate::api::App;
use crate::api::caller::{Can, Read};
use crate::api::problem::Problem;
use crate::job::{Job, Status, Usage};

/// The node executions of a job, with their times.
#[derive(Debug, Serialize, ToSchema)]
pub struct Timeline {
    /// In the order in which they were first heard of.
    pub items: Vec<TimelineItem>,
    /// The number of the last record that is in it: events after it (`after`) go on from here.
    pub upto: Option<u64>,
    /// How old the run is, in milliseconds, without the time in which no process had it.
    pub elapsed_ms: f64,
    /// When no process had it, in order: while it waited for an answer, or for another process. Times of nodes leave
    /// them out; who draws them by the clock of the wall puts them in again.
    pub rests: Vec<Rest>,
}

/// A time in which no process had the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Rest {
    /// How old the run was when it began to rest, in milliseconds; it is as old when it goes on.
    pub at_ms: f64,
    /// How long it rested, so far if it still does.
    pub rested_ms: f64,
}

/// A node execution in a line. Times are milliseconds after the run's begin.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TimelineItem {
    /// Which: `answer`, `hop[2]/search`.
    pub node: String,
    /// The operator, or `flow`, `loop`, `each`, `wait`.
    pub op: String,
    /// Where it is.
    pub status: NodeStatus,
    /// Attempts made; turns or items of a loop or each.
    pub attempts: u32,
    /// Whether its result was kept from the job that this one repeats, or was put there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// When its first attempt was ready to begin; none for what only holds others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began_ms: Option<f64>,
    /// When its last attempt ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<f64>,
    /// How long its attempts waited for a free place, together.
    pub queued_ms: f64,
    /// Why it did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Why it failed, or failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<NodeError>,
    /// What it used, over all attempts; left out if that is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// From when to when.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) began: Option<Duration>,
    pub(super) ended: Option<Duration>,
    pub(super) queued: Duration,
    pub(super) kept: bool,
}

/// List the node executions of a job with their times
///
/// Without what they read and gave: that is at `/v1/jobs/{id}/nodes/{scope}`.
#[utoipa::path(get, path = "/v1/jobs/{id}/timeline", operation_id = "show_timeline", tag = "jobs", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "the node executions", body = Timeline)))]
pub async fn timeline(
    State(app): State<App>,
    can: Can<Read>,
    Path(id): Path<String>,
) -> Result<Json<Timeline>, Problem> {
    let job = find(&app, &can, &id).await?;
    let written = nodes::records(&app, &id).await?;
    let (walls, records): (Vec<i64>, Vec<Record>) = written.into_iter().unzip();
    let kept_until = kept_until(&job, &records);
    let rests = rests(&walls, &records, kept_until, (job.status == Status::Waiting).then(|| app.now_ms()));
    // Nothing is written while a node works: the clock of the wall says how long it has by now.
    let since = match (job.status, walls.last()) {
        (Status::Running, Some(wall)) => u64::try_from(app.now_ms() - wall).unwrap_or_default(),
        _ => 0,
    };
    let upto = records.last().map(|record| record.seq);
    if !matches!(records.first().map(|record| &record.event), Some(Event::RunStarted { .. })) {
        return Ok(Json(Timeline { items: Vec::new(), upto, elapsed_ms: 0.0, rests }));
    }
    let seen = inspect(&nodes::plan(&app, &job).await?, &records).map_err(Problem::internal)?;
    let times = times(&records, kept_until, &seen.aborted);
    let mut items: Vec<TimelineItem> = Vec::with_capacity(seen.nodes.len() + seen.open.len());
    let mut positions: HashMap<&Scope, usize> = HashMap::with_capacity(seen.nodes.len());
    for report in &seen.nodes {
        positions.insert(&report.scope, items.len());
        let usage = view::usage(report.usage);
        items.push(TimelineItem {
            status: nodes::status_of(report, &seen.waits, job.status),
            attempts: report.attempts,
            skipped: report.skipped.as_deref().map(str::to_owned),
            error: report.failure.as_ref().map(NodeError::from),
            usage: (usage != Usage::default()).then_some(usage),
            ..item(&report.scope, &report.op, times.get(&report.scope))
        });
    }
    for open in &seen.open {
        if let Some(known) = positions.get(&open.scope).and_then(|at| items.get_mut(*at)) {
            known.status = NodeStatus::Running;
            known.attempts = open.attempt;
            known.ended_ms = None;
            continue;
        }
        items.push(TimelineItem {
            attempts: open.attempt,
            began_ms: Some(ms(open.since)),
            ..item(&open.scope, open.op, None)
        });
    }
    Ok(Json(Timeline { items, upto, elapsed_ms: ms(seen.elapsed + Duration::from_millis(since)), rests }))
}

fn item(scope: &Scope, op: &str, times: Option<&Times>) -> TimelineItem {
    let times = times.copied().unwrap_or_default();
    TimelineItem {
        node: scope.to_string(),
        op: op.to_owned(),
        status: NodeStatus::Running,
        attempts: 0,
        kept: times.kept,
        began_ms: times.began.map(ms),
        ended_ms: times.ended.map(ms),
        queued_ms: ms(times.queued),
        skipped: None,
        error: None,
        usage: None,
    }
}

/// The number of the first record that is of this job: those before it were kept from the job that it repeats. A process
/// that takes a job up says so before it does anything.
pub(super) fn kept_until(job: &Job, records: &[Record]) -> u64 {
    let taken_up = records.iter().find(|record| matches!(record.event, Event::TakenUp { .. }));
    let first = taken_up.or(records.last()).map_or(0, |record| record.seq);
    if job.retry_of.is_some() { first } else { 0 }
}

/// When what ran began and ended, by the records, of which those before `kept_until` were kept; `aborted` was stopped.
pub(super) fn times(records: &[Record], kept_until: u64, aborted: &[AbortedNode]) -> HashMap<Scope, Times> {
    let mut found: HashMap<Scope, Times> = HashMap::new();
    for record in records {
        let at = record.at;
        match &record.event {
            Event::AttemptEnded { scope, timing, .. } => {
                let times = found.entry(scope.clone()).or_default();
                times.began.get_or_insert(at.saturating_sub(timing.ran + timing.queued));
                times.ended = Some(at);
                times.queued += timing.queued;
                times.kept = record.seq < kept_until;
            }
            Event::Given { scope, .. } => {
                found.insert(
                    scope.clone(),
                    Times { began: Some(at), ended: Some(at), queued: Duration::ZERO, kept: true },
                );
            }
            Event::WaitOpened { scope, .. } => {
                found.entry(scope.clone()).or_default().began.get_or_insert(at);
            }
            Event::WaitAnswered { scope, .. } | Event::TimerFired(Timer::Wait(scope)) => {
                found.entry(scope.clone()).or_default().ended = Some(at);
            }
            _ => {}
        }
    }
    for AbortedNode { scope, since, at, .. } in aborted {
        let times = found.entry(scope.clone()).or_default();
        times.began.get_or_insert(*since);
        times.ended = Some(*at);
    }
    found
}

/// When the run had no process, by when each of its records was written (`walls`, unix ms). What lies before `kept_until`
/// is of the job that it repeats; `resting` is now, if it rests.
fn rests(walls: &[i64], records: &[Record], kept_until: u64, resting: Option<i64>) -> Vec<Rest> {
    let rest = |(wall, record): (&i64, &Record), until_ms: i64, at: Duration| {
        let gone = Duration::from_millis(u64::try_from(until_ms - wall).unwrap_or_default());
        Rest { at_ms: ms(at), rested_ms: ms(gone.saturating_sub(at.saturating_sub(record.at))) }
    };
    let goes_on = |record: &Record| record.seq > kept_until && matches!(record.event, Event::TakenUp { .. });
    let written = || walls.iter().zip(records);
    let pairs = written().zip(written().skip(1));
    let over =
        pairs.filter(|(_, (_, next))| goes_on(next)).map(|(last, (wall, next))| rest(last, *wall, next.at));
    let open = resting.zip(written().next_back()).map(|(now, last)| rest(last, now, last.1.at));
    over.chain(open).collect()
}

/// Milliseconds, with their parts.
pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
