//! The client of the service: what `anabranch jobs`, `flows` and `keys` ask a server over REST.

mod error;
mod http;
mod problem;
mod sse;
mod watch;

pub use error::Error;
pub use http::{Answer, Ask, Client};
pub use problem::{Detail, Problem, Span};
pub use sse::{Message, Messages};
pub use watch::{Watch, Watched};

/// Where a server is if none is named.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:7117";
