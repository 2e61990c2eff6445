//! From the numbers that a model gives to vectors that can be compared.

use anabranch_engine::backend::{Embeddings, Error, Usage, Vector};

use crate::http::Failures;

/// What a server answered to one batch.
pub(super) struct Rows {
    /// Vectors in the order of the texts, as the model gave them.
    pub(super) rows: Vec<Vec<f32>>,
    /// Tokens it read.
    pub(super) n_tokens: u64,
}

/// All batches together, every vector at unit length.
pub(super) fn embeddings(
    batches: Vec<Rows>,
    dimensions: Option<u32>,
    failures: &Failures,
) -> Result<Embeddings, Error> {
    let prompt_tokens = batches.iter().fold(0, |sum: u64, batch| sum.saturating_add(batch.n_tokens));
    let mut asked = dimensions.and_then(|n| usize::try_from(n).ok());
    let mut vectors = Vec::with_capacity(batches.iter().map(|batch| batch.rows.len()).sum());
    for row in batches.into_iter().flat_map(|batch| batch.rows) {
        // Without a wish, the first vector tells how long the others are.
        let length = *asked.get_or_insert(row.len());
        if row.len() != length {
            return Err(failures.garbled(format!("a vector of {} numbers, not of {length}", row.len())));
        }
        vectors.push(unit(&row).ok_or_else(|| failures.garbled("a vector without a direction"))?);
    }
    Ok(Embeddings { vectors, usage: Usage { prompt_tokens, ..Usage::default() } })
}

/// `row` at unit length; none if it has no direction: all zeros, or a number that is none.
pub(super) fn unit(row: &[f32]) -> Option<Vector> {
    let norm = row.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    if !norm.is_finite() || norm == 0.0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 1, so it only loses digits beyond those of the input"
    )]
    let scaled = row.iter().map(|number| (f64::from(*number) / norm) as f32).collect();
    Some(scaled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_keeps_its_direction_at_unit_length() {
        assert_eq!(*unit(&[3.0, 4.0]).unwrap(), [0.6, 0.8]);
        assert_eq!(*unit(&[f32::MAX, 0.0]).unwrap(), [1.0, 0.0]);
        assert_eq!(*unit(&[f32::MIN_POSITIVE, 0.0]).unwrap(), [1.0, 0.0]);
    }

    #[test]
    fn numbers_without_a_direction_are_no_vector() {
        for row in [&[][..], &[0.0, 0.0], &[f32::NAN, 1.0], &[f32::INFINITY, 1.0]] {
            assert_eq!(unit(row), None, "{row:?}");
        }
    }

    #[test]
    fn vectors_of_different_lengths_are_garbled() {
        let failures = Failures { backend: "the server".into() };
        let batch =
            |rows: &[&[f32]]| Rows { rows: rows.iter().map(|row| row.to_vec()).collect(), n_tokens: 2 };
        let all = embeddings(vec![batch(&[&[1.0, 0.0]]), batch(&[&[0.0, 2.0]])], Some(2), &failures).unwrap();
        assert_eq!((all.vectors.len(), all.usage.prompt_tokens), (2, 4));
        let error = embeddings(vec![batch(&[&[1.0]]), batch(&[&[1.0, 0.0]])], None, &failures).unwrap_err();
        assert_eq!(error.to_string(), "the server gave a garbled answer: a vector of 2 numbers, not of 1");
        let error = embeddings(vec![batch(&[&[1.0]])], Some(3), &failures).unwrap_err();
        assert_eq!(error.to_string(), "the server gave a garbled answer: a vector of 1 numbers, not of 3");
    }
}
