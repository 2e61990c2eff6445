//! Texts as tokens: four bytes each, which is about what English takes, and nothing to load.

use anabranch_engine::value::Message;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{BLOCK_TOKENS, role};

/// Bytes of a token.
const TOKEN_BYTES: usize = 4;

/// The prompt that a model reads: the messages in the frame that most chat templates have.
pub(super) fn prompt(messages: &[Message]) -> String {
    let mut prompt = String::new();
    for message in messages {
        for part in ["<|im_start|>", role(message.role), "\n", &message.content, "<|im_end|>\n"] {
            prompt += part;
        }
    }
    prompt + "<|im_start|>assistant\n"
}

/// Tokens of a text.
pub(super) fn n_tokens(text: &str) -> usize {
    text.len().div_ceil(TOKEN_BYTES)
}

/// The full blocks of a text: a hash each, over the block and all before it.
#[derive(Debug)]
pub(super) struct Blocks(pub(super) Vec<u64>);

impl Blocks {
    pub(super) fn of(text: &str) -> Self {
        let mut parent = 0;
        let blocks = text.as_bytes().chunks_exact(BLOCK_TOKENS * TOKEN_BYTES);
        let hashes = blocks.map(|block| {
            parent = xxh3_64_with_seed(block, parent);
            parent
        });
        Self(hashes.collect())
    }
}

/// The words of an answer, one a token: always the same after the same prompt.
#[derive(Debug)]
pub(super) struct Words(fastrand::Rng);

impl Words {
    pub(super) fn after(prompt: &str) -> Self {
        Self(fastrand::Rng::with_seed(xxh3_64(prompt.as_bytes())))
    }
}

impl Iterator for Words {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut letter = || self.0.lowercase();
        Some([letter(), letter(), letter(), ' '].iter().collect())
    }
}
