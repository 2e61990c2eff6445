//! What a journal that keeps its records as JSON gives back: the same run, with the same types of values.

use anabranch_engine::event::{Event, Record, RunId};
use anabranch_engine::journal::{Journal, MemoryJournal};
use anabranch_engine::run::resume;

use super::*;

const YAML: &str = "flow: f\ninputs: { text: text, before: list<chunk>, share: float }\nbudget: { wall: 1h }\nnodes:\n  \
    a: { op: test.passages, in: { text: inputs.text, before: inputs.before } }\n  \
    b: { op: test.passages, in: { text: \"'more words'\", before: a.chunks }, budget: { wall: 10s } }\n  \
    each: { each: b.chunks, op: test.work, in: { a: item, b: a.first.text }, with: { delay_ms: 3, fail_times: 1 }, retry: { attempts: 2, backoff: 1ms } }\n  \
    slow: { op: test.work, with: { delay_ms: 60000 }, budget: { wall: 1s }, on_error: skip }\n  \
    late: { op: test.work, in: { a: \"first(slow.value, 1)\" }, join: { all: true, deadline: 500ms } }\n\
    outputs: { chunks: b.chunks, first: a.first, nil: a.nil, has_nil: present(a.nil), none: a.none, third: a.third, \
    share: inputs.share, values: each.value, slow: slow.value, late: late.value }\n";

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_from_any_record_that_was_json() {
    let plan = testing::plan(YAML, &()).unwrap_or_else(|problems| panic!("{problems}"));
    let before = run_flow(
        "flow: g\nnodes:\n  p: { op: test.passages, in: { text: \"'one two'\" } }\noutputs: { chunks: p.chunks }\n",
        [],
    )
    .await
    .outputs["chunks"]
        .clone();
    assert!(matches!(before.as_list().unwrap()[0], Value::Chunk(_)));
    let inputs: Map = [
        ("text".into(), Value::text("three four")),
        ("before".into(), before),
        ("share".into(), Value::Float(3.0)),
    ]
    .into_iter()
    .collect();
    let resources = Arc::new(testing::resources());
    let id = RunId("run".into());
    let journal = Arc::new(MemoryJournal::default());
    let options =
        |journal: &Arc<MemoryJournal>| Options { journal: Some(journal.clone()), ..Options::default() };
    let whole = run(plan.clone(), inputs, resources.clone(), options(&journal)).await.unwrap();
    assert_eq!(whole.outcome, Outcome::Succeeded);
    assert_eq!(whole.outputs["has_nil"], Value::Bool(true));
    assert_eq!(whole.absent.keys().map(|name| &**name).collect::<Vec<_>>(), ["none", "slow"]);
    let records = journal.read(&id).await.unwrap();
    assert!(records.iter().any(|record| matches!(record.event, Event::TimerFired(_))));
    for n_kept in 1..=records.len() {
        let lines = records[..n_kept].iter().map(|record| serde_json::to_string(record).unwrap());
        let kept: Vec<Record> = lines.map(|line| serde_json::from_str(&line).unwrap()).collect();
        let journal = Arc::new(MemoryJournal::default());
        journal.append(&id, kept).await.unwrap();
        let resumed = resume(plan.clone(), resources.clone(), options(&journal)).await.unwrap();
        assert_eq!(resumed.outputs, whole.outputs, "cut after {n_kept}");
        assert_eq!(resumed.absent, whole.absent, "cut after {n_kept}");
        assert_eq!(resumed.elapsed, whole.elapsed, "time goes on where it stood: cut after {n_kept}");
    }
}

#[test]
fn every_float_comes_back_from_json_as_it_was() {
    let mut rng = 88_172_645_463_325_252_u64;
    for _ in 0..10_000 {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        let float = rng as f64 / 1e15;
        let json = serde_json::to_string(&Value::Float(float)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), Value::Float(float));
    }
}
