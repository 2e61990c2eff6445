//! Jobs by the clock: rules of when they are submitted, and the task that submits them.

mod clock;
mod rule;

pub use clock::{Firing, Refused, Submit, key};
pub use rule::{Error as RuleError, Rule};
