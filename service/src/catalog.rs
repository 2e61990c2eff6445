//! Which indexes there are, where each is kept, which flow cuts its documents and which embedder makes its vectors.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use anabranch_engine::operator::EmbedderName;
use serde::{Deserialize, Serialize};

/// What is remembered of an index that no configuration declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The embedder of its vectors, by its name in the configuration; none if it has no vectors.
    pub embedder: Option<EmbedderName>,
    /// The flow that cuts its documents; the built-in one if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<PathBuf>,
}

/// The folder of the index `name`.
pub fn folder(data: &Path, name: &str) -> PathBuf {
    data.join("indexes").join(name)
}

/// The indexes that are there.
pub fn existing(data: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(data.join("indexes")) else { return BTreeSet::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_name(name))
        .collect()
}

/// Whether an index can be called `name`: `[a-z][a-z0-9_-]*`, since it becomes a folder.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}

impl Card {
    /// What is remembered of the index `name`; `None` if nothing is, as of one that an older version made.
    pub fn load(data: &Path, name: &str) -> io::Result<Option<Self>> {
        match std::fs::read(card(data, name)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Remembers this of the index `name`.
    pub fn save(&self, data: &Path, name: &str) -> io::Result<()> {
        let path = card(data, name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Whoever is killed between the two leaves the old card, whole.
        let new = path.with_extension("json.new");
        std::fs::write(&new, serde_json::to_vec(self)?)?;
        std::fs::rename(new, path)
    }
}

/// The file beside the folder of an index: no index can be called so.
fn card(data: &Path, name: &str) -> PathBuf {
    data.join("indexes").join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_indexes_are_names_of_folders() {
        assert!(is_name("docs-2_a"));
        assert!(!is_name("../docs") && !is_name("Docs") && !is_name("2docs") && !is_name(""));
    }

    #[test]
    fn what_is_remembered_of_an_index_is_no_index() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Card::load(data.path(), "notes").unwrap(), None);
        let card = Card { embedder: Some(EmbedderName("small".into())), flow: Some("cut.yaml".into()) };
        card.save(data.path(), "notes").unwrap();
        assert_eq!(Card::load(data.path(), "notes").unwrap(), Some(card));
        assert_eq!(existing(data.path()), BTreeSet::new());
        std::fs::write(data.path().join("indexes/notes.json"), "{").unwrap();
        assert!(Card::load(data.path(), "notes").is_err());
    }
}
