//! The REST API over real sockets: every endpoint's good day, its refusals, streams that break off, overload, stopping.

mod batches;
mod bounds;
mod cancelling;
mod errors;
mod events;
pub(crate) mod harness;
mod jobs;
mod looking;
mod overload;
mod routes;
mod stopping;
