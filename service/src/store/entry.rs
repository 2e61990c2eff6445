//! What waits for a commit.

use std::time::Instant;

use tokio::sync::oneshot;

use super::commit::Outcome;
use super::payload::{Blob, Packed};
use crate::job::{NewJob, Status};

/// Something to be committed, and who is told when it is.
pub(super) struct Entry {
    pub work: Work,
    pub bytes: usize,
    pub since: Instant,
    pub reply: oneshot::Sender<Outcome>,
}

/// The claim of a job that a write is made under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    pub job: String,
    pub epoch: i64,
}

pub(super) enum Work {
    Submit(Box<Submission>),
    Records(Records),
    End(Box<Ending>),
    Park(Box<Parking>),
    Release(Releasing),
    Cancel(Cancelling),
    /// Nothing: its reply says that everything before it is committed.
    Flush,
}

/// A job with its texts made.
pub(super) struct Submission {
    pub job: NewJob,
    pub request: Packed,
    pub labels: Option<String>,
    pub kept: Option<Records>,
}

/// Records of one job that follow each other.
pub(super) struct Records {
    pub claim: Claim,
    pub first: i64,
    pub n: i64,
    pub at_ms: i64,
    /// What stands between the brackets of the row's array.
    pub items: String,
    pub blobs: Vec<Blob>,
}

pub(super) struct Ending {
    pub claim: Claim,
    pub status: Status,
    pub result: Packed,
    pub error: Option<String>,
    pub usage: String,
    pub progress: String,
}

pub(super) struct Parking {
    pub claim: Claim,
    pub waits: String,
    pub wake_ms: i64,
    pub usage: String,
    pub progress: String,
}

/// A job that its worker lets go of.
pub(super) struct Releasing {
    pub claim: Claim,
    /// Whether the claim counts as one that came to nothing.
    pub counts: bool,
}

/// Jobs of a tenant that are to stop.
pub(super) struct Cancelling {
    pub tenant: String,
    pub ids: Vec<String>,
    pub why: Why,
}

/// Why a job is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody wants it stopped at once.
    Now,
    /// Somebody wants it stopped after what is in flight.
    Gracefully,
    /// Its deadline has passed. One that runs is stopped by its worker, which knows.
    Late,
}

impl Work {
    /// The job that it is about; empty if it is about none, or several.
    pub(super) fn job(&self) -> &str {
        match self {
            Self::Submit(submission) => &submission.job.id,
            Self::Records(Records { claim, .. }) | Self::Release(Releasing { claim, .. }) => &claim.job,
            Self::End(ending) => &ending.claim.job,
            Self::Park(parking) => &parking.claim.job,
            Self::Cancel(_) | Self::Flush => "",
        }
    }

    /// The claim that it is written under, if others may have taken the job meanwhile.
    pub(super) fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Records(Records { claim, .. }) | Self::Release(Releasing { claim, .. }) => Some(claim),
            Self::End(ending) => Some(&ending.claim),
            Self::Park(parking) => Some(&parking.claim),
            Self::Submit(_) | Self::Cancel(_) | Self::Flush => None,
        }
    }
}
