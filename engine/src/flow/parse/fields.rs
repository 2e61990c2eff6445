//! The constructs of the language with their keys, and the one way of taking keys out of a mapping.

use crate::diagnostic::{Code, Span, nearest};
use crate::flow::yaml::Node;

use super::Reader;

/// A mapping with keys that the language knows.
#[derive(Debug)]
pub(in crate::flow) struct Construct {
    /// What it is, in messages: `a node`.
    pub(in crate::flow) what: &'static str,
    /// Its keys.
    pub(in crate::flow) keys: &'static [&'static str],
    /// Keys that other tools use for the same thing, and the key here.
    synonyms: &'static [(&'static str, &'static str)],
}

macro_rules! constructs {
    ($( $name:ident $what:literal [$($key:literal)+] $({ $($other:literal => $ours:literal)+ })?; )+) => {
        $( pub(in crate::flow) const $name: Construct = Construct {
            what: $what,
            keys: &[$($key),+],
            synonyms: &[$($(($other, $ours)),+)?],
        }; )+

        /// Every construct.
        #[cfg(test)]
        pub(in crate::flow) const CONSTRUCTS: &[&Construct] = &[$(&$name),+];
    };
}

constructs! {
    FLOW "a flow" ["flow" "about" "inputs" "budget" "nodes" "outputs" "tests"]
        { "name" => "flow" "description" => "about" "steps" => "nodes" "tasks" => "nodes" "jobs" => "nodes"
          "params" => "inputs" "returns" => "outputs" };
    INPUT "an input" ["type" "default" "min" "max" "about"] { "description" => "about" };
    NODE "a node" [
        "op" "flow" "loop" "each" "plan" "wait" "in" "with" "when" "after" "retry" "timeout" "idle_timeout"
        "on_error" "cache" "join" "budget" "about" "as" "nodes" "outputs" "concurrency" "on_item_error"
        "min_success" "stop_when" "max_items" "allow" "max_nodes" "repair" "order" "must" "fallback"
    ] { "if" => "when" "inputs" => "in" "input" => "in" "settings" => "with" "config" => "with" "params" => "with"
        "options" => "with" "needs" => "after" "depends_on" => "after" "retries" => "retry" "foreach" => "each"
        "for_each" => "each" "map" => "each" "operator" => "op" "uses" => "op" "parallelism" => "concurrency"
        "description" => "about" };
    LOOP "a loop" ["max_turns" "carry" "nodes" "next" "until"]
        { "max_iterations" => "max_turns" "limit" => "max_turns" "while" => "until" "state" => "carry"
          "init" => "carry" };
    WAIT "a wait" ["for" "about" "deadline" "default"]
        { "type" => "for" "timeout" => "deadline" "until" => "deadline" "question" => "about" "message" => "about"
          "description" => "about" "prompt" => "about" };
    FALLBACK "`fallback`" ["nodes" "outputs"] { "steps" => "nodes" };
    STOP_WHEN "`stop_when`" ["quorum"];
    QUORUM "`quorum`" ["of" "agree"];
    RETRY "`retry`" ["attempts" "backoff" "max_backoff" "on"]
        { "max_attempts" => "attempts" "times" => "attempts" "delay" => "backoff" };
    ON_ERROR "`on_error`" ["value" "flow"] { "default" => "value" };
    CACHE "`cache`" ["ttl"] { "for" => "ttl" };
    JOIN "`join`" ["all" "any" "at_least" "deadline" "cancel_losers"] { "timeout" => "deadline" };
    BUDGET "a budget" ["model_calls" "model_tokens" "cost" "wall"]
        { "calls" => "model_calls" "tokens" => "model_tokens" "max_tokens" => "model_tokens" "time" => "wall"
          "timeout" => "wall" "money" => "cost" };
    TEST "a test" ["name" "inputs" "stub" "replay" "script" "expect"]
        { "input" => "inputs" "in" => "inputs" "stubs" => "stub" "mock" => "stub" "assert" => "expect" };
    SCRIPTED "a rule of `script`" ["contains" "matches" "answer" "calls"]
        { "regex" => "matches" "text" => "answer" "tool_calls" => "calls" };
    SCRIPTED_CALL "a call of a rule" ["tool" "arguments"] { "name" => "tool" "args" => "arguments" };
    EXPECT "`expect`" ["ran" "skipped" "outputs" "absent" "fails"]
        { "output" => "outputs" "not_run" => "skipped" "error" => "fails" };
}

