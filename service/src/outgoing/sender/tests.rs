//! Deliveries to real receivers on this machine, with a clock that is set by hand.

use super::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use standardwebhooks::Webhook as Signer;

use crate::store::{At, Delivery, DeliveryState, Options as StoreOptions, Webhook};

/// Answers with the statuses it is given, the last again and again, and keeps what it gets.
#[derive(Clone, Default)]
struct Receiver {
    statuses: Arc<Mutex<Vec<u16>>>,
    got: Arc<Mutex<Vec<(HeaderMap, String)>>>,
}

async fn receive(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, HeaderMap) {
    receiver.got.lock().unwrap().push((headers, body));
    let mut statuses = receiver.statuses.lock().unwrap();
    let status = if statuses.len() > 1 { statuses.remove(0) } else { statuses[0] };
    let mut headers = HeaderMap::new();
    if status == 302 {
        headers.insert("location", "/elsewhere".parse().unwrap());
    }
    if status == 429 {
        headers.insert("retry-after", "3600".parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), headers)
}

struct World {
    store: Store,
    sender: Sender,
    now: Arc<AtomicI64>,
    receiver: Receiver,
    secret: String,
}

const HOOK: &str = "whk_1";

impl World {
    /// A webhook at a receiver that answers so; `allow` lists what the guard lets through.
    async fn new(statuses: &[u16], allow: &[&str]) -> Self {
        let receiver = Receiver { statuses: Arc::new(Mutex::new(statuses.to_vec())), ..Receiver::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/hook", listener.local_addr().unwrap().port());
        let router = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let store = Store::open(StoreOptions::new(At::Memory), true).await.unwrap();
        let secret = signature::new_secret().unwrap();
        let hook = Webhook {
            id: HOOK.into(),
            tenant: "t".into(),
            url,
            about: None,
            events: vec!["job.succeeded".into()],
            disabled_ms: None,
            disabled_why: None,
            old_until_ms: None,
            created_ms: 0,
        };
        store.put_webhook(&hook, &secret).await.unwrap();
        // The signatures are checked against the real time.
        let now = Arc::new(AtomicI64::new(jiff::Timestamp::now().as_millisecond()));
        let told = now.clone();
        let options = Options {
            clock: Arc::new(move || told.load(Ordering::Relaxed)),
            chance: || 0.5,
            ..Options::new("wkr_1", Guard::new(allow.iter().map(|text| text.parse().unwrap())), "")
        };
        Self { sender: Sender::new(store.clone(), options), store, now, receiver, secret }
    }

    async fn with_delivery(self) -> Self {
        let delivery = Delivery {
            id: "dlv_1".into(),
            tenant: "t".into(),
            webhook_id: HOOK.into(),
            job_id: None,
            url: String::new(),
            event: "webhook.test".into(),
            body: message::test(0),
            waits: None,
            state: DeliveryState::Pending,
            attempts: 0,
            next_ms: 0,
            last_status: None,
            last_error: None,
            created_ms: 0,
            done_ms: None,
        };
        self.store.put_delivery(&delivery).await.unwrap();
        self
    }

    async fn delivery(&self) -> Delivery {
        self.store.delivery("t", HOOK, "dlv_1").await.unwrap().unwrap()
    }

    fn later(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    fn got(&self) -> Vec<(HeaderMap, String)> {
        self.receiver.got.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_message_arrives_signed_once() {
    let world = World::new(&[204], &["localhost"]).await.with_delivery().await;
    assert_eq!(world.sender.round().await.unwrap(), 1);
    assert_eq!(world.sender.round().await.unwrap(), 0);
    let got = world.got();
    let [(headers, body)] = got.as_slice() else { panic!("{got:?}") };
    Signer::new(&world.secret).unwrap().verify(body.as_bytes(), headers).unwrap();
    assert_eq!(
        (&headers["webhook-id"], &headers["content-type"]),
        (&"dlv_1".parse().unwrap(), &"application/json".parse().unwrap())
    );
    let delivery = world.delivery().await;
    assert_eq!(
        (delivery.state, delivery.last_status, delivery.attempts),
        (DeliveryState::Delivered, Some(204), 1)
    );
}

#[tokio::test]
async fn while_a_secret_is_replaced_both_sign_and_afterwards_only_the_new_one() {
    let world = World::new(&[200], &["localhost"]).await.with_delivery().await;
    let new = signature::new_secret().unwrap();
    let now = world.now.load(Ordering::Relaxed);
    assert!(world.store.rotate_webhook("t", HOOK, &new, now + 1_000).await.unwrap());
    let verify = |secret: &str, (headers, body): &(HeaderMap, String)| {
        Signer::new(secret).unwrap().verify(body.as_bytes(), headers).is_ok()
    };
    world.sender.round().await.unwrap();
    assert!(verify(&world.secret, &world.got()[0]) && verify(&new, &world.got()[0]));
    world.later(2_000);
    assert!(world.store.redeliver("t", HOOK, "dlv_1", now).await.unwrap());
    world.sender.round().await.unwrap();
    assert!(!verify(&world.secret, &world.got()[1]) && verify(&new, &world.got()[1]));
}

#[tokio::test]
async fn a_receiver_that_fails_is_asked_again_by_the_list_of_waits_and_then_given_up() {
    let world = World::new(&[500], &["localhost"]).await.with_delivery().await;
    for (n, wait) in (1..).zip(backoff::WAITS) {
        assert_eq!(world.sender.round().await.unwrap(), 1);
        let delivery = world.delivery().await;
        assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Pending, n));
        assert_eq!(delivery.last_error.as_deref(), Some("status 500"));
        world.later(ms(wait) - 1);
        assert_eq!(world.sender.round().await.unwrap(), 0, "not before its time");
        world.later(1);
    }
    assert_eq!(world.sender.round().await.unwrap(), 1);
    let delivery = world.delivery().await;
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::GivenUp, 10));
    assert_eq!(world.got().len(), backoff::ATTEMPTS_MAX);
    let bodies: std::collections::BTreeSet<String> = world.got().into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies.len(), 1, "every attempt sends the same");
    let now = world.now.load(Ordering::Relaxed);
    assert!(world.store.redeliver("t", HOOK, "dlv_1", now).await.unwrap());
    assert_eq!(world.sender.round().await.unwrap(), 1, "until somebody asks for it");
}

