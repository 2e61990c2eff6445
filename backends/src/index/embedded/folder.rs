//! The index's folder: its format stamp, its making, and how to see that a commit has happened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::schema::Fields;
use super::{Error, damaged};

/// The format that this program reads and writes. It grows with every change of fields, tokens or stored form.
pub const FORMAT: u64 = 1;

const STAMP: &str = "format.json";
const STAMP_DRAFT: &str = "format.json.new";
const LOCK: &str = "create.lock";
const SEGMENTS: &str = "segments";

#[derive(Serialize, Deserialize)]
struct Stamp {
    format: u64,
}

/// Opens what is there, or makes an empty index. Killed at any step, the next call goes on.
pub(super) fn open_or_create(path: &Path) -> Result<tantivy::Index, Error> {
    let folder = |source| Error::Folder { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(folder)?;
    if !path.join(STAMP).exists() {
        refuse_foreign(path)?;
    }
    // Two processes may come at once to a folder that is not there yet. The system drops the lock of a dead one.
    let _lock = lock(&path.join(LOCK)).map_err(folder)?;
    match fs::read(path.join(STAMP)) {
        Ok(bytes) => {
            let stamp: Stamp = serde_json::from_slice(&bytes)
                .map_err(|error| damaged(path, format!("`{STAMP}` cannot be read ({error})")))?;
            if stamp.format != FORMAT {
                return Err(Error::Format { path: path.to_owned(), found: stamp.format });
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => write_stamp(path).map_err(folder)?,
        Err(error) => return Err(folder(error)),
    }
    let segments = path.join(SEGMENTS);
    fs::create_dir_all(&segments).map_err(folder)?;
    if segments.join("meta.json").exists() {
        tantivy::Index::open_in_dir(&segments).map_err(|error| damaged(path, error))
    } else {
        tantivy::Index::create_in_dir(&segments, Fields::schema()).map_err(|error| damaged(path, error))
    }
}

/// Somebody's own folder must not be filled with our files.
fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let folder = |source| Error::Folder { path: path.to_owned(), source };
    for entry in fs::read_dir(path).map_err(folder)? {
        let name = entry.map_err(folder)?.file_name();
        if name != LOCK && name != STAMP_DRAFT && name != STAMP && name != SEGMENTS {
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
pub(super) struct Generation(Option<(SystemTime, u64)>);

impl Generation {
    /// The generation of the index in `path` now.
    pub(super) fn of(path: &Path) -> Self {
        let meta: PathBuf = path.join(SEGMENTS).join("meta.json");
        Self(fs::metadata(meta).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok())
    }
}
