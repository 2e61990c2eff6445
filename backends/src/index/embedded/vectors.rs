//! The vectors of an index: rows of numbers in a file of their own, of which the commit says how far they go.
//!
//! ```text
//! vectors/7.rows   [ row 0 | row 1 | … | row n-1 ] ~ what a writer that was killed left behind
//! vectors/7.ids    the numbers of the first rows, where rows between them were dropped (see `kept`)
//! ```
//!
//! A chunk's entry holds the number of its vector, which stays the same for good. Rows only ever come to the end, on
//! the disk before the commit that speaks of them. Rows of chunks that have gone stay until they are the majority; then
//! what is alive is copied to a new pair of files, and the next commit speaks of those.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tantivy::directory::{MmapDirectory, OwnedBytes};
use tantivy::{DocAddress, Searcher};

use super::super::VectorSpace;
use super::folder::VECTORS;
use super::schema::VECTOR;
use super::snapshot::{NO_CHUNK, broken};

mod write;

pub(super) use write::{Appender, compact, sweep};

/// What a commit says about vectors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Payload {
    /// How many files there have been; no name is used twice, for somebody may still read the old one.
    pub(super) n_files: u64,
    /// `None` in an index without vectors.
    pub(super) layout: Option<Layout>,
}

/// Which rows there are, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Layout {
    /// The embedder's identity.
    pub(super) identity: String,
    /// How many numbers a row has.
    pub(super) dimensions: u32,
    /// Which files.
    pub(super) file: u64,
    /// How many rows there are.
    pub(super) rows: u64,
    /// How many of them, from the first on, have their numbers in the other file. Those after them count up.
    pub(super) kept: u64,
    /// The number of the next row.
    pub(super) next: u64,
}

impl Payload {
    /// What the payload of a commit says.
    pub(super) fn parse(payload: Option<&str>) -> tantivy::Result<Self> {
        match payload {
            None => Ok(Self::default()),
            Some(payload) => serde_json::from_str(payload)
                .map_err(|error| broken(format!("the commit's payload cannot be read ({error})"))),
        }
    }
}

impl Layout {
    pub(super) fn space(&self) -> VectorSpace {
        VectorSpace { identity: self.identity.clone(), dimensions: self.dimensions }
    }

    fn rows_file(&self) -> String {
        format!("{}.rows", self.file)
    }

    fn ids_file(&self) -> String {
        format!("{}.ids", self.file)
    }

    /// How many bytes `n_rows` take.
    fn bytes(&self, n_rows: u64) -> Option<u64> {
        n_rows.checked_mul(u64::from(self.dimensions))?.checked_mul(4)
    }

    /// The number of the first row that is not in the file of numbers.
    fn first_counted(&self) -> Option<u64> {
        self.next.checked_sub(self.rows.checked_sub(self.kept)?)
    }

    /// Maps the two files into memory, so far as the commit goes.
    pub(super) fn open(&self, path: &Path) -> tantivy::Result<(OwnedBytes, OwnedBytes)> {
        let rows = map(path, &self.rows_file(), self.bytes(self.rows))?;
        Ok((rows, map(path, &self.ids_file(), self.kept.checked_mul(8))?))
    }
}

/// The first `n_bytes` of a file. It is mapped anew each time: the file may have grown.
fn map(path: &Path, name: &str, n_bytes: Option<u64>) -> tantivy::Result<OwnedBytes> {
    let n_bytes = n_bytes.and_then(|n| usize::try_from(n).ok());
    let n_bytes = n_bytes.ok_or_else(|| broken(format!("`{VECTORS}/{name}` is said to be endless")))?;
    if n_bytes == 0 {
        return Ok(OwnedBytes::empty());
    }
    let folder = MmapDirectory::open(path.join(VECTORS))?;
    let bytes = tantivy::Directory::open_read(&folder, Path::new(name))?.read_bytes()?;
    if bytes.len() < n_bytes {
        let found = bytes.len();
        return Err(broken(format!("`{VECTORS}/{name}` has {found} of {n_bytes} bytes")));
    }
    Ok(bytes.slice(0..n_bytes))
}

/// The rows of an index at one commit, and whose they are.
pub(super) struct Vectors {
    pub(super) layout: Layout,
    rows: OwnedBytes,
    /// The rows that are alive, in their order in the file.
    alive: Vec<Alive>,
}

/// A row that a chunk has.
struct Alive {
    row: usize,
    id: u64,
    address: DocAddress,
}

impl Vectors {
    /// Looks up which chunk each row belongs to.
    pub(super) fn new(
        layout: Layout,
        rows: OwnedBytes,
        ids: &OwnedBytes,
        searcher: &Searcher,
        lengths: &[Vec<u32>],
    ) -> tantivy::Result<Self> {
        let kept: Vec<u64> = ids.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let first_counted =
            layout.first_counted().ok_or_else(|| broken("the commit has more vectors than numbers"))?;
        let row_of = |id: u64| -> Option<u64> {
            match id.checked_sub(first_counted) {
                Some(n) if id < layout.next => Some(layout.kept + n),
                Some(_) => None,
                None => u64::try_from(kept.binary_search(&id).ok()?).ok(),
            }
        };
        let mut alive = Vec::new();
        for ((segment_ord, segment), lengths) in (0..).zip(searcher.segment_readers()).zip(lengths) {
            let Some(column) = segment.fast_fields().column_opt::<u64>(VECTOR)? else { continue };
            for (doc, _) in (0..).zip(lengths).filter(|(_, length)| **length != NO_CHUNK) {
                let Some(id) = column.first(doc) else { continue };
                let row =
                    row_of(id).filter(|row| *row < layout.rows).and_then(|row| usize::try_from(row).ok());
                let row = row.ok_or_else(|| broken(format!("there is no vector {id}")))?;
                alive.push(Alive { row, id, address: DocAddress::new(segment_ord, doc) });
            }
        }
        // In the order of the file, which is read ahead.
        alive.sort_unstable_by_key(|alive| alive.row);
        let this = Self { layout, rows, alive };
        this.numbers()?;
        Ok(this)
    }

    fn numbers(&self) -> tantivy::Result<&[f32]> {
        bytemuck::try_cast_slice(&self.rows)
            .map_err(|error| broken(format!("vectors cannot be read ({error})")))
    }

    /// How many chunks have a vector.
    pub(super) fn len(&self) -> usize {
        self.alive.len()
    }

    /// Gives every vector that is alive to `each`.
    pub(super) fn each(&self, mut each: impl FnMut(DocAddress, &[f32])) {
        let numbers = self.numbers().unwrap_or_default();
        let n = usize::try_from(self.layout.dimensions).unwrap_or_default();
        for Alive { row, address, .. } in &self.alive {
            if let Some(vector) = row.checked_mul(n).and_then(|start| numbers.get(start..)?.get(..n)) {
                each(*address, vector);
            }
        }
    }
}

/// The names in the folder of vectors; none if there is no such folder.
fn names(path: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
    match fs::read_dir(path.join(VECTORS)) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
