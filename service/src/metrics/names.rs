//! The names of all metrics, with what each of them means: `/metrics` and `docs/metrics.md` are made of this list.

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size, with a sum.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, without the `_total` that counters end with.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub help: &'static str,
}

impl Metric {
    /// Its name as it stands in `/metrics`.
    pub fn shown(&self) -> String {
        let end = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{end}", self.name)
    }
}

macro_rules! metrics {
    ($($name:ident = $kind:ident $text:literal [$($label:literal)*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub(super) const $name: Metric =
                Metric { name: $text, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// Every metric, in the order of the documentation.
        pub const ALL: &[Metric] = &[$($name),*];
    };
}

metrics! {
    JOBS_SUBMITTED = Counter "anabranch_jobs_submitted" ["flow"]
        "Jobs taken in by this process.";
    JOBS_FINISHED = Counter "anabranch_jobs_finished" ["flow" "outcome"]
        "Jobs that ended in this process: `succeeded`, `failed`, `cancelled` or `timed_out`.";
    RUN_DURATION = Histogram "anabranch_run_duration_seconds" ["flow"]
        "Time from the first start of a job to its end, waits included.";
    QUEUE_WAIT = Histogram "anabranch_queue_wait_seconds" []
        "Time that a job waited in the queue before its first start, 0 for those that began at once.";
    QUEUE_DEPTH = Gauge "anabranch_queue_depth" []
        "Jobs in the store that could begin now.";
    QUEUE_OLDEST = Gauge "anabranch_queue_oldest_age_seconds" []
        "Age of the oldest job in the store that could begin now: what an autoscaler goes by.";
    JOBS_RUNNING = Gauge "anabranch_jobs_running" []
        "Jobs that run, in any process.";
    JOBS_WAITING = Gauge "anabranch_jobs_waiting" []
        "Jobs that wait for answers.";
    JOBS_ACTIVE = Gauge "anabranch_jobs_active" []
        "Jobs that run in this process.";
    JOB_SLOTS = Gauge "anabranch_job_slots" []
        "Jobs that this process may run at once.";
    TASKS_EXECUTED = Counter "anabranch_tasks_executed" []
        "Items of large eaches that this process has executed, of its own jobs and of others'.";
    JOBS_RECOVERED = Counter "anabranch_jobs_recovered" []
        "Jobs of lost workers that this process has put back into the queue.";
    JOBS_SET_ASIDE = Counter "anabranch_jobs_set_aside" []
        "Jobs that were given up because too many workers in a row were lost on them.";
    LEASES_LOST = Counter "anabranch_leases_lost" []
        "How often this process lost its lease, and with it all of its jobs.";
    FENCED = Counter "anabranch_fence_refusals" []
        "Ends of jobs that were not written because another worker had the job by then.";
    NODE_DURATION = Histogram "anabranch_node_duration_seconds" ["op"]
        "Time of an attempt of a node, without its wait for a place.";
    NODE_ATTEMPTS = Counter "anabranch_node_attempts" ["op" "outcome"]
        "Attempts of nodes by how they ended: `succeeded`, `aborted` (stopped before their end), or the kind of failure.";
    NODE_RETRIES = Counter "anabranch_node_retries" ["reason"]
        "Attempts of nodes that failed and are made again, by the kind of failure.";
    NODE_CACHE = Counter "anabranch_node_cache" ["op" "outcome"]
        "Attempts of nodes with `cache` by what was found of earlier results: `hit`, `miss`.";
    RETRIEVED = Histogram "anabranch_retrieved_chunks" ["op"]
        "Chunks that a retrieval found.";
    KEPT = Histogram "anabranch_kept_ratio" ["op"]
        "Share of the chunks that a filter, reranker or selection was given which it passed on.";
    LOOP_TURNS = Histogram "anabranch_loop_turns" []
        "Turns of loops that ended.";
    EACH_ITEMS = Histogram "anabranch_each_items" []
        "Items of eaches that began.";
    CALL_DURATION = Histogram "gen_ai_client_operation_duration_seconds" ["gen_ai_operation_name" "gen_ai_request_model" "error_type"]
        "Time of a call of a model or encoder, its wait for a server included: `chat`, `embeddings` or `rerank`, by the name in the configuration; `error_type` is empty if it was answered.";
    CALL_FIRST_CHUNK = Histogram "gen_ai_client_operation_time_to_first_chunk_seconds" ["gen_ai_operation_name" "gen_ai_request_model"]
        "Time from the asking of a model to the first piece of its answer, where answers are streamed.";
    CALL_TOKENS = Histogram "gen_ai_client_token_usage" ["gen_ai_operation_name" "gen_ai_request_model" "gen_ai_token_type"]
        "Tokens of a call: `input`, `output`.";
    MODEL_CALLS = Counter "anabranch_model_calls" []
        "Calls of chat models by the runs of this process.";
    ENCODER_CALLS = Counter "anabranch_encoder_calls" []
        "Calls of embedders and rerankers by the runs of this process.";
    TOKENS = Counter "anabranch_tokens" ["type"]
        "Tokens that the runs of this process used: `prompt` (cached ones included), `cached`, `shareable` (in stable parts of prompts: an estimate), `completion`.";
    COST = Counter "anabranch_cost" []
        "What the runs of this process cost, in the money of the price table.";
    BUDGET_REFUSALS = Counter "anabranch_budget_refusals" []
        "Attempts of nodes that ended because a budget was used up.";
    BACKEND_UP = Gauge "anabranch_backend_up" ["model" "replica"]
        "1 while a model's server is well, 0 from when its breaker opens until it has answered a call again.";
    BACKEND_BREAKER = Gauge "anabranch_backend_breaker" ["model" "replica"]
        "State of a server's breaker: 0 closed, 1 half-open, 2 open.";
    BACKEND_IN_FLIGHT = Gauge "anabranch_backend_in_flight" ["model" "replica"]
        "Calls in flight at a server.";
    BACKEND_IN_FLIGHT_TOKENS = Gauge "anabranch_backend_in_flight_tokens" ["model" "replica"]
        "Tokens of the calls in flight at a server: an upper estimate.";
    BACKEND_LIMIT = Gauge "anabranch_backend_limit" ["model" "replica"]
        "Most calls in flight that a server is trusted with at the moment.";
    BACKEND_CALLS = Counter "anabranch_backend_calls" ["model" "replica" "outcome"]
        "Calls that came back from a server, by what came of them.";
    BACKEND_CALL = Histogram "anabranch_backend_call_seconds" ["model" "replica"]
        "Time that a server took for the calls that it answered, from the sending to the last piece.";
    BACKEND_TOKENS = Counter "anabranch_backend_tokens" ["model" "replica" "type"]
        "Tokens that a server said it used: `prompt` (cached ones included), `cached`, `completion`.";
    BACKEND_RATE = Gauge "anabranch_backend_tokens_per_second" ["model" "replica" "type"]
        "Tokens a second over the last ten seconds: `prompt`, `completion`.";
    BACKEND_PREFIX_BLOCKS = Gauge "anabranch_backend_prefix_blocks" ["model" "replica"]
        "Blocks of prompts' beginnings that a server is known to have in its cache.";
    BACKEND_QUEUE = Gauge "anabranch_backend_queue" ["model" "priority"]
        "Calls that wait for a server of a model.";
    BACKEND_QUEUE_TOKENS = Gauge "anabranch_backend_queue_tokens" ["model"]
        "Tokens of the calls that wait for a server of a model: an upper estimate.";
    BACKEND_QUEUE_WAIT = Histogram "anabranch_backend_queue_wait_seconds" ["model"]
        "Time that calls waited for a server of a model before they were sent.";
    BACKEND_REFUSED = Counter "anabranch_backend_refused" ["model" "reason"]
        "Calls that were never sent: `full` (the queue), `late` (their time was up), `down` (no server), `left` (the caller went away).";
    BACKEND_RETRIES = Counter "anabranch_backend_retries" ["model" "reason"]
        "Calls that went on to another server, by how the one before had failed.";
    BACKEND_SHARED = Counter "anabranch_backend_shared" ["model" "way"]
        "Calls that were spared or made cheaper by others: `single_flight` (an identical one was in flight), `cache` (its \
         answer was kept), `led` (went ahead of others that begin alike), `followed` (waited for such a one), `hedged` (a \
         second copy was sent), `hedge_won` (the second copy answered first), `hedge_denied` (late, without a second copy).";
    INDEX_DOCUMENTS = Gauge "anabranch_index_documents" ["index"]
        "Documents in an index of the configuration.";
    INDEX_CHUNKS = Gauge "anabranch_index_chunks" ["index"]
        "Chunks in an index of the configuration.";
    INDEX_VECTORS = Gauge "anabranch_index_vectors" ["index"]
        "Chunks in an index of the configuration that have a vector.";
    JOURNAL_BATCH = Histogram "anabranch_journal_batch_entries" []
        "Entries that were committed together.";
    JOURNAL_COMMIT = Histogram "anabranch_journal_commit_seconds" []
        "Time of a commit.";
    JOURNAL_WAITING = Gauge "anabranch_journal_waiting" []
        "Entries that wait for a commit.";
    JOURNAL_WAITING_BYTES = Gauge "anabranch_journal_waiting_bytes" []
        "Bytes that wait for a commit.";
    STORE_UP = Gauge "anabranch_store_up" []
        "1 while the store answers, 0 while it does not.";
    REQUESTS = Counter "anabranch_requests" ["class"]
        "Requests answered, by the class of their status.";
    REQUESTS_IN_FLIGHT = Gauge "anabranch_requests_in_flight" []
        "Requests being answered.";
    REFUSALS = Counter "anabranch_admission_refusals" ["reason"]
        "Requests that were refused for want of room (429, 503), by the code of the problem.";
    STREAMS = Gauge "anabranch_streams" []
        "Open streams of events.";
    WEBHOOKS = Counter "anabranch_webhook_attempts" ["outcome"]
        "Attempts to deliver a webhook: `delivered`, `failed` (to be tried again), `given_up`.";
    SPANS = Counter "anabranch_spans" ["outcome"]
        "Spans of traces: `exported` (the collector took them), `lost` (it did not, or they came too fast).";
    CPU = Counter "process_cpu_seconds" []
        "Processor time of this process, of the user and the system.";
    MEMORY = Gauge "process_resident_memory_bytes" []
        "Resident memory of this process.";
    THREADS = Gauge "process_threads" []
        "Threads of this process.";
    OPEN_FDS = Gauge "process_open_fds" []
        "Open files and sockets of this process.";
    MAX_FDS = Gauge "process_max_fds" []
        "Files and sockets that this process may open.";
    START_TIME = Gauge "process_start_time_seconds" []
        "When this process began, in seconds since 1970.";
    BUILD = Gauge "anabranch_build_info" ["version"]
        "1, with the version of the build.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_stands_once_and_says_its_unit_as_prometheus_does() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(!metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            let is_time = metric.help.starts_with("Time") || metric.help.starts_with("Age");
            assert!(!is_time || metric.name.ends_with("_seconds"), "{}", metric.name);
        }
    }
}
