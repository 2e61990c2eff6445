//! What the index is held against: tantivy as its own documentation uses it, and a loop over vectors in memory.

use pulp::{Arch, NullaryFnOnce};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

use anabranch_benches::Outcome;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{
    Field, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions, Value as _,
};
use tantivy::{Searcher, TantivyDocument, Term};

use crate::corpus::{Corpus, DIMENSIONS};

/// An index of tantivy alone: BM25 as it comes, the text stored.
pub(crate) struct Raw {
    searcher: Searcher,
    text: Field,
}

impl Raw {
    pub(crate) fn build(folder: &Path, corpus: &Corpus, n_chunks: usize) -> Outcome<Self> {
        let mut schema = Schema::builder();
        let id = schema.add_text_field("id", STRING | STORED);
        let words = TextFieldIndexing::default()
            .set_tokenizer("default")
            .set_index_option(IndexRecordOption::WithFreqs);
        let text = schema.add_text_field("text", TextOptions::default().set_indexing_options(words) | STORED);
        std::fs::create_dir_all(folder)?;
        let index = tantivy::Index::create_in_dir(folder, schema.build())?;
        let mut writer = index.writer_with_num_threads(1, 50_000_000)?;
        for n in 0..n_chunks {
            let mut document = TantivyDocument::default();
            document.add_text(id, n.to_string());
            document.add_text(text, corpus.chunk(n).text);
            writer.add_document(document)?;
        }
        writer.commit()?;
        writer.wait_merging_threads()?;
        Ok(Self { searcher: index.reader()?.searcher(), text })
    }

    pub(crate) fn n_segments(&self) -> usize {
        self.searcher.segment_readers().len()
    }

    /// The texts of the ten best.
    pub(crate) fn search(&self, question: &str) -> Outcome<Vec<String>> {
        let terms = question.split(' ').map(|word| {
            let term = Term::from_field_text(self.text, word);
            let query: Box<dyn Query> = Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs));
            (Occur::Should, query)
        });
        let query = BooleanQuery::new(terms.collect());
        let found = self.searcher.search(&query, &TopDocs::with_limit(10).order_by_score())?;
        let mut texts = Vec::with_capacity(found.len());
        for (_, address) in found {
            let document: TantivyDocument = self.searcher.doc(address)?;
            let text = document.get_first(self.text).and_then(|value| value.as_str());
            texts.push(text.unwrap_or_default().to_owned());
        }
        Ok(texts)
    }
}

/// The ten vectors nearest to the question, with nothing but a loop over memory.
pub(crate) fn scan(vectors: &[f32], question: &[f32]) -> Vec<usize> {
    let mut best: BinaryHeap<Reverse<(Ordered, usize)>> = BinaryHeap::new();
    for (n, vector) in vectors.chunks_exact(DIMENSIONS).enumerate() {
        let score = Ordered(dot(question, vector));
        if best.len() < 10 {
            best.push(Reverse((score, n)));
        } else if best.peek().is_some_and(|Reverse((worst, _))| score > *worst) {
            best.pop();
            best.push(Reverse((score, n)));
        }
    }
    best.into_sorted_vec().into_iter().map(|Reverse((_, n))| n).collect()
}

/// Compiled for the widest registers that the processor has.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    Arch::new().dispatch(Dot { a, b })
}

struct Dot<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl NullaryFnOnce for Dot<'_> {
    type Output = f32;

    // Only what is inlined is compiled for the registers that were found.
    #[inline(always)]
    fn call(self) -> f32 {
        const LANES: usize = 32;
        let mut sums = [0.0_f32; LANES];
        for (a, b) in self.a.as_chunks::<LANES>().0.iter().zip(self.b.as_chunks::<LANES>().0) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum += a * b;
            }
        }
        sums.iter().sum()
    }
}

#[derive(PartialEq)]
struct Ordered(f32);

impl Eq for Ordered {}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
