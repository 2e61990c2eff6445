//! `--set node.with.key=value`: changes settings in the text of a flow before it is compiled.
//!
//! The text is changed, not the parsed flow: what runs is then a flow that could have been written like this, checked
//! like any other, and its hash is that of what ran.

use std::sync::Arc;

use anabranch_engine::diagnostic::{Diagnostics, SourceFile, suggest};
use anabranch_engine::flow::yaml::{self, Kind, Node};
use serde_json::Value as Json;

use crate::exit::Error;

/// The flow `file` with each of `settings` (`node.with.key=value`) in place.
pub fn apply(file: &Arc<SourceFile>, settings: &[String]) -> Result<Arc<SourceFile>, Error> {
    let mut file = file.clone();
    // One at a time: two of them may go into the same mapping, and places move.
    for setting in settings {
        let mut problems = Diagnostics::default();
        // A file that is no YAML is reported by the checker, with its place.
        let Some(tree) = yaml::read(&file, &mut problems).filter(|_| !problems.has_errors()) else {
            return Ok(file);
        };
        let asked = Setting::parse(setting)?;
        let edit = asked.edit(&tree, &file.text)?;
        let mut text = file.text.clone();
        text.replace_range(edit.range, &edit.text);
        file = SourceFile::new(file.name.clone(), text);
    }
    Ok(file)
}

/// One `--set`.
struct Setting<'a> {
    written: &'a str,
    node: &'a str,
    keys: Vec<&'a str>,
    value: Json,
}

/// A change of the text.
struct Edit {
    range: std::ops::Range<usize>,
    text: String,
}

impl<'a> Setting<'a> {
    fn parse(written: &'a str) -> Result<Self, Error> {
        let malformed = || {
            Error::usage(format!("`--set {written}` is no setting"))
                .hint("write `--set node.with.key=value`, for example `--set search.with.top_k=20`")
        };
        let (path, value) = written.split_once('=').ok_or_else(malformed)?;
        let (node, keys) = path.split_once(".with.").ok_or_else(malformed)?;
        let keys: Vec<&str> = keys.split('.').collect();
        if node.is_empty() || keys.iter().any(|key| key.is_empty()) {
            return Err(malformed());
        }
        // As in the flow: `20` is a number, `"20"` a text, and what is no YAML is a text as well.
        let value = serde_yaml::from_str(value).unwrap_or_else(|_| Json::String(value.to_owned()));
        Ok(Self { written, node, keys, value })
    }

    fn edit(&self, tree: &Node, text: &str) -> Result<Edit, Error> {
        let node = self.find(tree)?;
        let mut keys: Vec<&str> = vec!["with"];
        keys.extend(&self.keys);
        let mut at = node;
        for (depth, key) in keys.iter().enumerate() {
            let rest = keys.get(depth + 1..).unwrap_or_default();
            match at.get(key) {
                Some(value) if rest.is_empty() => return Ok(replace(value, &self.value)),
                // An alias is written elsewhere: changing it there would change other nodes too.
                Some(value) if value.as_map().is_some() && !is_alias(value, text) => at = value,
                // What is there is no mapping to go into: it is replaced as a whole.
                Some(value) => return Ok(replace(value, &nested(rest, &self.value))),
                None => return insert(at, key, &nested(rest, &self.value), text, self.written),
            }
        }
        Err(Error::usage(format!("`--set {}` names no setting", self.written)))
    }

    /// The node that is meant, looked up as run reports name it: `hop/search`.
    fn find<'t>(&self, tree: &'t Node) -> Result<&'t Node, Error> {
        let mut nodes = Vec::new();
        collect(tree.get("nodes"), "", &mut nodes);
        if let Some((_, node)) = nodes.iter().find(|(path, _)| path == self.node) {
            return Ok(node);
        }
        let hint = suggest(self.node, nodes.iter().map(|(path, _)| path.as_str()), "its nodes are");
        let message = format!("`--set {}`: the flow has no node `{}`", self.written, self.node);
        Err(Error::usage(message).maybe_hint(hint))
    }
}

