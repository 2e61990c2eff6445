//! The disk is full: nothing is acknowledged that is not on it, and it goes on by itself when there is room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anabranch::job::{NewJob, Request};
use anabranch::store::{Store, StoreError};

use super::jobs::{claimed, ended, succeeded};

/// A disk of a few megabytes; gone with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this process may not mount one.
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

fn large(id: &str, random: &mut fastrand::Rng) -> NewJob {
    let text: String = (0..60_000).map(|_| random.alphanumeric()).collect();
    let inputs = [("text".to_owned(), text.into())].into_iter().collect();
    NewJob { request: Request { inputs, ..Request::default() }, ..claimed(id) }
}

/// Every one of them is there, whole.
async fn are_there(store: &Store, ids: &[String]) {
    for id in ids {
        let found = store.job(None, id).await.unwrap().unwrap_or_else(|| panic!("{id} is lost"));
        assert_eq!(found.request.inputs["text"].as_str().unwrap().len(), 60_000, "{id}");
        assert_eq!(found.outputs.unwrap()["answer"], id.as_str());
        assert_eq!(store.records(id, 0, 9).await.unwrap().len(), 2, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_holds_up_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (at, copy) = (folder.path().join("disk"), folder.path().join("copy"));
    fs::create_dir_all(&at).unwrap();
    fs::create_dir_all(&copy).unwrap();
    let Some(_disk) = SmallDisk::mount(&at) else {
        println!("this process may not mount a disk: the same is tested with `PRAGMA max_page_count`");
        return;
    };
    fs::write(at.join("ballast"), vec![1; 2 << 20]).unwrap();
    let store = super::file(&at).await;
    let mut random = fastrand::Rng::with_seed(7);
    let mut acknowledged = Vec::new();
    let mut held_up = None;
    while held_up.is_none() {
        let id = format!("job_{:03}", acknowledged.len());
        let _submitted = store.submit(large(&id, &mut random));
        let _journaled = store.append(&id, 1, &[ended(0, &id), ended(1, &id)]);
        let mut end = store.end(&id, 1, succeeded(&id));
        let begun = Instant::now();
        while held_up.is_none() {
            match tokio::time::timeout(Duration::from_millis(5), &mut end).await {
                Ok(ended) => {
                    ended.unwrap();
                    break;
                }
                Err(_) if store.writing().is_away => held_up = Some((id.clone(), begun)),
                Err(_) => {}
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{id} is neither written nor held up");
        }
        let Some((_, since)) = &held_up else {
            acknowledged.push(id);
            continue;
        };
        // New jobs are refused at once, what was acknowledged can be read, and a copy of the disk holds it.
        assert!(matches!(store.submit(claimed("job_refused")).await, Err(StoreError::Unavailable(_))));
        assert!(store.ready().await.is_err());
        are_there(&store, &acknowledged).await;
        let found = store.job(None, &id).await.unwrap();
        assert!(
            found.is_none_or(|job| job.finished_ms.is_none()),
            "{id} has ended before it is acknowledged"
        );
        for file in ["store.db", "store.db-wal"] {
            fs::copy(at.join(file), copy.join(file)).unwrap();
        }
        let copied = super::file(&copy).await;
        are_there(&copied, &acknowledged).await;
        copied.close().await;
        assert!(since.elapsed() < Duration::from_secs(8), "too slow to see it go on");
        fs::remove_file(at.join("ballast")).unwrap();
        end.await.unwrap();
        acknowledged.push(id);
    }
    assert!(acknowledged.len() > 5, "{acknowledged:?}");
    store.submit(large("job_after", &mut random)).await.unwrap();
    store.ready().await.unwrap();
    are_there(&store, &acknowledged).await;
    store.close().await;
}
