//! What is kept for a chunk and for a document, and in which fields.

use std::path::Path;

use anabranch_engine::value::{Chunk, DocumentId, SEARCHED};
use tantivy::schema::{
    FAST, Field, IndexRecordOption, NumericOptions, STORED, Schema, TextFieldIndexing, TextOptions,
    Value as _,
};
use tantivy::tokenizer::{PreTokenizedString, Token};
use tantivy::{IndexSettings, TantivyDocument, Term};

use super::tokens;
use crate::load::Kind;

/// The field of a document's key, on its chunks and on its marker.
const KEY: &str = "key";
/// The field of a chunk's words.
const BODY: &str = "body";
/// The field of a chunk's exact number of words; a marker has none, which tells the two apart.
pub(super) const LENGTH: &str = "length";
/// The field of a chunk's or marker's stored form.
const RECORD: &str = "record";
/// The field of a chunk's document, in the order of whose values equal scores come.
pub(super) const DOC: &str = "doc";
/// The fields of a chunk's place.
pub(super) const START: &str = "start";
pub(super) const END: &str = "end";
/// The field of a chunk's metadata, for filters; empty where it is longer than [`META_BYTES_MAX`].
pub(super) const META: &str = "meta";
/// The field of the number of a chunk's vector.
pub(super) const VECTOR: &str = "vector";

/// Longer metadata is looked up in the stored form.
const META_BYTES_MAX: usize = 16 << 10;
/// Longer names of documents are told apart by their hashes from here on.
const DOC_BYTES_MAX: usize = 4 << 10;
/// A search reads its few chunks one by one; what is unpacked around each of them should be little.
const STORE_BLOCK_BYTES: usize = 4 << 10;

/// The fields of the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    key: Field,
    pub(super) body: Field,
    length: Field,
    record: Field,
    doc: Field,
    start: Field,
    end: Field,
    meta: Field,
    vector: Field,
}

/// A document's marker: it is committed with the document's chunks, so that the two cannot disagree.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Marker {
    pub(super) doc: DocumentId,
    pub(super) fingerprint: String,
}

impl Fields {
    /// The schema of a new index.
    pub(super) fn schema() -> Schema {
        let words = |record| {
            TextOptions::default().set_indexing_options(
                // `raw`: the words come cut; lengths are kept exactly in a field of their own.
                TextFieldIndexing::default()
                    .set_tokenizer("raw")
                    .set_fieldnorms(false)
                    .set_index_option(record),
            )
        };
        let mut schema = Schema::builder();
        schema.add_text_field(KEY, words(IndexRecordOption::Basic));
        schema.add_text_field(BODY, words(IndexRecordOption::WithFreqs));
        schema.add_u64_field(LENGTH, NumericOptions::default() | FAST);
        schema.add_bytes_field(RECORD, STORED);
        schema.add_bytes_field(DOC, FAST);
        for number in [START, END, VECTOR] {
            schema.add_u64_field(number, NumericOptions::default() | FAST);
        }
        schema.add_bytes_field(META, FAST);
        schema.build()
    }

    /// How the files of a new index are laid out.
    pub(super) fn settings() -> IndexSettings {
        IndexSettings { docstore_blocksize: STORE_BLOCK_BYTES, ..IndexSettings::default() }
    }

    /// The fields of an index that is there; `None` if it was not made from [`Fields::schema`].
    pub(super) fn of(schema: &Schema) -> Option<Self> {
        let field = |name| schema.get_field(name).ok();
        Some(Self {
            key: field(KEY)?,
            body: field(BODY)?,
            length: field(LENGTH)?,
            record: field(RECORD)?,
            doc: field(DOC)?,
            start: field(START)?,
            end: field(END)?,
            meta: field(META)?,
            vector: field(VECTOR)?,
        })
    }

    /// What finds everything that is kept for `doc`.
    pub(super) fn key(self, doc: &DocumentId) -> Term {
        Term::from_field_text(self.key, &key(doc))
    }