/// Every node of a flow with its path; the nodes of loops and eaches are inside.
fn collect<'t>(nodes: Option<&'t Node>, frame: &str, found: &mut Vec<(String, &'t Node)>) {
    for (name, node) in nodes.and_then(Node::as_map).unwrap_or_default() {
        let Some(name) = name.raw() else { continue };
        let path = if frame.is_empty() { name.to_owned() } else { format!("{frame}/{name}") };
        collect(node.get("loop").and_then(|body| body.get("nodes")), &path, found);
        collect(node.get("nodes"), &path, found);
        found.push((path, node));
    }
}

/// `{a: {b: value}}` for the keys `a`, `b`.
fn nested(keys: &[&str], value: &Json) -> Json {
    keys.iter().rev().fold(value.clone(), |inner, key| serde_json::json!({ *key: inner }))
}

fn replace(old: &Node, new: &Json) -> Edit {
    // JSON is YAML, on one line, wherever it stands.
    Edit { range: old.span.start..old.span.end, text: new.to_string() }
}

fn is_alias(node: &Node, text: &str) -> bool {
    text.get(node.span.start..).is_some_and(|rest| rest.starts_with('*'))
}

/// Puts a new key at the head of a mapping, in its own style.
fn insert(map: &Node, key: &str, value: &Json, text: &str, written: &str) -> Result<Edit, Error> {
    let (Kind::Map(entries), Some(rest)) = (&map.kind, text.get(map.span.start..)) else {
        return Err(Error::usage(format!("`--set {written}`: there is no mapping to put `{key}` into")));
    };
    let entry = format!("{}: {value}", Json::from(key));
    if rest.starts_with('{') {
        let comma = if entries.is_empty() { "" } else { ", " };
        let at = map.span.start + 1;
        return Ok(Edit { range: at..at, text: format!("{entry}{comma}") });
    }
    let Some((first, _)) = entries.first() else {
        return Err(Error::usage(format!("`--set {written}`: there is no mapping to put `{key}` into")));
    };
    let at = first.span.start;
    let line_start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    // All keys of a block mapping stand in the column of the first, whatever stands before it.
    let column = text.get(line_start..at).map_or(0, |before| before.chars().count());
    Ok(Edit { range: at..at, text: format!("{entry}\n{}", " ".repeat(column)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: &str = "flow: f
nodes:
  search:
    op: retrieve.bm25
    with: { index: docs, top_k: 8 }
  hop:
    loop:
      nodes:
        think: { op: judge.rule }
  keep:
    op: select.budget
    with:
      max_tokens: 100
";

    fn set(settings: &[&str]) -> Result<Node, String> {
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        let file = apply(&SourceFile::new("f", FLOW), &settings).map_err(|error| error.message)?;
        let mut problems = Diagnostics::default();
        let tree = yaml::read(&file, &mut problems).unwrap();
        assert!(problems.is_empty(), "{problems}\n{}", file.text);
        Ok(tree)
    }

    #[test]
    fn a_setting_is_replaced_or_put_in_wherever_its_mapping_stands() {
        let tree = set(&[
            "search.with.top_k=20",
            "search.with.k1=0.9",
            "hop/think.with.rules.done=a text",
            "keep.with.max_tokens=[1, 2]",
            "keep.with.order=best",
        ])
        .unwrap()
        .to_json();
        assert_eq!(tree["nodes"]["search"]["with"]["top_k"], 20);
        assert_eq!(tree["nodes"]["search"]["with"]["k1"], 0.9);
        assert_eq!(tree["nodes"]["search"]["with"]["index"], "docs");
        assert_eq!(tree["nodes"]["hop"]["loop"]["nodes"]["think"]["with"]["rules"]["done"], "a text");
        assert_eq!(tree["nodes"]["keep"]["with"]["max_tokens"], serde_json::json!([1, 2]));
        assert_eq!(tree["nodes"]["keep"]["with"]["order"], "best");
    }

    #[test]
    fn an_unknown_node_is_named_with_the_nearest_one() {
        assert_eq!(
            set(&["serch.with.top_k=1"]).unwrap_err(),
            "`--set serch.with.top_k=1`: the flow has no node `serch`"
        );
        assert!(set(&["search.top_k=1"]).unwrap_err().contains("is no setting"));
    }
}
