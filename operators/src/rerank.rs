//! Rerank: what puts chunks into a better order.

use anabranch_engine::operator::SettingProblem;

pub mod cross_encoder;
pub mod llm;
pub mod mmr;

/// The problem of asking for more chunks than are looked at.
fn check_top_k(top_k: usize, max_candidates: usize) -> Vec<SettingProblem> {
    if top_k <= max_candidates {
        return Vec::new();
    }
    vec![SettingProblem {
        pointer: "/top_k".to_owned(),
        message: format!("`top_k` is {top_k}, but only {max_candidates} chunks are looked at"),
        hint: Some(format!("lower `top_k`, or set `max_candidates` to {top_k} or more")),
    }]
}
