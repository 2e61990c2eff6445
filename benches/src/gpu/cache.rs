//! The blocks of prompts that a server keeps, as vLLM keeps them: chained, bounded, the longest unused go first.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::tokens::Blocks;

/// A block cache.
#[derive(Debug)]
pub(super) struct Cache {
    blocks: LruCache<u64, ()>,
}

impl Cache {
    /// An empty cache for so many blocks; for any number if unset.
    pub(super) fn new(bound: Option<NonZeroUsize>) -> Self {
        Self { blocks: bound.map_or_else(LruCache::unbounded, LruCache::new) }
    }

    /// How many blocks it holds.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// How many of these blocks it holds, from the first on. They are in use from now on.
    pub(super) fn matched(&mut self, blocks: &Blocks) -> usize {
        let n = blocks.0.iter().take_while(|hash| self.blocks.contains(hash)).count();
        for hash in blocks.0.iter().take(n).rev() {
            self.blocks.promote(hash);
        }
        n
    }

    /// Keeps these blocks. Freed from the last to the first, so that what many share goes last.
    pub(super) fn note(&mut self, blocks: &Blocks) {
        for hash in blocks.0.iter().rev() {
            self.blocks.put(*hash, ());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &str) -> Blocks {
        Blocks::of(&text.chars().map(|letter| letter.to_string().repeat(64)).collect::<String>())
    }

    fn cache(bound: usize) -> Cache {
        Cache::new(NonZeroUsize::new(bound))
    }

    #[test]
    fn a_block_counts_only_behind_the_same_blocks() {
        let mut cache = cache(100);
        cache.note(&blocks("abc"));
        assert_eq!(cache.matched(&blocks("abd")), 2);
        assert_eq!(cache.matched(&blocks("bc")), 0, "the same texts in another place are others");
        assert_eq!(cache.matched(&Blocks::of("too short for a block")), 0);
    }

    #[test]
    fn the_longest_unused_goes_first_and_of_one_prompt_its_end() {
        let mut cache = cache(4);
        cache.note(&blocks("ab"));
        cache.note(&blocks("cd"));
        assert_eq!(cache.matched(&blocks("ab")), 2, "used again");
        cache.note(&blocks("e"));
        assert_eq!(cache.len(), 4);
        assert_eq!((cache.matched(&blocks("ab")), cache.matched(&blocks("cd"))), (2, 1));
    }

    #[test]
    fn without_a_bound_nothing_is_forgotten() {
        let mut cache = Cache::new(None);
        for number in 0..1_000 {
            cache.note(&Blocks::of(&format!("{number:064}")));
        }
        assert_eq!(cache.len(), 1_000);
    }
}
