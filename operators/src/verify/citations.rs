//! Holds every sentence of an answer against the chunks that it cites, without a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::{Chunk, ChunkId, Citation, Text, Value};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::ask::after_thinking;
use crate::read::{marks, support};

/// Holds every sentence of an answer against the chunks that it cites, without a model.
///
/// Marks such as `[2]` are looked up: in an answer with citations they count along these, in a text along `chunks`. A
/// sentence is `unsupported` if it has a number, a name or a quotation that stands neither in what it cites nor in the
/// question, or if less than `min_support` of its words stand there in some form. This finds what was made up, not what
/// was misunderstood: `verify.llm` looks at the meaning. The answer passes if it cites something, every mark stands for
/// a chunk, and no sentence is unsupported; with `cite_all`, no sentence may go without a citation either. Use it behind
/// readers other than `read.answer`, which checks itself, or to check an answer against other chunks. Asks no model.
///
/// Source: citation precision and recall of ALCE (Gao et al. 2023, arXiv 2305.14627), with a check of words in the place
/// of a model of entailment.
///
/// ```yaml
/// check:
///   op: verify.citations
///   with: { cite_all: true }
///   in: { answer: inputs.question, chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Citations {
    /// How much of a sentence must stand in the chunks that it cites, as a share of its words, names counting twice; at
    /// 0 only numbers, names and quotations are looked up.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_support: f64,
    /// Whether every sentence that claims something must cite a chunk.
    pub cite_all: bool,
}

impl Default for Citations {
    fn default() -> Self {
        Self { min_support: 0.4, cite_all: false }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The answer: a text whose marks count along `chunks`, or an answer whose marks count along its citations.
        pub answer: Value,
        /// The chunks that it may rest on.
        pub chunks: Vec<Arc<Chunk>>,
        /// What was asked; what stands there needs no citation.
        pub question: Option<String>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// Whether it passes.
        pub pass: bool,
        /// The share of the sentences with a citation that what they cite bears out, 0 to 1; 1 if there are none.
        pub precision: f64,
        /// The share of all sentences that cite something which bears them out, 0 to 1; 1 if there are none.
        pub recall: f64,
        /// The chunks that are cited, in the order of the text.
        pub citations: Vec<Citation>,
        /// Marks, and chunks of the answer's own citations, that stand for no chunk.
        pub ungrounded: Vec<String>,
        /// Sentences that what they cite does not bear out, without their marks.
        pub unsupported: Vec<String>,
        /// Sentences that cite nothing.
        pub uncited: Vec<String>,
    }
}

/// The answer in words, and the chunks in the order in which its marks count them.
struct Marks {
    text: Text,
    chunks: Vec<Arc<Chunk>>,
    /// Chunks that the answer cites and that were not given.
    missing: Vec<ChunkId>,
}

impl Marks {
    fn of(answer: &Value, chunks: Vec<Arc<Chunk>>) -> Result<Self, OpError> {
        let answer = match answer {
            Value::Text(text) => return Ok(Self { text: text.clone(), chunks, missing: Vec::new() }),
            Value::Answer(answer) => answer,
            other => {
                return Err(OpError::InvalidInput(format!(
                    "`answer` is of type `{}`; connect an answer or its text",
                    other.ty()
                )));
            }
        };
        let by_id: BTreeMap<&ChunkId, &Arc<Chunk>> = chunks.iter().map(|chunk| (&chunk.id, chunk)).collect();
        let mut missing = Vec::new();
        let cited = answer.citations.iter().map(|citation| {
            if let Some(chunk) = by_id.get(&citation.chunk_id) {
                return Arc::clone(chunk);
            }
            missing.push(citation.chunk_id.clone());
            Arc::new(without_words(citation))
        });
        let cited = cited.collect();
        Ok(Self { text: answer.text.clone(), chunks: cited, missing })
    }
}

/// What stands for a chunk that was not given, so that marks count as they should: it bears nothing out.
fn without_words(citation: &Citation) -> Chunk {
    Chunk {
        id: citation.chunk_id.clone(),
        doc: citation.doc.clone(),
        text: "".into(),
        range: citation.range,
        lines: citation.lines,
        tokens: anabranch_engine::value::TokenCount(0),
        title: None,
        headings: Vec::new(),
        score: None,
        meta: BTreeMap::default(),
    }
}

