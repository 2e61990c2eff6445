//! The figures of one question.

use std::ops::Range;

use anabranch_evaluation::answers::{best, contains, exact_match, rouge_l, token_f1};
use anabranch_evaluation::places::{Place, citation_precision, citation_recall};
use anabranch_evaluation::ranking::{
    all_at, average_precision, distinct, hit_at, ndcg_at, recall_at, reciprocal_rank_at,
};
use anabranch_evaluation::set::QueryLine;
use anabranch_evaluation::spans::{Span, Touching, span_figures};
use indexmap::IndexMap;

use super::looked::{Found, Passage};

/// Figures by name.
pub type Figures = IndexMap<String, f64>;

/// How many of what was found nDCG and MRR look at, as is usual.
const DEPTH: usize = 10;

/// Which of several right answers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// The nearest: they are alternatives.
    #[default]
    Any,
    /// All of them, one after the other: they are parts.
    All,
}

/// How questions are judged.
#[derive(Debug, Clone)]
pub struct Judge {
    /// How many of what was found are looked at, for figures `@k`.
    pub at: Vec<usize>,
    /// Which of several right answers count.
    pub right: Right,
    /// Whether there are answers to judge.
    pub answers: bool,
    /// Whether there are chunks to judge.
    pub chunks: bool,
    /// Whether there are citations to judge.
    pub citations: bool,
}

/// What is asked, and all chunks of the documents that hold the answer, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The question.
    pub query: &'a QueryLine,
    /// The chunks.
    pub chunks: &'a [(String, Range<usize>)],
}

impl Judge {
    /// The figures of `found`; of a question that failed (`None`) each is 0. Only those that the question allows.
    pub fn judge(&self, question: Question<'_>, found: Option<&Found>) -> Figures {
        let nothing = Found::default();
        let mut figures = self.all(question, found.unwrap_or(&nothing));
        if found.is_none() {
            figures.values_mut().for_each(|figure| *figure = 0.0);
        }
        figures
    }

    fn all(&self, question: Question<'_>, found: &Found) -> Figures {
        let mut figures = Figures::new();
        let (query, passages) = (question.query, found.passages.as_deref().unwrap_or_default());
        let cited = found.citations.as_deref().unwrap_or_default();
        if self.chunks && !query.evidence.is_empty() {
            self.rank(query, passages, &mut figures);
            self.spans(question, passages, &mut figures);
        }
        let mut right = query.right_answers();
        if self.right == Right::All && right.len() > 1 {
            right = vec![right.join(" ")];
        }
        if self.answers && !right.is_empty() {
            let answer = found.answer.as_deref().unwrap_or_default();
            let mut put = |name: &str, figure: fn(&str, &str) -> f64| {
                figures.insert(name.to_owned(), best(answer, &right, figure));
            };
            put("exact_match", exact_match);
            put("f1", token_f1);
            put("rouge_l", rouge_l);
            put("contains", contains);
        }
        if self.citations && !query.evidence.is_empty() {
            let cited: Vec<Place<'_>> = cited.iter().map(Passage::place).collect();
            let evidence: Vec<Place<'_>> =
                query.evidence.iter().map(anabranch_evaluation::set::Evidence::place).collect();
            figures.insert("citation_precision".to_owned(), citation_precision(&cited, &evidence));
            figures.insert("citation_recall".to_owned(), citation_recall(&cited, &evidence));
        }
        if self.citations && query.meta.contains_key("answerable") {
            let is_answered = !cited.is_empty();
            let (name, is_right) =
                if query.is_unanswerable() { ("refused", !is_answered) } else { ("answered", is_answered) };
            figures.insert(name.to_owned(), f64::from(u8::from(is_right)));
        }
        figures
    }

    fn rank(&self, query: &QueryLine, passages: &[Passage], figures: &mut Figures) {
        let ranked = distinct(passages.iter().map(|passage| passage.0.as_str()));
        let relevant = query.relevant();
        for k in &self.at {
            figures.insert(format!("recall@{k}"), recall_at(&ranked, &relevant, *k));
        }
        for k in &self.at {
            figures.insert(format!("all@{k}"), all_at(&ranked, &relevant, *k));
        }
        figures.insert("hit@1".to_owned(), hit_at(&ranked, &relevant, 1));
        figures.insert(format!("ndcg@{DEPTH}"), ndcg_at(&ranked, &relevant, DEPTH));
        figures.insert(format!("mrr@{DEPTH}"), reciprocal_rank_at(&ranked, &relevant, DEPTH));
        figures.insert("map".to_owned(), average_precision(&ranked, &relevant));
    }

    fn spans(&self, question: Question<'_>, passages: &[Passage], figures: &mut Figures) {
        let wanted: Vec<Span<'_>> = question
            .query
            .evidence
            .iter()
            .filter_map(|evidence| Some(Span { doc: &evidence.doc, range: evidence.bytes()? }))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let retrieved: Vec<Span<'_>> = passages.iter().map(span).collect();
        let all: Vec<Span<'_>> =
            question.chunks.iter().map(|(doc, range)| Span { doc, range: range.clone() }).collect();
        let of = |k: usize| {
            span_figures(&wanted, retrieved.get(..k).unwrap_or(&retrieved), &all, Touching::Strict)
        };
        for k in &self.at {
            figures.insert(format!("chunk_recall@{k}"), of(*k).recall);
        }
        for k in &self.at {
            figures.insert(format!("chunk_precision@{k}"), of(*k).precision);
        }
        for k in &self.at {
            figures.insert(format!("chunk_iou@{k}"), of(*k).iou);
        }
        if !all.is_empty() {
            figures.insert("chunk_precision_omega".to_owned(), of(0).precision_omega);
        }
    }
}

