//! Tools: what stands behind the engine's `Tool`.

pub mod http;
pub mod mcp;
pub mod program;