#[async_trait]
impl Operator for Citations {
    const NAME: &'static str = "verify.citations";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        let Marks { text, chunks, missing } = Marks::of(&input.answer, input.chunks)?;
        let marked = marks::check(after_thinking(&text).trim_end(), &chunks);
        let question = input.question.unwrap_or_default();
        let checked = support::check(&question, &marked, &chunks, self.min_support);
        let n_good = checked.n_cited.saturating_sub(checked.unsupported.len());
        let n_all = checked.n_cited + checked.uncited.len();
        let share = |of: usize| if of == 0 { 1.0 } else { n_good as f64 / of as f64 };
        let mut ungrounded = marked.unknown;
        ungrounded.extend(missing.iter().map(ToString::to_string));
        let citations: Vec<Citation> =
            marked.citations.into_iter().filter(|citation| !missing.contains(&citation.chunk_id)).collect();
        Ok(Out {
            pass: !citations.is_empty()
                && ungrounded.is_empty()
                && checked.unsupported.is_empty()
                && (!self.cite_all || checked.uncited.is_empty()),
            precision: share(checked.n_cited),
            recall: share(n_all),
            citations,
            ungrounded,
            unsupported: checked.unsupported,
            uncited: checked.uncited,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{chunk, validator};
    use anabranch_engine::testing::cx;
    use anabranch_engine::value::Answer;

    const ANN: &str = "Ann Lee founded the Shaker community near Albany in 1776.";

    fn chunks() -> Vec<Arc<Chunk>> {
        vec![chunk("ben", "Ben Poe runs a bakery."), chunk("ann", ANN)]
    }

    async fn verify(cite_all: bool, answer: Value) -> Out {
        let settings = Citations { cite_all, ..Citations::default() };
        let input = In { answer, chunks: chunks(), question: Some("Who were they?".to_owned()) };
        settings.run(&cx(), input).await.unwrap()
    }

    #[tokio::test]
    async fn in_a_text_marks_count_along_the_chunks() {
        let text =
            "Ann Lee founded the community in 1776 [2]. Ben Poe runs a bank in Oslo [1]. Both are dead.";
        let out = verify(false, Value::text(text)).await;
        assert_eq!(
            (out.pass, out.unsupported.as_slice()),
            (false, &["Ben Poe runs a bank in Oslo.".to_owned()][..])
        );
        assert_eq!((out.precision, out.uncited.len()), (0.5, 1));
        assert!((out.recall - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(out.citations.iter().map(|citation| &*citation.doc.0).collect::<Vec<_>>(), ["ann", "ben"]);
    }

    #[tokio::test]
    async fn in_an_answer_marks_count_along_its_citations() {
        let cited = |chunk: &Chunk| Citation {
            chunk_id: chunk.id.clone(),
            doc: chunk.doc.clone(),
            range: chunk.range,
            lines: chunk.lines,
            quote: None,
        };
        let answer = |citations: Vec<Citation>| {
            let text = "Ann Lee founded the Shaker community [1].".into();
            Value::Answer(Arc::new(Answer { text, citations, grounded: true, by: "".into() }))
        };
        assert!(verify(true, answer(vec![cited(&chunks()[1])])).await.pass);
        assert!(!verify(true, answer(vec![cited(&chunks()[0])])).await.pass);
        let out = verify(true, answer(vec![cited(&chunk("eve", ANN))])).await;
        assert_eq!((out.pass, out.ungrounded.len(), out.citations.len()), (false, 1, 0));
    }

    #[tokio::test]
    async fn a_sentence_without_a_citation_fails_only_if_all_must_cite() {
        let text = Value::text("Ann Lee founded the community [2]. She was rich.");
        assert!(verify(false, text.clone()).await.pass);
        assert!(!verify(true, text).await.pass);
        // What cites nothing at all never passes.
        let out = verify(false, Value::text("I do not know.")).await;
        assert_eq!((out.pass, out.precision), (false, 1.0));
        assert_eq!(verify(false, Value::text("Ann Lee founded it [7].")).await.ungrounded, ["[7]"]);
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        let input = In { answer: Value::Int(3), chunks: Vec::new(), question: None };
        let error = Citations::default().run(&cx(), input).await.unwrap_err().to_string();
        assert_eq!(error, "`answer` is of type `int`; connect an answer or its text");
    }

    #[test]
    fn a_support_above_one_is_refused() {
        assert!(!validator("verify.citations").is_valid(&serde_json::json!({ "min_support": 2 })));
    }

    #[tokio::test]
    async fn in_a_flow_it_checks_what_a_reader_gave() {
        let flow = r"
flow: checked
inputs: { question: text }
nodes:
  search: { op: retrieve.bm25, in: { query: inputs.question } }
  read: { op: read.extractive, in: { question: inputs.question, chunks: search.chunks } }
  check: { op: verify.citations, in: { answer: read.answer, chunks: search.chunks } }
outputs: { pass: check.pass, precision: check.precision }
";
        let resources = crate::testing::Shelf::small().resources();
        let found = crate::testing::run_flow(flow, serde_json::json!({ "question": "one" }), resources).await;
        assert_eq!(found, serde_json::json!({ "pass": true, "precision": 1.0 }));
    }
}
