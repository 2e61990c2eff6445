//! The way to the answer, as people see it.

use super::*;

/// Every branch but the root hangs on one that stands before it.
fn assert_tree(tree: &[notes::Branch]) {
    for (n, branch) in tree.iter().enumerate() {
        let hangs = tree[..n].iter().any(|before| Some(before.id) == branch.parent);
        assert!(if n == 0 { branch.parent.is_none() } else { hangs }, "{tree:?}");
    }
}

#[tokio::test]
async fn the_tree_shows_what_went_into_what() {
    let model = ByRule::new(|request| match stage(request) {
        Stage::Map if quoted_in(request).contains("Line 3 ") => Ok("I cannot say.".to_owned()),
        _ => finds("7")(request),
    });
    let settings = with(&json!({ "portion_tokens": 30, "min_success": 0.5, "concurrency": 1 }));
    let out = read(&model, settings, &lines(30)).await.unwrap();
    assert_tree(&out.tree);
    assert_eq!((out.tree[0].kind, out.tree[0].label.chars().count() <= 81), (notes::Kind::Answer, true));
    let portions = out.tree.iter().filter(|branch| branch.kind == notes::Kind::Portion);
    let (kept, dropped): (Vec<_>, Vec<_>) = portions.partition(|branch| !branch.dropped);
    assert_eq!(kept.len(), out.evidence.len());
    assert_eq!(dropped.len(), out.stats.dropped + out.stats.failed.len());
    assert!(dropped.iter().any(|branch| branch.label.contains("neither JSON")));
    assert!(kept.iter().all(|branch| branch.label.contains('7') && branch.confidence == Some(4.0)));

    // With rounds between, and far more portions than are shown.
    let model = ByRule::new(|request| {
        Ok(match stage(request) {
            Stage::Reduce => json!({ "rationale": "", "answer": "done" }).to_string(),
            _ => said(&"word ".repeat(60), "a", 3.0),
        })
    });
    let out = read(&model, with(&json!({ "portion_tokens": 20 })), &lines(400)).await.unwrap();
    assert_tree(&out.tree);
    let n_collapses = out.tree.iter().filter(|branch| branch.kind == notes::Kind::Collapse).count();
    assert!(n_collapses > 1 && out.tree.len() == 200 && out.stats.portions > 200, "{n_collapses}");
}
