//! From texts through tokens and the transformer to vectors.

use std::ops::Range;
use std::path::Path;

use anabranch_engine::backend::{Error, TokenVector, Vector};
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

    /// The vectors of the tokens of `text`, as far as the model reads it, with the marks at both ends.
    pub(super) fn token_vectors(&self, text: &str) -> Result<Vec<TokenVector>, Error> {
        if self.pooling == Pooling::First {
            return Err(
                self.garbled(&"it makes its vector of the first token alone, so that others say nothing")
            );
        }
        let text = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text);
        // Small letters can take more bytes or fewer: where each of the text stands.
        let (mut lowered, mut places) =
            (String::with_capacity(text.len()), Vec::with_capacity(text.len() + 1));
        for (at, c) in text.char_indices() {
            let before = lowered.len();
            if self.is_lowered {
                lowered.extend(c.to_lowercase());
            } else {
                lowered.push(c);
            }
            places.extend(std::iter::repeat_n(at, lowered.len() - before));
        }
        places.push(text.len());
        let encoding = self.tokenizer.encode(lowered, true).map_err(|error| self.garbled(&error))?;
        let mut ids = encoding.get_ids().to_vec();
        let mut ranges: Vec<Range<usize>> = encoding
            .get_offsets()
            .iter()
            .zip(encoding.get_special_tokens_mask())
            .map(|((start, end), is_special)| {
                let place = |at: usize| places.get(at).copied().unwrap_or(text.len());
                if *is_special == 1 { place(*start)..place(*start) } else { place(*start)..place(*end) }
            })
            .collect();
        // The mark at the end has no place of its own.
        if let Some(last) = ranges.last_mut().filter(|range| range.is_empty()) {
            *last = text.len()..text.len();
        }
        ids.truncate(self.max_tokens);
        ranges.truncate(self.max_tokens);
        let tokens = Tokens { text: 0, ids };
        let states = self.states(std::slice::from_ref(&tokens)).map_err(|error| self.garbled(&error))?;
        let rows = states
            .squeeze(0)
            .and_then(|states| states.to_vec2::<f32>())
            .map_err(|error| self.garbled(&error))?;
        Ok(ranges.into_iter().zip(rows).map(|(range, vector)| TokenVector { range, vector }).collect())
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

    /// What the model gives for each token of each of `texts`.
    fn states(&self, texts: &[Tokens]) -> candle_core::Result<Tensor> {
        let (ids, mask) = Self::padded(texts, self.pad_id)?;
        self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))
    }

    /// The tokens of `texts` with padding up to the longest, and which of them are none.
    fn padded(texts: &[Tokens], pad_id: u32) -> candle_core::Result<(Tensor, Tensor)> {
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or_default();
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for text in texts {
            ids.extend(text.ids.iter().copied().chain(std::iter::repeat(pad_id)).take(longest));
            mask.extend(text.ids.iter().map(|_| 1.0_f32).chain(std::iter::repeat(0.0)).take(longest));
        }
        let shape = (texts.len(), longest);
        let ids = Tensor::from_vec(ids, shape, &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        Ok((ids, mask))
    }

    /// What the model gives for each of `texts`, one row a text.
    fn rows(&self, texts: &[Tokens]) -> candle_core::Result<Vec<Vec<f32>>> {
        let (ids, mask) = Self::padded(texts, self.pad_id)?;
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
