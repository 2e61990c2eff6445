//! What the store keeps for those who are told of jobs, and of where flows came from.

use anabranch::job::{OpenWait, Progress, Status, Usage};
use anabranch::store::{Expected, FlowPut, NewVersion, Store, Webhook};
use serde_json::json;

use super::jobs::{claimed, put};

pub(super) async fn a_wait_is_told_as_it_was_when_the_job_parked(store: Store) {
    let hook = Webhook {
        id: "whk_1".into(),
        tenant: "t".into(),
        url: "https://example.org/".into(),
        about: None,
        events: vec!["job.waiting".into(), "job.cancelled".into()],
        disabled_ms: None,
        disabled_why: None,
        old_until_ms: None,
        created_ms: 0,
    };
    store.put_webhook(&hook, "secret").await.unwrap();
    store.submit(claimed("job_1")).await.unwrap();
    let asked = OpenWait {
        wait: "approve".into(),
        ty: "bool".into(),
        about: Some("may it go on?".into()),
        shown: json!({ "draft": "a\0b" }).as_object().cloned().unwrap(),
        since_ms: Some(1_000),
        until_ms: 1_000,
    };
    store.park("job_1", 1, vec![asked.clone()], Usage::default(), Progress::default()).await.unwrap();
    store.cancel("t", "job_1", false).await.unwrap();
    assert_eq!(store.status("t", "job_1").await.unwrap(), Some(Status::Cancelled));

    let mut due = store.claim_deliveries("w", i64::MAX - 10, 5, 10, &[]).await.unwrap();
    due.sort_by(|a, b| a.delivery.event.cmp(&b.delivery.event));
    let [cancelled, waiting] = due.as_slice() else { panic!("{due:?}") };
    assert_eq!((&*cancelled.delivery.event, &cancelled.delivery.waits), ("job.cancelled", &None));
    let kept = waiting.delivery.waits.as_deref().unwrap();
    assert_eq!(serde_json::from_str::<Vec<OpenWait>>(kept).unwrap(), [asked]);
    assert_eq!(waiting.delivery.body, "", "nothing was sent yet");
    store.write_delivery(&waiting.delivery.id, "{}").await.unwrap();
    store.write_delivery(&waiting.delivery.id, "{\"other\": 1}").await.unwrap();
    let sent = store.delivery("t", "whk_1", &waiting.delivery.id).await.unwrap().unwrap();
    assert_eq!((&*sent.body, sent.waits), ("{}", None), "every attempt sends the same");
}

pub(super) async fn the_same_draft_again_is_the_same_version(store: Store) {
    let put = async |hash: &str, is_draft| {
        let change = |new: &mut NewVersion| (new.expected, new.is_draft) = (Expected::Anything, is_draft);
        put(&store, hash, change).await
    };
    assert_eq!(put("h1", true).await, FlowPut::New(1, true));
    assert_eq!(put("h1", true).await, FlowPut::SameDraft(1));
    assert_eq!(store.flow("t", "qa", None).await.unwrap(), None, "it is a draft alone");
    assert_eq!(put("h2", true).await, FlowPut::New(2, false));
    assert_eq!(put("h2", false).await, FlowPut::New(2, false));
    assert_eq!(put("h2", true).await, FlowPut::Same(2));
    assert_eq!(store.versions("t", "qa").await.unwrap().len(), 2);
    assert!(store.remove_flow("t", "qa").await.unwrap());
    assert_eq!(put("h2", true).await, FlowPut::SameDraft(2));
    assert_eq!(store.flow("t", "qa", None).await.unwrap(), None);
    assert!(store.flow("t", "qa", Some(2)).await.unwrap().is_some());
}

pub(super) async fn what_was_taken_from_the_folder_is_remembered(store: Store) {
    let is_taken = async |hash: &str| store.is_taken("t", "qa", hash).await.unwrap();
    assert!(!is_taken("h1").await);
    store.note_taken("t", "qa", "h1").await.unwrap();
    assert!(is_taken("h1").await && !is_taken("h2").await);
    store.note_taken("t", "qa", "h2").await.unwrap();
    assert!(is_taken("h2").await && !is_taken("h1").await, "the last counts");
    assert!(!store.is_taken("other", "qa", "h2").await.unwrap());
}
