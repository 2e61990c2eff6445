//! Handing in what the writer commits: submissions, records, ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_engine::event::{Record, RunId};
use anabranch_engine::journal::{Error as JournalError, Journal, Receipt as JournalReceipt};
use async_trait::async_trait;
use serde_json::json;
use tokio::sync::oneshot;

use super::commit::{Outcome, Reply};
use super::entry::{Claim, Ending, Parking, Records, Releasing, Submission, Work};
use super::payload::{Known, pack};
use super::{Receipt, Store, StoreError, limits};
use crate::job::{End, NewJob, OpenWait, Progress, Submitted, Usage};

/// What an entry weighs beside its texts.
const ENTRY_BYTES: usize = 256;

/// The blobs that the jobs of this process have already, so that they are neither packed nor sent again.
#[derive(Default)]
pub(super) struct KnownBlobs(Mutex<HashMap<Claim, Arc<Mutex<Known>>>>);

impl KnownBlobs {
    fn of(&self, claim: &Claim) -> Arc<Mutex<Known>> {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.len() >= limits::KNOWN_JOBS && !jobs.contains_key(claim) {
            // Forgetting costs only that something is sent twice.
            jobs.clear();
        }
        jobs.entry(claim.clone()).or_default().clone()
    }

    fn forget(&self, claim: &Claim) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(claim);
    }
}

fn receipt(outcome: oneshot::Receiver<Outcome>) -> Receipt<Submitted> {
    Box::pin(async move {
        Ok(match outcome.await.unwrap_or_else(|_| Err(closed()))? {
            Reply::Submitted(submitted) => submitted,
            Reply::Cancelled(_) => Submitted::New,
        })
    })
}

/// What was handed in was not answered: it may be in the commit that the writer was at.
pub(super) fn closed() -> StoreError {
    StoreError::Unsure("the store is closed".to_owned())
}

fn refused<T: Send + 'static>(error: StoreError) -> Receipt<T> {
    Box::pin(std::future::ready(Err(error)))
}

impl Store {
    /// Hands something in for the next commit.
    pub(super) fn hand_in(&self, work: Work, bytes: usize) -> oneshot::Receiver<Outcome> {
        self.0.writer.hand_in(work, ENTRY_BYTES + bytes)
    }

    /// Takes a job in.
    pub fn submit(&self, job: NewJob) -> Receipt<Submitted> {
        match self.submission(job) {
            Ok(submission) => {
                let kept = submission.kept.as_ref().map_or(0, bytes_of);
                let bytes = submission.request.bytes() + kept;
                receipt(self.hand_in(Work::Submit(Box::new(submission)), bytes))
            }
            Err(error) => refused(error),
        }
    }

    pub(super) fn submission(&self, mut job: NewJob) -> Result<Submission, StoreError> {
        let claim = Claim { job: job.id.clone(), epoch: 1 };
        let known = match &job.claimed_by {
            Some(_) => self.0.known.of(&claim),
            None => Arc::default(),
        };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let request = pack(&job.request, &mut known)?;
        let kept = match std::mem::take(&mut job.kept) {
            kept if kept.is_empty() => None,
            kept => Some(records_of(Claim { epoch: 0, ..claim }, &kept, &mut known)?),
        };
        let labels = if job.labels.is_empty() { None } else { Some(serde_json::to_string(&job.labels)?) };
        Ok(Submission { job, request, labels, kept })
    }

    /// The journal of jobs that were claimed with `epoch`.
    pub fn journal(&self, epoch: i64) -> Arc<dyn Journal> {
        Arc::new(StoreJournal { store: self.clone(), epoch })
    }

    /// Takes records of a job that was claimed with `epoch`; the first must be for the next free position.
    pub fn append(&self, job: &str, epoch: i64, records: &[Record]) -> Receipt {
        let claim = Claim { job: job.to_owned(), epoch };
        match self.hand_in_records(claim, records) {
            Ok(outcome) => unit(outcome),
            Err(error) => refused(error),
        }
    }

    fn hand_in_records(
        &self,
        claim: Claim,
        records: &[Record],
    ) -> Result<oneshot::Receiver<Outcome>, StoreError> {
        let known = self.0.known.of(&claim);
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let records = records_of(claim, records, &mut known)?;
        let bytes = bytes_of(&records);
        Ok(self.hand_in(Work::Records(records), bytes))
    }

    /// Ends a job, after whatever was journaled of it before.
    #[expect(clippy::needless_pass_by_value, reason = "what has ended is not needed any more")]
    pub fn end(&self, job: &str, epoch: i64, end: End) -> Receipt {
        let claim = Claim { job: job.to_owned(), epoch };
        match self.ending(claim, &end) {
            Ok(ending) => {
                let bytes = ending.result.bytes();
                unit(self.hand_in(Work::End(Box::new(ending)), bytes))
            }
            Err(error) => refused(error),
        }
    }

