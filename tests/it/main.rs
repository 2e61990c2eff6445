//! The integration tests, one binary. What crosses crates or reads files of the repository is tested here.
//!
//! `api`: the REST API over real sockets.
//! `access`: who may do what over the API, how often, and with which flows and indexes.
//! `backends`: the models on servers behind the whole service, and what it says of them.
//! `browser`: the dashboard in a real browser.
//! `ceilings`: what tenants and keys may spend in a day.
//! `cli`: the built binary as its users meet it: output, exit codes, indexing and being killed.
//! `deploy`: the image, the composition and the chart fit together, as far as that can be told without running them.
//! `diagnostics`: every broken flow of `flows/invalid` is refused with the right codes, at the right places.
//! `engine`: what a run does, construct by construct.
//! `faults`: what model servers do wrong ends in typed errors, in time, in bounded memory.
//! `flows`: every flow in `flows` loads without warnings, names its source and carries tests.
//! `journal`: what the store keeps, on either database, whatever fails.
//! `laws`: what holds for every run, whatever the flow, the order and the faults.
//! `metrics`: every metric is in the documentation, and no caller can make a series.
//! `openapi`: the document of the API is complete, and that of the code.
//! `mcp`, `openai`: what the official clients of other people's interfaces make of the service.
//! `operators`: every operator has a page with an example that loads, and `docs/operators.md` is made of them.
//! `papers`: flows of papers whose turns only a model that changes its mind can test.
//! `prometheus`: a real one asks a real service, and every panel and rule finds what it looks at.
//! `recovery`: the built service, killed, stopped or without its database, loses nothing and does nothing twice.
//! `outside`: webhooks, schedules, usage and feedback, against the real service.
//! `secrets`: a key that a backend echoes goes no further.
//! `schema`: the schema for editors takes every flow of the repository.
//! `stores`: indexes in a database or on a server find what the built-in one finds.
//! `streams`: what a job writes reaches the readers of any process while it is written.
//! `telemetry`: traces as a collector gets them.
//! `ui`: the dashboard as it is served and as it lies in the repository.
//! `tidy`: the repository keeps its own rules: directions, sizes, pages, generated files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
// The laws print how many runs they made; helpers take what is handy; names of our own files are in lower case.
#![allow(
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    clippy::similar_names,
    clippy::case_sensitive_file_extension_comparisons
)]

mod access;
mod api;
mod backends;
mod browser;
mod ceilings;
mod cli;
mod deploy;
mod diagnostics;
mod engine;
mod faults;
mod flows;
mod journal;
mod laws;
mod mcp;
mod metrics;
mod openai;
mod openapi;
mod operators;
mod outside;
mod papers;
mod prometheus;
mod recovery;
mod schema;
mod schemathesis;
mod sdk;
mod secrets;
mod served;
mod stores;
mod streams;
mod support;
mod telemetry;
mod tidy;
mod ui;
