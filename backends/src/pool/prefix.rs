//! Beginnings of prompts as chains of hashes, and which of them a server has read lately.

use std::num::NonZeroUsize;

use anabranch_engine::value::{Message, Role};
use lru::LruCache;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of a block: what is about 16 tokens, the block of vLLM's cache.
pub(crate) const BLOCK_BYTES: usize = 64;
/// Most blocks of a prompt that are looked at.
pub(crate) const BLOCKS_MAX: usize = 256;

/// The beginning of a prompt: a hash for every full block, each over the block and all before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Prefix {
    hashes: Vec<u64>,
}

impl Prefix {
    /// The beginning of `messages`. Prompts for which `seed` differs have nothing in common.
    pub(crate) fn new(seed: u64, messages: &[Message]) -> Self {
        let bytes: usize = messages.iter().map(|message| message.content.len() + 1).sum();
        let mut chain = Chain {
            hashes: Vec::with_capacity((bytes / BLOCK_BYTES).min(BLOCKS_MAX)),
            parent: seed,
            rest: Vec::with_capacity(BLOCK_BYTES),
        };
        for message in messages {
            // A byte that no text has, so that a message's end is never mistaken for text.
            chain.add(&[match message.role {
                Role::System => 0xf8,
                Role::User => 0xf9,
                Role::Assistant => 0xfa,
            }]);
            chain.add(message.content.as_bytes());
            if chain.is_full() {
                break;
            }
        }
        Self { hashes: chain.hashes }
    }

    /// The hashes, of the first block first.
    pub(crate) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// A name for the prompt's first block; the same for every prompt without a full block.
    pub(crate) fn first(&self) -> u64 {
        self.hashes.first().copied().unwrap_or_default()
    }
}

/// What prefixes of a model begin with: nothing is shared between models, or under different salts.
pub(crate) fn seed(model: &str, salt: &str) -> u64 {
    xxh3_64_with_seed(salt.as_bytes(), xxh3_64_with_seed(model.as_bytes(), 0))
}

struct Chain {
    hashes: Vec<u64>,
    parent: u64,
    rest: Vec<u8>,
}

impl Chain {
    fn is_full(&self) -> bool {
        self.hashes.len() >= BLOCKS_MAX
    }

    fn add(&mut self, mut bytes: &[u8]) {
        if !self.rest.is_empty() {
            let (head, tail) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.rest.len()));
            self.rest.extend_from_slice(head);
            bytes = tail;
            if self.rest.len() < BLOCK_BYTES {
                return;
            }
            let block = std::mem::take(&mut self.rest);
            self.close(&block);
            self.rest = block;
            self.rest.clear();
        }
        let mut blocks = bytes.chunks_exact(BLOCK_BYTES);
        for block in &mut blocks {
            self.close(block);
        }
        self.rest.extend_from_slice(blocks.remainder());
    }

    fn close(&mut self, block: &[u8]) {
        if !self.is_full() {
            self.parent = xxh3_64_with_seed(block, self.parent);
            self.hashes.push(self.parent);
        }
    }
}

/// The blocks that a server has read lately, which are those that its cache may hold.
#[derive(Debug)]
pub(crate) struct Seen {
    blocks: LruCache<u64, ()>,
}

impl Seen {
    /// Of a server whose latest `bound` blocks are remembered.
    pub(crate) fn new(bound: NonZeroUsize) -> Self {
        Self { blocks: LruCache::new(bound) }
    }

    /// How many blocks are remembered.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// How many blocks of `prefix` the server has read, from the first on.
    pub(crate) fn matched(&self, prefix: &Prefix) -> usize {
        // A block is never forgotten before those that follow it (see `note`), so that the known ones stand in front.
        prefix.hashes.partition_point(|hash| self.blocks.contains(hash))
    }

    /// The server reads `prefix`.
    pub(crate) fn note(&mut self, prefix: &Prefix) {
        // The last block first: what many prompts begin with is always younger than how they go on.
        for hash in prefix.hashes.iter().rev() {
            self.blocks.put(*hash, ());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::new(7, &[Message { role: Role::User, content: text.into() }])
    }

    fn common(left: &Prefix, right: &Prefix) -> usize {
        left.hashes.iter().zip(&right.hashes).take_while(|(left, right)| left == right).count()
    }

    #[test]
    fn prompts_share_the_blocks_that_they_begin_with_in_common() {
        let long = "x".repeat(1_000);
        assert_eq!(prefix(&long).hashes.len(), 1_001 / BLOCK_BYTES);
        assert_eq!(common(&prefix(&format!("{long}a")), &prefix(&format!("{long}b"))), 1_001 / BLOCK_BYTES);
        assert_eq!(common(&prefix(&format!("a{long}")), &prefix(&format!("b{long}"))), 0);
        assert_eq!(prefix(&"x".repeat(100_000)).hashes.len(), BLOCKS_MAX);
        assert_eq!(prefix("short").first(), prefix("brief").first());
    }

    #[test]
    fn a_text_that_is_split_otherwise_into_messages_is_another_prompt() {
        let text = "word ".repeat(40);
        let messages = |role, texts: &[&str]| {
            let texts = texts.iter().map(|text| Message { role, content: (*text).into() });
            Prefix::new(7, &texts.collect::<Vec<_>>())
        };
        let whole = messages(Role::User, &[&text]);
        assert_eq!(common(&whole, &messages(Role::User, &[&text[..20], &text[20..]])), 0);
        assert_eq!(common(&whole, &messages(Role::System, &[&text])), 0);
    }

    #[test]
    fn models_and_salts_share_nothing() {
        assert_ne!(seed("a", ""), seed("b", ""));
        assert_ne!(seed("a", "x"), seed("a", "y"));
    }

    proptest! {
        #[test]
        fn hashing_in_pieces_is_hashing_at_once(text in "[a-z]{0,900}", cut in 0_usize..900) {
            let cut = cut.min(text.len());
            let chain = |parts: &[&str]| {
                let mut chain = Chain { hashes: vec![], parent: 1, rest: vec![] };
                for part in parts {
                    chain.add(part.as_bytes());
                }
                chain.hashes
            };
            prop_assert_eq!(chain(&[&text]), chain(&[&text[..cut], &text[cut..]]));
        }

        /// Random prompts of a small alphabet, so that beginnings meet.
        #[test]
        fn what_is_remembered_is_bounded_and_counts_from_the_first_block(
            prompts in prop::collection::vec(prop::collection::vec(0_u8..3, 0..12), 1..60),
            bound in 1_usize..24,
        ) {
            let mut seen = Seen::new(NonZeroUsize::new(bound).unwrap());
            for blocks in prompts {
                let text: String = blocks.iter().map(|letter| char::from(b'a' + letter).to_string().repeat(64)).collect();
                let prefix = prefix(&text);
                seen.note(&prefix);
                prop_assert!(seen.len() <= bound);
                prop_assert_eq!(seen.matched(&prefix), prefix.hashes.len().min(bound));
                // Whatever is known of it is known from its beginning.
                let known: Vec<bool> = prefix.hashes.iter().map(|hash| seen.blocks.contains(hash)).collect();
                prop_assert!(known.is_sorted_by(|before, after| before >= after));
            }
        }
    }
}
