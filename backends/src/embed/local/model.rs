//! From texts through tokens and the transformer to vectors.

use std::path::Path;

use anabranch_engine::backend::{Error, Vector};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::BertModel;
use tokenizers::Tokenizer;

use super::error::LocalError;
use super::folder::{Folder, Pooling};
use crate::embed::unit::unit;

/// Most bytes of a text that are cut into tokens: far more than the model reads of any text.
const TEXT_BYTES_MAX: usize = 128 * 1024;

/// A model in memory.
pub(super) struct Model {
    bert: BertModel,
    tokenizer: Tokenizer,
    pooling: Pooling,
    pad_id: u32,
    max_tokens: usize,
    is_lowered: bool,
    identity: String,
    /// For errors: what is speaking.
    backend: String,
}

/// A text as the model reads it.
struct Tokens {
    /// Which of the texts.
    text: usize,
    ids: Vec<u32>,
}

impl Model {
    pub(super) fn open(path: &Path) -> Result<Self, LocalError> {
        let folder = Folder::read(path)?;
        let wrong = |source| LocalError::Weights { path: folder.weights_path.clone(), source };
        let weights = VarBuilder::from_buffered_safetensors(folder.weights, DType::F32, &Device::Cpu);
        let bert = BertModel::load(weights.map_err(wrong)?, &folder.config).map_err(wrong)?;
        Ok(Self {
            bert,
            tokenizer: folder.tokenizer,
            pooling: folder.pooling,
            pad_id: u32::try_from(folder.config.pad_token_id).unwrap_or_default(),
            max_tokens: folder.max_tokens,
            is_lowered: folder.is_lowered,
            identity: folder.identity,
            backend: format!("the model in `{}`", path.display()),
        })
    }

    /// Names the weights, the tokenizer and how they are used.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// That the model cannot be used right now.
    pub(super) fn unavailable(&self, message: String) -> Error {
        Error::Unavailable { backend: self.backend.clone(), message, retry_after: None }
    }

    fn garbled(&self, message: &dyn ToString) -> Error {
        Error::Garbled { backend: self.backend.clone(), message: message.to_string() }
    }

    /// The vectors of `texts` in their order, and the tokens read. Texts of like length go through the model together,
    /// at most `batch` at a time; `is_over` is asked before each batch.
    pub(super) fn embed(
        &self,
        texts: &[&str],
        batch: usize,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(Vec<Vector>, u64), Error> {
        let mut tokens = Vec::with_capacity(texts.len());
        for (n, text) in texts.iter().enumerate() {
            if n.is_multiple_of(batch.max(1)) && is_over() {
                return Err(self.unavailable("nobody waits for it any more".to_owned()));
            }
            tokens.push(Tokens { text: n, ids: self.tokens(text)? });
        }
        let n_tokens = tokens.iter().map(|text| text.ids.len() as u64).sum();
        // The longest first, so that memory which suffices for the first batch suffices for all.
        tokens.sort_by_key(|text| std::cmp::Reverse(text.ids.len()));
        let mut vectors: Vec<Option<Vector>> = vec![None; texts.len()];
        for batch in tokens.chunks(batch.max(1)) {
            if is_over() {
                return Err(self.unavailable("nobody waits for it any more".to_owned()));
            }
            let rows = self.rows(batch).map_err(|error| self.garbled(&error))?;
            for (text, row) in batch.iter().zip(rows) {
                let vector = unit(&row).ok_or_else(|| self.garbled(&"a vector without a direction"))?;
                if let Some(slot) = vectors.get_mut(text.text) {
                    *slot = Some(vector);
                }
            }
        }
        Ok((vectors.into_iter().flatten().collect(), n_tokens))
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, Error> {
        let text = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text);
        let encoding = if self.is_lowered {
            self.tokenizer.encode_fast(text.to_lowercase(), true)
        } else {
            self.tokenizer.encode_fast(text, true)
        };
        let mut ids = encoding.map_err(|error| self.garbled(&error))?.get_ids().to_vec();
        ids.truncate(self.max_tokens);
        if ids.is_empty() {
            // A tokenizer that marks neither begin nor end gives nothing for an empty text.
            ids.push(self.pad_id);
        }
        Ok(ids)
    }

    /// What the model gives for each of `texts`, one row a text.
    fn rows(&self, texts: &[Tokens]) -> candle_core::Result<Vec<Vec<f32>>> {
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or_default();
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for text in texts {
            ids.extend(text.ids.iter().copied().chain(std::iter::repeat(self.pad_id)).take(longest));
            mask.extend(text.ids.iter().map(|_| 1.0_f32).chain(std::iter::repeat(0.0)).take(longest));
        }
        let shape = (texts.len(), longest);
        let ids = Tensor::from_vec(ids, shape, &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        let states = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let pooled = match self.pooling {
            Pooling::First => states.narrow(1, 0, 1)?.squeeze(1)?,
            Pooling::Mean => {
                let sum = states.broadcast_mul(&mask.unsqueeze(D::Minus1)?)?.sum(1)?;
                sum.broadcast_div(&mask.sum_keepdim(1)?)?
            }
        };
        pooled.to_vec2()
    }
}
