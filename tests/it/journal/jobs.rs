//! What the store does for jobs, the same on every database.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anabranch::flows::Bundle;
use anabranch::job::{End, Idempotency, NewJob, OpenWait, Progress, Request, Status, Submitted, Usage};
use anabranch::store::{
    Answer, Answered, CancelAsked, DoneTask, Expected, Filter, FlowPut, Gone, NewTask, NewVersion, Store,
    StoreError, Swept, Wanted,
};
use anabranch_engine::event::{Event, Record, Timing};

pub(super) fn bundle(name: &str) -> Bundle {
    Bundle {
        name: name.to_owned(),
        flow: format!("flow: {name}"),
        flows: BTreeMap::default(),
        prompts: BTreeMap::default(),
    }
}

/// Puts flow `qa` with this hash; `change` says what is special about it.
pub(super) async fn put(store: &Store, hash: &str, change: impl FnOnce(&mut NewVersion)) -> FlowPut {
    store.put_bundle(hash, &bundle("qa")).await.unwrap();
    let mut new = NewVersion {
        tenant: "t".into(),
        name: "qa".into(),
        hash: hash.into(),
        etag: format!("e-{hash}"),
        ..NewVersion::default()
    };
    change(&mut new);
    store.put_flow_version(&new).await.unwrap()
}

pub(super) async fn a_flow_has_versions_and_one_is_active(store: Store) {
    let put = async |hash: &str, expected| put(&store, hash, |new| new.expected = expected).await;
    assert_eq!(put("h1", Expected::Nothing).await, FlowPut::New(1, true));
    assert_eq!(put("h1", Expected::Anything).await, FlowPut::Same(1));
    assert_eq!(put("h2", Expected::Nothing).await, FlowPut::Unexpected(Some("e-h1".into())));
    assert_eq!(put("h2", Expected::Etag("e-h1".into())).await, FlowPut::New(2, false));
    assert!(store.activate("t", "qa", 1).await.unwrap());
    assert!(!store.activate("t", "qa", 7).await.unwrap());
    let active = store.flow("t", "qa", None).await.unwrap().unwrap();
    assert_eq!((active.version, active.is_active), (1, true));
    assert_eq!(store.flow("other", "qa", None).await.unwrap(), None);
    let versions = store.versions("t", "qa").await.unwrap();
    assert_eq!(
        versions.iter().map(|v| (v.version, v.is_active)).collect::<Vec<_>>(),
        [(2, false), (1, true)]
    );
    assert_eq!(store.flows("t").await.unwrap().len(), 1);
    assert_eq!(store.bundle("h2").await.unwrap(), Some(bundle("qa")));
    assert_eq!(store.in_flight("t", "qa", Some(1)).await.unwrap(), 0);
}

pub(super) fn job(id: &str) -> NewJob {
    NewJob {
        id: id.to_owned(),
        tenant: "t".into(),
        flow: "qa".into(),
        hash: "h".into(),
        request: Request { seed: 7, ..Request::default() },
        created_ms: 1_000,
        ..NewJob::default()
    }
}

pub(super) fn claimed(id: &str) -> NewJob {
    NewJob { claimed_by: Some("w1".into()), ..job(id) }
}

pub(super) fn ended(seq: u64, text: &str) -> Record {
    let value = anabranch_engine::value::Value::Text(text.into());
    Record {
        seq,
        at: Duration::from_millis(seq),
        event: Event::AttemptEnded {
            scope: "hop[3]/think".into(),
            attempt: 1,
            result: Ok(vec![Some(value), None]),
            usage: anabranch_engine::backend::Usage::default(),
            timing: Timing::default(),
        },
    }
}

pub(super) fn succeeded(answer: &str) -> End {
    End {
        status: Status::Succeeded,
        outputs: [("answer".to_owned(), answer.into())].into_iter().collect(),
        absent: serde_json::Map::default(),
        error: None,
        usage: Usage { model_calls: 2, ..Usage::default() },
        progress: Progress::default(),
    }
}

pub(super) fn seqs(records: &[(i64, Record)]) -> Vec<u64> {
    records.iter().map(|(_, record)| record.seq).collect()
}

