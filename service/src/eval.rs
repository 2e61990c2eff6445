//! Evaluation: a flow is asked all questions of a set, and what it gives is judged.
//!
//! ```text
//!  queries.jsonl ──► inputs ──► runs of the flow, some at once ──► what is looked at ──► figures ──► results.jsonl
//!  corpus.jsonl  ──► the set's own index ──┘                                                            │
//!                                                        summary, comparison, table, JSON, report ◄─────┘
//! ```
//!
//! Whatever a question costs is paid once: each gets a line in the results as soon as it has ended, and the next run
//! of the same evaluation goes on from there.

pub mod compare;
pub mod corpus;
pub mod figures;
pub mod inputs;
pub mod looked;
mod plots;
pub mod report;
pub mod results;
pub mod runner;
pub mod summary;
