//! Tests of the embedded index.
