//! What the reader of flows takes and refuses, and where it points.

    use std::time::Duration;

    use super::testing::{GLANCE, good, problems};
    use crate::flow::{EachBody, KindDecl, Late, Need, OnErrorDecl, OnItemError};

    #[test]
    fn a_whole_flow_is_read_without_problems() {
        let flow = good(GLANCE);
        assert_eq!(flow.name.value, "multihop");
        let names: Vec<_> = flow.nodes.iter().map(|node| node.name.value.as_str()).collect();
        assert_eq!(names, ["triage", "once", "hop", "check", "answer"]);
        assert_eq!(flow.budget.unwrap().value.wall, Some(Duration::from_secs(90)));
        let [triage, once, hop, check, answer] = &flow.nodes[..] else { panic!("five nodes") };
        assert!(
            matches!(&triage.timeout, Some(Late::Later(text)) if text.text.starts_with("inputs.hops > 2"))
        );
        assert_eq!(triage.cache.as_ref().unwrap().value, Duration::from_secs(600));
        assert!(matches!(once.on_error.as_ref().unwrap().value, OnErrorDecl::Skip));
        let KindDecl::Loop(hop) = &hop.kind else { panic!("wrong kind") };
        assert!(matches!(&hop.max_turns, Some(Late::Later(text)) if text.text == "inputs.hops"));
        assert_eq!(hop.carry[0].value.text, "[]");
        assert_eq!(hop.until[1].key.value, "no_new_evidence");
        let KindDecl::Each(check) = &check.kind else { panic!("wrong kind") };
        assert!(matches!(&check.body, EachBody::Op(op) if op.value == "filter.llm"));
        assert_eq!(check.on_item_error, OnItemError::Keep);
        assert_eq!(answer.join.as_ref().unwrap().value.need, Need::AtLeast(2));
        assert_eq!(flow.outputs[1].value.text, "3", "a plain number is the expression of that number");
        assert_eq!(flow.tests[0].expect.ran.as_ref().unwrap().len(), 3);
    }

    #[test]
    fn unknown_keys_are_reported_at_every_level() {
        let found = problems(
            "flow: f\nnodez: 1\nnodes:\n  a: {op: x.y, retri: 1, if: true}\n  b:\n    loop: {max_turn: 2, nodes: {c: {op: x.y}}}\n",
        );
        assert_eq!(
            found,
            "FLOW0009 2:1 «nodez» a flow has no key `nodez`\n    did you mean `nodes`?\n\
             FLOW0009 4:16 «retri» a node has no key `retri`\n    did you mean `retry`?\n\
             FLOW0009 4:26 «if» a node has no key `if`\n    did you mean `when`?\n\
             FLOW0009 6:12 «max_turn» a loop has no key `max_turn`\n    did you mean `max_turns`?",
            "and `max_turns` is not reported as missing"
        );
    }
}

/// Reads a duration such as `90s`, `200ms` or `1m30s`; `Err` says what would be right.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    let _ = text;
    Err(String::new())
