//! A folder of files that can be read where nothing can be written.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::directory::error::{DeleteError, LockError, OpenDirectoryError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    DirectoryLock, FileHandle, Lock, META_LOCK, MmapDirectory, WatchCallback, WatchHandle, WritePtr,
};
use tantivy::{Directory, Result};

/// Files mapped into memory. The lock that readers take is shared with what may be written; where the file of that
/// lock cannot be written, it is locked as it is, or not at all if nobody ever wrote it.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    files: MmapDirectory,
    path: PathBuf,
}

impl Shelf {
    /// The files in the folder `path`.
    pub(super) fn open(path: &Path) -> std::result::Result<Self, OpenDirectoryError> {
        Ok(Self { files: MmapDirectory::open(path)?, path: path.to_owned() })
    }

    fn lock_unwritable(&self, lock: &Lock) -> io::Result<DirectoryLock> {
        match File::open(self.path.join(&lock.filepath)) {
            Ok(file) => {
                match file.lock() {
                    // Some network file systems have no locks.
                    Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
                    _ => {}
                }
                Ok(DirectoryLock::from(Box::new(file)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(DirectoryLock::from(Box::new(()))),
            Err(error) => Err(error),
        }
    }
}

fn is_unwritable(error: &LockError) -> bool {
    let LockError::IoError(error) = error else { return false };
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

impl Directory for Shelf {
    fn acquire_lock(&self, lock: &Lock) -> std::result::Result<DirectoryLock, LockError> {
        match self.files.acquire_lock(lock) {
            Err(error) if lock.filepath == META_LOCK.filepath && is_unwritable(&error) => {
                self.lock_unwritable(lock).map_err(|error| LockError::IoError(Arc::new(error)))
            }
            other => other,
        }
    }

    fn get_file_handle(&self, path: &Path) -> std::result::Result<Arc<dyn FileHandle>, OpenReadError> {
        self.files.get_file_handle(path)
    }

    fn delete(&self, path: &Path) -> std::result::Result<(), DeleteError> {
        self.files.delete(path)
    }

    fn exists(&self, path: &Path) -> std::result::Result<bool, OpenReadError> {
        self.files.exists(path)
    }

    fn open_write(&self, path: &Path) -> std::result::Result<WritePtr, OpenWriteError> {
        self.files.open_write(path)
    }

    fn atomic_read(&self, path: &Path) -> std::result::Result<Vec<u8>, OpenReadError> {
        self.files.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.files.atomic_write(path, data)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.files.sync_directory()
    }

    fn watch(&self, callback: WatchCallback) -> Result<WatchHandle> {
        self.files.watch(callback)
    }
}
