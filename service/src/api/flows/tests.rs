//! The tests that a flow carries, run by the service as `anabranch test` runs them.

use std::time::Duration;

use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::expect::Unmet;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::given::GivenFlow;
use crate::api::App;
use crate::api::caller::{Can, Run};
use crate::api::problem::{Problem, ProblemBody};
use crate::trial;

/// Longest time for all tests of a flow together; those that it does not suffice for are left out.
const TESTS_TIME: Duration = Duration::from_secs(30);
/// Most tests of a flow that are run.
const TESTS_MAX: usize = 200;
/// Flows that are tested at once in a process: tests compute, and are nobody's job.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// What came of the tests of a flow.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct FlowTests {
    /// How many gave what is expected.
    pub passed: usize,
    /// How many did not.
    pub failed: usize,
    /// How many were not run: there are too many, or the time was up.
    pub left_out: usize,
    /// Those that ran, in the order in which they are written.
    pub tests: Vec<FlowTest>,
}

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlowTest {
    /// Its name.
    pub name: String,
    /// On which line of the flow it stands, from 1.
    pub line: usize,
    /// Whether it gave what is expected.
    pub passed: bool,
    /// How long it ran, in milliseconds.
    pub ms: f64,
    /// What is not as expected.
    pub unmet: Vec<FlowTestUnmet>,
    /// Why it could not be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An expectation that is not met.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlowTestUnmet {
    /// What was looked at.
    pub what: String,
    /// What the test asks for.
    pub expected: String,
    /// What the run gave.
    pub got: String,
    /// The line of the expectation, from 1.
    pub line: usize,
    /// Its column, from 1.
    pub column: usize,
}

impl FlowTestUnmet {
    fn of(unmet: Unmet, source: &SourceFile) -> Self {
        let (line, column) = source.place(unmet.span.start);
        Self { what: unmet.what, expected: unmet.expected, got: unmet.got, line, column }
    }
}

/// Run the tests of a flow
///
/// Runs each of its `tests:` and tells what is not as expected; nothing is kept, and no job is made. Nothing outside is
/// asked: models answer from a test's `script:`, there are no indexes, and recordings (`replay:`) are only known to
/// `anabranch test`. Tests that 30 seconds do not suffice for, and those after the 200th, are left out.
#[utoipa::path(post, path = "/v1/flows/test", tag = "flows", operation_id = "test_flow", security(("key" = ["run"])),
    request_body(content((Object = "application/yaml"), (crate::flows::Given = "application/json"))),
    responses((status = 200, description = "what came of them", body = FlowTests),
        (status = 422, description = "the flow is invalid", body = ProblemBody, content_type = "application/problem+json")))]
pub async fn run(
    State(app): State<App>,
    caller: Can<Run>,
    GivenFlow(given): GivenFlow,
) -> Result<Json<FlowTests>, Problem> {
    let bound = app.flows.bind(&caller.tenant, given).await.map_err(|error| Problem::flow(error, None))?;
    let source = SourceFile::new(bound.bundle.name.as_str(), bound.bundle.flow.as_str());
    let until = Instant::now() + TESTS_TIME;
    let mut found = FlowTests { left_out: bound.plan.tests.len(), ..FlowTests::default() };
    let Ok(_permit) = timeout_at(until, AT_ONCE.acquire()).await else { return Ok(Json(found)) };
    let recording =
        |_: &str| Err("its recording is not with the service; `anabranch test` has it".to_owned());
    for test in bound.plan.tests.iter().take(TESTS_MAX) {
        let began = Instant::now();
        let run = trial::run(&bound.plan, test, &app.config, recording, &app.stopping);
        let Ok(tested) = timeout_at(until, run).await else { break };
        let passed = tested.as_ref().is_ok_and(Vec::is_empty);
        *(if passed { &mut found.passed } else { &mut found.failed }) += 1;
        found.left_out -= 1;
        let error = tested.as_ref().err().cloned();
        let unmet = tested.unwrap_or_default().into_iter().map(|unmet| FlowTestUnmet::of(unmet, &source));
        found.tests.push(FlowTest {
            name: test.name.value.clone(),
            line: source.place(test.name.span.start).0,
            passed,
            ms: began.elapsed().as_secs_f64() * 1e3,
            unmet: unmet.collect(),
            error,
        });
    }
    Ok(Json(found))
}
