//! Tools: what stands behind the engine's `Tool`.

pub mod program;