/// The known keys of one mapping, each taken once.
#[derive(Default)]
pub(super) struct Fields<'n> {
    /// Where to point when a key is missing.
    pub(super) place: Span,
    what: &'static str,
    /// Keys that an unknown one was probably meant to be: not reported as missing on top.
    meant: Vec<&'static str>,
    entries: Vec<(&'n str, Span, &'n Node)>,
}

impl<'n> Fields<'n> {
    /// The value of `key`; the caller goes on to read it.
    pub(super) fn take(&mut self, key: &str) -> Option<&'n Node> {
        let position = self.entries.iter().position(|(name, ..)| *name == key)?;
        Some(self.entries.swap_remove(position).2)
    }

    /// The place of `key`, if it is there and not taken yet.
    pub(super) fn key(&self, key: &str) -> Option<Span> {
        self.entries.iter().find(|(name, ..)| *name == key).map(|(_, span, _)| *span)
    }

    /// Whether `key` is neither there nor misspelt.
    pub(super) fn lacks(&self, key: &str) -> bool {
        self.key(key).is_none() && !self.meant.contains(&key)
    }

    /// Says that all has been read: a key that is declared but read by nobody is a mistake of ours.
    pub(super) fn done(self) {
        let left: Vec<_> = self.entries.iter().map(|(name, ..)| name).collect();
        debug_assert!(left.is_empty(), "{}: nobody reads {left:?}", self.what);
    }
}

impl Reader<'_> {
    /// The keys of `node` that `construct` knows; reports the others. `None` if it is no mapping.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        construct: &'static Construct,
        place: Span,
    ) -> Option<Fields<'n>> {
        let Some(entries) = node.as_map() else {
            let hint = format!(
                "{} has keys such as {}",
                construct.what,
                listed(construct.keys.get(..4).unwrap_or(construct.keys))
            );
            self.wrong_kind(node, "a mapping", Some(&hint));
            return None;
        };
        let mut fields = Fields {
            place,
            what: construct.what,
            meant: Vec::new(),
            entries: Vec::with_capacity(entries.len()),
        };
        let given = |wanted: &str| entries.iter().any(|(key, _)| key.raw() == Some(wanted));
        for (key, value) in entries {
            let name = key.raw().unwrap_or_default();
            if construct.keys.contains(&name) {
                fields.entries.push((name, key.span, value));
                continue;
            }
            let meant = construct.meant(name);
            fields.meant.extend(meant);
            // One slip of the finger is read as what it was meant to be: what depends on it is no mistake of its own.
            let slip =
                meant.filter(|meant| is_slip(name, meant) && !given(meant) && fields.key(meant).is_none());
            fields.entries.extend(slip.map(|meant| (meant, key.span, value)));
            let hint = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("its keys are {}", listed(construct.keys)),
            };
            let message = format!("{} has no key `{name}`", construct.what);
            self.report(Code::UNKNOWN_KEY, key.span, message, Some(hint));
        }
        Some(fields)
    }

    /// The value of a key that must be there; `example` is the line to add.
    pub(super) fn required<'n>(
        &mut self,
        fields: &mut Fields<'n>,
        key: &str,
        example: &str,
    ) -> Option<&'n Node> {
        if fields.lacks(key) {
            let message = format!("{} needs the key `{key}`", fields.what);
            self.report(Code::MISSING_KEY, fields.place, message, Some(format!("add `{example}`")));
        }
        fields.take(key)
    }
}

impl Construct {
    /// The key that `name` was probably meant to be.
    fn meant(&self, name: &str) -> Option<&'static str> {
        // Case and hyphens are the nearest mistake of all.
        let lower = name.to_ascii_lowercase().replace('-', "_");
        let same = self.keys.iter().find(|key| **key == lower).copied();
        let synonym = || self.synonyms.iter().find(|(other, _)| *other == lower).map(|(_, ours)| *ours);
        same.or_else(synonym).or_else(|| nearest(&lower, self.keys.iter().copied()))
    }
}

/// Keys without which other parts of a flow seem wrong.
const DEPENDED_ON: &[&str] = &[
    "flow",
    "inputs",
    "nodes",
    "outputs",
    "type",
    "op",
    "loop",
    "each",
    "plan",
    "wait",
    "for",
    "in",
    "with",
    "as",
    "max_turns",
    "carry",
    "next",
];

/// Whether `name` is `key`, on which others depend, but for case, hyphens or one letter.
fn is_slip(name: &str, key: &str) -> bool {
    let lower = name.to_ascii_lowercase().replace('-', "_");
    let is_near = || lower.len().max(key.len()) > 2 && strsim::damerau_levenshtein(&lower, key) == 1;
    DEPENDED_ON.contains(&key) && (lower == key || is_near())
}

fn listed(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}
