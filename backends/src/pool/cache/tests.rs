//! Answers that are kept, with a clock that is set by hand.

use std::path::Path;

use anabranch_engine::backend::{Call, Caller, ChatModel, ChatRequest, Usage};
use anabranch_engine::value::{Message, Role};
use proptest::prelude::*;

use super::super::{PoolSettings, PooledChat, Replica, ReplicaSettings};
use super::*;
use crate::chat::Scripted;

struct Set {
    cache: ResponseCache,
    now: Arc<Mutex<SystemTime>>,
}

fn set(settings: ResponseCacheSettings) -> Set {
    let now = Arc::new(Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)));
    let clock = now.clone();
    Set { cache: ResponseCache::with_clock(settings, Arc::new(move || *clock.lock().unwrap())), now }
}

impl Set {
    fn wait(&self, secs: u64) {
        *self.now.lock().unwrap() += Duration::from_secs(secs);
    }
}

fn on_disk(folder: &Path) -> ResponseCacheSettings {
    let disk = DiskSettings { folder: folder.to_owned(), ..DiskSettings::default() };
    ResponseCacheSettings { disk: Some(disk), ..ResponseCacheSettings::default() }
}

fn key(tenant: &str, request: &str) -> Key {
    Key::new(Some(tenant.into()), blake3::hash(request.as_bytes()))
}

fn answer(text: &str) -> ChatResponse {
    ChatResponse {
        text: text.to_owned(),
        finish_reason: FinishReason::Stop,
        usage: Usage { prompt_tokens: 7, ..Usage::default() },
        model: "m".into(),
        logprobs: vec![],
        tool_calls: vec![],
    }
}

async fn text(cache: &ResponseCache, key: &Key) -> Option<String> {
    cache.get(key).await.map(|found| found.text.clone())
}

/// Waits for all that was to be written: blocking work of a runtime with one such thread is done in order.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap()
}

async fn settled() {
    tokio::task::spawn_blocking(|| ()).await.unwrap();
}

#[tokio::test]
async fn an_answer_is_given_until_it_is_too_old_and_to_its_tenant_alone() {
    let set = set(ResponseCacheSettings::default());
    let asked = key("a", "who?");
    assert_eq!(text(&set.cache, &asked).await, None);
    set.cache.put(&asked, &answer("Ada"));
    assert_eq!(text(&set.cache, &asked).await.as_deref(), Some("Ada"));
    assert_eq!(text(&set.cache, &key("b", "who?")).await, None);
    assert_eq!(text(&set.cache, &key("a", "when?")).await, None);
    set.wait(3_599);
    assert_eq!(text(&set.cache, &asked).await.as_deref(), Some("Ada"));
    set.wait(1);
    assert_eq!(text(&set.cache, &asked).await, None);
    let stats = set.cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries, stats.bytes), (2, 4, 0, 0));
}

#[tokio::test]
async fn an_answer_that_was_withheld_is_not_kept() {
    let set = set(ResponseCacheSettings::default());
    let withheld = ChatResponse { finish_reason: FinishReason::ContentFilter, ..answer("no") };
    set.cache.put(&key("a", "who?"), &withheld);
    assert_eq!(text(&set.cache, &key("a", "who?")).await, None);
}

#[tokio::test]
async fn what_has_not_been_asked_for_longest_makes_room() {
    let max_entries = NonZeroUsize::new(2).unwrap();
    let set = set(ResponseCacheSettings { max_entries, ..ResponseCacheSettings::default() });
    for request in ["one", "two"] {
        set.cache.put(&key("a", request), &answer(request));
    }
    assert!(text(&set.cache, &key("a", "one")).await.is_some());
    set.cache.put(&key("a", "three"), &answer("three"));
    assert_eq!(text(&set.cache, &key("a", "two")).await, None);
    assert!(text(&set.cache, &key("a", "one")).await.is_some());
    assert!(text(&set.cache, &key("a", "three")).await.is_some());
}

