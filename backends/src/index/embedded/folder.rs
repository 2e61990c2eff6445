//! The index's folder: its format stamp, its making, and how to see that a commit has happened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anabranch_engine::backend::Namespace;
use serde::{Deserialize, Serialize};

use super::directory::Shelf;
use super::schema::Fields;
use super::{Error, damaged};

/// The format that this program reads and writes. It grows with every change of fields, tokens or stored form.
pub const FORMAT: u64 = 2;

const STAMP: &str = "format.json";
const STAMP_DRAFT: &str = "format.json.new";
const LOCK: &str = "create.lock";
const SEGMENTS: &str = "segments";
const META: &str = "meta.json";
/// Where the vectors are.
pub(super) const VECTORS: &str = "vectors";
/// Where the namespaces are, each an index of its own.
const NAMESPACES: &str = "namespaces";

#[derive(Serialize, Deserialize)]
struct Stamp {
    format: u64,
}

/// Opens what is there, writing nothing; `None` if there is no index, or one whose making was cut off.
pub(super) fn open(path: &Path) -> Result<Option<tantivy::Index>, Error> {
    let segments = path.join(SEGMENTS);
    if !read_stamp(path)? || !segments.join(META).exists() {
        return Ok(None);
    }
    let shelf = Shelf::open(&segments).map_err(|error| damaged(path, error))?;
    tantivy::Index::open(shelf).map(Some).map_err(|error| damaged(path, error))
}

/// Opens what is there, or makes an empty index. Killed at any step, the next call goes on.
pub(super) fn open_or_create(path: &Path) -> Result<tantivy::Index, Error> {
    if let Some(index) = open(path)? {
        return Ok(index);
    }
    let folder = |source| Error::Folder { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(folder)?;
    if !path.join(STAMP).exists() {
        refuse_foreign(path)?;
    }
    // Two processes may come at once to a folder that is not there yet. The system drops the lock of a dead one.
    let _lock = lock(&path.join(LOCK)).map_err(folder)?;
    if !read_stamp(path)? {
        write_stamp(path).map_err(folder)?;
    }
    let segments = path.join(SEGMENTS);
    fs::create_dir_all(&segments).map_err(folder)?;
    let shelf = Shelf::open(&segments).map_err(|error| damaged(path, error))?;
    tantivy::Index::builder()
        .schema(Fields::schema())
        .settings(Fields::settings())
        .open_or_create(shelf)
        .map_err(|error| damaged(path, error))
}

/// Where the namespace is, in an index in `root`.
pub(super) fn of_namespace(root: &Path, namespace: &Namespace) -> PathBuf {
    if namespace.is_default() {
        return root.to_owned();
    }
    // Some file systems take `Acme` and `acme` for one, and two tenants must never meet.
    let mut name = String::with_capacity(namespace.as_str().len());
    for c in namespace.as_str().chars() {
        if c.is_ascii_uppercase() {
            name.push('~');
        }
        name.push(c.to_ascii_lowercase());
    }
    root.join(NAMESPACES).join(name)
}

/// Whether there is a stamp; one of another format is an error.
fn read_stamp(path: &Path) -> Result<bool, Error> {
    let bytes = match fs::read(path.join(STAMP)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(Error::Folder { path: path.to_owned(), source }),
    };
    let stamp: Stamp = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(path, format!("`{STAMP}` cannot be read ({error})")))?;
    if stamp.format == FORMAT {
        Ok(true)
    } else {
        Err(Error::Format { path: path.to_owned(), found: stamp.format })
    }
}

/// Somebody's own folder must not be filled with our files.
fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let folder = |source| Error::Folder { path: path.to_owned(), source };
    for entry in fs::read_dir(path).map_err(folder)? {
        let name = entry.map_err(folder)?.file_name();
        if ![LOCK, STAMP_DRAFT, STAMP, SEGMENTS, NAMESPACES].iter().any(|ours| name == *ours) {
            let found = name.to_string_lossy().into_owned();
            return Err(Error::NotAnIndex { path: path.to_owned(), found });
        }
    }
    Ok(())
}

fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match file.lock() {
        // Some network file systems have no locks; making an index twice at once there is the lesser evil.
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
        _ => Ok(file),
    }
}

/// Writes the stamp whole or not at all.
fn write_stamp(path: &Path) -> io::Result<()> {
    let draft = path.join(STAMP_DRAFT);
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec(&Stamp { format: FORMAT })?)?;
    file.sync_all()?;
    fs::rename(draft, path.join(STAMP))
}

/// Tells one commit from the next without opening anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Generation(Option<(SystemTime, u64, u64)>);

impl Generation {
    /// The generation of the index in `path` now.
    pub(super) fn of(path: &Path) -> Self {
        let meta = fs::metadata(path.join(SEGMENTS).join(META));
        Self(meta.and_then(|meta| Ok((meta.modified()?, meta.len(), inode(&meta)))).ok())
    }
}

/// Two commits within one tick of the file system's clock are two files.
#[cfg(unix)]
fn inode(meta: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(meta)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}
