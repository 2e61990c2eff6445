//! Answers in files: one each, whole or not there, bounded in number and bytes.
//!
//! A file is a line with the hash of what follows, then JSON. Whatever is not what was written is taken away and counts
//! as never kept. Several processes may share a folder: each finds what the others have written, and keeps to the bounds
//! with what it has seen itself.

use std::fs;
use std::io::{self, Write as _};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use lru::LruCache;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Kept, Key};

/// What files of answers are called after the hash.
const SUFFIX: &str = "json";

/// How answers are kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiskSettings {
    /// Most answers on disk; the one that has not been asked for longest makes room.
    pub max_entries: NonZeroUsize,
    /// Most bytes of answers on disk; 1 GiB if unset.
    pub max_bytes: NonZeroU64,
    /// The folder.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            max_entries: NonZeroUsize::new(100_000).unwrap_or(NonZeroUsize::MIN),
            max_bytes: NonZeroU64::new(1 << 30).unwrap_or(NonZeroU64::MIN),
            folder: PathBuf::from("responses"),
        }
    }
}

/// A folder of answers.
pub(super) struct Disk {
    settings: DiskSettings,
    /// The files and their sizes; read at the first call.
    files: OnceLock<Mutex<Files>>,
    next: AtomicU64,
    n_errors: AtomicU64,
}

struct Files {
    sizes: LruCache<PathBuf, u64>,
    bytes: u64,
}

impl Disk {
    pub(super) fn new(settings: DiskSettings) -> Self {
        Self { settings, files: OnceLock::new(), next: AtomicU64::new(0), n_errors: AtomicU64::new(0) }
    }

    pub(super) fn n_errors(&self) -> u64 {
        self.n_errors.load(Ordering::Relaxed)
    }

    /// The answer in its file, with the bytes of the file.
    pub(super) fn get(&self, key: &Key) -> Option<(Kept, u64)> {
        let path = self.path(key);
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(_) => {
                self.n_errors.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        let Some(kept) = read(&content) else {
            self.n_errors.fetch_add(1, Ordering::Relaxed);
            self.forget(&path);
            return None;
        };
        let bytes = content.len() as u64;
        self.note(path, bytes);
        Some((kept, bytes))
    }

    /// Writes an answer. What cannot be written is not kept.
    pub(super) fn put(&self, key: &Key, text: &[u8]) {
        let path = self.path(key);
        let bytes = text.len() as u64 + HASH_BYTES as u64 + 1;
        if bytes > self.settings.max_bytes.get() {
            return;
        }
        match self.write(&path, text) {
            Ok(()) => self.note(path, bytes),
            Err(_) => {
                self.n_errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn write(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder)?;
        // Written aside, then put in place: nobody reads half an answer.
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let aside = path.with_extension(format!("{}-{n}.tmp", std::process::id()));
        let mut file = fs::File::create(&aside)?;
        let written = file
            .write_all(format!("{}\n", blake3::hash(text).to_hex()).as_bytes())
            .and_then(|()| file.write_all(text))
            .and_then(|()| fs::rename(&aside, path));
        if written.is_err() {
            // It is in nobody's way, and goes with the next start.
            let _gone = fs::remove_file(&aside);
        }
        written
    }

    /// `FOLDER/TENANT/HASH.json`, with a hash for the tenant: its name may be no name for a folder.
    fn path(&self, key: &Key) -> PathBuf {
        let tenant = match &key.tenant {
            None => "none".to_owned(),
            Some(tenant) => blake3::hash(tenant.as_bytes()).to_hex().chars().take(32).collect(),
        };
        let request = blake3::Hash::from_bytes(key.request).to_hex();
        self.settings.folder.join(tenant).join(format!("{request}.{SUFFIX}"))
    }

    /// A file was read or written: others may have to make room.
    fn note(&self, path: PathBuf, bytes: u64) {
        let mut evicted = Vec::new();
        let mut files = self.files().lock().unwrap_or_else(PoisonError::into_inner);
        files.bytes += bytes;
        if let Some((_, old)) = files.sizes.push(path, bytes) {
            files.bytes -= old;
        }
        let DiskSettings { max_entries, max_bytes, .. } = &self.settings;
        while files.sizes.len() > max_entries.get() || files.bytes > max_bytes.get() {
            let Some((path, old)) = files.sizes.pop_lru() else { break };
            files.bytes -= old;
            evicted.push(path);
        }
        drop(files);
        for path in evicted {
            let _gone = fs::remove_file(path);
        }
    }

    fn forget(&self, path: &Path) {
        let mut files = self.files().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = files.sizes.pop(path) {
            files.bytes -= bytes;
        }
        drop(files);
        let _gone = fs::remove_file(path);
    }

    fn files(&self) -> &Mutex<Files> {
        self.files.get_or_init(|| Mutex::new(scan(&self.settings.folder)))
    }
}

/// What is in `folder`, the oldest first; what was left half-written is taken away.
fn scan(folder: &Path) -> Files {
    let tenants = fs::read_dir(folder).into_iter().flatten().flatten();
    let entries = tenants.flat_map(|tenant| fs::read_dir(tenant.path()).into_iter().flatten().flatten());
    let mut found: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
    for entry in entries {
        let path = entry.path();
        match path.extension().and_then(|suffix| suffix.to_str()) {
            Some(SUFFIX) => {
                let Ok(meta) = entry.metadata() else { continue };
                found.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), path, meta.len()));
            }
            Some("tmp") => {
                let _gone = fs::remove_file(path);
            }
            _ => {}
        }
    }
    found.sort();
    let mut files = Files { sizes: LruCache::unbounded(), bytes: 0 };
    for (_, path, bytes) in found {
        files.bytes += bytes;
        files.sizes.put(path, bytes);
    }
    files
}

/// Bytes of the hash as it is written.
const HASH_BYTES: usize = 2 * blake3::OUT_LEN;

/// The answer in a file, if nothing has happened to it.
fn read(content: &[u8]) -> Option<Kept> {
    let (hash, rest) = content.split_at_checked(HASH_BYTES)?;
    let text = rest.strip_prefix(b"\n")?;
    if hash != blake3::hash(text).to_hex().as_bytes() {
        return None;
    }
    serde_json::from_slice(text).ok()
}
