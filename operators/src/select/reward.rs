//! What a set of chunks is worth: the trait, and the settings that choose one.

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, RerankerName};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::candidates::Candidates;
use super::search::Set;

pub mod coverage_link;
pub mod cross_encoder;
pub mod judge;

use self::coverage_link::CoverageLink;
use self::cross_encoder::CrossEncoder;

/// What sets of candidates are worth. A search asks about each set once.
#[async_trait]
pub trait Reward: Send + Sync {
    /// The worth of each set, in their order: the higher the better, finite.
    async fn values(&self, sets: &[Set]) -> Result<Vec<f64>, OpError>;

    /// What taking nothing is worth; `None` where something is taken whenever something fits.
    fn of_nothing(&self) -> Option<f64> {
        Some(0.0)
    }
}

/// Which reward a search looks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Worked out from words, scores, titles and names.
    CoverageLink(coverage_link::Settings),
    /// The score that a reranker gives the joined text.
    CrossEncoder(CrossEncoderSettings),
}

impl Default for Kind {
    fn default() -> Self {
        Self::CoverageLink(coverage_link::Settings::default())
    }
}

/// Settings of the reward by a reranker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrossEncoderSettings {
    /// The reranker to ask.
    pub reranker: RerankerName,
}

impl Kind {
    /// Whether two orders of a set may be worth different things.
    pub fn minds_order(&self) -> bool {
        matches!(self, Self::CrossEncoder(_))
    }

    /// The reward of sets of `candidates`, of which `max_tokens` may be taken.
    pub(crate) fn of<'a>(
        &self,
        cx: &'a Cx,
        query: &'a str,
        candidates: &Candidates,
        max_tokens: usize,
    ) -> Box<dyn Reward + 'a> {
        match self {
            Self::CoverageLink(settings) => {
                Box::new(CoverageLink::new(query, candidates, max_tokens, settings))
            }
            Self::CrossEncoder(settings) => {
                Box::new(CrossEncoder::new(cx, settings.reranker.clone(), query, candidates))
            }
        }
    }
}