pub(super) async fn a_job_is_submitted_journaled_ended_and_read_back(store: Store) {
    let submit = store.submit(claimed("job_1"));
    let first = store.append("job_1", 1, &[ended(0, "a"), ended(1, "b")]);
    let second = store.append("job_1", 1, &[ended(2, "c")]);
    let end = store.end("job_1", 1, succeeded("yes"));
    assert_eq!(submit.await.unwrap(), Submitted::New);
    first.await.unwrap();
    second.await.unwrap();
    end.await.unwrap();
    assert_eq!(store.writing().commits, 1, "what waits together is committed together");
    let read = store.job(Some("t"), "job_1").await.unwrap().unwrap();
    assert_eq!((read.status, read.request.seed, read.usage.model_calls), (Status::Succeeded, 7, 2));
    assert_eq!(read.outputs.unwrap()["answer"], "yes");
    assert!(read.finished_ms.is_some() && read.started_ms.is_some());
    assert_eq!(store.job(Some("other"), "job_1").await.unwrap(), None);
    let records = store.records("job_1", 0, 100).await.unwrap();
    assert_eq!(
        records.iter().map(|(_, r)| r.clone()).collect::<Vec<_>>(),
        [ended(0, "a"), ended(1, "b"), ended(2, "c")]
    );
    assert_eq!(seqs(&store.records("job_1", 1, 1).await.unwrap()), [1]);
    assert_eq!(seqs(&store.records("job_1", 3, 10).await.unwrap()), [] as [u64; 0]);
}

pub(super) async fn what_has_ended_never_changes(store: Store) {
    store.submit(claimed("job_1")).await.unwrap();
    store.end("job_1", 1, succeeded("yes")).await.unwrap();
    assert_eq!(store.cancel("t", "job_1", true).await.unwrap(), CancelAsked::Ended(Status::Succeeded));
    // The same claim again: that is how an end looks whose answer was lost.
    store.end("job_1", 1, End { status: Status::Failed, ..succeeded("no") }).await.unwrap();
    assert_eq!(store.status("t", "job_1").await.unwrap(), Some(Status::Succeeded));
    store.release("job_1", 1).await.unwrap();
    assert!(store.park("job_1", 1, vec![], Usage::default(), Progress::default()).await.is_err());
    assert!(matches!(store.append("job_1", 1, &[ended(0, "x")]).await, Err(StoreError::Fenced(_))));
    assert_eq!(store.status("t", "job_1").await.unwrap(), Some(Status::Succeeded));
}

