//! What the service sends by itself: webhooks, signed, tried again over days, and only to where they may go.

pub mod backoff;
pub mod guard;
pub mod signature;