fn span(passage: &Passage) -> Span<'_> {
    // A place beyond what a machine can address is nowhere.
    let at = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX);
    Span { doc: &passage.0, range: at(passage.1)..at(passage.2) }
}

/// What each group of figures is about, and the names of its figures without `@k`, in the order in which all are shown.
pub const GROUPS: [(&str, &[&str]); 5] = [
    ("documents", &["recall", "all", "hit", "ndcg", "mrr", "map"]),
    ("chunks", &["chunk_recall", "chunk_precision", "chunk_iou", "chunk_precision_omega"]),
    ("answers", &["exact_match", "f1", "rouge_l", "contains"]),
    ("citations", &["citation_precision", "citation_recall"]),
    ("refusals", &["answered", "refused"]),
];

/// Where a figure stands among all: its group, its place there, its `k`.
pub fn place_of(name: &str) -> (usize, usize, usize) {
    let (base, k) = name.split_once('@').unwrap_or((name, "0"));
    let group = GROUPS.iter().position(|(_, names)| names.contains(&base)).unwrap_or(GROUPS.len());
    let place = GROUPS.get(group).and_then(|(_, names)| names.iter().position(|known| *known == base));
    (group, place.unwrap_or_default(), k.parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge() -> Judge {
        Judge { at: vec![1, 5], right: Right::Any, answers: true, chunks: true, citations: true }
    }

    fn query(json: serde_json::Value) -> QueryLine {
        serde_json::from_value(json).unwrap()
    }

    fn near(figures: &Figures, expected: &[(&str, f64)]) {
        let names: Vec<&str> = figures.keys().map(String::as_str).collect();
        assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, value) in expected {
            assert!((figures[*name] - value).abs() < 1e-9, "{name}: {} instead of {value}", figures[*name]);
        }
    }

    /// Evidence: 10 bytes of `a` and 10 of `b`. Found: 20 bytes of `c`, then 20 of `a` that hold the evidence.
    fn case() -> (QueryLine, Found) {
        let query = query(json!({
            "id": "q", "question": "?", "answers": ["North Carolina", "NC"],
            "evidence": [{"doc": "a", "bstart": 10, "bend": 20}, {"doc": "b", "bstart": 0, "bend": 10}],
            "meta": {"answerable": true},
        }));
        let found = Found {
            answer: Some("in North Carolina".to_owned()),
            passages: Some(vec![Passage("c".to_owned(), 0, 20), Passage("a".to_owned(), 5, 25)]),
            citations: Some(vec![Passage("a".to_owned(), 19, 30), Passage("c".to_owned(), 0, 5)]),
        };
        (query, found)
    }

    #[test]
    fn the_figures_of_a_question_by_hand() {
        let (query, found) = case();
        let chunks = [("a".to_owned(), 5..25), ("a".to_owned(), 25..40), ("b".to_owned(), 0..10)];
        let figures = judge().judge(Question { query: &query, chunks: &chunks }, Some(&found));
        let gain = |rank: f64| 1.0 / (rank + 1.0).log2();
        near(
            &figures,
            &[
                ("recall@1", 0.0),
                ("recall@5", 0.5),
                ("all@1", 0.0),
                ("all@5", 0.0),
                ("hit@1", 0.0),
                ("ndcg@10", gain(2.0) / (gain(1.0) + gain(2.0))),
                ("mrr@10", 0.5),
                ("map", 0.25),
                ("chunk_recall@1", 0.0),
                ("chunk_recall@5", 0.5),
                ("chunk_precision@1", 0.0),
                ("chunk_precision@5", 10.0 / 40.0),
                ("chunk_iou@1", 0.0),
                ("chunk_iou@5", 10.0 / 50.0),
                ("chunk_precision_omega", 20.0 / 30.0),
                ("exact_match", 0.0),
                ("f1", 0.8),
                ("rouge_l", 0.8),
                ("contains", 1.0),
                ("citation_precision", 0.5),
                ("citation_recall", 0.5),
                ("answered", 1.0),
            ],
        );
        let order: Vec<_> = figures.keys().map(|name| place_of(name)).collect();
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn a_question_that_failed_counts_as_zero_in_the_same_figures() {
        let (query, found) = case();
        let question = Question { query: &query, chunks: &[] };
        let failed = judge().judge(question, None);
        assert!(failed.values().all(|figure| *figure == 0.0));
        assert!(failed.keys().eq(judge().judge(question, Some(&found)).keys()));
    }

    #[test]
    fn a_question_without_an_answer_is_judged_by_its_refusal() {
        let query = query(json!({"id": "q", "question": "?", "meta": {"answerable": false}}));
        let question = Question { query: &query, chunks: &[] };
        near(&judge().judge(question, Some(&Found::default())), &[("refused", 1.0)]);
        near(&judge().judge(question, Some(&case().1)), &[("refused", 0.0)]);
        near(&judge().judge(question, None), &[("refused", 0.0)]);
    }

    #[test]
    fn answers_may_be_parts_and_evidence_whole_documents() {
        let query =
            query(json!({"id": "q", "question": "?", "answers": ["1", 2], "evidence": [{"doc": "a"}]}));
        let question = Question { query: &query, chunks: &[] };
        let found = Found { answer: Some("1, 2".to_owned()), ..case().1 };
        let all = Judge { at: vec![], right: Right::All, ..judge() }.judge(question, Some(&found));
        assert_eq!((all["exact_match"], all["citation_recall"]), (1.0, 1.0));
        assert!(!all.contains_key("chunk_precision_omega"));
        assert!(judge().judge(question, Some(&found))["exact_match"] < 1.0);
        let no_chunks = Judge { chunks: false, answers: false, ..judge() };
        near(
            &no_chunks.judge(question, Some(&found)),
            &[("citation_precision", 0.5), ("citation_recall", 1.0)],
        );
    }
}
