//! Sub-flows and prompt files from the file system: what stands beside a flow, and nothing outside its folder.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::flow::Library;
use anabranch_engine::limits;

/// The files beside a flow: `flow: linear` is `linear.yaml` beside the file that says so.
///
/// Paths are relative to the file that names them. None may be absolute, and none may climb out of the folder of the
/// flow that was loaded first, so that a flow from elsewhere cannot read what lies around it.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// The files that the flow at `path` can reach.
    pub fn beside(path: &Path) -> Self {
        Self { root: folder(path) }
    }

    /// The path of `relative` as the file `from` means it, or why it may not be read.
    fn resolve(&self, relative: &str, from: &SourceFile) -> Result<PathBuf, String> {
        let asked = Path::new(relative);
        if asked.is_absolute() || asked.has_root() {
            return Err(format!("`{relative}` is absolute; give a path relative to the flow"));
        }
        let path = normal(&folder(Path::new(&from.name)).join(asked));
        if !path.starts_with(normal(&self.root)) || path.components().any(|c| c == Component::ParentDir) {
            let root = self.root.display();
            return Err(format!("`{relative}` leads out of the flow's folder `{root}`"));
        }
        Ok(path)
    }
}

impl Library for Files {
    fn flow(&self, name: &str, from: &SourceFile) -> Option<Arc<SourceFile>> {
        let path = self.resolve(&format!("{name}.yaml"), from).ok()?;
        let text = read_flow(&path).ok()?;
        Some(SourceFile::new(path.display().to_string(), text))
    }

    fn prompt(&self, path: &str, from: &SourceFile) -> Result<String, String> {
        let file = self.resolve(path, from)?;
        read_bounded(&file).map_err(|error| error.to_string())
    }

    fn flows(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let is_flow = path.extension().is_some_and(|extension| extension == "yaml");
                is_flow.then(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))?
            })
            .collect();
        names.sort();
        names
    }
}

/// The text of a flow, whatever the file holds, so that the checker can say what is wrong at its place: one byte
/// more than a flow may have, and U+FFFD for what is no UTF-8.
pub(crate) fn read_flow(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limits::FLOW_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// The text of a prompt file, if it is not too large to be one.
pub(crate) fn read_bounded(path: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    // One byte more than is allowed is still read: the checker then reports the size at its place.
    if size > 2 * limits::FLOW_BYTES as u64 {
        return Err(std::io::Error::other(format!(
            "it has {size} bytes; at most {} are read",
            limits::FLOW_BYTES
        )));
    }
    std::fs::read_to_string(path)
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The path without `.`, and with `name/..` taken out; nothing is looked up on disk.
fn normal(path: &Path) -> PathBuf {
    let mut parts: Vec<Component<'_>> = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(parts.last(), Some(Component::Normal(_))) => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(root: &str, from: &str, path: &str) -> Result<PathBuf, String> {
        Files::beside(Path::new(root)).resolve(path, &SourceFile::new(from, ""))
    }

    #[test]
    fn a_path_is_relative_to_the_file_that_names_it() {
        assert_eq!(ask("a/f.yaml", "a/b/g.yaml", "p.md").unwrap(), Path::new("a/b/p.md"));
        assert_eq!(ask("a/f.yaml", "a/b/g.yaml", "../p.md").unwrap(), Path::new("a/p.md"));
        assert_eq!(ask("f.yaml", "f.yaml", "p.md").unwrap(), Path::new("p.md"));
    }

    #[test]
    fn no_path_leaves_the_folder_of_the_flow() {
        assert!(ask("a/f.yaml", "a/f.yaml", "/etc/passwd").unwrap_err().contains("is absolute"));
        assert!(ask("a/f.yaml", "a/f.yaml", "../b/p.md").unwrap_err().contains("leads out"));
        assert!(ask("f.yaml", "f.yaml", "../p.md").unwrap_err().contains("leads out"));
        assert!(ask("f.yaml", "f.yaml", "a/../../p.md").unwrap_err().contains("leads out"));
    }
}
