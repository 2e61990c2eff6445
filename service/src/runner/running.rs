//! Which nodes of a job run, and what they have written so far: whoever begins to watch in the middle of a sentence
//! reads it from its beginning.

use anabranch_engine::cx::Progress;
use anabranch_engine::run::Notice;
use anabranch_engine::scope::Scope;
use anabranch_engine::value::Text;

use super::live::RunningNode;

/// Bytes that are kept of a node's text; of a longer one, its end.
const TEXT_BYTES: usize = 64 << 10;
/// Nodes of a job that are kept at once; further ones are only told live.
const NODES: usize = 64;

/// The nodes that run, in the order of their beginnings.
#[derive(Debug, Default)]
pub(super) struct Running(Vec<Kept>);

#[derive(Debug)]
struct Kept {
    scope: Scope,
    op: Text,
    attempt: u32,
    text: String,
    left_out: usize,
}

impl Running {
    /// Takes in what happens.
    pub(super) fn hear(&mut self, notice: &Notice) {
        match notice {
            Notice::Started { scope, op, attempt, .. } => self.begin(scope, op, *attempt),
            Notice::Ended { scope, .. } | Notice::Aborted { scope, .. } => {
                self.0.retain(|kept| kept.scope != *scope);
            }
            Notice::Progress { scope, progress: Some(Progress::Delta(piece)) } => self.write(scope, piece),
            _ => {}
        }
    }

    fn begin(&mut self, scope: &Scope, op: &Text, attempt: u32) {
        self.0.retain(|kept| kept.scope != *scope);
        if self.0.len() < NODES {
            let (scope, op) = (scope.clone(), op.clone());
            self.0.push(Kept { scope, op, attempt, text: String::new(), left_out: 0 });
        }
    }

    fn write(&mut self, scope: &Scope, piece: &str) {
        let Some(kept) = self.0.iter_mut().find(|kept| kept.scope == *scope) else { return };
        kept.text.push_str(piece);
        // Twice as much as is kept, so that not every piece moves all of it.
        if kept.text.len() > 2 * TEXT_BYTES {
            let from = kept.text.ceil_char_boundary(kept.text.len() - TEXT_BYTES);
            kept.text.drain(..from);
            kept.left_out += from;
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<RunningNode> {
        let shown = |kept: &Kept| {
            let from = kept.text.ceil_char_boundary(kept.text.len().saturating_sub(TEXT_BYTES));
            RunningNode {
                node: kept.scope.to_string(),
                op: kept.op.to_string(),
                attempt: kept.attempt,
                text: kept.text.get(from..).unwrap_or_default().to_owned(),
                left_out: kept.left_out + from,
            }
        };
        self.0.iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(running: &mut Running, node: &str) {
        running.begin(&Scope::from(node), &"test.ask".into(), 1);
    }

    fn node(node: &str, text: &str) -> RunningNode {
        RunningNode { node: node.into(), op: "test.ask".into(), attempt: 1, text: text.into(), left_out: 0 }
    }

    #[test]
    fn a_text_is_kept_from_its_beginning_and_of_a_long_one_the_end() {
        let mut running = Running::default();
        begin(&mut running, "a");
        running.write(&"a".into(), "one ");
        running.write(&"a".into(), "two");
        assert_eq!(running.list(), [node("a", "one two")]);
        begin(&mut running, "b");
        let piece = "äöü ".repeat(100);
        let mut whole = String::new();
        for _ in 0..500 {
            running.write(&"b".into(), &piece);
            whole.push_str(&piece);
            let shown = running.list().remove(1);
            assert!(shown.text.len() <= TEXT_BYTES && whole.ends_with(&shown.text));
            assert_eq!(shown.left_out + shown.text.len(), whole.len());
            assert!(running.0[1].text.len() <= 2 * TEXT_BYTES);
        }
        begin(&mut running, "a");
        assert_eq!(running.list().pop(), Some(node("a", "")), "who begins again has written nothing");
    }

    #[test]
    fn more_nodes_than_are_kept_do_not_push_out_others() {
        let mut running = Running::default();
        for n in 0..2 * NODES {
            begin(&mut running, &format!("{n:03}"));
        }
        assert_eq!(running.list().len(), NODES);
        assert_eq!(running.list()[0].node, "000");
    }
}