#[tokio::test]
async fn a_receiver_that_is_gone_switches_its_webhook_off() {
    let world = World::new(&[410], &["localhost"]).await.with_delivery().await;
    world.sender.round().await.unwrap();
    let hook = world.store.webhook("t", HOOK).await.unwrap().unwrap();
    assert_eq!(hook.disabled_why.as_deref(), Some("status 410: the receiver wants no more"));
    assert_eq!(world.delivery().await.state, DeliveryState::GivenUp);
    world.store.redeliver("t", HOOK, "dlv_1", 0).await.unwrap();
    world.sender.round().await.unwrap();
    assert_eq!(world.got().len(), 1, "nothing is sent while it is off");
}

#[tokio::test]
async fn redirects_are_not_followed_and_waits_that_are_asked_for_are_kept() {
    let world = World::new(&[302, 429], &["localhost"]).await.with_delivery().await;
    world.sender.round().await.unwrap();
    let why = world.delivery().await.last_error.unwrap();
    assert_eq!(why, "status 302: it redirects, which is not followed");
    world.later(ms(backoff::WAITS[0]));
    world.sender.round().await.unwrap();
    let delivery = world.delivery().await;
    assert_eq!(delivery.next_ms - world.now.load(Ordering::Relaxed), 3_600_000);
    assert_eq!(world.got().len(), 2);
}

#[tokio::test]
async fn nothing_is_sent_inside_unless_it_is_listed() {
    let world = World::new(&[200], &[]).await.with_delivery().await;
    world.sender.round().await.unwrap();
    let delivery = world.delivery().await;
    assert_eq!(delivery.last_error.as_deref(), Some("`localhost` is this machine, not a public address"));
    assert_eq!((delivery.state, world.got().len()), (DeliveryState::Pending, 0));
}

#[tokio::test]
async fn what_a_dead_process_had_claimed_is_due_again_and_its_answer_counts_no_more() {
    let world = World::new(&[200], &["localhost"]).await.with_delivery().await;
    let now = world.now.load(Ordering::Relaxed);
    let claimed = world.store.claim_deliveries("wkr_dead", now, ms(LEASE), 10, &[]).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(world.sender.round().await.unwrap(), 0, "it is somebody's");
    world.later(ms(LEASE));
    assert_eq!(world.sender.round().await.unwrap(), 1);
    let late = Sent::Failed { status: None, why: "late".into(), next_ms: None };
    world.store.sent(&claimed[0], "wkr_dead", &late, now).await.unwrap();
    assert_eq!(world.delivery().await.state, DeliveryState::Delivered);
}
