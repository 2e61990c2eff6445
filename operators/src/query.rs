//! Operators that change the query, and what they share.

pub mod decompose;
pub mod expand;
pub mod hyde;
mod lost;
pub mod multi;
pub mod next_hop;
pub mod rewrite;
pub mod step_back;

/// Longest query that is taken from a model, in characters.
pub(crate) const QUERY_CHARS_MAX: usize = 1000;

/// The text on one line, without space around it.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What two queries that differ in case and space alone have in common.
pub(crate) fn key(query: &str) -> String {
    one_line(query).to_lowercase()
}

/// Whether the query is longer than any that is taken from a model.
pub(crate) fn is_too_long(query: &str) -> bool {
    query.chars().nth(QUERY_CHARS_MAX).is_some()
}
