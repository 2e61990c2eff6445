//! Finds the vectors nearest to one, by looking at all of them.

use std::sync::Arc;

use pulp::{Arch, NullaryFnOnce};

use super::best::{Best, Hit};
use super::order::Order;
use super::passing::Passing;
use super::vectors::Vectors;

/// Sums that are built side by side, so that the compiler uses the processor's wide registers.
const LANES: usize = 32;

/// The best chunks, best first; equal scores in the order of document and place.
pub(super) fn search(
    vectors: &Vectors,
    query: &[f32],
    passing: Option<&Passing>,
    n_wanted: usize,
    order: Arc<Order>,
) -> Vec<Hit> {
    let mut best = Best::new(n_wanted, order);
    if n_wanted > 0 {
        vectors.each(|address, vector| {
            if passing.is_none_or(|passing| passing.has(address)) {
                // Rounding may lift a vector's likeness to itself over 1.
                best.offer(f64::from(dot(query, vector)).clamp(-1.0, 1.0), address);
            }
        });
    }
    best.into_sorted()
}

/// The dot product of two vectors of one length.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    Arch::new().dispatch(Dot { a, b })
}

/// A dot product, compiled once for every set of registers that a processor may have.
struct Dot<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl NullaryFnOnce for Dot<'_> {
    type Output = f32;

    #[expect(
        clippy::inline_always,
        reason = "only what is inlined is compiled for the registers that were found"
    )]
    #[inline(always)]
    fn call(self) -> f32 {
        let (a_lanes, a_rest) = self.a.as_chunks::<LANES>();
        let (b_lanes, b_rest) = self.b.as_chunks::<LANES>();
        let mut sums = [0.0_f32; LANES];
        for (a, b) in a_lanes.iter().zip(b_lanes) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum += a * b;
            }
        }
        let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
        sums.iter().sum::<f32>() + rest
    }
}

/// The vector at unit length, so that its dot products are cosines; one without a direction stays what it is. `None`
/// if something in it is no number.
pub(super) fn unit(vector: &[f32]) -> Option<Vec<f32>> {
    let square: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    if !square.is_finite() {
        return None;
    }
    // What has come at unit length already is left as it is.
    if square == 0.0 || (square - 1.0).abs() < 1e-6 {
        return Some(vector.to_vec());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "parts of a unit vector are kept as precisely as others"
    )]
    let scaled = vector.iter().map(|x| (f64::from(*x) / square.sqrt()) as f32).collect();
    Some(scaled)
}
