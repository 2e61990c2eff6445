//! Why a program gave no value.

use std::fmt;

/// Why a program gave no value. Running it again gives the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not written in the language, or uses what the language here does not have.
    #[error("line {line}: {message}")]
    Syntax {
        /// Where, from 1.
        line: u32,
        /// What is wrong.
        message: String,
    },
    /// It did something that has no meaning, such as dividing by zero.
    #[error("line {line}: {kind}: {message}")]
    Raised {
        /// Where, from 1.
        line: u32,
        /// The class of the exception, as Python names it.
        kind: &'static str,
        /// What is wrong.
        message: String,
    },
    /// It was stopped at a bound.
    #[error("line {line}: stopped: {bound}")]
    Exceeded {
        /// Where it stood then, from 1.
        line: u32,
        /// Which bound.
        bound: Bound,
    },
}

/// A bound at which a program is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Steps.
    Steps(u64),
    /// Bytes allocated.
    Memory(u64),
    /// Calls inside each other.
    Calls(u32),
    /// Expressions, blocks or values inside each other.
    Nesting(u32),
    /// Bytes of the program.
    Source(usize),
    /// Bytes printed.
    Output(usize),
    /// Bits of an integer.
    Integer,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(n) => write!(f, "more than {n} steps"),
            Self::Memory(n) => write!(f, "more than {n} bytes allocated"),
            Self::Calls(n) => write!(f, "more than {n} calls inside each other"),
            Self::Nesting(n) => write!(f, "nested more than {n} deep"),
            Self::Source(n) => write!(f, "the program has more than {n} bytes"),
            Self::Output(n) => write!(f, "more than {n} bytes printed"),
            Self::Integer => f.write_str("an integer of more than 127 bits"),
        }
    }
}

/// Why the interpreter stops, before it is known on which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    Raised { kind: &'static str, message: String },
    Exceeded(Bound),
}

pub(super) type Step<T> = Result<T, Stop>;

/// An exception.
pub(super) fn raise<T>(kind: &'static str, message: impl Into<String>) -> Step<T> {
    Err(Stop::Raised { kind, message: message.into() })
}

pub(super) fn type_error<T>(message: impl Into<String>) -> Step<T> {
    raise("TypeError", message)
}

pub(super) fn value_error<T>(message: impl Into<String>) -> Step<T> {
    raise("ValueError", message)
}

/// A mistake in the program's text.
pub(super) fn syntax<T>(line: u32, message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Syntax { line, message: message.into() })
}
