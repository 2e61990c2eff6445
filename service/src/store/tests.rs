//! What cannot be seen from outside: how payloads are cut, and what waits.

use serde_json::{Value, json};

use super::payload::{Kept, Known, pack, wanted};
use super::*;

fn alphanumeric(random: &mut fastrand::Rng, n: usize) -> String {
    (0..n).map(|_| random.alphanumeric()).collect()
}

#[test]
fn a_growing_value_costs_its_growth() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut known = Known::default();
    let (mut state, mut stored) = (String::new(), 0);
    for _ in 0..40 {
        state.push_str(&alphanumeric(&mut random, 10_000));
        let packed = pack(&json!({ "value": state }), &mut known).unwrap();
        stored += packed.bytes();
    }
    let ratio = stored as f64 / state.len() as f64;
    assert!(ratio < 1.6, "{ratio}");
}

#[test]
fn what_is_packed_comes_back() {
    let mut random = fastrand::Rng::with_seed(5);
    for size in [0, 100, 8_000, 9_000, 70_000, 3_000_000] {
        let text = alphanumeric(&mut random, size);
        let value = json!({ "inputs": { "a/b~": text, "small": 1 }, "result": { "ok": [{ "value": [text] }, null] } });
        let packed = pack(&value, &mut Known::default()).unwrap();
        let blobs: std::collections::HashMap<String, Vec<u8>> = packed
            .blobs
            .into_iter()
            .map(|blob| {
                let body = super::payload::unpacked(blob.codec, blob.size, blob.body).unwrap();
                (blob.hash, body)
            })
            .collect();
        assert_eq!(blobs.is_empty(), size < 8_100, "{size}");
        let kept = Kept::parse(&packed.text).unwrap();
        assert!(wanted([&kept]).iter().all(|(_, hashes)| hashes.len() <= 16));
        assert_eq!(kept.filled(&blobs).unwrap(), value);
    }
}

#[test]
fn what_a_flow_says_is_never_taken_for_a_blob() {
    let value = json!({ "value": [["/value", 0, "00"]], "text": "x".repeat(10_000) });
    let packed = pack(&value, &mut Known::default()).unwrap();
    assert_eq!(packed.blobs.len(), 0);
    assert_eq!(
        Kept::parse(&packed.text).unwrap().filled(&std::collections::HashMap::default()).unwrap(),
        value
    );
    assert!(
        Kept::parse(r#"[{"a":null},[["/b",0,""]]]"#)
            .unwrap()
            .filled(&std::collections::HashMap::default())
            .is_err()
    );
    let _: Value = value;
}

fn claimed(id: &str) -> crate::job::NewJob {
    crate::job::NewJob {
        id: id.to_owned(),
        tenant: "t".into(),
        flow: "qa".into(),
        claimed_by: Some("w".into()),
        ..crate::job::NewJob::default()
    }
}

fn record(seq: u64) -> anabranch_engine::event::Record {
    anabranch_engine::event::Record {
        seq,
        at: Duration::ZERO,
        event: anabranch_engine::event::Event::CancelRequested { reason: "x".into() },
    }
}

/// Waits until the receipt is there or the writer has found the database away.
async fn is_held_up(store: &Store, receipt: &mut Receipt<crate::job::Submitted>) -> bool {
    for _ in 0..3_000 {
        let soon = tokio::time::timeout(Duration::from_millis(5), &mut *receipt).await;
        match soon {
            Ok(outcome) => return outcome.is_err(),
            Err(_) if store.writing().is_away => return true,
            Err(_) => {}
        }
    }
    false
}

#[tokio::test]
async fn a_full_disk_holds_up_and_lets_go_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(At::Sqlite(folder.path().join("store.db"))), true).await.unwrap();
    store.submit(claimed("job_1")).await.unwrap();
    let pages = async |sql: &'static str| {
        let Database::Sqlite { write, .. } = store.database() else { panic!() };
        sqlx::query_scalar::<_, i64>(sql).fetch_one(write).await.unwrap()
    };
    let n_pages = pages("PRAGMA page_count").await;
    // The database refuses to grow: its own error for a full disk.
    assert_eq!(pages("PRAGMA max_page_count = 1").await, n_pages);
    let mut random = fastrand::Rng::with_seed(9);
    let inputs = [("text".to_owned(), alphanumeric(&mut random, 300_000).into())].into_iter().collect();
    let large = crate::job::NewJob { request: Request { inputs, ..Request::default() }, ..claimed("job_2") };
    let mut receipt = store.submit(large);
    assert!(is_held_up(&store, &mut receipt).await, "it was acknowledged");
    assert!(matches!(store.submit(claimed("job_3")).await, Err(StoreError::Unavailable(_))));
    assert!(store.ready().await.is_err());
    assert_eq!(store.job(None, "job_2").await.unwrap(), None);
    pages("PRAGMA max_page_count = 100000").await;
    assert_eq!(receipt.await.unwrap(), crate::job::Submitted::New);
    store.submit(claimed("job_4")).await.unwrap();
    store.ready().await.unwrap();
    assert_eq!(store.job(None, "job_2").await.unwrap().unwrap().request.inputs.len(), 1);
}

