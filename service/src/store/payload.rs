//! Large payloads: cut where their content says, so that what grows or repeats is stored once in a job.
//!
//! What is kept is JSON in a column. Where a payload in it (an output of a node, an input) is larger than
//! [`limits::INLINE_BYTES`], the column holds an array instead of an object: the object with holes, and for each hole
//! its JSON pointer with the hashes of what fills it. The list of hashes of a very large payload is itself cut and
//! stored like one, level by level: two lists that begin alike share what they begin with.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::{StoreError, limits};

/// Sizes of the pieces of a payload: smallest, usual, largest.
const PIECE: (usize, usize, usize) = (1 << 10, 4 << 10, 16 << 10);
/// Bytes of a hash; blobs belong to one job, so there is nobody to find two that collide.
const HASH: usize = 16;
/// Hashes that stand in the column itself.
const ROOT: usize = 16;
/// Hashes of a list that stay together: at least, usually, at most.
const LIST: (usize, u8, usize) = (4, 16, 64);
/// What a blob must shrink to for it to be stored compressed: nine tenths.
const WORTH: (usize, usize) = (9, 10);
const ZSTD_LEVEL: i32 = 1;

/// The hash of a blob.
pub(super) type Hash = [u8; HASH];
/// The blobs that a job has already.
pub(super) type Known = HashSet<Hash>;

/// Something to be stored beside a column.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub hash: String,
    pub size: i64,
    pub codec: &'static str,
    pub body: Vec<u8>,
}

/// The text of a column, and the blobs that it names and that are not stored yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Packed {
    pub text: String,
    pub blobs: Vec<Blob>,
}

impl Packed {
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.blobs.iter().map(|blob| blob.body.len()).sum::<usize>()
    }
}

/// Writes `value`, an object, with its large payloads cut out.
pub(super) fn pack(value: &impl Serialize, known: &mut Known) -> Result<Packed, StoreError> {
    let text = serde_json::to_string(value)?;
    if text.len() <= limits::INLINE_BYTES {
        return Ok(Packed { text, blobs: Vec::new() });
    }
    let mut whole: Value = serde_json::from_str(&text)?;
    let mut cutter = Cutter { known, blobs: Vec::new(), zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL).ok() };
    let mut holes = Vec::new();
    for pointer in payloads(&whole) {
        let Some(place) = whole.pointer_mut(&pointer) else { continue };
        let payload = serde_json::to_string(place)?;
        if payload.len() > limits::INLINE_BYTES {
            *place = Value::Null;
            let (level, hashes) = cutter.cut(payload.as_bytes());
            holes.push(json!([pointer, level, hex(&hashes.concat())]));
        }
    }
    if holes.is_empty() {
        return Ok(Packed { text, blobs: Vec::new() });
    }
    Ok(Packed { text: json!([whole, holes]).to_string(), blobs: cutter.blobs })
}

/// Where payloads can stand: outputs of a node, inputs, an answer, outputs of a job.
fn payloads(whole: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for parent in ["inputs", "outputs"] {
        let fields = whole.get(parent).and_then(Value::as_object);
        let escaped = |name: &String| name.replace('~', "~0").replace('/', "~1");
        found.extend(fields.into_iter().flatten().map(|(name, _)| format!("/{parent}/{}", escaped(name))));
    }
    let ports = whole.pointer("/result/ok").and_then(Value::as_array);
    found.extend((0..ports.map_or(0, Vec::len)).map(|port| format!("/result/ok/{port}/value")));
    found.push("/value".to_owned());
    found
}

struct Cutter<'a> {
    known: &'a mut Known,
    blobs: Vec<Blob>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Cutter<'_> {
    /// How many levels of lists there are above the pieces, and the hashes on top.
    fn cut(&mut self, payload: &[u8]) -> (usize, Vec<Hash>) {
        let (least, usual, most) = PIECE;
        let pieces = fastcdc::v2020::FastCDC::new(payload, least, usual, most);
        let mut hashes: Vec<Hash> = pieces
            .filter_map(|piece| payload.get(piece.offset..piece.offset + piece.length))
            .map(|piece| self.store(piece))
            .collect();
        let mut level = 0;
        while hashes.len() > ROOT {
            hashes = lists(&hashes).into_iter().map(|list| self.store(&list.concat())).collect();
            level += 1;
        }
        (level, hashes)
    }

    fn store(&mut self, bytes: &[u8]) -> Hash {
        let mut hash = Hash::default();
        blake3::Hasher::new().update(bytes).finalize_xof().fill(&mut hash);
        if self.known.len() >= limits::KNOWN_BLOBS {
            self.known.clear();
        }
        if self.known.insert(hash) {
            let shorter = self.zstd.as_mut().and_then(|zstd| zstd.compress(bytes).ok());
            let shorter = shorter.filter(|body| body.len() * WORTH.1 <= bytes.len() * WORTH.0);
            let (codec, body) = shorter.map_or_else(|| ("raw", bytes.to_vec()), |body| ("zstd", body));
            let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            self.blobs.push(Blob { hash: hex(&hash), size, codec, body });
        }
        hash
    }
}

