//! The operators that come with Anabranch, one file each, and the registry that lists them.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

use anabranch_engine::operator::Registry;

mod ask;
mod choice;
pub mod chunk;
pub mod context;
pub mod enrich;
pub mod extract;
pub mod filter;
pub mod fuse;
mod grade;
pub mod guard;
#[cfg(test)]
mod injection_tests;
pub mod judge;
mod passage;
pub mod plan;
mod prompt;
pub mod query;
pub mod read;
mod record;
#[cfg(test)]
mod registry_tests;
pub mod rerank;
pub mod retrieve;
pub mod route;
mod rules;
pub mod select;
mod sentences;
#[cfg(test)]
mod testing;
pub mod tokens;
pub mod tool;
pub mod verify;
mod words;

/// Every operator, by name. A line here makes a file an operator that flows can use.
pub fn registry() -> Registry {
    Registry::default()
        .with::<chunk::code::Code>() // chunk.code
        .with::<chunk::fixed::Fixed>() // chunk.fixed
        .with::<chunk::recursive::Recursive>() // chunk.recursive
        .with::<chunk::semantic::Semantic>() // chunk.semantic
        .with::<chunk::sentence::Sentence>() // chunk.sentence
        .with::<chunk::structure::Structure>() // chunk.structure
        .with::<context::append::Append>() // context.append
        .with::<context::expand::Expand>() // context.expand
        .with::<context::group::Group>() // context.group
        .with::<enrich::context::Context>() // enrich.context
        .with::<enrich::late_embed::LateEmbed>() // enrich.late_embed
        .with::<enrich::surrogates::Surrogates>() // enrich.surrogates
        .with::<extract::structured::Structured>() // extract.structured
        .with::<filter::llm::Llm>() // filter.llm
        .with::<filter::redundancy::Redundancy>() // filter.redundancy
        .with::<filter::score::ByScore>() // filter.score
        .with::<fuse::llm::Llm>() // fuse.llm
        .with::<fuse::rrf::Rrf>() // fuse.rrf
        .with::<fuse::vote::Vote>() // fuse.vote
        .with::<fuse::weighted::Weighted>() // fuse.weighted
        .with::<guard::drift::Drift>() // guard.drift
        .with::<guard::lazy::Lazy>() // guard.lazy
        .with::<judge::knn::Knn>() // judge.knn
        .with::<judge::llm::Llm>() // judge.llm
        .with::<judge::retrieval::Retrieval>() // judge.retrieval
        .with::<judge::rule::Rule>() // judge.rule
        .with::<plan::llm::Llm>() // plan.llm
        .with::<query::decompose::Decompose>() // query.decompose
        .with::<query::expand::Expand>() // query.expand
        .with::<query::hyde::Hyde>() // query.hyde
        .with::<query::multi::Multi>() // query.multi
        .with::<query::next_hop::NextHop>() // query.next_hop
        .with::<query::rewrite::Rewrite>() // query.rewrite
        .with::<query::step_back::StepBack>() // query.step_back
        .with::<read::answer::Answer>() // read.answer
        .with::<read::closed_book::ClosedBook>() // read.closed_book
        .with::<read::extractive::Extractive>() // read.extractive
        .with::<read::lookahead::Lookahead>() // read.lookahead
        .with::<read::map_reduce::MapReduce>() // read.map_reduce
        .with::<read::margins::Margins>() // read.margins
        .with::<read::memory::Memory>() // read.memory
        .with::<read::refine::Refine>() // read.refine
        .with::<rerank::cross_encoder::CrossEncoder>() // rerank.cross_encoder
        .with::<rerank::llm::Llm>() // rerank.llm
        .with::<rerank::mmr::Mmr>() // rerank.mmr
        .with::<retrieve::bm25::Bm25>() // retrieve.bm25
        .with::<retrieve::dense::Dense>() // retrieve.dense
        .with::<retrieve::hybrid::Hybrid>() // retrieve.hybrid
        .with::<route::cluster::Cluster>() // route.cluster
        .with::<route::llm::Llm>() // route.llm
        .with::<route::rule::Rule>() // route.rule
        .with::<route::semantic::Semantic>() // route.semantic
        .with::<route::tag::Tag>() // route.tag
        .with::<select::budget::Budget>() // select.budget
        .with::<select::exact::Exact>() // select.exact
        .with::<select::greedy::Greedy>() // select.greedy
        .with::<select::mcts::Mcts>() // select.mcts
        .with::<select::mmr::Mmr>() // select.mmr
        .with::<tool::call::Call>() // tool.call
        .with::<tool::retrieve::Retrieve>() // tool.retrieve
        .with::<tool::run::Run>() // tool.run
        .with::<verify::citations::Citations>() // verify.citations
        .with::<verify::llm::Llm>() // verify.llm
}
