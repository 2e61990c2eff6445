//! Jobs by the clock: rules of when they are submitted, and the task that submits them.

mod rule;

pub use rule::{Error as RuleError, Rule};
