//! A refusal as the server puts it: `application/problem+json`, read leniently, shown with its places and hints.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::exit::Exit;

/// Details of a refusal that are shown; a server has a bound of its own.
const SHOWN_MAX: usize = 50;

/// A refusal of the server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What kind of refusal, for programs.
    pub code: String,
    /// What kind of refusal, for people.
    pub title: String,
    /// What is wrong.
    pub detail: Option<String>,
    /// What would be right.
    pub hint: Option<String>,
    /// The request, as the server's log names it.
    pub request_id: Option<String>,
    /// All that is wrong, one by one.
    pub errors: Vec<Detail>,
    /// When it may be asked again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// Where in the body, as a JSON pointer.
    pub pointer: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What kind of mistake: `FLOW0007`.
    pub code: Option<String>,
    /// Where in the flow.
    pub span: Option<Span>,
    /// What would be right.
    pub hint: Option<String>,
}

/// A place in a flow: lines and columns from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Span {
    /// The file, if it is not the flow itself.
    pub file: Option<String>,
    /// First line.
    pub line: u64,
    /// First column.
    pub column: u64,
}

impl Problem {
    /// The refusal in an answer with this status; a body that is no problem is shown as it is.
    pub(super) fn read(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(body);
            let detail = text.trim().chars().take(500).collect::<String>();
            Self { detail: (!detail.is_empty()).then_some(detail), ..Self::default() }
        });
        problem.status = status;
        problem.retry_after = retry_after;
        problem
    }

    /// How a command ends that is refused so.
    pub(super) fn exit(&self) -> Exit {
        let is_flow = self
            .errors
            .iter()
            .any(|error| error.code.as_deref().is_some_and(|code| code.starts_with("FLOW")));
        match self.status {
            401 | 403 => Exit::NotAllowed,
            429 => Exit::OverBudget,
            502..=504 => Exit::Unavailable,
            400..=499 if is_flow || self.code == "invalid_flow" => Exit::Invalid,
            400..=499 => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    /// What would be right, if anybody knows.
    pub(super) fn advice(&self) -> Option<String> {
        if self.status == 401 {
            return Some(
                "set ANABRANCH_KEY to a key of this server; `anabranch keys create` makes one".to_owned(),
            );
        }
        let again = self.retry_after.map(|wait| format!("ask again in {} s", wait.as_secs().max(1)));
        // When it may be asked again is said besides what the server would do.
        // A hint that stands with its mistake is shown there.
        let is_shown = |hint: &String| self.errors.iter().any(|error| error.hint.as_ref() == Some(hint));
        match (self.hint.clone().filter(|hint| !is_shown(hint)), again) {
            (Some(hint), Some(again)) => Some(format!("{hint}; {again}")),
            (hint, again) => hint.or(again),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.detail.as_deref().filter(|text| !text.is_empty());
        // That `errors` lists the rest is for programs: here it follows.
        let said = said.map(|text| text.trim_end_matches("; `errors` lists them"));
        if let [one] = self.errors.as_slice()
            && Some(one.message.as_str()) == said
        {
            return write!(f, "{one}");
        }
        match said.or(Some(self.title.as_str()).filter(|title| !title.is_empty())) {
            Some(text) => f.write_str(text)?,
            None => write!(f, "the server answered with status {}", self.status)?,
        }
        for error in self.errors.iter().take(SHOWN_MAX) {
            write!(f, "\n  {error}")?;
        }
        if let Some(more) = self.errors.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
            write!(f, "\n  and {more} more")?;
        }
        // Who asks for help needs it where the fault is the server's.
        if self.status >= 500
            && let Some(id) = &self.request_id
        {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(span) = &self.span {
            let file = span.file.as_deref().unwrap_or("flow");
            write!(f, "{file}:{}:{}: ", span.line, span.column)?;
        } else if let Some(pointer) = self.pointer.as_deref().filter(|pointer| !pointer.is_empty()) {
            write!(f, "{pointer}: ")?;
        }
        if let Some(code) = &self.code {
            write!(f, "[{code}] ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n    hint: {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_shown_with_each_place_and_hint() {
        let body =
            br#"{"type": "about:blank", "title": "invalid flow", "status": 422, "code": "invalid_flow",
            "detail": "the flow has 1 error", "request_id": "req_1",
            "errors": [{"pointer": "/flow", "message": "no port `chunk`", "code": "FLOW0007",
                        "span": {"line": 14, "column": 15}, "hint": "its port is `chunks`"},
                       {"pointer": "/inputs/n", "message": "expected `int`"}]}"#;
        let problem = Problem::read(422, None, body);
        assert_eq!(
            problem.to_string(),
            "the flow has 1 error\n  flow:14:15: [FLOW0007] no port `chunk`\n    hint: its port is `chunks`\n  \
             /inputs/n: expected `int`"
        );
        assert_eq!(problem.exit(), Exit::Invalid);
    }

    #[test]
    fn what_is_wrong_is_not_told_twice() {
        let one = br#"{"detail": "there is no flow `x`", "hint": "there are: `y`",
            "errors": [{"pointer": "/flow", "message": "there is no flow `x`", "hint": "there are: `y`"}]}"#;
        let one = Problem::read(422, None, one);
        assert_eq!(one.to_string(), "/flow: there is no flow `x`\n    hint: there are: `y`");
        assert_eq!(one.advice(), None, "the hint is shown already");
        let two = br#"{"detail": "2 things are wrong; `errors` lists them",
            "errors": [{"message": "a"}, {"message": "b"}]}"#;
        assert_eq!(Problem::read(422, None, two).to_string(), "2 things are wrong\n  a\n  b");
    }

    #[test]
    fn statuses_have_the_exit_codes_that_the_help_names() {
        let exit = |status| Problem::read(status, None, b"").exit();
        assert_eq!(
            [401, 403, 404, 429, 500, 503].map(exit),
            [
                Exit::NotAllowed,
                Exit::NotAllowed,
                Exit::Usage,
                Exit::OverBudget,
                Exit::Failed,
                Exit::Unavailable
            ]
        );
        assert_eq!(Problem::read(503, None, b"<html>").to_string(), "<html>");
        assert_eq!(Problem::read(500, None, b"").to_string(), "the server answered with status 500");
        let wait = Some(Duration::from_secs(7));
        assert_eq!(Problem::read(429, wait, b"{}").advice().unwrap(), "ask again in 7 s");
    }
}
