//! The command line and the service: the only crate that knows files, the environment and the terminal.
//!
//! **Architecture invariant.** Nothing here looks inside a [`Plan`](anabranch_engine::plan::Plan) beyond what it
//! declares (its inputs, tests and indexes), and no other crate prints.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod access;
pub mod api;
pub mod catalog;
pub mod checked;
mod cli;
pub mod client;
pub mod config;
pub mod eval;
pub mod exit;
mod fault;
pub mod flows;
pub mod indexes;
pub mod indexing;
pub mod job;
pub mod library;
pub mod live;
pub mod mcp;
pub mod metrics;
pub mod outgoing;
pub mod overrides;
pub mod process;
pub mod redact;
pub mod resources;
pub mod runner;
pub mod schedules;
pub mod spend;
pub mod store;
pub mod telemetry;
mod tls;
mod trial;
mod ui;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command line `args`, the program's name first, and says how the process is to end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    quiet_pdf_reader();
    ExitCode::from(cli::main(args).code())
}

/// A broken PDF breaks its reader, which is caught and told like every other reason to skip a file.
fn quiet_pdf_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some(anabranch_backends::load::pdf::PDF_THREAD) {
            usual(panic);
        }
    }));
}
