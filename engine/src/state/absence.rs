//! Why values are absent, in words; and nodes that settle without any.

use std::sync::Arc;

use super::frame::At;
use super::{RunState, node_of};
use crate::event::Failure;
use crate::flow::expression::{Absence, Slot};
use crate::run::Notice;
use crate::scope::Scope;

fn absence(what: &str, why: String) -> Arc<Absence> {
    Arc::new(Absence { what: what.into(), why: why.into() })
}

pub(super) fn not_given(input: &str) -> Arc<Absence> {
    absence(&format!("inputs.{input}"), "it was not given".to_owned())
}

pub(super) fn not_put_out(scope: &Scope, port: &str) -> Arc<Absence> {
    absence(&format!("{scope}.{port}"), format!("`{}` put nothing out there", scope.node))
}

pub(super) fn pending(what: &str) -> Arc<Absence> {
    absence(what, "it was not there in time".to_owned())
}

pub(super) fn when_is_false(scope: &Scope, when: &str) -> Arc<Absence> {
    absence(&scope.to_string(), format!("its `when` is false: {when}"))
}

pub(super) fn failed(scope: &Scope, failure: &Failure) -> Arc<Absence> {
    absence(&scope.to_string(), format!("it failed ({}): {}", failure.kind, failure.message))
}

pub(super) fn join_not_met(scope: &Scope, wanted: usize, n_present: usize) -> Arc<Absence> {
    absence(&scope.to_string(), format!("its join needs {wanted} of its inputs, and {n_present} is there"))
}

pub(super) fn not_wanted(scope: &Scope, winner: &str) -> Arc<Absence> {
    absence(&scope.to_string(), format!("`{winner}` went on without it"))
}

/// A needed value is absent, so the node at `scope` is too.
pub(super) fn needs(scope: &Scope, for_what: &str, missing: &Slot) -> Arc<Absence> {
    let why = match missing {
        Slot::Absent(why) => format!("{for_what} needs `{}`, which is absent: {}", why.what, why.why),
        _ => format!("{for_what} needs a value that was not there in time"),
    };
    absence(&scope.to_string(), why)
}

impl RunState {
    /// Settles a node without outputs.
    pub(super) fn settle_absent(&mut self, at: At, why: Arc<Absence>) {
        let scope = self.scope(at);
        let text = why.why.clone();
        self.note(|| Notice::Skipped { scope, why: text });
        let n_outputs = node_of(&self.frame(at.frame).body, at.node).outputs.len();
        self.settle(at, vec![Slot::Absent(why); n_outputs]);
    }
}
