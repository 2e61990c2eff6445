//! The pure core of Anabranch: the flow language, its checker, and the engine that runs a flow.
//!
//! **Architecture invariants.** Nothing here speaks HTTP or SQL, opens a file or reads the environment; there is no
//! clock and no randomness but through [`cx::Cx`]; no model, URL or table is named. [`state`] never awaits, and is
//! the only module that knows about branches, turns and items. Tasks are spawned by nobody: a run is one future, so
//! dropping it stops everything that it had in flight.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod backend;
pub mod budget;
pub mod cache;
pub mod cx;
pub mod diagnostic;
pub mod event;
pub mod expect;
pub mod flow;
pub mod journal;
pub mod limits;
pub mod operator;
pub mod plan;
pub mod retry;
pub mod run;
pub mod scope;
pub mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod types;
pub mod value;
