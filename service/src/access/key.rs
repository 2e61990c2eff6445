//! What a key looks like: `anb_`, 32 random bytes, a checksum, so that scanners of code find one that was left there.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

/// What every key begins with.
const PREFIX: &str = "anb_";
/// Random bytes of a key.
const BYTES: usize = 32;
/// Digits of base 62 that 32 bytes take.
const BODY: usize = 43;
/// Digits of base 62 that the checksum takes.
const CHECK: usize = 6;
/// The digits of base 62, in the order of their values.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Separates these hashes from all others.
const CONTEXT: &str = "anabranch 2026 api key";

/// A key as its owner has it. It is shown once, and kept nowhere.
pub struct Key(SecretString);

/// What is kept of a key: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyHash(String);

/// There is no randomness.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

impl Key {
    /// A new key.
    pub fn new() -> Result<Self, NoRandomness> {
        let mut bytes = [0; BYTES];
        let provider = rustls::crypto::ring::default_provider();
        provider.secure_random.fill(&mut bytes).map_err(|_| NoRandomness)?;
        let body = base62(&bytes, BODY);
        let check = checksum(&body);
        Ok(Self(format!("{PREFIX}{body}{check}").into()))
    }

    /// The text that is sent as `Authorization: Bearer …`.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What is kept of it.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.expose())
    }

    /// Whether a text can be a key at all; one that cannot is not looked up.
    pub fn is_one(text: &str) -> bool {
        let Some(rest) = text.strip_prefix(PREFIX) else { return false };
        if rest.len() != BODY + CHECK || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return false;
        }
        let (body, check) = rest.split_at(BODY);
        check == checksum(body)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl KeyHash {
    /// What is kept of the key `text`. Keys are as random as can be: a slow hash would add nothing.
    pub fn of(text: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(text.as_bytes());
        Self(hasher.finalize().to_hex().to_string())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `other`, in a time that does not depend on where they differ.
    pub fn is(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

/// The number that `bytes` are, in `digits` digits of base 62.
fn base62(bytes: &[u8], digits: usize) -> String {
    let mut number = bytes.to_vec();
    let mut text = Vec::with_capacity(digits);
    for _ in 0..digits {
        let mut rest: u32 = 0;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            // A rest is below 62, so the quotient is below 256.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        text.push(usize::try_from(rest).ok().and_then(|rest| DIGITS.get(rest)).copied().unwrap_or(b'0'));
    }
    text.reverse();
    text.into_iter().map(char::from).collect()
}

fn checksum(body: &str) -> String {
    let hash = blake3::hash(body.as_bytes());
    let (four, _) = hash.as_bytes().split_at(4);
    base62(four, CHECK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_base_62() {
        assert_eq!(base62(&[0, 0], 3), "000");
        assert_eq!(base62(&[0, 61], 2), "0z");
        assert_eq!(base62(&[1, 0], 2), "48");
        assert_eq!(base62(&[255; 32], 43).len(), 43);
        assert!(base62(&[255; 32], 43) > base62(&[254; 32], 43));
    }

    #[test]
    fn every_key_is_another_and_known_as_one_by_its_looks() {
        let (one, two) = (Key::new().unwrap(), Key::new().unwrap());
        assert_ne!(one.expose(), two.expose());
        assert!(one.expose().starts_with("anb_") && one.expose().len() == 53);
        assert!(Key::is_one(one.expose()));
        let mut typo = one.expose().to_owned();
        typo.replace_range(10..11, if &typo[10..11] == "a" { "b" } else { "a" });
        assert!(!Key::is_one(&typo), "the checksum finds a slip");
        assert!(!Key::is_one("anb_") && !Key::is_one("sk-123") && !Key::is_one(&one.expose()[..52]));
    }

    #[test]
    fn what_is_kept_of_a_key_is_not_the_key() {
        let key = Key::new().unwrap();
        assert!(key.hash().is(KeyHash::of(key.expose()).as_str()));
        assert!(!key.hash().is(Key::new().unwrap().hash().as_str()) && !key.hash().is(""));
        assert!(!key.hash().as_str().contains(&key.expose()[4..]));
        assert_eq!(format!("{key:?}"), "Key(…)");
    }
}