    /// The entry of a chunk, with the number of its vector.
    pub(super) fn chunk(self, chunk: &Chunk, vector: Option<u64>) -> serde_json::Result<TantivyDocument> {
        let words = words_of(chunk);
        let n_words = words.len() as u64;
        let mut entry = TantivyDocument::default();
        entry.add_text(self.key, key(&chunk.doc));
        let token = |(position, text)| Token { text, position, ..Token::default() };
        let tokens = words.into_iter().enumerate().map(token).collect();
        entry.add_pre_tokenized_text(self.body, PreTokenizedString { text: String::new(), tokens });
        entry.add_u64(self.length, n_words);
        entry.add_bytes(self.record, &serde_json::to_vec(chunk)?);
        entry.add_bytes(self.doc, &sortable_name(&chunk.doc));
        entry.add_u64(self.start, chunk.range.start);
        entry.add_u64(self.end, chunk.range.end);
        let mut meta = chunk.meta.clone();
        // Long, and nothing to filter on.
        meta.remove(SEARCHED);
        let meta = serde_json::to_vec(&meta)?;
        entry.add_bytes(self.meta, if meta.len() > META_BYTES_MAX { &[] } else { &meta });
        if let Some(vector) = vector {
            entry.add_u64(self.vector, vector);
        }
        Ok(entry)
    }

    /// The entry that says that `doc` is here, and what it was made from.
    pub(super) fn marker(self, doc: &DocumentId, fingerprint: &str) -> serde_json::Result<TantivyDocument> {
        let marker = Marker { doc: doc.clone(), fingerprint: fingerprint.to_owned() };
        let mut entry = TantivyDocument::default();
        entry.add_text(self.key, key(doc));
        entry.add_bytes(self.record, &serde_json::to_vec(&marker)?);
        Ok(entry)
    }

    /// The stored form of an entry.
    pub(super) fn record<T: serde::de::DeserializeOwned>(
        self,
        entry: &TantivyDocument,
    ) -> tantivy::Result<T> {
        let bytes = entry.get_first(self.record).and_then(|value| value.as_bytes()).unwrap_or_default();
        serde_json::from_slice(bytes).map_err(|error| {
            tantivy::TantivyError::InternalError(format!("an entry cannot be read ({error})"))
        })
    }
}

/// A document's key. Names can be longer than the longest term; their hashes cannot.
fn key(doc: &DocumentId) -> String {
    blake3::hash(doc.0.as_bytes()).to_hex().to_string()
}

/// The words that find the chunk, in order, repeats included.
pub(in crate::index) fn words_of(chunk: &Chunk) -> Vec<String> {
    tokens::words(&searched_text(chunk), is_code(chunk))
}

/// The document's name, as far as it can be kept in order.
fn sortable_name(doc: &DocumentId) -> Vec<u8> {
    let name = doc.0.as_bytes();
    match name.split_at_checked(DOC_BYTES_MAX) {
        Some((start, rest)) if !rest.is_empty() => [start, blake3::hash(name).as_bytes()].concat(),
        _ => name.to_owned(),
    }
}

/// What a search of the chunk looks at, by words or by vectors: what its metadata have as [`SEARCHED`], or its title, the
/// headings above it, the header of the table that it is part of, its text.
pub fn searched_text(chunk: &Chunk) -> String {
    if let Some(text) = chunk.meta.get(SEARCHED).and_then(serde_json::Value::as_str) {
        return text.to_owned();
    }
    let title = chunk.title.as_deref().unwrap_or_default();
    // The title is often the outermost heading; said twice it would count twice.
    let headings = chunk.headings.iter().map(AsRef::as_ref).filter(|heading: &&str| *heading != title);
    // Rows are found by the names of their columns, too.
    let header = chunk.meta.get("table_header").and_then(serde_json::Value::as_str);
    let mut text = String::with_capacity(chunk.text.len() + title.len() + 1);
    for line in std::iter::once(title).chain(headings).chain(header) {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(&chunk.text);
    text
}

fn is_code(chunk: &Chunk) -> bool {
    // The documents of a corpus (`file.jsonl#id`) may have any name and are text.
    let is_of_corpus = chunk.doc.0.contains(".jsonl#");
    !is_of_corpus && Kind::of_path(Path::new(chunk.doc.0.as_ref())) == Some(Kind::Code)
}
