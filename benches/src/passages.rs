//! A set's corpus, cut and indexed, and the passages that a question finds in it.

use std::sync::Arc;

use anabranch_backends::index::{EmbeddedIndex, Fingerprint};
use anabranch_engine::backend::SearchQuery;
use anabranch_engine::operator::Operator as _;
use anabranch_engine::testing::cx;
use anabranch_engine::value::{Chunk, Document, DocumentId, Metadata};
use anabranch_operators::chunk::recursive::Recursive;
use anabranch_operators::select::budget::{self, Budget};
use tempfile::TempDir;

use crate::Outcome;
use anabranch_evaluation::set::CorpusLine;

/// Most chunks to find.
const TOP_K: usize = 12;
/// Most tokens of those to read.
const MAX_TOKENS: usize = 1500;

/// An index of chunks.
pub struct Passages {
    index: EmbeddedIndex,
    _folder: TempDir,
}

impl Passages {
    /// Cuts every document with `chunk.recursive` as it comes, and indexes the chunks.
    pub fn of(corpus: &[CorpusLine]) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let index = EmbeddedIndex::open_or_create(folder.path().join("index"))?;
        let mut writer = index.begin()?;
        for line in corpus {
            let document = Document {
                id: DocumentId(line.id.as_str().into()),
                title: line.title.as_deref().map(Into::into),
                text: line.text.as_str().into(),
                kind: "corpus".into(),
                meta: Metadata::new(),
            };
            let fingerprint = Fingerprint::new(&blake3::hash(line.text.as_bytes()), "recursive");
            writer.replace(&document.id, &fingerprint, &Recursive::default().cut(&document)?)?;
        }
        writer.finish()?;
        Ok(Self { index, _folder: folder })
    }

    /// The best chunks for `question` that fit into what a reader is given, best first.
    pub async fn find(&self, question: &str) -> Outcome<Vec<Arc<Chunk>>> {
        let query = SearchQuery::words(question, TOP_K);
        let chunks = self.index.search_blocking(&query)?;
        let select = Budget { max_tokens: MAX_TOKENS, ..Budget::default() };
        Ok(select.run(&cx(), budget::In { chunks }).await?.chunks)
    }
}
