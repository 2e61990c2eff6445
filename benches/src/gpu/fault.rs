//! The ways in which a server can break, by names that a command line takes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A way in which a server is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its process is gone: connections break, and new ones are refused.
    Killed,
    /// It answers at once, with what is no answer.
    Garbled,
    /// It takes calls, and nothing comes any more.
    Stalled,
    /// It refuses with a 503.
    Unavailable {
        /// What it says in `Retry-After`.
        retry_after: Duration,
    },
}

/// A name that no fault has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no fault; they are `killed`, `garbled`, `stalled`, and `unavailable` or `unavailable:SECONDS`"
)]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.to_owned());
        match text.split_once(':').unwrap_or((text, "1")) {
            ("killed", _) => Ok(Self::Killed),
            ("garbled", _) => Ok(Self::Garbled),
            ("stalled", _) => Ok(Self::Stalled),
            ("unavailable", seconds) => {
                let seconds = seconds.parse().map_err(|_no_number| unknown())?;
                Ok(Self::Unavailable { retry_after: Duration::from_secs(seconds) })
            }
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => f.write_str("killed"),
            Self::Garbled => f.write_str("garbled"),
            Self::Stalled => f.write_str("stalled"),
            Self::Unavailable { retry_after } => write!(f, "unavailable:{}", retry_after.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_names_and_others_are_refused_with_what_there_is() {
        for name in ["killed", "garbled", "stalled", "unavailable:7"] {
            assert_eq!(name.parse::<Fault>().unwrap().to_string(), name);
        }
        let refused = "asleep".parse::<Fault>().unwrap_err().to_string();
        assert!(refused.contains("`asleep`") && refused.contains("`stalled`"), "{refused}");
    }
}
