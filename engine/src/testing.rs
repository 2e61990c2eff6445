//! For tests, of this crate and of those around it: a context without a run, whole flows in one call.

use std::sync::Arc;

use tokio::time::Instant;

use crate::budget::{Budget, Ledger};
use crate::cx::{Cx, Resources, RunContext};
use crate::event::RunId;
use crate::scope::Scope;

/// A context with no models and no indexes.
pub fn cx() -> Cx {
    cx_with(Resources::default())
}

/// A context with these models and indexes, and no budget.
pub fn cx_with(resources: Resources) -> Cx {
    let run = RunContext {
        run: RunId("test".into()),
        seed: 0,
        resources: Arc::new(resources),
        started: Instant::now(),
        on_progress: None,
    };
    Cx::new(Arc::new(run), Scope::from("node"), 1, Ledger::new("".into(), Budget::default(), None))
}