pub(super) async fn whoever_lost_a_job_can_write_nothing(store: Store) {
    store.register("w1", 4, Duration::ZERO).await.unwrap();
    store.register("w2", 4, Duration::from_mins(1)).await.unwrap();
    store.submit(claimed("job_1")).await.unwrap();
    store.append("job_1", 1, &[ended(0, "a")]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(store.sweep().await.unwrap(), Swept { workers: 1, jobs: 1, tasks: 0, woken: 0 });
    // Nobody has taken it up yet, and still it is lost.
    assert!(matches!(store.append("job_1", 1, &[ended(1, "b")]).await, Err(StoreError::Fenced(_))));
    let taken = store.claim("w2", 8).await.unwrap();
    assert_eq!(
        taken.iter().map(|c| (c.id.as_str(), c.epoch, c.claims)).collect::<Vec<_>>(),
        [("job_1", 3, 2)]
    );
    store.append("job_1", 3, &[ended(1, "taken up")]).await.unwrap();
    assert!(matches!(store.append("job_1", 1, &[ended(1, "b")]).await, Err(StoreError::Fenced(_))));
    assert!(matches!(store.end("job_1", 1, succeeded("late")).await, Err(StoreError::Fenced(_))));
    store.append("job_1", 3, &[ended(2, "c")]).await.unwrap();
    store.end("job_1", 3, succeeded("yes")).await.unwrap();
    assert!(!store.heartbeat("w1", Duration::from_mins(1)).await.unwrap());
    assert!(store.heartbeat("w2", Duration::from_mins(1)).await.unwrap());
}

pub(super) async fn claims_count_from_the_last_progress(store: Store) {
    store.submit(claimed("job_1")).await.unwrap();
    store.append("job_1", 1, &[ended(0, "started"), ended(1, "a")]).await.unwrap();
    let mut claims = Vec::new();
    let mut seq = 2;
    for progress in [0, 0, 1, 0, 0] {
        store.give_up("job_1", store.job(None, "job_1").await.unwrap().unwrap().epoch).await.unwrap();
        let taken = store.claim("w", 1).await.unwrap().remove(0);
        claims.push(taken.claims);
        let records: Vec<Record> = (0..=progress).map(|n| ended(seq + n, "x")).collect();
        seq += progress + 1;
        store.append("job_1", taken.epoch, &records).await.unwrap();
    }
    assert_eq!(claims, [1, 2, 3, 1, 2]);
}

pub(super) async fn only_owners_that_were_lost_count_against_a_job(store: Store) {
    store.submit(job("job_1")).await.unwrap();
    let claim = async |worker: &str, lease| {
        store.register(worker, 4, lease).await.unwrap();
        let taken = store.claim(worker, 1).await.unwrap().remove(0);
        (taken.epoch, taken.claims)
    };
    let lives = Duration::from_mins(1);
    for round in 0..8 {
        // Handed over by a worker that leaves, job by job or with its own end.
        let (epoch, claims) = claim("w_leaves", lives).await;
        assert_eq!(claims, 1, "round {round}");
        store.release("job_1", epoch).await.unwrap();
        assert_eq!(claim("w_leaves", lives).await.1, 1, "round {round}");
        store.deregister("w_leaves", Gone::Left).await.unwrap();
    }
    assert_eq!(claim("w_dies", Duration::ZERO).await.1, 1);
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(store.sweep().await.unwrap().jobs, 1);
    assert_eq!(claim("w_held_up", lives).await.1, 2);
    store.deregister("w_held_up", Gone::Lost).await.unwrap();
    let (epoch, claims) = claim("w_leaves", lives).await;
    assert_eq!(claims, 3);
    store.release("job_1", epoch).await.unwrap();
    assert_eq!(claim("w_last", lives).await.1, 3, "what was counted stays");
}

pub(super) async fn twins_make_one_job(store: Store) {
    let key =
        |body: &str| Idempotency { endpoint: "POST /jobs".into(), key: "k".into(), body_hash: body.into() };
    let twin_of = |id: &str, name: &str, body: &str| NewJob {
        idempotency: Some(Idempotency { key: name.into(), ..key(body) }),
        ..job(id)
    };
    let twin = |id: &str, body: &str| twin_of(id, "k", body);
    // In one commit.
    let receipts =
        [twin("job_1", "b"), twin("job_2", "b"), twin("job_3", "other")].map(|job| store.submit(job));
    let outcomes: Vec<_> =
        futures::future::join_all(receipts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes, [Submitted::New, Submitted::Before("job_1".into()), Submitted::OtherBody]);
    // And across commits.
    assert_eq!(store.submit(twin("job_4", "b")).await.unwrap(), Submitted::Before("job_1".into()));
    assert_eq!(store.submit(twin("job_5", "other")).await.unwrap(), Submitted::OtherBody);
    let receipts = [twin("job_6", "other"), twin("job_7", "b")].map(|job| store.submit(job));
    let outcomes: Vec<_> =
        futures::future::join_all(receipts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes, [Submitted::OtherBody, Submitted::Before("job_1".into())]);
    // Whoever ran one of them meanwhile has written nothing.
    let late = store.submit(NewJob { claimed_by: Some("w1".into()), ..twin("job_9", "b") });
    let (record, end) = (store.append("job_9", 1, &[ended(0, "x")]), store.end("job_9", 1, succeeded("x")));
    assert_eq!(late.await.unwrap(), Submitted::Before("job_1".into()));
    assert!(matches!(record.await, Err(StoreError::Fenced(_))));
    assert!(matches!(end.await, Err(StoreError::Fenced(_))));
    assert_eq!(store.records("job_9", 0, 9).await.unwrap(), []);
    // After a day it is forgotten.
    let late = NewJob { created_ms: 1_000 + 24 * 3_600_000 + 1, ..twin("job_8", "other") };
    assert_eq!(store.submit(late).await.unwrap(), Submitted::New);
    assert_eq!(store.made_before("t", &key("b")).await.unwrap(), None);
    // It goes with its job: what repeats it then is new.
    let gone = NewJob { created_ms: store.now_ms().await.unwrap(), ..twin_of("job_a", "gone", "b") };
    let asked = gone.idempotency.clone().unwrap();
    assert_eq!(store.submit(gone.clone()).await.unwrap(), Submitted::New);
    assert_eq!(store.made_before("t", &asked).await.unwrap().as_deref(), Some("job_a"));
    assert_eq!(store.made_before("other", &asked).await.unwrap(), None);
    let other = Idempotency { body_hash: "other".into(), ..asked.clone() };
    assert_eq!(store.made_before("t", &other).await.unwrap(), None);
    store.cancel("t", "job_a", true).await.unwrap();
    assert!(store.delete("t", "job_a").await.unwrap());
    assert_eq!(store.made_before("t", &asked).await.unwrap(), None);
    assert_eq!(store.submit(NewJob { id: "job_b".into(), ..gone }).await.unwrap(), Submitted::New);
    store.cancel("t", "job_b", true).await.unwrap();
    assert_eq!(store.prune(i64::MAX, 9).await.unwrap(), 1);
    assert_eq!(store.made_before("t", &asked).await.unwrap(), None);
    let page = store.jobs("t", &Filter::default(), None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["job_8", "job_1"]);
}

pub(super) async fn a_queued_or_waiting_job_is_cancelled_at_once(store: Store) {
    store.submit(job("job_1")).await.unwrap();
    store.submit(claimed("job_2")).await.unwrap();
    store.submit(claimed("job_3")).await.unwrap();
    store.park("job_3", 1, vec![], Usage::default(), Progress::default()).await.unwrap();
    assert_eq!(store.cancel("t", "job_1", false).await.unwrap(), CancelAsked::Done);
    assert_eq!(store.cancel("t", "job_3", false).await.unwrap(), CancelAsked::Done);
    assert_eq!(store.cancel("t", "job_2", false).await.unwrap(), CancelAsked::Asked);
    assert_eq!(store.cancel("t", "job_2", true).await.unwrap(), CancelAsked::Asked);
    assert_eq!(store.cancel("other", "job_2", true).await.unwrap(), CancelAsked::NoJob);
    let cancelled = store.job(None, "job_1").await.unwrap().unwrap();
    assert_eq!(cancelled.status, Status::Cancelled);
    assert!(cancelled.finished_ms.is_some());
    let error = cancelled.error.unwrap();
    assert_eq!((&*error.code, &*error.message), ("cancelled", "it was cancelled before it began"));
    // What has begun is not said not to have.
    let error = store.job(None, "job_3").await.unwrap().unwrap().error.unwrap();
    assert_eq!((&*error.message, error.retryable), ("it was cancelled on request", false));
    let wanted = Wanted { cancel_now: true, cancel: true, answers: false };
    assert_eq!(store.wanted("w1").await.unwrap(), [("job_2".to_owned(), wanted)]);
    assert!(store.claim("w", 9).await.unwrap().is_empty());
}

fn wait(name: &str) -> OpenWait {
    OpenWait {
        since_ms: None,
        wait: name.into(),
        ty: "bool".into(),
        about: None,
        shown: serde_json::Map::default(),
        until_ms: i64::MAX,
    }
}

pub(super) async fn an_answer_wakes_the_job_whenever_it_comes(store: Store) {
    let yes = |wait: &str| Answer { wait: wait.into(), value: true.into(), by: Some("key_1".into()) };
    let park = async |epoch, waits: &[&str]| {
        let waits = waits.iter().map(|name| wait(name)).collect();
        store.park("job_1", epoch, waits, Usage::default(), Progress::default()).await.unwrap();
        store.status("t", "job_1").await.unwrap().unwrap()
    };
    store.submit(claimed("job_1")).await.unwrap();
    // While it waits.
    assert_eq!(park(1, &["a", "b"]).await, Status::Waiting);
    assert_eq!(store.job(None, "job_1").await.unwrap().unwrap().waits, [wait("a"), wait("b")]);
    assert_eq!(store.answer("t", "job_1", &yes("a")).await.unwrap(), Answered::Taken);
    assert_eq!(store.answer("t", "job_1", &yes("a")).await.unwrap(), Answered::Before);
    assert_eq!(store.answer("other", "job_1", &yes("a")).await.unwrap(), Answered::NoJob);
    let taken = store.claim("w", 1).await.unwrap().remove(0);
    assert_eq!(taken.epoch, 2);
    assert_eq!(store.answers("job_1").await.unwrap(), [yes("a")]);
    // While it runs: the flag is told once, and parking finds the answer nevertheless.
    assert_eq!(store.answer("t", "job_1", &yes("b")).await.unwrap(), Answered::Taken);
    assert!(store.wanted("w").await.unwrap()[0].1.answers);
    assert!(store.wanted("w").await.unwrap().is_empty());
    assert_eq!(park(2, &["b"]).await, Status::Queued);
    let taken = store.claim("w", 1).await.unwrap().remove(0);
    // What was answered and folded in is no reason to run again.
    assert_eq!(park(taken.epoch, &["c", "a_"]).await, Status::Waiting);
    assert_eq!(store.cancel("t", "job_1", true).await.unwrap(), CancelAsked::Done);
    assert_eq!(store.answer("t", "job_1", &yes("c")).await.unwrap(), Answered::Ended);
}

pub(super) async fn tenants_get_their_share_whoever_has_more_in_the_queue(store: Store) {
    for n in 0..40 {
        store.submit(NewJob { tenant: "flood".into(), ..job(&format!("job_f{n:02}")) }).await.unwrap();
    }
    for n in 0..4 {
        store.submit(NewJob { tenant: "small".into(), ..job(&format!("job_s{n:02}")) }).await.unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        order.extend(store.claim("w", 2).await.unwrap().into_iter().map(|job| job.tenant));
    }
    assert_eq!(order.iter().filter(|tenant| *tenant == "small").count(), 4, "{order:?}");
    // Higher priority first, within a tenant.
    store.submit(NewJob { tenant: "flood".into(), priority: 5, ..job("job_urgent") }).await.unwrap();
    assert_eq!(store.claim("w", 1).await.unwrap()[0].id, "job_urgent");
    let queue = store.queue(None).await.unwrap();
    assert_eq!((queue.depth, queue.running, queue.oldest_ms), (36, 9, Some(1_000)));
    assert_eq!(store.queue(Some("small")).await.unwrap().running, 4);
}

pub(super) async fn large_payloads_are_cut_and_put_back(store: Store) {
    let mut random = fastrand::Rng::with_seed(3);
    let mut text = |n: usize| (0..n).map(|_| random.alphanumeric()).collect::<String>();
    let question = text(50_000);
    let request = Request {
        inputs: [("question".to_owned(), question.clone().into()), ("small".to_owned(), 1.into())]
            .into_iter()
            .collect(),
        ..Request::default()
    };
    store.submit(NewJob { request: request.clone(), ..claimed("job_1") }).await.unwrap();
    let mut state = String::new();
    let mut records = Vec::new();
    for seq in 0..60 {
        state.push_str(&text(10_000));
        records.push(ended(seq, &state));
        store.append("job_1", 1, &records[records.len() - 1..]).await.unwrap();
    }
    store.end("job_1", 1, succeeded(&state)).await.unwrap();
    let read = store.job(None, "job_1").await.unwrap().unwrap();
    assert_eq!(read.request, request);
    assert_eq!(read.outputs.unwrap()["answer"], state.as_str());
    let back = store.records("job_1", 0, usize::MAX).await.unwrap();
    assert!(back.into_iter().map(|(_, record)| record).eq(records));
}

pub(super) async fn lists_are_filtered_and_paged(store: Store) {
    for n in 0..30_i64 {
        let id = format!("job_{:012x}{n:020}", 1_000_000 * n);
        let labels = [("colour".to_owned(), if n % 3 == 0 { "red" } else { "blue" }.to_owned())];
        let new = NewJob {
            flow: if n % 2 == 0 { "even" } else { "odd" }.into(),
            created_ms: 1_000_000 * n,
            labels: labels.into_iter().chain([("all".to_owned(), "yes".to_owned())]).collect(),
            session_id: (n < 3).then(|| "conversation_1".into()),
            ..claimed(&id)
        };
        store.submit(new).await.unwrap();
        if n >= 10 {
            store.end(&id, 1, succeeded("x")).await.unwrap();
        }
    }
    let list = async |filter: Filter| {
        let page = store.jobs("t", &filter, None, 100).await.unwrap();
        page.items.iter().map(|job| job.created_ms / 1_000_000).collect::<Vec<_>>()
    };
    let labels = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(list(Filter::default()).await, (0..30).rev().collect::<Vec<_>>());
    let even = Filter { flow: Some("even".into()), ..Filter::default() };
    assert_eq!(list(even.clone()).await, (0..30).rev().filter(|n| n % 2 == 0).collect::<Vec<_>>());
    let running = Filter { statuses: vec![Status::Running, Status::Queued], ..Filter::default() };
    assert_eq!(list(running).await, (0..10).rev().collect::<Vec<_>>());
    let both = Filter { statuses: vec![Status::Running], ..even };
    assert_eq!(list(both).await, [8, 6, 4, 2, 0]);
    let red = Filter { labels: labels(&[("colour", "red")]), ..Filter::default() };
    assert_eq!(list(red).await, [27, 24, 21, 18, 15, 12, 9, 6, 3, 0]);
    let red = Filter {
        labels: labels(&[("colour", "red"), ("all", "yes")]),
        statuses: vec![Status::Succeeded],
        created_before: Some(20_000_000),
        ..Filter::default()
    };
    assert_eq!(list(red).await, [18, 15, 12]);
    let times =
        Filter { created_after: Some(5_000_000), created_before: Some(7_000_000), ..Filter::default() };
    assert_eq!(list(times).await, [6, 5]);
    let session = Filter { q: Some("CONVERSATION_1".into()), ..Filter::default() };
    assert_eq!(list(session).await, [2, 1, 0]);
    assert_eq!(list(Filter { q: Some("conversation%1".into()), ..Filter::default() }).await, [] as [i64; 0]);
    // A search that finds little goes on where its last page stopped looking.
    let sought = Filter { q: Some("conversation_1".into()), depth: Some(8), ..Filter::default() };
    let (mut cursor, mut found) = (None, Vec::new());
    loop {
        let page = store.jobs("t", &sought, cursor.as_deref(), 100).await.unwrap();
        found.push(page.items.len());
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, [0, 0, 0, 3]);
    let mut cursor = None;
    let mut pages = Vec::new();
    loop {
        let page = store.jobs("t", &Filter::default(), cursor.as_deref(), 12).await.unwrap();
        pages.push(page.items.len());
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages, [12, 12, 6]);
    assert_eq!(store.prune(i64::MAX, 15).await.unwrap(), 15);
    assert_eq!(store.prune(i64::MAX, 15).await.unwrap(), 5);
    assert_eq!(list(Filter::default()).await.len(), 10);
}

pub(super) async fn tasks_are_done_by_whoever_claims_them_and_fenced(store: Store) {
    store.submit(claimed("job_1")).await.unwrap();
    store.register("boss", 1, Duration::from_mins(1)).await.unwrap();
    store.register("w1", 1, Duration::ZERO).await.unwrap();
    let task = |n: usize| NewTask {
        id: format!("tsk_{n}"),
        job: "job_1".into(),
        hash: "h".into(),
        tenant: "t".into(),
        job_owner: "boss".into(),
        input: format!("{n}"),
    };
    store.enqueue(&(0..9).map(task).collect::<Vec<_>>()).await.unwrap();
    // Of tenants that nobody has set up, too: each has its turn.
    let stranger = |n: usize| NewTask { tenant: format!("stranger{n}"), ..task(20 + n) };
    store.enqueue(&[stranger(0), stranger(1)]).await.unwrap();
    let claimed: Vec<String> =
        store.claim_tasks("w0", 3).await.unwrap().into_iter().map(|task| task.tenant).collect();
    assert_eq!(BTreeSet::from_iter(claimed), ["stranger0", "stranger1", "t"].map(String::from).into());
    store.deregister("w0", Gone::Left).await.unwrap();
    let strangers = store.claim_tasks("w0", 3).await.unwrap();
    for task in strangers.iter().filter(|task| task.tenant != "t") {
        store.complete_task(&task.id, task.epoch, "done").await.unwrap();
    }
    store.take_tasks(&["tsk_20".to_owned(), "tsk_21".to_owned()]).await.unwrap();
    store.deregister("w0", Gone::Left).await.unwrap();
    let lost = store.claim_tasks("w1", 1).await.unwrap().remove(0);
    assert_eq!((lost.id.as_str(), lost.input.as_str(), lost.attempts), ("tsk_0", "0", 3));
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(store.sweep().await.unwrap().tasks, 1);
    assert!(matches!(store.complete_task("tsk_0", lost.epoch, "late").await, Err(StoreError::Fenced(_))));
    let again = store.claim_tasks("w2", 1).await.unwrap().remove(0);
    assert_eq!((again.id.as_str(), again.attempts), ("tsk_0", 4));
    store.complete_task("tsk_0", again.epoch, "done").await.unwrap();
    assert_eq!(store.done_tasks("other").await.unwrap(), []);
    let done = store.done_tasks("boss").await.unwrap();
    assert_eq!(done, [DoneTask { id: "tsk_0".into(), job: "job_1".into(), output: "done".into() }]);
    store.take_tasks(&["tsk_0".to_owned()]).await.unwrap();
    assert_eq!(store.done_tasks("boss").await.unwrap(), []);
    assert_eq!(store.claim_tasks("w2", 100).await.unwrap().len(), 8);
    store.cancel_tasks("job_1").await.unwrap();
    assert!(matches!(store.complete_task("tsk_3", 1, "late").await, Err(StoreError::Fenced(_))));
}