#[tokio::test]
async fn what_the_database_refuses_for_one_job_leaves_the_others_alone() {
    let store = Store::open(Options::new(At::Memory), true).await.unwrap();
    writing!(store.database(), |db| {
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON jobs WHEN NEW.job_id = 'job_bad' \
                      BEGIN SELECT RAISE(ABORT, 'no'); END";
        sqlx::query(refuse).execute(db).await.unwrap();
    });
    let good = store.submit(claimed("job_1"));
    let bad = store.submit(claimed("job_bad"));
    let follows = store.append("job_1", 1, &[record(0)]);
    assert!(bad.await.unwrap_err().to_string().contains("refuses"), "a typed answer");
    good.await.unwrap();
    follows.await.unwrap();
    assert_eq!(store.records("job_1", 0, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_handed_in_and_not_answered_is_not_said_to_be_undone() {
    let store = Store::open(Options::new(At::Memory), true).await.unwrap();
    let receipt = store.submit(claimed("job_1"));
    store.0.writer.stop();
    assert!(matches!(receipt.await, Err(StoreError::Unsure(_))));
}

#[tokio::test]
async fn what_flows_are_made_of_goes_with_the_last_job_that_needs_it() {
    let store = Store::open(Options::new(At::Memory), true).await.unwrap();
    let bundle = |name: &str| crate::flows::Bundle {
        name: name.to_owned(),
        flow: String::new(),
        flows: std::collections::BTreeMap::new(),
        prompts: std::collections::BTreeMap::new(),
    };
    for hash in ["h_needed", "h_put", "h_unneeded", "h_versioned"] {
        store.put_bundle(hash, &bundle(hash)).await.unwrap();
    }
    let new = NewVersion {
        tenant: "t".into(),
        name: "qa".into(),
        hash: "h_versioned".into(),
        ..NewVersion::default()
    };
    store.put_flow_version(&new).await.unwrap();
    store.submit(crate::job::NewJob { hash: "h_needed".into(), ..claimed("job_1") }).await.unwrap();
    let prune = async || store.prune_bundles("", 100).await.unwrap();
    assert_eq!(prune().await, (0, String::new()), "whoever has just put one may be about to submit a job");
    writing!(store.database(), |db| {
        sqlx::query("UPDATE bundles SET created_ms = 0").execute(db).await.unwrap();
    });
    store.put_bundle("h_put", &bundle("h_put")).await.unwrap();
    assert_eq!(store.prune_bundles("", 2).await.unwrap(), (0, "h_put".to_owned()), "a few at a time");
    assert_eq!(store.prune_bundles("h_put", 3).await.unwrap(), (1, String::new()));
    assert_eq!(store.bundle("h_unneeded").await.unwrap(), None);
    let end = crate::job::End {
        status: Status::Succeeded,
        outputs: serde_json::Map::default(),
        absent: serde_json::Map::default(),
        error: None,
        usage: crate::job::Usage::default(),
        progress: crate::job::Progress::default(),
    };
    store.end("job_1", 1, end).await.unwrap();
    assert!(store.delete("t", "job_1").await.unwrap());
    assert_eq!(prune().await.0, 1);
    for hash in ["h_put", "h_versioned"] {
        assert!(store.bundle(hash).await.unwrap().is_some(), "{hash}");
    }
}

/// One test: points belong to the whole process.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_every_failpoint_what_is_acknowledged_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(At::Sqlite(folder.path().join("store.db"))), true).await.unwrap();
    let points = [
        "commit_before",
        "commit_sync",
        "commit_after",
        "commit_reply_lost",
        "submit",
        "journal",
        "end",
        "park",
    ];
    for point in points {
        for (action, is_written) in
            [("1*return", true), ("3*return(full)", true), ("1*return(refused)", true)]
        {
            let id = format!("job_{point}_{}", action.replace(['*', '(', ')'], "_"));
            fail::cfg(format!("store::{point}"), action).unwrap();
            let job = store.submit(claimed(&id));
            let first = store.append(&id, 1, &[record(0)]);
            let second = store.append(&id, 1, &[record(1)]);
            let end = if point == "park" {
                store.park(&id, 1, vec![], Default::default(), Default::default())
            } else {
                let end = crate::job::End {
                    status: Status::Succeeded,
                    outputs: Default::default(),
                    absent: Default::default(),
                    error: None,
                    usage: Default::default(),
                    progress: Default::default(),
                };
                store.end(&id, 1, end)
            };
            let outcomes = (job.await.is_ok(), first.await.is_ok(), second.await.is_ok(), end.await.is_ok());
            fail::remove(format!("store::{point}"));
            let refused = action.contains("refused");
            assert!(refused || outcomes == (is_written, true, true, true), "{point} {action}: {outcomes:?}");
            let n = store.records(&id, 0, 9).await.unwrap().len();
            assert!(
                n == 2 || (refused && n == 0 && !outcomes.1),
                "{point} {action}: {n} records, {outcomes:?}"
            );
            // Not acknowledged is what may be there or not; acknowledged is there.
            let is_there = store.job(None, &id).await.unwrap().is_some();
            assert!(is_there || !outcomes.0, "{point} {action}");
        }
        // A pause after the last failure: what counts as away is refused at once.
        while store.writing().is_away {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
