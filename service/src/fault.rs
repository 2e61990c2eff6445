//! Places at which tests end the process; nothing without the feature `failpoints`.
//!
//! `FAILPOINTS="runner::before_end=3*off->return(exit)"` ends it at the fourth end of a job, at once, as `kill -9` would:
//! nothing is cleaned up. What the store does at its points stands in `store/failpoints.rs`.

/// Ends the process if `FAILPOINTS` says so.
pub(crate) fn reach(point: &str) {
    #[cfg(feature = "failpoints")]
    fail::fail_point!(point, |what| if what.as_deref() == Some("exit") {
        std::process::abort()
    });
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
}

/// As [`reach`], at `point` of one flow alone: `runner::begun::poison`.
pub(crate) fn reach_with(point: &str, flow: &str) {
    #[cfg(feature = "failpoints")]
    reach(&format!("{point}::{flow}"));
    #[cfg(not(feature = "failpoints"))]
    let _ = (point, flow);
}
