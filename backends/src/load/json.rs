//! Reads `.json` files: a list of documents as a corpus has them, or data that is read as it is.

use std::collections::HashSet;

use super::corpus::Line;
use super::source::{self, read_bytes, text_of};
use super::walk::Listed;
use super::{Loaded, Skipped, Why};

/// The documents of the file.
pub(super) fn sources(listed: Listed) -> Box<dyn Iterator<Item = Loaded> + Send> {
    let text = match read_bytes(&listed).and_then(text_of) {
        Ok(text) => text,
        Err(why) => return Box::new(std::iter::once(Loaded::Skipped(Skipped { path: listed.path, why }))),
    };
    match serde_json::from_str::<Vec<Line>>(text.trim_start_matches('\u{feff}')) {
        Ok(lines) if !lines.is_empty() => {
            let mut seen = HashSet::new();
            Box::new(lines.into_iter().enumerate().map(move |(n, line)| {
                let bytes = serde_json::to_vec(&line).unwrap_or_default();
                line.source(&listed, n + 1, &bytes, &mut seen).map_or_else(
                    |message| {
                        let why = Why::BadLine { line: n + 1, message };
                        Loaded::Skipped(Skipped { path: listed.path.clone(), why })
                    },
                    Loaded::Source,
                )
            }))
        }
        _ => Box::new(std::iter::once(Loaded::Source(source::of_text(&listed, text)))),
    }
}
