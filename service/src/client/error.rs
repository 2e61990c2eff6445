//! Why a server did not do what it was asked, and what that means for the command.

use super::Problem;
use crate::exit::{self, Exit};

/// Why a server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("`{server}` is no address of a server: {why}")]
    Address {
        /// As it was given.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// The key cannot be sent.
    #[error("the key has characters that no key has")]
    Key,
    /// No client can be made.
    #[error("no HTTP client for {server}")]
    Client {
        /// The server.
        server: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Nobody answers there.
    #[error("the server at {server} cannot be reached")]
    Unreachable {
        /// The server.
        server: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It answers too slowly.
    #[error("the server at {server} gave no answer within {secs} s")]
    TimedOut {
        /// The server.
        server: String,
        /// The bound.
        secs: u64,
    },
    /// It refuses.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// It says what this build does not understand.
    #[error("the server at {server} gave an answer that makes no sense: {why}")]
    Garbled {
        /// The server.
        server: String,
        /// Why.
        why: String,
    },
    /// It broke off again and again.
    #[error("the server at {server} broke off {times} times in a row")]
    BrokenOff {
        /// The server.
        server: String,
        /// How often.
        times: u32,
    },
}

impl Error {
    /// What the server refused with, if it did.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether asking again can help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 429 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// How a command ends that came to this.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Address { .. } | Self::Key => Exit::Usage,
            Self::Client { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::BrokenOff { .. } => Exit::Unavailable,
            Self::Garbled { .. } => Exit::Failed,
            Self::Refused(problem) => problem.exit(),
        }
    }
}

impl From<Error> for exit::Error {
    fn from(error: Error) -> Self {
        let exit = error.exit();
        let hint = match &error {
            Error::Address { .. } => Some("write it as `http://127.0.0.1:7117`".to_owned()),
            Error::Key => Some("set ANABRANCH_KEY to a key such as `anb_...`".to_owned()),
            Error::Unreachable { .. } => Some(
                "start one with `anabranch serve`, or name it: `--server URL` or ANABRANCH_SERVER".to_owned(),
            ),
            Error::Garbled { .. } => {
                Some("is it an Anabranch server, and as new as this program?".to_owned())
            }
            Error::Refused(problem) => problem.advice(),
            Error::Client { .. } | Error::TimedOut { .. } | Error::BrokenOff { .. } => None,
        };
        Self::new(exit, exit::chain(&error)).maybe_hint(hint)
    }
}
