//! The REST API over real sockets: every endpoint's good day, its refusals, streams that break off, overload, stopping.

mod batches;
mod cancelling;
mod errors;
mod events;
mod harness;
mod jobs;
mod overload;
mod routes;
mod stopping;
