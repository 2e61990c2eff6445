//! What the API says when it cannot do what it was asked: RFC 9457 problems with a code, and all mistakes at once.

use std::borrow::Cow;
use std::time::Duration;

use anabranch_engine::diagnostic::{Diagnostic, Diagnostics};
use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::layers::REQUEST;
use crate::flows::FlowError;
use crate::store::StoreError;

/// The media type of problems.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// How long callers are asked to wait when the database is away or everything is busy.
const SOON: Duration = Duration::from_secs(1);

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $status:ident, $text:literal, $title:literal;)*) => {
        /// What kind of problem it is; each belongs to one HTTP status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

        impl Code {
            /// All of them, for the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As the API writes it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, whatever the request.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The HTTP status that it comes with.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }
        }
    };
}

codes! {
    /// The body is no JSON, or no UTF-8.
    BadJson = BAD_REQUEST, "bad_json", "the body cannot be read";
    /// A parameter of the query or the path makes no sense.
    BadParameter = BAD_REQUEST, "bad_parameter", "a parameter makes no sense";
    /// A header makes no sense.
    BadHeader = BAD_REQUEST, "bad_header", "a header makes no sense";
    /// There is no key, or it is not valid.
    NoKey = UNAUTHORIZED, "no_key", "a valid key is needed";
    /// The key lacks a scope.
    NoScope = FORBIDDEN, "no_scope", "the key does not allow this";
    /// There is no such path.
    NoRoute = NOT_FOUND, "no_route", "there is no such endpoint";
    /// There is no such object, or it belongs to somebody else.
    NotFound = NOT_FOUND, "not_found", "there is no such object";
    /// The path takes other methods.
    NoMethod = METHOD_NOT_ALLOWED, "no_method", "the endpoint does not take this method";
    /// Nothing of what the caller accepts can be given.
    NotAcceptable = NOT_ACCEPTABLE, "not_acceptable", "no accepted media type can be given";
    /// The request did not arrive in time.
    TooSlow = REQUEST_TIMEOUT, "too_slow", "the request did not arrive in time";
    /// The object is in a state in which this cannot be done.
    Conflict = CONFLICT, "conflict", "the object is in another state";
    /// A wait was answered before.
    Answered = CONFLICT, "answered", "the wait has an answer already";
    /// `If-Match` names another version.
    Changed = PRECONDITION_FAILED, "changed", "the object has changed since";
    /// The body is too large.
    TooLarge = PAYLOAD_TOO_LARGE, "too_large", "the request is too large";
    /// The body is of another media type.
    MediaType = UNSUPPORTED_MEDIA_TYPE, "media_type", "the body is of another media type";
    /// The body is well-formed and makes no sense.
    Invalid = UNPROCESSABLE_ENTITY, "invalid", "the request makes no sense";
    /// The inputs do not fit the flow.
    InvalidInputs = UNPROCESSABLE_ENTITY, "invalid_inputs", "the inputs do not fit the flow";
    /// The flow does not load.
    InvalidFlow = UNPROCESSABLE_ENTITY, "invalid_flow", "the flow does not load";
    /// The `Idempotency-Key` was used with another body.
    KeyReused = UNPROCESSABLE_ENTITY, "key_reused", "the idempotency key was used for another request";
    /// The request must say which version it changes.
    NoPrecondition = PRECONDITION_REQUIRED, "no_precondition", "the request must say which version it means";
    /// The caller asks too often.
    TooMany = TOO_MANY_REQUESTS, "too_many", "too many requests";
    /// The caller has too many jobs in the queue.
    QueueFull = TOO_MANY_REQUESTS, "queue_full", "too many jobs are queued";
    /// The tenant, or the key, has spent what it may in a day.
    Ceiling = TOO_MANY_REQUESTS, "ceiling", "what may be spent in a day is spent";
    /// Something of ours is wrong.
    Internal = INTERNAL_SERVER_ERROR, "internal", "something went wrong here";
    /// A job that was waited for failed.
    JobFailed = BAD_GATEWAY, "job_failed", "the job failed";
    /// A job that was waited for has not ended in time.
    Late = GATEWAY_TIMEOUT, "late", "the job has not ended in time";
    /// A backend failed.
    Backend = BAD_GATEWAY, "backend", "a backend failed";
    /// The process has as much to do as it can.
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", "too many requests are in flight";
    /// The process is stopping.
    Stopping = SERVICE_UNAVAILABLE, "stopping", "the process is stopping";
    /// The store cannot be reached.
    StoreAway = SERVICE_UNAVAILABLE, "store_away", "the store cannot be reached";
}

/// Why a request was not done.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What kind of problem.
    pub code: Code,
    /// What is wrong with this request.
    pub detail: String,
    /// What would be right.
    pub hint: Option<String>,
    /// Each mistake with its place.
    pub errors: Vec<Mistake>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// One mistake in a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Mistake {
    /// Where in the body: a JSON pointer such as `/inputs/question`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Of a batch, the line of the body, from 1; `pointer` then leads into that line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong.
    pub message: String,
    /// Of a flow's mistake, its code, such as `FLOW0032`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Of a flow's mistake, `error` or `warning`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Of a flow's mistake, where in its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A place in the text of a flow; lines and columns count from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Span {
    /// The file, or the flow's name.
    pub file: String,
    /// First line.
    pub line: usize,
    /// First column, in characters.
    pub column: usize,
    /// Last line.
    pub end_line: usize,
    /// One past the last column.
    pub end_column: usize,
}

/// A problem as it is sent: RFC 9457 with a code.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Names the kind of problem: `urn:anabranch:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What that kind means.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// The kind of problem: one word that does not change.
    pub code: &'static str,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The request, as the log names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The trace that the request belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Each mistake with its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Mistake>,
}

