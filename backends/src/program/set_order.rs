//! The order in which `CPython` goes through a set of numbers.
//!
//! Programs take `max(set(numbers), key=numbers.count)` for the mode, and which of two modes they get depends on it.
//! Python promises no order, yet every program was tried on `CPython`, so its order is the one that authors have seen.
//! Texts have another order in every process there; here they stay in the order in which they came.

use super::error::Step;
use super::limits::Meter;
use super::value::{Entries, Key, Value};

/// Entries that are looked at next to a taken one before jumping.
const LINEAR_PROBES: usize = 9;
const PERTURB_SHIFT: u32 = 5;
const SIZE_MIN: usize = 8;
/// Hashes of numbers are taken modulo this Mersenne prime.
const HASH_PRIME: u128 = (1 << 61) - 1;

/// The elements of a set in the order in which a program sees them.
pub(super) fn elements(entries: &Entries, meter: &mut Meter) -> Step<Vec<Value>> {
    meter.spend(entries.len() * 2)?;
    meter.hold(entries.len() * size_of::<(u64, usize)>() * 4)?;
    let hashes: Option<Vec<u64>> = entries.keys().map(hash).collect();
    let value = |n: usize| entries.get_index(n).map(|(_, (value, _))| value.clone());
    Ok(match hashes {
        Some(hashes) => order(&hashes).into_iter().filter_map(value).collect(),
        None => (0..entries.len()).filter_map(value).collect(),
    })
}

/// The hash of a number, as a bit pattern; none of anything else.
fn hash(key: &Key) -> Option<u64> {
    let (is_negative, n) = match key {
        Key::Int(n) => (*n < 0, n.unsigned_abs() % HASH_PRIME),
        Key::Float(bits) => {
            let n = f64::from_bits(*bits);
            if !n.is_finite() {
                return None;
            }
            (n < 0.0, fraction(n.abs()))
        }
        _ => return None,
    };
    let n = u64::try_from(n).ok()?;
    // -1 stands for a failure inside of CPython.
    Some(match (is_negative, n) {
        (true, 1) => 1_u64.wrapping_add(1).wrapping_neg(),
        (true, n) => n.wrapping_neg(),
        (false, n) => n,
    })
}

/// `n` modulo the prime. A float is a whole number times a power of two, and two to the 61st is one here.
fn fraction(n: f64) -> u128 {
    const FRACTION_BITS: u32 = 52;
    let exponent = n.to_bits() >> FRACTION_BITS;
    let fraction = u128::from(n.to_bits() & ((1 << FRACTION_BITS) - 1));
    let (mantissa, exponent) =
        if exponent == 0 { (fraction, 1) } else { (fraction | 1 << FRACTION_BITS, exponent) };
    // 1075 more than the power of two; 61 * 18 keeps the difference positive.
    let doublings = (exponent + 61 * 18 - 1_075) % 61;
    (mantissa << doublings) % HASH_PRIME
}

/// The places of `hashes` in a table that they were put into one after the other.
fn order(hashes: &[u64]) -> Vec<usize> {
    let mut table = vec![None; SIZE_MIN];
    for n in 0..hashes.len() {
        insert(&mut table, hashes, n);
        let used = n + 1;
        if used * 5 >= (table.len() - 1) * 3 {
            let least = if used > 50_000 { used * 2 } else { used * 4 };
            let mut size = SIZE_MIN;
            while size <= least {
                size *= 2;
            }
            let mut larger = vec![None; size];
            table.iter().flatten().for_each(|known| insert(&mut larger, hashes, *known));
            table = larger;
        }
    }
    table.into_iter().flatten().collect()
}

fn insert(table: &mut [Option<usize>], hashes: &[u64], n: usize) {
    let mask = table.len() - 1;
    let Some(&hash) = hashes.get(n) else { return };
    let mut perturb = hash;
    #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits count")]
    let mut at = hash as usize & mask;
    loop {
        let probes = if at + LINEAR_PROBES <= mask { LINEAR_PROBES } else { 0 };
        if let Some(free) = table.iter_mut().skip(at).take(probes + 1).find(|place| place.is_none()) {
            *free = Some(n);
            return;
        }
        perturb >>= PERTURB_SHIFT;
        #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits count")]
        let shift = perturb as usize;
        at = at.wrapping_mul(5).wrapping_add(1).wrapping_add(shift) & mask;
    }
}
