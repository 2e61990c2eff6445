//! Counts the tokens of prompts as a model does, to reserve what a call reads before it is sent.

use std::fmt;
use std::path::{Path, PathBuf};

use moka::sync::Cache;
use tiktoken_rs::CoreBPE;
use tiktoken_rs::tokenizer::Tokenizer as Table;
use xxhash_rust::xxh3::xxh3_128;

/// The tables of tiktoken, by the names that people know them by.
pub const TABLES: [&str; 6] =
    ["cl100k_base", "o200k_base", "o200k_harmony", "p50k_base", "p50k_edit", "r50k_base"];
/// Bytes of a text that are counted token by token; what is longer is estimated from there on, so that nobody waits for
/// a count.
pub const EXACT_BYTES: usize = 256 << 10;
/// Below what common tokenizers make of prose: what is estimated is rather too long than too short.
pub(crate) const BYTES_PER_TOKEN: usize = 3;
/// Longest run of space, or of anything else, that a tokenizer gets to see whole: the work of some grows with the square
/// of it. Longer ones are counted in pieces, at worst a token too many for each.
const RUN_BYTES: usize = 512;
/// Texts whose counts are remembered: a system prompt is counted once.
const KNOWN_MAX: u64 = 4_096;
/// Texts that are counted faster than they are looked up.
const SHORT_BYTES: usize = 64;

/// Counts tokens.
pub struct Tokenizer {
    kind: Kind,
    known: Cache<u128, u32>,
}

enum Kind {
    Table(&'static CoreBPE, &'static str),
    File(Box<tokenizers::Tokenizer>, PathBuf),
}

/// Why there is no tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such table.
    #[error("there is no tokenizer `{name}`; there are {}, and files called `tokenizer.json`", TABLES.join(", "))]
    Unknown {
        /// What was named.
        name: String,
    },
    /// The file is no tokenizer, or is not there.
    #[error("the tokenizer `{}` cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Tokenizer {
    /// The table of tiktoken called `name`; built when it is first needed, in some tens of milliseconds.
    pub fn table(name: &str) -> Result<Self, Error> {
        let unknown = || Error::Unknown { name: name.to_owned() };
        let name = TABLES.into_iter().find(|table| *table == name).ok_or_else(unknown)?;
        let table = match name {
            "cl100k_base" => Table::Cl100kBase,
            "o200k_base" => Table::O200kBase,
            "o200k_harmony" => Table::O200kHarmony,
            "p50k_base" => Table::P50kBase,
            "p50k_edit" => Table::P50kEdit,
            _ => Table::R50kBase,
        };
        let table = tiktoken_rs::bpe_for_tokenizer(table).map_err(|_| unknown())?;
        Ok(Self::of(Kind::Table(table, name)))
    }

    /// The tokenizer in a `tokenizer.json`, as Hugging Face's models have it.
    pub fn file(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::File { path: path.to_owned(), source };
        let mut tokenizer = tokenizers::Tokenizer::from_file(path).map_err(read)?;
        // All of a prompt counts, and nothing but the prompt.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(read)?;
        Ok(Self::of(Kind::File(Box::new(tokenizer), path.to_owned())))
    }

    fn of(kind: Kind) -> Self {
        Self { kind, known: Cache::new(KNOWN_MAX) }
    }

    /// Tokens of `text`, without any that mark its beginning and end.
    pub fn count(&self, text: &str) -> u64 {
        if text.len() <= SHORT_BYTES {
            return self.exactly(text);
        }
        let key = xxh3_128(text.as_bytes());
        if let Some(count) = self.known.get(&key) {
            return u64::from(count);
        }
        let (exact, rest) = text.split_at(clip(text, EXACT_BYTES));
        let count = self.exactly(exact) + rest.len().div_ceil(BYTES_PER_TOKEN) as u64;
        self.known.insert(key, u32::try_from(count).unwrap_or(u32::MAX));
        count
    }

    fn exactly(&self, text: &str) -> u64 {
        pieces(text).map(|piece| self.piece(piece) as u64).sum()
    }

    fn piece(&self, piece: &str) -> usize {
        match &self.kind {
            Kind::Table(table, _) => table.count_ordinary(piece),
            // What cannot be told is estimated.
            Kind::File(tokenizer, _) => tokenizer
                .encode_fast(piece, false)
                .map_or_else(|_| piece.len().div_ceil(BYTES_PER_TOKEN), |encoding| encoding.len()),
        }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Table(_, name) => f.debug_tuple("Tokenizer").field(name).finish(),
            Kind::File(_, path) => f.debug_tuple("Tokenizer").field(path).finish(),
        }
    }
}

/// The longest beginning of at most `bytes` that ends between two characters.
fn clip(text: &str, bytes: usize) -> usize {
    (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The text in pieces that a tokenizer can stand.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let (mut start, mut run, mut kind) = (0, 0, None);
    let mut cuts = Vec::new();
    for (at, c) in text.char_indices() {
        let is_space = Some(c.is_whitespace());
        if kind != is_space {
            (run, kind) = (at, is_space);
        } else if at - run >= RUN_BYTES {
            cuts.push(start..at);
            (start, run) = (at, at);
        }
    }
    cuts.push(start..text.len());
    cuts.into_iter().filter_map(|cut| text.get(cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer of words, as a file.
    const WORDS: &str = r#"{"version":"1.0","truncation":{"direction":"Right","max_length":2,"strategy":"LongestFirst","stride":0},
        "padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,
        "decoder":null,"model":{"type":"WordLevel","vocab":{"[UNK]":0,"herons":1},"unk_token":"[UNK]"}}"#;

    #[test]
    fn tables_count_as_tiktoken_does() {
        let tokenizer = Tokenizer::table("cl100k_base").unwrap();
        assert_eq!((tokenizer.count(""), tokenizer.count("hello world")), (0, 2));
        let long = "Herons nest in the tops of tall trees. ".repeat(10);
        assert_eq!(tokenizer.count(&long), tokenizer.count(&long), "the second time from memory");
        assert!((90..130).contains(&tokenizer.count(&long)), "{}", tokenizer.count(&long));
    }

    #[test]
    fn an_unknown_table_is_told_from_those_that_there_are() {
        let error = Tokenizer::table("gpt-9").unwrap_err().to_string();
        assert!(error.starts_with("there is no tokenizer `gpt-9`; there are cl100k_base, "), "{error}");
    }

    #[test]
    fn a_file_counts_all_of_a_text_whatever_it_says_of_cutting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, WORDS).unwrap();
        let tokenizer = Tokenizer::file(&path).unwrap();
        assert_eq!(tokenizer.count("herons nest in trees"), 4);
        std::fs::write(&path, "{}").unwrap();
        let error = Tokenizer::file(&path).unwrap_err().to_string();
        assert!(error.ends_with("tokenizer.json` cannot be read"), "{error}");
    }

    #[test]
    fn a_text_without_end_is_counted_in_pieces_and_estimated_beyond_a_bound() {
        let tokenizer = Tokenizer::table("o200k_base").unwrap();
        let count = tokenizer.count(&"x".repeat(EXACT_BYTES + 3_000));
        assert!(count >= 1_000, "{count}");
        assert!(tokenizer.count(&"é".repeat(EXACT_BYTES)) > 0, "cut between two characters");
        assert_eq!(pieces(&"x".repeat(RUN_BYTES * 3)).count(), 3);
    }
}
