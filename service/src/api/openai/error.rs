//! Errors as `OpenAI`'s clients read them.

use axum::Json;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::layers::Ids;
use crate::api::problem::{Code, Problem};

/// Tells `OpenAI`'s clients whether the same request may be sent again; without it they go by the status alone.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An error as `OpenAI` writes it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiError {
    /// What is wrong.
    pub error: OpenAiErrorBody,
}

/// What is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiErrorBody {
    /// What is wrong, and what would be right.
    pub message: String,
    /// Whose affair it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The parameter that it is about.
    pub param: Option<String>,
    /// What kind of problem: one word that does not change.
    pub code: &'static str,
    /// The request, as the log names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Whether errors of this path have `OpenAI`'s shape.
pub fn speaks(path: &str) -> bool {
    ["/v1/models", "/v1/chat/completions", "/v1/responses"]
        .iter()
        .any(|ours| path.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// A problem in `OpenAI`'s shape, with the headers of `response`.
#[expect(clippy::needless_pass_by_value, reason = "takes the place of the response")]
pub fn refusal(problem: &Problem, response: Response) -> Response {
    let headers = response.headers().clone();
    let mut refused = (response.status(), Json(body(problem))).into_response();
    for (name, value) in &headers {
        if ![CONTENT_TYPE, CONTENT_LENGTH].contains(name) {
            refused.headers_mut().insert(name.clone(), value.clone());
        }
    }
    // A flow that failed would be run, and paid for, again; clients are to try again only where nothing was done.
    let may_retry = matches!(
        problem.code,
        Code::TooMany | Code::QueueFull | Code::Overloaded | Code::Stopping | Code::StoreAway
    );
    let word = if may_retry { "true" } else { "false" };
    refused.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static(word));
    refused
}

/// What a problem is to `OpenAI`'s clients.
pub(super) fn body(problem: &Problem) -> OpenAiError {
    let mut message = problem.detail.clone();
    if let Some(hint) = &problem.hint {
        message.push_str(": ");
        message.push_str(hint);
    }
    // The detail of a single mistake is its message, with its place before it.
    let more = problem.errors.iter().filter(|mistake| !problem.detail.ends_with(&mistake.message));
    for mistake in more {
        message.push_str("; ");
        message.push_str(&mistake.message);
    }
    // What is wrong with the body as a whole is wrong with no parameter of it.
    let mut pointers = problem.errors.iter().filter_map(|mistake| mistake.pointer.as_deref());
    let param = pointers.find(|pointer| !pointer.is_empty());
    OpenAiError {
        error: OpenAiErrorBody {
            message,
            kind: kind(problem),
            param: param.map(|pointer| pointer.trim_start_matches('/').replace('/', ".")),
            code: code(problem.code),
            request_id: Ids::current().map(|ids| ids.request_id),
        },
    }
}

fn kind(problem: &Problem) -> &'static str {
    match problem.code.status() {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

/// The words that `OpenAI`'s clients know, where it has one for the same thing.
fn code(code: Code) -> &'static str {
    match code {
        Code::NoKey => "invalid_api_key",
        Code::TooMany => "rate_limit_exceeded",
        Code::Ceiling => "insufficient_quota",
        code => code.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_paths_of_openai_speak_its_language() {
        for path in
            ["/v1/models", "/v1/models/flow/qa", "/v1/chat/completions", "/v1/responses/resp_1/cancel"]
        {
            assert!(speaks(path), "{path}");
        }
        for path in ["/v1/jobs", "/v1/modelsx", "/v1/chat", "/healthz"] {
            assert!(!speaks(path), "{path}");
        }
    }

    #[test]
    fn a_mistake_names_its_parameter_and_what_would_be_right() {
        let problem = Problem::invalid("/messages/0/role", "there is no role `robot`").hint("write `user`");
        let error = body(&problem).error;
        assert_eq!(error.message, "there is no role `robot`: write `user`");
        assert_eq!(
            (error.kind, error.param.as_deref(), error.code),
            ("invalid_request_error", Some("messages.0.role"), "invalid")
        );
    }

    #[test]
    fn a_mistake_is_told_once() {
        let read = |text: &str| {
            let problem =
                crate::api::body::json::<crate::api::openai::chat::ChatRequest>(text.as_bytes()).unwrap_err();
            let error = body(&problem).error;
            (error.message, error.param)
        };
        assert_eq!(read(r#"{"model": "flow/qa"}"#), ("missing field `messages`".to_owned(), None));
        let (message, param) = read(r#"{"model": "flow/qa", "messages": [{}]}"#);
        assert_eq!(
            (&*message, param.as_deref()),
            ("`/messages/0`: missing field `role`", Some("messages.0"))
        );
    }

    #[test]
    fn a_flow_that_failed_is_not_to_be_asked_again_but_a_full_queue_is() {
        let told = |code| {
            let problem = Problem::new(code, "no");
            let response = refusal(&problem, problem.clone().into_response());
            assert_eq!(response.status(), code.status());
            response.headers()[SHOULD_RETRY].to_str().unwrap().to_owned()
        };
        assert_eq!(told(Code::Backend), "false");
        assert_eq!(told(Code::QueueFull), "true");
    }
}
