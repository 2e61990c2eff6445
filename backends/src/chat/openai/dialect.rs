//! What a server takes of a request: found out by its refusals, one at a time, and remembered.

use std::sync::atomic::{AtomicU8, Ordering};

use anabranch_engine::backend::{ChatRequest, Error};

/// What a request may hold that some servers refuse, and that it can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    /// `response_format` of type `json_schema`; next is `json_object`, with the schema in the last message.
    Schema = 1,
    /// `response_format` of any type; the schema in the last message is left.
    JsonObject = 1 << 1,
    /// `logprobs`: the answer comes without.
    Logprobs = 1 << 2,
    /// `max_tokens`: models of `OpenAI` that think have `max_completion_tokens`.
    MaxTokens = 1 << 3,
    /// `temperature`: the same models have only their own.
    Temperature = 1 << 4,
    /// `seed`.
    Seed = 1 << 5,
    /// `stream_options`: the answer comes without counts of tokens.
    StreamOptions = 1 << 6,
}

impl Extra {
    /// How many there are: no call sends more requests than one more than this.
    pub(super) const COUNT: usize = 7;
}

/// The extras that a server has refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Dialect(u8);

impl Dialect {
    /// Whether the server has not refused `extra`.
    pub(super) fn takes(self, extra: Extra) -> bool {
        self.0 & extra as u8 == 0
    }

    pub(super) fn without(self, extra: Extra) -> Self {
        Self(self.0 | extra as u8)
    }

    /// Names the request in this dialect: a server that remembers its refusals by key must not answer with them.
    pub(super) fn key(self, key: &str) -> String {
        if self == Self::default() { key.to_owned() } else { format!("{key}-{:02x}", self.0) }
    }

    /// What `error` refuses of `request`, and could be left out; `None` if that is no reason for it.
    pub(super) fn refused(self, error: &Error, request: &ChatRequest) -> Option<Refusal> {
        // Some servers fail with a status of 500 over what they do not know.
        let (Error::Rejected { message, .. } | Error::Unavailable { message, .. }) = error else {
            return None;
        };
        let message = message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        let whole = |extra| Some(Refusal { extra, is_lasting: true });
        if request.response_schema.is_some() && (says(FORMAT_WORDS) || says(SCHEMA_WORDS)) {
            // What is wrong with one schema says nothing of the next.
            let is_lasting = !says(SCHEMA_WORDS);
            for extra in [Extra::Schema, Extra::JsonObject] {
                if self.takes(extra) {
                    return Some(Refusal { extra, is_lasting });
                }
            }
        }
        let is_unknown = says(UNKNOWN_WORDS);
        let can_lose = |extra, is_sent: bool, word: &str| is_sent && self.takes(extra) && says(&[word]);
        if can_lose(Extra::Logprobs, request.logprobs.is_some(), "logprobs") {
            return whole(Extra::Logprobs);
        }
        if !is_unknown {
            return None;
        }
        if can_lose(Extra::MaxTokens, request.max_tokens.is_some(), "max_completion_tokens") {
            return whole(Extra::MaxTokens);
        }
        if can_lose(Extra::Temperature, request.temperature.is_some(), "temperature") {
            return whole(Extra::Temperature);
        }
        if can_lose(Extra::Seed, request.seed.is_some(), "seed") {
            return whole(Extra::Seed);
        }
        can_lose(Extra::StreamOptions, true, "stream_options")
            .then_some(Refusal { extra: Extra::StreamOptions, is_lasting: true })
    }
}

/// An extra that a server does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) extra: Extra,
    /// Whether it will refuse the extra of the next request too.
    pub(super) is_lasting: bool,
}

/// Refusals of `response_format`: `OpenAI`, vLLM, `SGLang`, TGI (which wants the schema as `value`), llama.cpp.
const FORMAT_WORDS: &[&str] = &[
    "response_format",
    "response format",
    "json_schema",
    "json_object",
    "guided",
    "structured output",
    "structured_output",
    "missing field `value`",
];
/// Refusals of one schema: `OpenAI`'s strict mode, the grammars of vLLM, TGI and llama.cpp.
const SCHEMA_WORDS: &[&str] = &["invalid schema", "json schema", "grammar"];
/// Refusals of a field, whatever its value.
const UNKNOWN_WORDS: &[&str] =
    &["support", "unknown", "unrecognized", "extra", "not permitted", "not allowed", "unexpected"];

/// What is known of a server, for as long as the process lives.
#[derive(Debug, Default)]
pub(super) struct Known(AtomicU8);

impl Known {
    pub(super) fn dialect(&self) -> Dialect {
        Dialect(self.0.load(Ordering::Relaxed))
    }

    /// Adds what `dialect` does without.
    pub(super) fn learn(&self, dialect: Dialect) {
        self.0.fetch_or(dialect.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(dialect: Dialect, message: &str) -> Option<(Extra, bool)> {
        let request = ChatRequest {
            response_schema: Some(json!({})),
            logprobs: Some(3),
            max_tokens: Some(9),
            temperature: Some(0.0),
            seed: Some(1),
            ..ChatRequest::default()
        };
        let error = Error::Rejected { backend: "m".into(), message: message.into() };
        dialect.refused(&error, &request).map(|refusal| (refusal.extra, refusal.is_lasting))
    }

    #[test]
    fn each_servers_way_to_refuse_is_known() {
        let all = Dialect::default();
        for (message, expected) in [
            (
                "400 Bad Request: Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
                Some((Extra::Schema, true)),
            ),
            (
                "400 Bad Request: Invalid schema for response_format 'answer': 'additionalProperties' is required",
                Some((Extra::Schema, false)),
            ),
            (
                "422 Unprocessable Entity: Failed to deserialize the JSON body into the target type: response_format: missing field `value`",
                Some((Extra::Schema, true)),
            ),
            (
                "500 Internal Server Error: response_format type must be one of \"text\" or \"json_object\", but got: json_schema",
                Some((Extra::Schema, true)),
            ),
            ("400 Bad Request: failed to parse grammar", Some((Extra::Schema, false))),
            (
                "403 Forbidden: You are not allowed to request logprobs from this model",
                Some((Extra::Logprobs, true)),
            ),
            (
                "400 Bad Request: Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                Some((Extra::MaxTokens, true)),
            ),
            ("400 Bad Request: 'max_tokens' or 'max_completion_tokens' is too large: 9000.", None),
            (
                "400 Bad Request: Unsupported value: 'temperature' does not support 0 with this model.",
                Some((Extra::Temperature, true)),
            ),
            ("400 Bad Request: temperature must be between 0 and 1", None),
            (
                "422 Unprocessable Entity: Extra inputs are not permitted: stream_options",
                Some((Extra::StreamOptions, true)),
            ),
            ("422 Unprocessable Entity: extra_forbidden: seed", Some((Extra::Seed, true))),
            ("400 Bad Request: This model's maximum context length is 4096 tokens", None),
            ("401 Unauthorized", None),
        ] {
            assert_eq!(refused(all, message), expected, "{message}");
        }
    }

    #[test]
    fn what_was_left_out_is_no_reason_any_more() {
        let message = "400 Bad Request: response_format is not supported";
        let object = Dialect::default().without(Extra::Schema);
        assert_eq!(refused(object, message), Some((Extra::JsonObject, true)));
        assert_eq!(refused(object.without(Extra::JsonObject), message), None);
        assert_eq!(object.key("k"), "k-01");
        assert_eq!(Dialect::default().key("k"), "k");
    }
}
