//! Vectors of all-MiniLM-L6-v2, kept on disk: making them takes minutes.

use std::fs;
use std::path::{Path, PathBuf};

use anabranch_backends::embed::LocalEmbedder;
use anabranch_engine::backend::Vector;
use anabranch_engine::value::Text;

use crate::Outcome;

/// Texts that go through the model together.
const BATCH: usize = 32;

/// The model, and where its vectors are kept.
#[derive(Debug)]
pub struct Minilm {
    embedder: LocalEmbedder,
    cache: PathBuf,
}

impl Minilm {
    /// The model in `folder`; vectors are kept in `cache`.
    pub fn open(folder: &Path, cache: &Path) -> Outcome<Self> {
        fs::create_dir_all(cache)?;
        Ok(Self { embedder: LocalEmbedder::open(folder)?, cache: cache.to_owned() })
    }

    /// One vector a text, in their order.
    pub fn vectors(&self, texts: &[Text]) -> Outcome<Vec<Vector>> {
        let mut hasher = blake3::Hasher::new();
        for text in texts {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        let file = self.cache.join(format!("{}.f32", hasher.finalize().to_hex()));
        if let Ok(bytes) = fs::read(&file) {
            let numbers: Vec<f32> = bytes
                .chunks_exact(4)
                .filter_map(|number| Some(f32::from_le_bytes(number.try_into().ok()?)))
                .collect();
            let dimensions = numbers.len().checked_div(texts.len()).unwrap_or(0).max(1);
            return Ok(numbers.chunks_exact(dimensions).map(Vector::from).collect());
        }
        let vectors = self.embedder.embed_blocking(texts, BATCH)?;
        let bytes: Vec<u8> =
            vectors.iter().flat_map(|vector| vector.iter().flat_map(|number| number.to_le_bytes())).collect();
        // Whole or not at all.
        let draft = file.with_extension("new");
        fs::write(&draft, bytes)?;
        fs::rename(draft, file)?;
        Ok(vectors)
    }
}

/// Cosine of two vectors of unit length.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
