//! Workers that lose their jobs and go on as if they had not: what they write is refused, and the journals stay whole.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch::job::Submitted;
use anabranch::store::{Gone, Receipt, Store, StoreError};
use fastrand::Rng;

use super::jobs::{ended, job, succeeded};
use crate::stores::postgres::Postgres;

const JOBS: usize = 12;
const WORKERS: usize = 4;
/// Records of a whole journal.
const WHOLE: usize = 25;

/// What was acknowledged: job, position, what was written.
type Acknowledged = Arc<Mutex<Vec<(String, u64, String)>>>;

struct World {
    stores: Vec<Store>,
    acknowledged: Acknowledged,
    ends: Mutex<BTreeMap<String, usize>>,
    refused: AtomicUsize,
}

fn random(seed: u64, stream: usize) -> Rng {
    Rng::with_seed(seed * 1_000 + stream as u64)
}

impl World {
    fn is_over(&self) -> bool {
        self.ends.lock().unwrap().len() == JOBS
    }

    /// Works on jobs and never looks whether they are still its own.
    async fn work(self: Arc<Self>, number: usize, seed: u64) {
        let store = &self.stores[number % self.stores.len()];
        let worker = format!("w{number}");
        let mut random = random(seed, number);
        while !self.is_over() {
            store.register(&worker, 4, Duration::from_mins(1)).await.unwrap();
            let claimed = store.claim(&worker, 2).await.unwrap();
            if claimed.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for claim in claimed {
                self.run(store, &worker, &claim.id, claim.epoch, &mut random).await;
            }
        }
    }

    async fn run(&self, store: &Store, worker: &str, id: &str, epoch: i64, random: &mut Rng) {
        let mut seq = store.records(id, 0, usize::MAX).await.unwrap().len();
        let mut behind: Vec<(u64, String, Receipt)> = Vec::new();
        let mut is_lost = false;
        while seq < WHOLE && !is_lost {
            let n = random.usize(1..=3);
            let texts: Vec<String> = (seq..seq + n).map(|seq| format!("{worker} {epoch} {seq}")).collect();
            let records: Vec<_> =
                texts.iter().zip(seq as u64..).map(|(text, seq)| ended(seq, text)).collect();
            let receipt = store.append(id, epoch, &records);
            behind.push((seq as u64, texts.join("\n"), receipt));
            seq += n;
            if random.u8(..3) == 0 {
                is_lost = self.settle(id, &mut behind).await;
            }
            if random.u8(..4) == 0 {
                tokio::time::sleep(Duration::from_millis(random.u64(..4))).await;
            }
        }
        is_lost |= self.settle(id, &mut behind).await;
        let end = store.end(id, epoch, succeeded(worker)).await;
        match end {
            Ok(()) => {
                assert!(!is_lost, "{id} was ended by {worker}, who had lost it");
                *self.ends.lock().unwrap().entry(id.to_owned()).or_default() += 1;
            }
            Err(StoreError::Fenced(_)) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                // Puts it back if it is still ours: the tail of the owner before was in our way.
                store.release(id, epoch).await.unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether something was refused.
    async fn settle(&self, id: &str, behind: &mut Vec<(u64, String, Receipt)>) -> bool {
        let mut is_lost = false;
        for (first, texts, receipt) in behind.drain(..) {
            match receipt.await {
                Ok(()) => {
                    assert!(!is_lost, "{id}: something was written after something that was refused");
                    let texts =
                        texts.lines().zip(first..).map(|(text, seq)| (id.to_owned(), seq, text.to_owned()));
                    self.acknowledged.lock().unwrap().extend(texts);
                }
                Err(StoreError::Fenced(_)) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    is_lost = true;
                }
                Err(error) => panic!("{error}"),
            }
        }
        is_lost
    }

    /// Takes the jobs of one worker after the other away, without telling them.
    async fn steal(self: Arc<Self>, seed: u64) {
        let mut random = random(seed, 200);
        while !self.is_over() {
            let pause = Duration::from_millis(random.u64(2..17));
            tokio::time::sleep(pause).await;
            let victim = format!("w{}", random.usize(..WORKERS));
            self.stores[0].deregister(&victim, Gone::Lost).await.unwrap();
        }
    }
}

async fn race(stores: Vec<Store>, seed: u64) {
    println!("seed {seed}");
    let world = Arc::new(World {
        stores,
        acknowledged: Acknowledged::default(),
        ends: Mutex::default(),
        refused: AtomicUsize::new(0),
    });
    let ids: Vec<String> = (0..JOBS).map(|n| format!("job_{n}")).collect();
    for id in &ids {
        assert_eq!(world.stores[0].submit(job(id)).await.unwrap(), Submitted::New);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..WORKERS {
        tasks.spawn(world.clone().work(number, seed));
    }
    tasks.spawn(world.clone().steal(seed));
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let mut journals = BTreeMap::new();
    for id in &ids {
        let records = world.stores[0].records(id, 0, usize::MAX).await.unwrap();
        let seqs: Vec<u64> = records.iter().map(|(_, record)| record.seq).collect();
        assert!(seqs.iter().copied().eq(0..seqs.len() as u64) && seqs.len() >= WHOLE, "{id}: {seqs:?}");
        journals.insert(id.clone(), records);
    }
    let acknowledged = world.acknowledged.lock().unwrap();
    for (id, seq, text) in acknowledged.iter() {
        let record = &journals[id][usize::try_from(*seq).unwrap()].1;
        assert_eq!(*record, ended(*seq, text), "{id}: what was acknowledged is not there");
    }
    assert!(world.ends.lock().unwrap().values().all(|n| *n == 1), "a job ended twice");
    println!("{} acknowledged, {} refused", acknowledged.len(), world.refused.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zombies_write_nothing_in_a_file() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let stores = vec![super::file(folder.path()).await, super::file(folder.path()).await];
        race(stores, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zombies_write_nothing_in_postgres() {
    let server = Postgres::start().await;
    for seed in 0..4 {
        let name = format!("fence{seed}");
        let stores = vec![super::database(&server, &name).await, super::open(&server, &name).await];
        race(stores.clone(), seed).await;
        for store in stores {
            store.close().await;
        }
    }
}
