//! Words for names that are not there.

use crate::diagnostic::{Code, nearest, suggest};
use crate::flow::expression::Unresolved;

/// `root.name` is not there; with `None`, `root` stands alone.
pub(super) fn no_such<'n>(
    code: Code,
    reader: &str,
    root: &str,
    name: Option<&str>,
    known: impl Iterator<Item = &'n str> + Clone,
    what: &str,
) -> Unresolved {
    match name {
        Some(name) => Unresolved {
            code,
            segment: 1,
            message: format!("{reader} reads `{root}.{name}`, but {what} `{name}`"),
            hint: suggest(name, known, "there are").or_else(|| Some(format!("declare it under `{root}`"))),
        },
        None => Unresolved {
            code,
            segment: 0,
            message: format!("{reader} reads `{root}` as a whole, which is no value"),
            hint: listed(known.map(|name| format!("{root}.{name}"))).map(|list| format!("name one: {list}")),
        },
    }
}

/// The outputs that there are, and the one that was probably meant.
pub(super) fn outputs_hint<'n>(name: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    let near = nearest(name, known.clone());
    let list = match listed(known.clone().map(str::to_owned)) {
        None => return "it has no outputs".to_owned(),
        Some(list) if known.count() == 1 => format!("its only output is {list}"),
        Some(list) => format!("its outputs are {list}"),
    };
    match near {
        Some(near) => format!("did you mean `{near}`? {list}"),
        None => list,
    }
}

/// "`a`, `b` and `c`"; `None` if there is nothing to list.
pub(crate) fn listed(names: impl Iterator<Item = String>) -> Option<String> {
    let mut names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    let last = names.pop()?;
    Some(if names.is_empty() { last } else { format!("{} and {last}", names.join(", ")) })
}