    fn ending(&self, claim: Claim, end: &End) -> Result<Ending, StoreError> {
        let known = self.0.known.of(&claim);
        let result = json!({ "outputs": end.outputs, "absent": end.absent });
        let result = pack(&result, &mut known.lock().unwrap_or_else(PoisonError::into_inner))?;
        self.0.known.forget(&claim);
        Ok(Ending {
            claim,
            status: end.status,
            result,
            error: end.error.as_ref().map(serde_json::to_string).transpose()?,
            usage: serde_json::to_string(&end.usage)?,
            progress: serde_json::to_string(&end.progress)?,
        })
    }

    /// Lets go of a job that waits for answers.
    #[expect(clippy::needless_pass_by_value, reason = "what has parked is not needed any more")]
    pub fn park(
        &self,
        job: &str,
        epoch: i64,
        waits: Vec<OpenWait>,
        usage: Usage,
        progress: Progress,
    ) -> Receipt {
        let claim = Claim { job: job.to_owned(), epoch };
        self.0.known.forget(&claim);
        let parking = || -> Result<Parking, StoreError> {
            Ok(Parking {
                wake_ms: waits.iter().map(|wait| wait.until_ms).min().unwrap_or(i64::MAX),
                waits: serde_json::to_string(&waits)?,
                usage: serde_json::to_string(&usage)?,
                progress: serde_json::to_string(&progress)?,
                claim,
            })
        };
        match parking() {
            Ok(parking) => {
                let bytes = parking.waits.len();
                unit(self.hand_in(Work::Park(Box::new(parking)), bytes))
            }
            Err(error) => refused(error),
        }
    }

    /// Hands a job over to another worker, through no fault of the job. Nothing happens if another has it already.
    pub fn release(&self, job: &str, epoch: i64) -> Receipt {
        self.let_go(job, epoch, false)
    }

    /// As [`Self::release`], for a job that this worker could not carry on: the claim counts as one that came to nothing.
    pub fn give_up(&self, job: &str, epoch: i64) -> Receipt {
        self.let_go(job, epoch, true)
    }

    fn let_go(&self, job: &str, epoch: i64, counts: bool) -> Receipt {
        let claim = Claim { job: job.to_owned(), epoch };
        self.0.known.forget(&claim);
        unit(self.hand_in(Work::Release(Releasing { claim, counts }), 0))
    }
}

fn unit(outcome: oneshot::Receiver<Outcome>) -> Receipt {
    Box::pin(async move { outcome.await.unwrap_or_else(|_| Err(closed())).map(|_| ()) })
}

fn bytes_of(records: &Records) -> usize {
    records.items.len() + records.blobs.iter().map(|blob| blob.body.len()).sum::<usize>()
}

fn records_of(claim: Claim, records: &[Record], known: &mut Known) -> Result<Records, StoreError> {
    let mut items = String::new();
    let mut blobs = Vec::new();
    for record in records {
        let packed = pack(record, known)?;
        if !items.is_empty() {
            items.push(',');
        }
        items.push_str(&packed.text);
        blobs.extend(packed.blobs);
    }
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Ok(Records {
        claim,
        first: records.first().map_or(0, |record| number(record.seq)),
        n: number(records.len() as u64),
        at_ms: jiff::Timestamp::now().as_millisecond(),
        items,
        blobs,
    })
}

/// The journals of jobs of one epoch.
struct StoreJournal {
    store: Store,
    epoch: i64,
}

#[async_trait]
impl Journal for StoreJournal {
    fn append(&self, run: &RunId, records: Vec<Record>) -> JournalReceipt {
        let Some(seq) = records.first().map(|record| record.seq) else {
            return JournalReceipt::of(Ok(()));
        };
        let claim = Claim { job: run.0.to_string(), epoch: self.epoch };
        let run = run.clone();
        match self.store.hand_in_records(claim, &records) {
            Ok(outcome) => JournalReceipt::awaiting(async move {
                match outcome.await.unwrap_or_else(|_| Err(closed())) {
                    Ok(_) => Ok(()),
                    Err(StoreError::Fenced(_)) => Err(JournalError::Fenced { run, seq }),
                    Err(error) => Err(JournalError::Unavailable(error.to_string())),
                }
            }),
            Err(error) => JournalReceipt::of(Err(JournalError::Unavailable(error.to_string()))),
        }
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Record>, JournalError> {
        let records = self.store.records(&run.0, 0, usize::MAX).await;
        let records = records.map_err(|error| JournalError::Unavailable(error.to_string()))?;
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }
}
