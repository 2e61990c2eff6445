//! The ways to choose that are compared, each through its operator.

use std::collections::BTreeSet;
use std::sync::Arc;

use anabranch_benches::Outcome;
use anabranch_engine::cx::{Cx, Model, Resources};
use anabranch_engine::operator::Operator as _;
use anabranch_engine::testing::cx_with;
use anabranch_engine::value::Chunk;
use anabranch_operators::select::budget::{self, Budget, OnOverflow};
use anabranch_operators::select::exact::Exact;
use anabranch_operators::select::greedy::Greedy;
use anabranch_operators::select::mcts::Mcts;
use anabranch_operators::select::mmr::Mmr;
use anabranch_operators::select::reward::{Kind, coverage_link};
use anabranch_operators::select::{self, In};
use anabranch_operators::tokens;
use serde::Serialize;

use super::questions::Question;

pub(crate) type Weights = coverage_link::Settings;

/// A way to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Arm {
    /// The best chunks up to the first that does not fit.
    TopkStrict,
    /// The best chunks that fit.
    TopkFill,
    Mmr,
    Greedy,
    Mcts,
    /// With the weights that the operator has by itself.
    MctsDefault,
    /// With entities that a model found, and the weights that the operator has by itself.
    MctsEntities,
    Exact,
    /// The evidence itself, if it fits.
    Oracle,
}

impl Arm {
    pub(crate) const ALL: [Self; 9] = [
        Self::TopkStrict,
        Self::TopkFill,
        Self::Mmr,
        Self::Greedy,
        Self::Mcts,
        Self::MctsDefault,
        Self::MctsEntities,
        Self::Exact,
        Self::Oracle,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TopkStrict => "topk_strict",
            Self::TopkFill => "topk_fill",
            Self::Mmr => "mmr",
            Self::Greedy => "greedy",
            Self::Mcts => "mcts",
            Self::MctsDefault => "mcts (defaults)",
            Self::MctsEntities => "mcts (entities)",
            Self::Exact => "exact",
            Self::Oracle => "oracle",
        }
    }

    /// Whether its rewards are those of [`Arm::Exact`].
    pub(crate) fn has_value(self) -> bool {
        matches!(self, Self::Greedy | Self::Mcts | Self::Exact)
    }

    pub(crate) fn is_for(self, question: &Question) -> bool {
        self != Self::MctsEntities || question.with_entities.is_some()
    }
}

/// What was taken for a question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) is_hit: bool,
    pub(crate) recall: f64,
    pub(crate) precision: f64,
    pub(crate) tokens: usize,
    pub(crate) evals: usize,
    pub(crate) value: f64,
}

/// What `arm` takes for a question.
pub(crate) async fn take(
    arm: Arm,
    question: &Question,
    max_tokens: usize,
    weights: &Weights,
) -> Outcome<Taken> {
    let cx = context();
    let chunks = match (arm, &question.with_entities) {
        (Arm::MctsEntities, Some(chunks)) => chunks.clone(),
        _ => question.chunks.clone(),
    };
    let input = In { query: question.text.clone(), chunks };
    let reward = Kind::CoverageLink(*weights);
    let mcts = |reward| Mcts { max_tokens, reward, seed: Some(0), ..Mcts::default() };
    let out = match arm {
        Arm::TopkStrict | Arm::TopkFill => {
            let on_overflow = if arm == Arm::TopkFill { OnOverflow::Skip } else { OnOverflow::Stop };
            let input = budget::In { chunks: input.chunks };
            let out = Budget { max_tokens, on_overflow }.run(&cx, input).await?;
            return Ok(taken(question, &out.chunks, None));
        }
        Arm::Mmr => {
            let out = Mmr { max_tokens, ..Mmr::default() }.run(&cx, input).await?;
            return Ok(taken(question, &out.chunks, None));
        }
        Arm::Oracle => {
            let is_evidence = |chunk: &&Arc<Chunk>| question.evidence.contains(&*chunk.doc.0);
            let all: Vec<Arc<Chunk>> = question.chunks.iter().filter(is_evidence).cloned().collect();
            let needed: usize = all.iter().map(|chunk| tokens::of_chunk(chunk)).sum();
            return Ok(taken(question, if needed <= max_tokens { &all } else { &[] }, None));
        }
        Arm::Greedy => Greedy { max_tokens, reward, ..Greedy::default() }.run(&cx, input).await?,
        Arm::Mcts => mcts(reward).run(&cx, input).await?,
        Arm::MctsDefault | Arm::MctsEntities => mcts(Kind::default()).run(&cx, input).await?,
        Arm::Exact => {
            let exact = Exact { max_tokens, reward, max_chunks: 8, max_evals: 1_000_000, ..Exact::default() };
            exact.run(&cx, input).await?
        }
    };
    Ok(taken(question, &out.chunks, Some(&out)))
}

fn taken(question: &Question, chunks: &[Arc<Chunk>], out: Option<&select::Out>) -> Taken {
    let docs: BTreeSet<&str> = chunks.iter().map(|chunk| &*chunk.doc.0).collect();
    let n_found = question.evidence.iter().filter(|doc| docs.contains(doc.as_str())).count();
    Taken {
        is_hit: n_found == question.evidence.len(),
        recall: n_found as f64 / question.evidence.len().max(1) as f64,
        precision: n_found as f64 / docs.len().max(1) as f64,
        tokens: chunks.iter().map(|chunk| tokens::of_chunk(chunk)).sum(),
        evals: out.map_or(0, |out| out.stats.evals),
        value: out.map_or(0.0, |out| out.stats.best_value),
    }
}

fn context() -> Cx {
    let models = [("default".to_owned(), Model::Extractive)].into();
    cx_with(Resources { models, ..Resources::default() })
}