impl Problem {
    /// A problem: `detail` says what is wrong, in lower case, without a full stop.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = match code.status() {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some(SOON),
            _ => None,
        };
        Self { code, detail: detail.into(), hint: None, errors: Vec::new(), retry_after }
    }

    /// There is no `what` called `name`, or it belongs to somebody else: nobody can tell which.
    pub fn not_found(what: &str, name: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no {what} `{name}`"))
    }

    /// One field of the body makes no sense.
    pub fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let mistake = Mistake::at(pointer, message);
        Self::new(Code::Invalid, mistake.message.clone()).errors(vec![mistake])
    }

    /// A bug of ours: the log has `why`, the caller only learns that it happened.
    pub fn internal(why: impl std::fmt::Display) -> Self {
        tracing::error!(%why, "a request failed inside");
        Self::new(Code::Internal, "the request failed inside the service; the log has more under its id")
    }

    /// Says what would be right.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what would be right, if that is known.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// Lists every mistake.
    #[must_use]
    pub fn errors(mut self, errors: Vec<Mistake>) -> Self {
        self.errors = errors;
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// A flow that is not there or does not load; `pointer` is where the body names it.
    pub fn flow(error: FlowError, pointer: Option<&str>) -> Self {
        match (error.clone(), pointer) {
            (FlowError::Unknown { name, hint }, Some(pointer)) => {
                let mistake = Mistake {
                    hint: hint.clone(),
                    ..Mistake::at(pointer, format!("there is no flow `{name}`"))
                };
                Self::new(Code::Invalid, mistake.message.clone()).maybe_hint(hint).errors(vec![mistake])
            }
            (FlowError::Unknown { name, hint }, None) => Self::not_found("flow", &name).maybe_hint(hint),
            (FlowError::Invalid(diagnostics), _) => {
                let summary = anabranch_engine::diagnostic::summary(&diagnostics);
                Self::new(Code::InvalidFlow, format!("the flow does not load: {summary}"))
                    .errors(mistakes(&diagnostics))
            }
            (FlowError::Parts(why), _) => Self::new(Code::InvalidFlow, why),
            (FlowError::OtherHash { .. }, _) => Self::new(Code::Conflict, error.to_string()),
            (FlowError::Busy, _) => Self::new(Code::Overloaded, error.to_string()),
            (FlowError::Store(error), _) => error.into(),
            (FlowError::NoBundle(_) | FlowError::Read { .. } | FlowError::Broken, _) => Self::internal(error),
        }
    }

    /// As it is sent for the current request.
    pub fn body(&self) -> ProblemBody {
        let ids = REQUEST.try_with(Clone::clone).ok();
        ProblemBody {
            kind: format!("urn:anabranch:problem:{}", self.code.as_str()),
            title: self.code.title().into(),
            status: self.code.status().as_u16(),
            detail: self.detail.clone(),
            code: self.code.as_str(),
            hint: self.hint.clone(),
            request_id: ids.as_ref().map(|ids| ids.request_id.clone()),
            trace_id: ids.map(|ids| ids.trace_id),
            errors: self.errors.clone(),
        }
    }

    /// The problem of something that may be done or not.
    pub fn unsure(detail: &str, code: Code) -> Self {
        Self::new(code, detail).hint(
            "send it again with the same `Idempotency-Key`: what was taken in is not taken in twice; without a key, look \
             first whether it is there",
        )
    }

    /// `Retry-After`, in whole seconds, at least one.
    pub fn retry_after_header(&self) -> Option<HeaderValue> {
        let wait = self.retry_after?;
        Some(HeaderValue::from(wait.as_millis().div_ceil(1000).clamp(1, 86_400) as u64))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), Json(self.body())).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(wait) = self.retry_after_header() {
            response.headers_mut().insert(RETRY_AFTER, wait);
        }
        // Groups with errors of another shape make theirs from it.
        response.extensions_mut().insert(std::sync::Arc::new(self));
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => {
                tracing::warn!(%why, "the store cannot be reached");
                Self::new(Code::StoreAway, "the store cannot be reached")
            }
            StoreError::Unsure(why) => {
                tracing::warn!(%why, "the store stopped answering");
                Self::unsure(
                    "the store stopped answering, and it is not known whether this was done",
                    Code::StoreAway,
                )
            }
            StoreError::Refused(why) => {
                tracing::warn!(%why, "the database does not take a value of a request");
                Self::new(Code::Invalid, format!("the database does not take a value of this request: {why}"))
            }
            other => Self::internal(other),
        }
    }
}

impl Mistake {
    /// A mistake at `pointer` of the body.
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), message: message.into(), ..Self::default() }
    }
}

impl From<&Diagnostic> for Mistake {
    fn from(diagnostic: &Diagnostic) -> Self {
        let (line, column) = diagnostic.file.place(diagnostic.span.start);
        let (end_line, end_column) = diagnostic.file.place(diagnostic.span.end);
        let file = diagnostic.file.name.clone();
        let severity = serde_json::to_value(diagnostic.severity).ok();
        Self {
            pointer: None,
            line: None,
            message: diagnostic.message.clone(),
            code: Some(diagnostic.code.id().to_owned()),
            severity: severity.and_then(|word| word.as_str().map(str::to_owned)),
            span: Some(Span { file, line, column, end_line, end_column }),
            hint: diagnostic.hint.clone(),
        }
    }
}

/// Everything that the checker found.
pub fn mistakes(diagnostics: &Diagnostics) -> Vec<Mistake> {
    diagnostics.iter().map(Mistake::from).collect()
}