#[test]
fn what_is_on_disk_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let before = set(on_disk(folder.path()));
        before.cache.put(&key("a", "who?"), &answer("Ada"));
        settled().await;
        let after = set(on_disk(folder.path()));
        let found = after.cache.get(&key("a", "who?")).await.unwrap();
        assert_eq!(*found, answer("Ada"));
        assert_eq!(text(&after.cache, &key("b", "who?")).await, None);
        assert!(text(&after.cache, &key("a", "who?")).await.is_some());
        let stats = after.cache.stats();
        assert_eq!((stats.disk_hits, stats.hits, stats.misses, stats.disk_errors), (1, 1, 1, 0));
        let late = set(on_disk(folder.path()));
        late.wait(3_600);
        assert_eq!(text(&late.cache, &key("a", "who?")).await, None);
    });
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let tenants = std::fs::read_dir(folder).into_iter().flatten().flatten();
    tenants
        .flat_map(|tenant| std::fs::read_dir(tenant.path()).unwrap().flatten())
        .map(|file| file.path())
        .collect()
}

#[test]
fn a_file_that_something_happened_to_counts_as_never_kept_and_is_taken_away() {
    let changes: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
        |bytes| *bytes = b"hello".to_vec(),
        // Still JSON, with another letter in the answer.
        |bytes| {
            let at = bytes.windows(3).position(|word| word == b"Ada").unwrap();
            bytes[at + 1] = b'm';
        },
        |bytes| bytes.push(b' '),
    ];
    for change in changes {
        let folder = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let before = set(on_disk(folder.path()));
            before.cache.put(&key("a", "who?"), &answer("Ada"));
            settled().await;
            let path = files(folder.path()).remove(0);
            let mut bytes = std::fs::read(&path).unwrap();
            change(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            let after = set(on_disk(folder.path()));
            assert_eq!(text(&after.cache, &key("a", "who?")).await, None);
            assert_eq!(after.cache.stats().disk_errors, 1);
            assert!(files(folder.path()).is_empty());
        });
    }
}

#[test]
fn files_make_room_for_newer_ones_and_leftovers_go() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let mut settings = on_disk(folder.path());
        settings.disk.as_mut().unwrap().max_entries = NonZeroUsize::new(2).unwrap();
        let set = set(settings);
        for request in ["one", "two", "three"] {
            set.cache.put(&key("a", request), &answer(request));
        }
        settled().await;
        assert_eq!(files(folder.path()).len(), 2);
        let leftover = files(folder.path())[0].with_extension("1-1.tmp");
        std::fs::write(&leftover, "half").unwrap();
        let mut settings = on_disk(folder.path());
        settings.disk.as_mut().unwrap().max_bytes = NonZeroU64::new(400).unwrap();
        let set = self::set(settings);
        set.cache.put(&key("b", "four"), &answer("four"));
        settled().await;
        let bytes: u64 = files(folder.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(bytes <= 400, "{bytes}");
        assert!(!leftover.exists());
        assert!(text(&set.cache, &key("b", "four")).await.is_some());
    });
}

#[test]
fn a_folder_that_cannot_be_written_costs_no_answer() {
    let file = tempfile::NamedTempFile::new().unwrap();
    runtime().block_on(async {
        let set = set(on_disk(&file.path().join("below")));
        set.cache.put(&key("a", "who?"), &answer("Ada"));
        settled().await;
        assert!(text(&set.cache, &key("a", "who?")).await.is_some());
        assert!(set.cache.stats().disk_errors > 0);
    });
}

/// A pool over a model that answers `one`, `two`, `three`.
fn pool(response_cache: Option<ResponseCacheSettings>, single_flight: bool) -> (PooledChat, Arc<Scripted>) {
    let model = Arc::new(Scripted::queue(["one", "two", "three"]));
    let settings = PoolSettings { single_flight, response_cache, ..PoolSettings::default() };
    let replica =
        Replica { name: "s".into(), model: model.clone(), probe: None, settings: ReplicaSettings::default() };
    (PooledChat::new("m", &settings, vec![replica]), model)
}

