//! Asks a flow the questions of a set, some at once.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_backends::index::IndexStore;
use anabranch_engine::backend::{Namespace, Usage};
use anabranch_engine::budget::Budget;
use anabranch_engine::cx::Resources;
use anabranch_engine::event::RunId;
use anabranch_engine::plan::Plan;
use anabranch_engine::run::{self, Options, Outcome, Report};
use anabranch_engine::value::DocumentId;
use anabranch_evaluation::set::QueryLine;
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::figures::{Judge, Question};
use super::inputs::Inputs;
use super::looked::{Found, Looked};
use super::results::{Failed, Line};

/// A flow that is asked, and how its answers are judged.
pub struct Asking {
    /// The flow.
    pub plan: Arc<Plan>,
    /// What it may use, the set's index among it.
    pub resources: Arc<Resources>,
    /// How a question becomes its inputs.
    pub inputs: Inputs,
    /// What of a run is looked at.
    pub looked: Looked,
    /// How that is judged.
    pub judge: Judge,
    /// The set's index, for the chunks that hold an answer.
    pub index: Option<Arc<dyn IndexStore>>,
    /// Seed of all randomness.
    pub seed: u64,
    /// What a question may spend.
    pub budget: Budget,
    /// Node executions of a run at once.
    pub run_concurrency: usize,
    /// Gives each run a name of its own.
    pub run_id: fn() -> RunId,
    /// Chunks of documents that hold answers, by document.
    pub chunks: ChunksOf,
}

/// Ranges of the chunks of documents, looked up once a document.
#[derive(Default)]
pub struct ChunksOf(Mutex<HashMap<String, Arc<[Range<usize>]>>>);

impl Asking {
    /// Asks `queries`, `concurrency` at once, and gives what becomes of each as soon as it has ended, in that order.
    ///
    /// Cancelling stops what is under way; such questions give nothing. `tell` may end it too, with its error.
    pub async fn all<E>(
        self: Arc<Self>,
        queries: Vec<Arc<QueryLine>>,
        concurrency: usize,
        cancel: &CancellationToken,
        mut tell: impl FnMut(Line) -> Result<(), E>,
    ) -> Result<(), E> {
        let stop = cancel.child_token();
        // What is dropped before its end is stopped too.
        let _guard = stop.clone().drop_guard();
        let ended = futures::stream::iter(queries).map(|query| {
            let (asking, stop) = (self.clone(), stop.clone());
            async move {
                if stop.is_cancelled() {
                    return None;
                }
                // A task of its own: there are several processors, and an operator that panics fails its question.
                let (asked, of) = (asking.clone(), query.clone());
                match tokio::spawn(async move { asked.one(&of, stop).await }).await {
                    Ok(line) => line,
                    Err(error) => Some(asking.failed(&query, "internal", error.to_string(), None).await),
                }
            }
        });
        let mut ended = ended.buffer_unordered(concurrency.max(1));
        while let Some(line) = ended.next().await {
            if let Some(line) = line {
                tell(line)?;
            }
        }
        Ok(())
    }

    /// What becomes of one question; `None` if it was stopped.
    async fn one(&self, query: &QueryLine, cancel: CancellationToken) -> Option<Line> {
        let options = Options {
            id: (self.run_id)(),
            seed: self.seed,
            concurrency: self.run_concurrency,
            // Nobody is there to answer: a flow that waits has failed.
            park: true,
            cancel,
            budget: self.budget,
            details: true,
            ..Options::default()
        };
        let inputs = self.inputs.of(query);
        let report = match run::run(self.plan.clone(), inputs, self.resources.clone(), options).await {
            Ok(report) => report,
            Err(error) => {
                let kind = if matches!(error, run::Error::Inputs(_)) { "invalid_input" } else { "internal" };
                return Some(self.failed(query, kind, crate::exit::chain(&error), None).await);
            }
        };
        Some(match &report.outcome {
            Outcome::Succeeded => self.line(query, None, self.looked.find(&report), Some(&report)).await,
            Outcome::Failed(failure) => {
                let message = format!("node `{}`: {}", failure.scope, failure.message);
                self.failed(query, failure.kind.as_str(), message, Some(&report)).await
            }
            Outcome::Waiting { waits } => {
                let places: Vec<String> = waits.iter().map(|wait| format!("`{}`", wait.scope)).collect();
                let message = format!("it waits for somebody at {}", places.join(", "));
                self.failed(query, "waiting", message, Some(&report)).await
            }
            Outcome::Cancelled { .. } | Outcome::Paused => return None,
        })
    }

    async fn failed(&self, query: &QueryLine, kind: &str, message: String, report: Option<&Report>) -> Line {
        let failed = Failed { kind: kind.to_owned(), message };
        self.line(query, Some(failed), Found::default(), report).await
    }

    async fn line(
        &self,
        query: &QueryLine,
        failure: Option<Failed>,
        found: Found,
        report: Option<&Report>,
    ) -> Line {
        let chunks = self.chunks_of_evidence(query).await;
        let question = Question { query, chunks: &chunks };
        let figures = self.judge.judge(question, failure.is_none().then_some(&found));
        Line {
            id: query.id.clone(),
            failure,
            found,
            figures,
            usage: report.map_or_else(Usage::default, |report| report.usage),
            // Microseconds are worth keeping: a search takes less than a millisecond.
            elapsed_ms: report.map_or(0.0, |report| (report.elapsed.as_secs_f64() * 1e6).round() / 1e3),
        }
    }

    /// All chunks of the documents in which an answer has a known place.
    async fn chunks_of_evidence(&self, query: &QueryLine) -> Vec<(String, Range<usize>)> {
        let Some(index) = self.index.as_ref().filter(|_| self.judge.chunks) else { return Vec::new() };
        let mut found = Vec::new();
        let has_place =
            |doc: &&str| query.evidence.iter().any(|known| known.doc == **doc && known.bytes().is_some());
        for doc in query.relevant().into_iter().filter(has_place) {
            let ranges = self.chunks.of(index, doc).await;
            found.extend(ranges.iter().map(|range| (doc.to_owned(), range.clone())));
        }
        found
    }
}

impl ChunksOf {
    async fn of(&self, index: &Arc<dyn IndexStore>, doc: &str) -> Arc<[Range<usize>]> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(doc).cloned();
        if let Some(known) = known {
            return known;
        }
        let chunks = index.chunks_of(&Namespace::default(), &DocumentId(doc.into())).await;
        // A document that cannot be looked up now leaves out one figure of one question.
        let ranges: Arc<[Range<usize>]> = chunks
            .unwrap_or_default()
            .iter()
            .filter_map(|chunk| {
                Some(usize::try_from(chunk.range.start).ok()?..usize::try_from(chunk.range.end).ok()?)
            })
            .collect();
        if !ranges.is_empty() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(doc.to_owned(), ranges.clone());
        }
        ranges
    }
}
