//! Writes vectors, so that whatever a commit says of them is on the disk before the commit is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::super::super::VectorSpace;
use super::super::folder::VECTORS;
use super::{Layout, Payload, Vectors, names};

/// Fewer rows are not worth a new file.
const COMPACT_ROWS_MIN: u64 = 64;
/// Memory between the index and the file.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes rows to the end of a file.
pub(in super::super) struct Appender {
    file: BufWriter<File>,
    layout: Layout,
}

impl Appender {
    /// Makes files for a space of which there is nothing yet.
    pub(in super::super) fn create(
        path: &Path,
        payload: &mut Payload,
        space: &VectorSpace,
    ) -> io::Result<Self> {
        let layout = Layout {
            identity: space.identity.clone(),
            dimensions: space.dimensions,
            file: payload.n_files,
            rows: 0,
            kept: 0,
            next: 0,
        };
        fs::create_dir_all(path.join(VECTORS))?;
        sync_folder(path)?;
        let file = create(path, &layout.rows_file())?;
        sync_folder(&path.join(VECTORS))?;
        payload.n_files += 1;
        payload.layout = Some(layout.clone());
        Ok(Self { file: BufWriter::with_capacity(BUFFER_BYTES, file), layout })
    }

    /// Goes on after the last commit, whatever was written since.
    pub(in super::super) fn open(path: &Path, layout: &Layout) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).open(path.join(VECTORS).join(layout.rows_file()))?;
        let n_bytes = layout.bytes(layout.rows).ok_or(io::ErrorKind::FileTooLarge)?;
        let found = file.metadata()?.len();
        if found < n_bytes {
            let message = format!("`{VECTORS}/{}` has {found} of {n_bytes} bytes", layout.rows_file());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        file.set_len(n_bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER_BYTES, file), layout: layout.clone() })
    }

    /// How many numbers a row has.
    pub(in super::super) fn dimensions(&self) -> usize {
        usize::try_from(self.layout.dimensions).unwrap_or(usize::MAX)
    }

    /// Writes a row and gives its number.
    pub(in super::super) fn push(&mut self, vector: &[f32]) -> io::Result<u64> {
        self.file.write_all(bytemuck::cast_slice(vector))?;
        let id = self.layout.next;
        self.layout.rows += 1;
        self.layout.next += 1;
        Ok(id)
    }

    /// Makes all rows last; what is returned is true from now on.
    pub(in super::super) fn sync(&mut self) -> io::Result<Layout> {
        self.file.flush()?;
        self.file.get_ref().sync_data()?;
        Ok(self.layout.clone())
    }
}

/// Copies the rows that are alive to new files, if most are not; `None` if there is no need. Nothing speaks of the new
/// files until the payload is committed.
pub(in super::super) fn compact(
    path: &Path,
    n_files: &mut u64,
    vectors: &Vectors,
) -> io::Result<Option<Layout>> {
    let n_alive = u64::try_from(vectors.len()).unwrap_or(u64::MAX);
    let old = &vectors.layout;
    if old.rows < COMPACT_ROWS_MIN || n_alive.saturating_mul(2) >= old.rows {
        return Ok(None);
    }
    let new = Layout { file: *n_files, rows: n_alive, kept: n_alive, ..old.clone() };
    *n_files += 1;
    let mut rows = BufWriter::with_capacity(BUFFER_BYTES, create(path, &new.rows_file())?);
    let mut written = Ok(());
    vectors.each(|_, vector| {
        if written.is_ok() {
            written = rows.write_all(bytemuck::cast_slice(vector));
        }
    });
    written?;
    rows.flush()?;
    rows.get_ref().sync_data()?;
    let mut ids = BufWriter::with_capacity(BUFFER_BYTES, create(path, &new.ids_file())?);
    for alive in &vectors.alive {
        ids.write_all(&alive.id.to_le_bytes())?;
    }
    ids.flush()?;
    ids.get_ref().sync_data()?;
    sync_folder(&path.join(VECTORS))?;
    Ok(Some(new))
}

/// Removes files of which the last commit does not speak. For the one who writes only.
pub(in super::super) fn sweep(path: &Path, payload: &Payload) -> io::Result<()> {
    let wanted = payload.layout.as_ref().map(|layout| [layout.rows_file(), layout.ids_file()]);
    for name in names(path)? {
        if !wanted.iter().flatten().any(|wanted| name == wanted.as_str()) {
            fs::remove_file(path.join(VECTORS).join(name))?;
        }
    }
    Ok(())
}

/// A new file. One that a killed writer left behind goes first: no commit spoke of it.
fn create(path: &Path, name: &str) -> io::Result<File> {
    let path = path.join(VECTORS).join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().create_new(true).write(true).open(path)
}

/// Makes the names in a folder last.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
