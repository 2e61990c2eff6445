//! The lines of a batch: read and checked one by one, and everything that is wrong with them told at once.

use std::collections::BTreeMap;

use crate::api::App;
use crate::api::body::json;
use crate::api::caller::Caller;
use crate::api::jobs::prepare::{SESSION_BYTES, labels};
use crate::api::jobs::{JobRequest, prepare};
use crate::api::layers::{Ids, begun, new_trace};
use crate::api::problem::{Code, Mistake, Problem};
use crate::job::NewJob;
use crate::store::batches::{LINES_MAX, job_of};

/// Mistakes that are listed at most; the answer says how many there are.
const LISTED: usize = 1_000;
/// Lines that are checked before others have their turn.
const AT_ONCE: usize = 32;

/// What all jobs of a batch get.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) labels: BTreeMap<String, String>,
    session_id: Option<String>,
}

impl Common {
    /// Reads the query of the request.
    pub(super) fn read(query: &str) -> Result<Self, Problem> {
        let bad = |message: String| Problem::new(Code::BadParameter, message);
        let uri: axum::http::Uri =
            format!("/?{query}").parse().map_err(|_| bad("the query cannot be read".to_owned()))?;
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri)
            .map_err(|rejection| bad(rejection.body_text()))?;
        let mut common = Self::default();
        for (name, value) in pairs.0 {
            match (name.as_str(), name.strip_prefix("label.")) {
                ("session_id", _) if (1..=SESSION_BYTES).contains(&value.len()) => {
                    common.session_id = Some(value);
                }
                ("session_id", _) => {
                    return Err(bad(format!("`session_id` has 1 to {SESSION_BYTES} bytes")));
                }
                (_, Some(label)) => {
                    common.labels.insert(label.to_owned(), value);
                }
                _ => {
                    let problem = bad(format!("there is no parameter `{name}`"));
                    return Err(problem.hint("there are `label.NAME` and `session_id`"));
                }
            }
        }
        match labels(&common.labels).first() {
            Some(mistake) => Err(bad(mistake.message.clone())),
            None => Ok(common),
        }
    }

    fn complete(&self, request: &mut JobRequest) {
        for (name, value) in &self.labels {
            request.labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        if request.session_id.is_none() {
            request.session_id.clone_from(&self.session_id);
        }
    }
}

/// The jobs that the lines of `body` ask for.
pub(super) async fn read(
    app: &App,
    caller: &Caller,
    common: &Common,
    batch: &str,
    body: &[u8],
) -> Result<Vec<NewJob>, Problem> {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    if body.is_empty() {
        return Err(Problem::new(Code::Invalid, "the batch is empty").hint("send a job a line"));
    }
    let most = app.config.limits.batch.min(LINES_MAX);
    // No more is looked at than is needed to know that it is too much.
    let n_lines = body.split(|byte| *byte == b'\n').take(most.saturating_add(1)).count();
    if n_lines > most {
        return Err(Problem::new(Code::TooLarge, format!("the batch has more than {most} lines"))
            .hint("send several batches, or set `limits.batch` in the configuration"));
    }
    let (mut jobs, mut wrong) = (Vec::with_capacity(n_lines), Wrong::default());
    for (line, bytes) in (1_u64..).zip(body.split(|byte| *byte == b'\n')) {
        if usize::try_from(line).is_ok_and(|line| line.is_multiple_of(AT_ONCE)) {
            tokio::task::yield_now().await;
        }
        match one(app, caller, common, bytes).await {
            Ok(mut job) => {
                job.id = job_of(batch, line);
                job.batch_id = Some(batch.to_owned());
                jobs.push(job);
            }
            // What is not the line's fault is not told as if it were.
            Err(problem) if problem.code.status().is_server_error() => return Err(problem),
            Err(problem) => wrong.add(line, problem),
        }
    }
    wrong.problem(n_lines).map_or(Ok(jobs), Err)
}

async fn one(app: &App, caller: &Caller, common: &Common, line: &[u8]) -> Result<NewJob, Problem> {
    let most = app.config.limits.body_bytes;
    if line.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::new(Code::Invalid, "the line is empty"));
    }
    if line.len() > most {
        return Err(Problem::new(Code::Invalid, format!("the line has more than {most} bytes")));
    }
    let mut request: JobRequest = json(line)?;
    common.complete(&mut request);
    let mut job = prepare(app, caller, request).await?.job;
    // Jobs of a caller with a trace belong to it; the others have one each.
    if Ids::current().is_none_or(|ids| ids.traceparent.is_none()) {
        job.trace = Some(begun(&new_trace()));
    }
    Ok(job)
}

/// What is wrong so far.
#[derive(Default)]
struct Wrong {
    mistakes: Vec<Mistake>,
    n_mistakes: usize,
    n_lines: usize,
}

impl Wrong {
    fn add(&mut self, line: u64, problem: Problem) {
        let mut mistakes = problem.errors;
        if mistakes.is_empty() {
            mistakes.push(Mistake { message: problem.detail, hint: problem.hint, ..Mistake::default() });
        }
        self.n_lines += 1;
        self.n_mistakes += mistakes.len();
        let room = LISTED.saturating_sub(self.mistakes.len());
        self.mistakes
            .extend(mistakes.into_iter().take(room).map(|mistake| Mistake { line: Some(line), ..mistake }));
    }

    fn problem(self, n_lines: usize) -> Option<Problem> {
        if self.n_lines == 0 {
            return None;
        }
        let mut detail = format!(
            "{} of {n_lines} lines are wrong, so that nothing was submitted; `errors` lists what is wrong with them",
            self.n_lines
        );
        if self.n_mistakes > self.mistakes.len() {
            detail.push_str(&format!(", the first {} of {} mistakes", self.mistakes.len(), self.n_mistakes));
        }
        Some(Problem::new(Code::Invalid, detail).errors(self.mistakes))
    }
}
