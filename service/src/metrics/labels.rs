//! The labels of metrics. What they can be is known when the process starts: names of the configuration, of operators and
//! of flows in the folder, and a few words. Ids and what users write are never among them, so the number of series has a
//! bound that no caller can move.

use std::collections::BTreeSet;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;

/// What a flow is called that is none of the configured ones.
pub(super) const OTHER: &str = "other";
/// Most flows that are told apart; those after it, by name, are [`OTHER`].
pub(super) const FLOWS_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Flow {
    pub(super) flow: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FlowOutcome {
    pub(super) flow: Arc<str>,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Op {
    pub(super) op: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OpOutcome {
    pub(super) op: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Type {
    pub(super) r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Class {
    pub(super) class: &'static str,
}

/// The flows that are told apart: those of the folder that the configuration names, for the tenant that has them.
#[derive(Debug)]
pub(super) struct Flows {
    known: BTreeSet<Arc<str>>,
    tenant: &'static str,
    other: Arc<str>,
}

impl Flows {
    pub(super) fn new(names: impl IntoIterator<Item = String>, tenant: &'static str) -> Self {
        let names: BTreeSet<Arc<str>> = names.into_iter().map(Into::into).collect();
        Self { known: names.into_iter().take(FLOWS_MAX).collect(), tenant, other: OTHER.into() }
    }

    /// What the flow is called in labels.
    pub(super) fn label(&self, tenant: &str, flow: &str) -> Arc<str> {
        let known = self.known.get(flow).filter(|_| tenant == self.tenant);
        known.unwrap_or(&self.other).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_that_nobody_configured_share_a_label() {
        let flows = Flows::new(["ask".to_owned()], "default");
        assert_eq!(&*flows.label("default", "ask"), "ask");
        assert_eq!(&*flows.label("acme", "ask"), OTHER, "another flow of the same name");
        assert_eq!(&*flows.label("default", "made up"), OTHER);
        let many = Flows::new((0..1_000).map(|n| format!("f{n:04}")), "default");
        assert_eq!(&*many.label("default", "f0199"), "f0199");
        assert_eq!(&*many.label("default", "f0200"), OTHER);
    }
}