/// Cuts a list of hashes where the hashes themselves say.
fn lists(hashes: &[Hash]) -> Vec<&[Hash]> {
    let (least, usual, most) = LIST;
    let mut n = 0;
    hashes
        .split_inclusive(|hash| {
            n += 1;
            let ends = n >= most || (n >= least && hash.last().is_some_and(|byte| byte % usual == 0));
            if ends {
                n = 0;
            }
            ends
        })
        .collect()
}

/// JSON as it was kept, perhaps with holes.
pub(super) struct Kept {
    whole: Value,
    holes: Vec<Hole>,
}

struct Hole {
    pointer: String,
    level: usize,
    hashes: Vec<String>,
}

impl Kept {
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        Self::of(serde_json::from_str(text)?)
    }

    pub(super) fn of(kept: Value) -> Result<Self, StoreError> {
        let (whole, holes) = match kept {
            Value::Array(_) => serde_json::from_value::<(Value, Vec<(String, usize, String)>)>(kept)?,
            whole => (whole, Vec::new()),
        };
        let hole = |(pointer, level, hashes): (String, usize, String)| Hole {
            pointer,
            level,
            hashes: split_hex(&hashes),
        };
        Ok(Self { whole, holes: holes.into_iter().map(hole).collect() })
    }

    /// The JSON, with its holes filled.
    pub(super) fn filled(mut self, blobs: &HashMap<String, Vec<u8>>) -> Result<Value, StoreError> {
        for hole in &self.holes {
            let mut payload = Vec::new();
            gather(hole.level, &hole.hashes, blobs, &mut payload)?;
            let value = serde_json::from_slice(&payload)?;
            match self.whole.pointer_mut(&hole.pointer) {
                Some(place) => *place = value,
                None => return Err(StoreError::Corrupt(format!("there is no place `{}`", hole.pointer))),
            }
        }
        Ok(self.whole)
    }
}

/// The hashes that fill `kept`, by the level at which they stand.
pub(super) fn wanted<'a>(kept: impl IntoIterator<Item = &'a Kept>) -> Vec<(usize, Vec<String>)> {
    let holes = kept.into_iter().flat_map(|kept| &kept.holes);
    holes.map(|hole| (hole.level, hole.hashes.clone())).collect()
}

fn gather(
    level: usize,
    hashes: &[String],
    blobs: &HashMap<String, Vec<u8>>,
    payload: &mut Vec<u8>,
) -> Result<(), StoreError> {
    for hash in hashes {
        let bytes =
            blobs.get(hash).ok_or_else(|| StoreError::Corrupt(format!("the blob `{hash}` is missing")))?;
        match level.checked_sub(1) {
            None => payload.extend_from_slice(bytes),
            Some(below) => gather(below, &hashes_in(bytes), blobs, payload)?,
        }
    }
    Ok(())
}

/// The hashes in a blob that is a list of them.
pub(super) fn hashes_in(list: &[u8]) -> Vec<String> {
    list.chunks(HASH).map(hex).collect()
}

/// A blob as it was before it was stored.
pub(super) fn unpacked(codec: &str, size: i64, body: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    match codec {
        "raw" => Ok(body),
        "zstd" => zstd::bulk::decompress(&body, usize::try_from(size).unwrap_or(0))
            .map_err(|error| StoreError::Corrupt(format!("a blob cannot be unpacked: {error}"))),
        other => Err(StoreError::Corrupt(format!("blobs of the codec `{other}` are unknown"))),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _unfailing = write!(text, "{byte:02x}");
        text
    })
}

fn split_hex(hashes: &str) -> Vec<String> {
    hashes.as_bytes().chunks(HASH * 2).map(|hash| String::from_utf8_lossy(hash).into_owned()).collect()
}
