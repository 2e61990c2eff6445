//! Extract: what turns text into data.

pub mod structured;
