//! Encoders whose answers a test can work out by hand.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::backend::{
    Call, Embedder, Embeddings, Error, Passage, Reranker, Reranking, TokenEmbeddings, TokenVector, Usage,
};
use crate::value::Text;

/// Embeds a text as how often each letter from `a` to `z` occurs in it, at unit length; a text without letters lies
/// alone on an axis of its own.
#[derive(Debug, Clone, Copy)]
pub struct Letters;

#[async_trait]
impl Embedder for Letters {
    fn identity(&self) -> String {
        "letters".to_owned()
    }

    async fn embed(&self, texts: &[Text], _: Passage, _: &Call<'_>) -> Result<Embeddings, Error> {
        let vectors = texts.iter().map(|text| letters(text)).collect();
        Ok(Embeddings { vectors, usage: Usage { prompt_tokens: texts.len() as u64, ..Usage::default() } })
    }

    /// A token a word, with how often each letter occurs in it; a mark at the beginning and one at the end, which lie where
    /// texts without letters do. It reads forty words.
    async fn embed_tokens(&self, text: &Text, _: &Call<'_>) -> Result<TokenEmbeddings, Error> {
        const WORDS_MAX: usize = 40;
        let mark = |at: usize| TokenVector { range: at..at, vector: letters("").to_vec() };
        let mut tokens = vec![mark(0)];
        let mut start = 0;
        for part in text.split_inclusive(char::is_whitespace) {
            let word = part.trim();
            if !word.is_empty() && tokens.len() <= WORDS_MAX {
                tokens.push(TokenVector { range: start..start + word.len(), vector: letters(word).to_vec() });
            }
            start += part.len();
        }
        tokens.push(mark(text.len()));
        Ok(TokenEmbeddings {
            usage: Usage { prompt_tokens: tokens.len() as u64, ..Usage::default() },
            tokens,
        })
    }
}

fn letters(text: &str) -> crate::backend::Vector {
    let mut counts = [0.0_f32; 27];
    for letter in text.bytes().map(|byte| byte.to_ascii_lowercase()).filter(u8::is_ascii_lowercase) {
        if let Some(count) = counts.get_mut(usize::from(letter - b'a')) {
            *count += 1.0;
        }
    }
    let norm = counts.iter().map(|count| count * count).sum::<f32>().sqrt();
    if let (true, Some(alone)) = (norm == 0.0, counts.last_mut()) {
        *alone = 1.0;
    }
    counts.iter().map(|count| count / if norm == 0.0 { 1.0 } else { norm }).collect()
}

/// Scores a text by the share of the query's words that it has, 0 to 1.
#[derive(Debug, Clone, Copy)]
pub struct Overlap;

#[async_trait]
impl Reranker for Overlap {
    fn name(&self) -> &'static str {
        "overlap"
    }

    async fn rerank(&self, query: &str, texts: &[Text], _: &Call<'_>) -> Result<Reranking, Error> {
        let words =
            |text: &str| text.to_lowercase().split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
        let wanted = words(query);
        let share = |text: &Text| {
            let found = wanted.intersection(&words(text)).count();
            found as f64 / wanted.len().max(1) as f64
        };
        let usage = Usage { prompt_tokens: texts.len() as u64, ..Usage::default() };
        Ok(Reranking { scores: texts.iter().map(share).collect(), usage })
    }
}
