//! Who may do what over the API, how often, and with which flows and indexes.

mod flows;
mod indexes;
mod keys;
mod matrix;
mod schedules;
pub(crate) mod service;
