//! What cannot be seen from outside: how payloads are cut, and what waits.

use serde_json::{Value, json};

use super::payload::{Kept, Known, pack, wanted};
use super::*;

fn alphanumeric(random: &mut fastrand::Rng, n: usize) -> String {
    (0..n).map(|_| random.alphanumeric()).collect()
}

#[test]
fn a_growing_value_costs_its_growth() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut known = Known::default();
    let (mut state, mut stored) = (String::new(), 0);
    for _ in 0..40 {
        state.push_str(&alphanumeric(&mut random, 10_000));
        let packed = pack(&json!({ "value": state }), &mut known).unwrap();
        stored += packed.bytes();
    }
    let ratio = stored as f64 / state.len() as f64;
    assert!(ratio < 1.6, "{ratio}");
}

#[test]
fn what_is_packed_comes_back() {
    let mut random = fastrand::Rng::with_seed(5);
    for size in [0, 100, 8_000, 9_000, 70_000, 3_000_000] {
        let text = alphanumeric(&mut random, size);
        let value = json!({ "inputs": { "a/b~": text, "small": 1 }, "result": { "ok": [{ "value": [text] }, null] } });
        let packed = pack(&value, &mut Known::default()).unwrap();
        let blobs: std::collections::HashMap<String, Vec<u8>> = packed
            .blobs
            .into_iter()
            .map(|blob| {
                let body = super::payload::unpacked(blob.codec, blob.size, blob.body).unwrap();
                (blob.hash, body)
            })
            .collect();
        assert_eq!(blobs.is_empty(), size < 8_100, "{size}");
        let kept = Kept::parse(&packed.text).unwrap();
        assert!(wanted([&kept]).iter().all(|(_, hashes)| hashes.len() <= 16));
        assert_eq!(kept.filled(&blobs).unwrap(), value);
    }
}

#[test]
fn what_a_flow_says_is_never_taken_for_a_blob() {
    let value = json!({ "value": [["/value", 0, "00"]], "text": "x".repeat(10_000) });
    let packed = pack(&value, &mut Known::default()).unwrap();
    assert_eq!(packed.blobs.len(), 0);
    assert_eq!(Kept::parse(&packed.text).unwrap().filled(&Default::default()).unwrap(), value);
    assert!(Kept::parse(r#"[{"a":null},[["/b",0,""]]]"#).unwrap().filled(&Default::default()).is_err());
    let _: Value = value;
}
