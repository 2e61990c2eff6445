//! Stub.

/// An event that cannot follow what came before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} (`{event}`) cannot follow: {state}")]
pub struct IllegalEvent {
    /// Position in the journal.
    pub seq: u64,
    /// What kind of event.
    pub event: String,
    /// The state that it met.
    pub state: String,
}
