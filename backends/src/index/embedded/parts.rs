//! The namespaces of an index that are open, so that not every search opens files anew.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_engine::backend::Namespace;

use super::part::Part;
use super::{Error, folder};

/// How many namespaces are kept open beside the one of an index without tenants. Another one more closes that which
/// has not been asked for the longest.
pub const NAMESPACES_OPEN_MAX: usize = 64;

/// An index's namespaces.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) path: PathBuf,
    default: Arc<Part>,
    /// Least recently used first.
    others: Mutex<Vec<(Namespace, Arc<Part>)>>,
}

impl Parts {
    pub(super) fn open_or_create(path: &Path) -> Result<Self, Error> {
        let default = Arc::new(Part::open_or_create(path)?);
        Ok(Self { path: path.to_owned(), default, others: Mutex::new(Vec::new()) })
    }

    pub(super) fn default_part(&self) -> &Arc<Part> {
        &self.default
    }

    /// The namespace, if there is anything in it. Writes nothing.
    pub(super) fn get(&self, namespace: &Namespace) -> Result<Option<Arc<Part>>, Error> {
        if let Some(part) = self.known(namespace) {
            return Ok(Some(part));
        }
        let part = Part::open(&folder::of_namespace(&self.path, namespace))?;
        Ok(part.map(|part| self.keep(namespace, part)))
    }

    /// The namespace, made if it is not there.
    pub(super) fn get_or_create(&self, namespace: &Namespace) -> Result<Arc<Part>, Error> {
        if let Some(part) = self.known(namespace) {
            return Ok(part);
        }
        let part = Part::open_or_create(&folder::of_namespace(&self.path, namespace))?;
        Ok(self.keep(namespace, part))
    }

    fn known(&self, namespace: &Namespace) -> Option<Arc<Part>> {
        if namespace.is_default() {
            return Some(Arc::clone(&self.default));
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let position = others.iter().position(|(name, _)| name == namespace)?;
        let found = others.remove(position);
        let part = Arc::clone(&found.1);
        others.push(found);
        Some(part)
    }

    fn keep(&self, namespace: &Namespace, part: Part) -> Arc<Part> {
        // Two searches may have opened it at once; one of the two is as good as the other.
        if let Some(known) = self.known(namespace) {
            return known;
        }
        let part = Arc::new(part);
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if others.len() >= NAMESPACES_OPEN_MAX {
            // Whoever is searching it holds it until the end of the search.
            others.remove(0);
        }
        others.push((namespace.clone(), Arc::clone(&part)));
        part
    }

    #[cfg(test)]
    pub(super) fn n_open(&self) -> usize {
        self.others.lock().unwrap().len()
    }
}
