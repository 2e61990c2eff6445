//! Finding flow files and compiling them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_engine::diagnostic::{self, Diagnostics, SourceFile};
use anabranch_engine::operator::{Names, Registry};
use anabranch_engine::plan::{self, Plan};

use super::print;
use crate::exit::{Error, Exit};
use crate::library::{self, Files};

/// Folders in which no working flow of a project lies; `invalid` holds flows that are broken on purpose.
const SKIPPED_FOLDERS: [&str; 4] = ["target", "node_modules", "venv", "invalid"];
/// Deepest folder that is looked into.
const FOLDER_DEPTH: usize = 32;

/// The flow file that `given` names: a path, or the bare name of a flow here or in `flows/`.
pub(crate) fn find(given: &Path) -> Result<PathBuf, Error> {
    if given.is_file() {
        return Ok(given.to_owned());
    }
    if given.is_dir() {
        return Err(Error::usage(format!("`{}` is a folder; give a flow file", given.display())));
    }
    let is_name = given.extension().is_none() && given.components().count() == 1;
    let mut candidates: Vec<PathBuf> = Vec::new();
    if is_name {
        let file = given.with_extension("yaml");
        candidates = vec![file.clone(), Path::new("flows").join(file)];
    }
    candidates.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let error = Error::usage(format!("there is no flow file `{}`", given.display()));
        error.maybe_hint(nearest_file(given))
    })
}

fn nearest_file(given: &Path) -> Option<String> {
    let folder = given.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = if folder.is_dir() && folder != Path::new(".") { folder } else { Path::new("flows") };
    let names: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_yaml(Path::new(name)))
        .collect();
    let stem = |name: &str| name.trim_end_matches(".yaml").trim_end_matches(".yml").to_owned();
    let wanted = stem(&given.file_name()?.to_string_lossy());
    let stems: Vec<String> = names.iter().map(|name| stem(name)).collect();
    let what = format!("the flows in `{}` are", folder.display());
    diagnostic::suggest(&wanted, stems.iter().map(String::as_str), &what)
}

/// Reads a flow file under the name by which the user knows it.
pub(crate) fn read(path: &Path) -> Result<Arc<SourceFile>, Error> {
    let name = path.display().to_string();
    let text = library::read_flow(path)
        .map_err(|error| Error::caused(Exit::Usage, format!("cannot read `{name}`"), &error))?;
    Ok(SourceFile::new(name, text))
}

/// Compiles a flow file; `names` are the models and indexes that it may use.
pub(crate) fn compile(
    file: &Arc<SourceFile>,
    registry: &Registry,
    names: Option<&Names>,
) -> Result<(Plan, Diagnostics), Diagnostics> {
    let library = Files::beside(Path::new(&file.name));
    plan::compile(file, &plan::Environment { registry, names, library: &library })
}

/// Compiles a flow file, or prints everything that is wrong with it.
pub(crate) fn compile_or_complain(
    file: &Arc<SourceFile>,
    registry: &Registry,
    names: Option<&Names>,
) -> Result<Plan, Error> {
    match compile(file, registry, names) {
        Ok((plan, warnings)) => {
            if !warnings.is_empty() {
                print::remark(diagnostic::render(&warnings, true).trim_end());
            }
            Ok(plan)
        }
        Err(problems) => {
            print::complain(diagnostic::render(&problems, true).trim_end());
            let mut error = Error::new(
                Exit::Invalid,
                format!("`{}` is no valid flow: {}", file.name, diagnostic::summary(&problems)),
            );
            if let Some(problem) = problems.iter().find(|p| p.code == diagnostic::Code::UNKNOWN_INDEX) {
                let written = file.text.get(problem.span.start..problem.span.end).unwrap_or_default();
                let name = written.trim_matches(['"', '\'']);
                let name = if crate::catalog::is_name(name) { name } else { "NAME" };
                error = error.hint(format!("make the index with `anabranch index PATH --into {name}`"));
            } else if let Some(problem) = problems.iter().next() {
                error = error.hint(format!("`anabranch explain {}` says more", problem.code));
            }
            Err(error)
        }
    }
}

/// The flow files among `paths`: files as they are, and in folders every YAML file with a top-level `flow:`.
pub(crate) fn collect(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            walk(path, 0, &mut found)?;
        } else {
            found.push(find(path)?);
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    Ok(found)
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let cannot = |error: std::io::Error| {
        Error::caused(Exit::Usage, format!("cannot read `{}`", folder.display()), &error)
    };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        entries.push((entry.file_name(), entry.file_type().map_err(cannot)?, entry.path()));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, kind, path) in entries {
        let name = name.to_string_lossy();
        // A link to a folder is not followed: it could lead round in a circle.
        if kind.is_dir() && !name.starts_with('.') && !SKIPPED_FOLDERS.contains(&&*name) {
            if depth < FOLDER_DEPTH {
                walk(&path, depth + 1, found)?;
            }
        } else if !kind.is_dir() && is_yaml(&path) && is_flow(&path) {
            found.push(path);
        }
    }
    Ok(())
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn is_flow(path: &Path) -> bool {
    library::read_bounded(path).is_ok_and(|text| text.lines().any(|line| line.starts_with("flow:")))
}
