//! The built service, stopped at every place where it can be stopped: no job is lost, and nothing is done twice.
//!
//! The binary must have been built with the feature `failpoints` (`.ci/test` does that); without it, these tests say so
//! and fail.

mod harness;
mod killed;
mod model;
mod outage;
mod shapes;
mod stopped;
