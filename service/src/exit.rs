//! How a command ends: the exit codes, and the error that carries one.

use std::error::Error as StdError;
use std::fmt;

use anabranch_engine::cx::Resources;

/// How the process ends. The numbers are part of the interface: scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked.
    Ok,
    /// A run, a test or the command itself failed.
    Failed,
    /// The command line, or the inputs given on it, make no sense.
    Usage,
    /// A flow or the configuration is invalid.
    Invalid,
    /// A backend could not be reached, or would not answer.
    Unavailable,
    /// A budget or a limit was reached.
    OverBudget,
    /// It is not allowed.
    NotAllowed,
    /// It was interrupted.
    Interrupted,
}

/// Every exit code with its meaning, as `--help` shows it; a macro, since help texts are put together when compiling.
macro_rules! exit_codes {
    () => {
        "Exit codes:
  0  ok                           4  a backend is unavailable
  1  failed                       5  a budget or a limit was reached
  2  wrong usage or inputs        6  not allowed
  3  invalid flow or config       130  interrupted"
    };
}
pub(crate) use exit_codes;

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::Unavailable => 4,
            Self::OverBudget => 5,
            Self::NotAllowed => 6,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub struct Error {
    /// How the process ends.
    pub exit: Exit,
    /// What is wrong; empty if it has been said already.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl Error {
    /// Something is wrong: `message` says what, in lower case, without a full stop.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// `what` went wrong because of `cause`; the whole chain of causes is told.
    pub fn caused(exit: Exit, what: impl fmt::Display, cause: &dyn StdError) -> Self {
        Self::new(exit, format!("{what}: {}", chain(cause)))
    }

    /// The command ends without another word.
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// The same, without the secrets that a backend may have echoed.
    #[must_use]
    pub fn without_secrets(self, resources: &Resources) -> Self {
        Self { message: resources.redacted(self.message), ..self }
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
}

impl From<std::io::Error> for Error {
    /// An error of standard output. Whoever reads it has gone away (`| head`): that is no failure of ours.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::silent(Exit::Ok),
            _ => Self::caused(Exit::Failed, "cannot write the output", &error),
        }
    }
}

/// An error with its causes, outermost first. A cause that its parent repeats is told once.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.to_string();
        if !text.ends_with(&inner) {
            text.push_str(": ");
            text.push_str(&inner);
        }
        cause = error.source();
    }
    text
}