async fn ask(chat: &PooledChat, tenant: &str, temperature: f64) -> (ChatResponse, String) {
    let messages = vec![Message { role: Role::User, content: "who?".into() }];
    let request = ChatRequest { messages, temperature: Some(temperature), ..ChatRequest::default() };
    let caller = Caller { tenant: Some(tenant.into()), ..Caller::default() };
    let shown = Mutex::new(String::new());
    let on_delta = |delta: &str| shown.lock().unwrap().push_str(delta);
    let call = Call { caller: &caller, on_delta: &on_delta, ..Call::keyed("k") };
    let response = chat.chat(&request, &call).await.unwrap();
    (response, shown.into_inner().unwrap())
}

#[tokio::test]
async fn a_kept_answer_is_given_again_without_a_call_and_costs_nothing() {
    for single_flight in [true, false] {
        let (chat, model) = pool(Some(ResponseCacheSettings::default()), single_flight);
        let (first, _) = ask(&chat, "a", 0.0).await;
        let (again, shown) = ask(&chat, "a", 0.0).await;
        assert_eq!((again.text.as_str(), shown.as_str(), model.n_calls()), ("one", "one", 1));
        assert!(first.usage.prompt_tokens > 0);
        assert_eq!(again.usage, Usage { shared_calls: 1, ..Usage::default() });
        assert_eq!(ask(&chat, "b", 0.0).await.0.text, "two", "another tenant's is its own");
        assert_eq!(ask(&chat, "a", 0.7).await.0.text, "three", "and so is what is left to chance");
        assert_eq!(chat.stats().sharing.cache.unwrap().hits, 1);
    }
}

#[tokio::test]
async fn nothing_is_kept_unless_it_is_turned_on_or_when_a_call_has_failed() {
    let (chat, model) = pool(None, true);
    ask(&chat, "a", 0.0).await;
    assert_eq!((ask(&chat, "a", 0.0).await.0.text.as_str(), model.n_calls()), ("two", 2));
    assert!(chat.stats().sharing.cache.is_none());
    let (chat, model) = pool(Some(ResponseCacheSettings::default()), true);
    let request = ChatRequest { seed: Some(1), ..ChatRequest::default() };
    for _ in 0..3 {
        assert!(chat.chat(&request, &Call::keyed("k")).await.is_ok());
    }
    assert_eq!(model.n_calls(), 1);
    let other = ChatRequest { seed: Some(2), ..ChatRequest::default() };
    let once = Call { is_idempotent: false, ..Call::keyed("k") };
    assert_eq!(chat.chat(&other, &once).await.unwrap().text, "two");
    assert_eq!(chat.chat(&other, &once).await.unwrap().text, "three");
    assert!(chat.chat(&other, &Call::keyed("k")).await.is_err());
    model.push("four");
    assert_eq!(chat.chat(&other, &Call::keyed("k")).await.unwrap().text, "four");
}

proptest! {
    #[test]
    fn memory_stays_within_its_bounds_and_counts_right(
        puts in prop::collection::vec((0_u8..12, 0_usize..400), 1..80), max_entries in 1_usize..6, max_bytes in 100_u64..1_500,
    ) {
        let settings = ResponseCacheSettings {
            max_entries: NonZeroUsize::new(max_entries).unwrap(),
            max_bytes: NonZeroU64::new(max_bytes).unwrap(),
            ..ResponseCacheSettings::default()
        };
        let set = set(settings);
        runtime().block_on(async {
            for (request, length) in puts {
                let (asked, said) = (key("a", &request.to_string()), answer(&"x".repeat(length)));
                set.cache.put(&asked, &said);
                let memory = set.cache.lock();
                assert!(memory.entries.len() <= max_entries && memory.bytes <= max_bytes);
                assert_eq!(memory.bytes, memory.entries.iter().map(|(_, entry)| entry.bytes).sum::<u64>());
            }
        });
    }
}
