//! Cuts texts into batches that a server can take.

use std::ops::Range;

/// Most bytes of text in one request; half of what TEI takes at most, since quoting makes texts longer. A single text
/// may be larger.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// What bounds a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    n_texts: usize,
    n_bytes: usize,
}

impl BatchLimits {
    /// At most `n_texts` texts, and at least one.
    pub(super) fn of(n_texts: usize) -> Self {
        Self { n_texts: n_texts.max(1), n_bytes: BATCH_BYTES_MAX }
    }

    /// The batches of `texts`, in order, without gaps.
    pub(super) fn cut(&self, texts: &[impl AsRef<str>]) -> Vec<Range<usize>> {
        let mut batches = Vec::new();
        let (mut start, mut n_bytes) = (0, 0_usize);
        for (at, text) in texts.iter().enumerate() {
            let length = text.as_ref().len();
            let is_full = at - start >= self.n_texts || n_bytes.saturating_add(length) > self.n_bytes;
            if at > start && is_full {
                batches.push(start..at);
                (start, n_bytes) = (at, 0);
            }
            n_bytes = n_bytes.saturating_add(length);
        }
        if start < texts.len() {
            batches.push(start..texts.len());
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(n_texts: usize, n_bytes: usize, texts: &[&str]) -> Vec<Range<usize>> {
        BatchLimits { n_texts, n_bytes }.cut(texts)
    }

    #[test]
    fn a_batch_has_so_many_texts_and_so_many_bytes() {
        assert_eq!(cut(2, 100, &["a", "b", "c"]), [0..2, 2..3]);
        assert_eq!(cut(9, 3, &["aa", "b", "cc", "dd"]), [0..2, 2..3, 3..4]);
        assert!(cut(2, 100, &[]).is_empty());
    }

    #[test]
    fn a_text_over_the_bound_goes_alone() {
        assert_eq!(cut(9, 3, &["a", "bbbbbb", "c"]), [0..1, 1..2, 2..3]);
    }

    #[test]
    fn a_batch_of_none_is_a_batch_of_one() {
        assert_eq!(BatchLimits::of(0).cut(&["a", "b"]), [0..1, 1..2]);
    }

    proptest! {
        #[test]
        fn batches_hold_every_text_once_within_the_bounds(
            texts in prop::collection::vec("a{0,9}", 0..50), n_texts in 1_usize..9, n_bytes in 0_usize..20
        ) {
            let batches = BatchLimits { n_texts, n_bytes }.cut(&texts);
            let all: Vec<usize> = batches.iter().cloned().flatten().collect();
            prop_assert_eq!(all, (0..texts.len()).collect::<Vec<_>>());
            for batch in batches {
                let bytes: usize = texts[batch.clone()].iter().map(String::len).sum();
                prop_assert!(!batch.is_empty() && batch.len() <= n_texts);
                prop_assert!(bytes <= n_bytes || batch.len() == 1);
            }
        }
    }
}
