//! Checks that need the whole flow.
