//! What is wrong with a configuration, and where.

use std::io;
use std::path::PathBuf;

use anabranch_engine::diagnostic;
use serde_yaml::{Error as YamlError, MessageFormatter, UserMessageFormatter};

/// Stands between a message and its hint where only one text can be given; YAML messages have no such character.
pub(super) const HINT_MARK: char = '\u{1f}';

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be a configuration.
    #[error("the configuration `{}` has more than {max_bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes of a configuration.
        max_bytes: u64,
    },
    /// Something in the file is wrong: all that is known, by place.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// Something that is wrong in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{}:{}: {message}{}", place.line, place.column, hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default())]
pub struct Problem {
    /// The file, as the user named it.
    pub file: String,
    /// Where in the file.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// A place in a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

impl Place {
    /// Where `found` stands.
    pub(super) fn of<T>(found: &serde_yaml::Spanned<T>) -> Self {
        Self { line: found.referenced.line(), column: found.referenced.column() }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Error {
    pub(super) fn invalid(file: &str, error: &YamlError) -> Self {
        // Without the snippet: it would show what stands around the place, such as a key that should not be there.
        let error = error.without_snippet();
        let (line, column) = error.location().map_or((1, 1), |place| (place.line(), place.column()));
        let (message, hint) = describe(error);
        let place = Place { line: line.max(1), column: column.max(1) };
        Self::Invalid(vec![Problem { file: file.to_owned(), place, message, hint }])
    }
}

fn describe(error: &YamlError) -> (String, Option<String>) {
    match error {
        YamlError::SerdeUnknownField { field, expected, .. } => (
            format!("unknown key `{field}`"),
            diagnostic::suggest(field, expected.iter().copied(), "there are"),
        ),
        YamlError::SerdeUnknownVariant { variant, expected, .. } => (
            format!("unknown value `{variant}`"),
            diagnostic::suggest(variant, expected.iter().copied(), "there are"),
        ),
        YamlError::SerdeMissingField { field, .. } => (format!("`{field}` is missing"), None),
        YamlError::SerdeInvalidType { unexpected, expected, .. }
        | YamlError::SerdeInvalidValue { unexpected, expected, .. } => {
            (format!("expected {expected}, found {unexpected}"), None)
        }
        YamlError::Unexpected { expected, .. } => (format!("expected {}", plain(expected)), None),
        YamlError::InvalidScalar { ty, .. } => (format!("expected {}", plain(ty)), None),
        YamlError::DuplicateMappingKey { key: Some(key), .. } => {
            (format!("the key `{key}` stands twice"), Some("keep one of the two".to_owned()))
        }
        _ => {
            let text = UserMessageFormatter.format_message(error);
            match text.split_once(HINT_MARK) {
                None if text.starts_with("tabs disallowed") => {
                    ("a tab indents".to_owned(), Some("indent with spaces".to_owned()))
                }
                Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
                None => (text.trim_end_matches('.').to_owned(), None),
            }
        }
    }
}

/// What the YAML reader waits for, in words that people use.
fn plain(expected: &str) -> &str {
    match expected {
        "mapping start" => "a mapping",
        "sequence start" => "a list",
        "string scalar" | "string" => "a text",
        "u32" | "u64" | "usize" => "a whole number, at least 0",
        "f64" | "floating point" => "a number",
        "boolean" | "bool" => "`true` or `false`",
        other => other,
    }
}

/// A message with its hint, as one text.
pub(super) fn with_hint(message: &str, hint: &str) -> String {
    format!("{message}{HINT_MARK}{hint}")
}
