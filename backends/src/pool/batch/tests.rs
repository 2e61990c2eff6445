//! Batches over encoders that write down what they are sent, on a clock that stands still.

use std::sync::atomic::AtomicBool;

use anabranch_engine::backend::{Embedder, Embeddings, Passage, Reranker, Reranking};
use futures::future::join_all;
use tokio::time::Instant;

use super::*;

/// Takes a second. A text's vector is its length; refuses batches with "bad" in them.
#[derive(Debug, Default)]
struct Noting {
    sent: Mutex<Vec<(Passage, Vec<String>)>>,
    queries: Mutex<Vec<(String, usize)>>,
    is_down: AtomicBool,
    is_short: AtomicBool,
}

impl Noting {
    fn refuses(&self, texts: &[Text]) -> Result<(), Error> {
        if self.is_down.load(Ordering::Relaxed) {
            let (backend, message) = ("noting".to_owned(), "down".to_owned());
            return Err(Error::Unavailable { backend, message, retry_after: None });
        }
        if texts.iter().any(|text| &**text == "bad") {
            return Err(Error::Rejected { backend: "noting".into(), message: "bad".into() });
        }
        Ok(())
    }

    fn sent(&self) -> Vec<Vec<String>> {
        self.sent.lock().unwrap().iter().map(|(_, texts)| texts.clone()).collect()
    }
}

#[async_trait]
impl Embedder for Noting {
    fn identity(&self) -> String {
        "noting".into()
    }

    async fn embed(&self, texts: &[Text], passage: Passage, _: &Call<'_>) -> Result<Embeddings, Error> {
        let noted = texts.iter().map(ToString::to_string).collect();
        self.sent.lock().unwrap().push((passage, noted));
        sleep(Duration::from_secs(1)).await;
        self.refuses(texts)?;
        let n = if self.is_short.load(Ordering::Relaxed) { texts.len() - 1 } else { texts.len() };
        let vectors = texts.iter().take(n).map(|text| [text.len() as f32].into()).collect();
        let prompt_tokens = texts.iter().map(|text| text.len() as u64).sum::<u64>() * 10;
        Ok(Embeddings { vectors, usage: Usage { prompt_tokens, ..Usage::default() } })
    }
}

#[async_trait]
impl Reranker for Noting {
    fn name(&self) -> &'static str {
        "noting"
    }

    async fn rerank(&self, query: &str, texts: &[Text], _: &Call<'_>) -> Result<Reranking, Error> {
        self.queries.lock().unwrap().push((query.to_owned(), texts.len()));
        Ok(Reranking {
            scores: texts.iter().map(|text| text.len() as f64).collect(),
            usage: Usage::default(),
        })
    }
}

fn batched(max_texts: usize) -> (Arc<Noting>, BatchedEmbedder) {
    let noting = Arc::new(Noting::default());
    let settings =
        BatchSettings { max_texts: NonZeroUsize::new(max_texts).unwrap(), ..BatchSettings::default() };
    (noting.clone(), BatchedEmbedder::new(noting, settings))
}

fn texts(words: &[&str]) -> Vec<Text> {
    words.iter().map(|word| Text::from(*word)).collect()
}

async fn embed(embedder: &BatchedEmbedder, words: &[&str]) -> Result<Embeddings, Error> {
    embedder.embed(&texts(words), Passage::Query, &Call::keyed("k")).await
}

fn lengths(found: &Result<Embeddings, Error>) -> Vec<f32> {
    found.as_ref().unwrap().vectors.iter().map(|vector| vector[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn calls_of_the_same_moment_go_out_together_and_each_gets_its_own_in_order() {
    let (noting, embedder) = batched(64);
    let start = Instant::now();
    let calls: [&[&str]; 3] = [&["a", "bbb"], &["cc"], &["dddd", "e"]];
    let found = join_all(calls.map(|words| embed(&embedder, words))).await;
    assert_eq!(noting.sent(), [["a", "bbb", "cc", "dddd", "e"]]);
    assert_eq!(start.elapsed(), Duration::from_millis(1_005), "as long as a batch waits, and the call");
    assert_eq!(found.iter().map(lengths).collect::<Vec<_>>(), [vec![1.0, 3.0], vec![2.0], vec![4.0, 1.0]]);
    let tokens: Vec<u64> = found.iter().map(|found| found.as_ref().unwrap().usage.prompt_tokens).collect();
    assert_eq!(tokens.iter().sum::<u64>(), 110, "what the batch took, divided: {tokens:?}");
    assert!(tokens[1] < tokens[0] && tokens[0] <= tokens[2], "{tokens:?}");
    let stats = embedder.stats();
    assert_eq!((stats.calls, stats.texts, stats.batches, stats.gathered), (3, 5, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_goes_at_once_and_the_next_one_begins() {
    let (noting, embedder) = batched(4);
    let start = Instant::now();
    let words: [&[&str]; 4] = [&["a", "b"], &["c", "d"], &["e", "f", "g"], &["h", "i"]];
    let found = join_all(words.map(|words| async {
        let found = embed(&embedder, words).await;
        (found, start.elapsed().as_millis())
    }));
    let found = found.await;
    assert_eq!(noting.sent(), [vec!["a", "b", "c", "d"], vec!["e", "f", "g"], vec!["h", "i"]]);
    assert!(found.iter().all(|(found, _)| found.is_ok()));
    let waits: Vec<_> = found.iter().map(|(_, at)| at - 1_000).collect();
    // The third made way for the fourth, which waited for others in vain.
    assert_eq!(waits, [0, 0, 0, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_call_as_large_as_a_batch_goes_by_itself_without_waiting() {
    let (noting, embedder) = batched(2);
    let start = Instant::now();
    let (large, small) = tokio::join!(embed(&embedder, &["a", "b", "c"]), embed(&embedder, &["d"]));
    assert!(large.is_ok() && small.is_ok());
    assert_eq!(noting.sent(), [vec!["a", "b", "c"], vec!["d"]]);
    assert_eq!(start.elapsed(), Duration::from_millis(1_005));
    let (noting, embedder) = batched(1);
    assert!(embed(&embedder, &[]).await.unwrap().vectors.is_empty());
    tokio::join!(embed(&embedder, &["a"]), embed(&embedder, &["b"])).0.unwrap();
    assert_eq!(noting.sent(), [vec![], vec!["a"], vec!["b"]], "1 turns it off");
}

#[tokio::test(start_paused = true)]
async fn queries_and_documents_do_not_mix() {
    let (noting, embedder) = batched(64);
    let (query, document) = (texts(&["a"]), texts(&["b"]));
    let call = Call::keyed("k");
    let found = tokio::join!(
        embedder.embed(&query, Passage::Query, &call),
        embedder.embed(&document, Passage::Document, &call),
    );
    assert!(found.0.is_ok() && found.1.is_ok());
    assert_eq!(noting.sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_cancelled_leaves_and_takes_its_texts_along() {
    let (noting, embedder) = batched(64);
    let mut first = Box::pin(embed(&embedder, &["a"]));
    let mut second = Box::pin(embed(&embedder, &["b"]));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    drop(first);
    assert_eq!(lengths(&second.await), [1.0]);
    assert_eq!((noting.sent(), embedder.stats().left), (vec![vec!["b".to_owned()]], 1));
    // And if all of them go, nothing is sent.
    let mut third = Box::pin(embed(&embedder, &["c"]));
    assert!(futures::poll!(&mut third).is_pending());
    drop(third);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(noting.sent().len(), 1);
    assert_eq!(lengths(&embed(&embedder, &["dd"]).await), [2.0]);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_cancelled_after_the_batch_is_sent_takes_nobody_along() {
    let (noting, embedder) = batched(64);
    let mut first = Box::pin(embed(&embedder, &["a"]));
    let second = embed(&embedder, &["b"]);
    let goes = async {
        tokio::select! {
            _ = &mut first => panic!("it should go"),
            () = sleep(Duration::from_millis(500)) => {}
        }
        drop(first);
    };
    let ((), second) = tokio::join!(goes, second);
    assert_eq!(lengths(&second), [1.0]);
    assert_eq!(noting.sent(), [["a", "b"]]);
}

#[tokio::test(start_paused = true)]
async fn a_bad_text_fails_its_own_call_alone() {
    let (noting, embedder) = batched(64);
    let calls: [&[&str]; 3] = [&["a"], &["bad", "b"], &["cc"]];
    let found = join_all(calls.map(|words| embed(&embedder, words))).await;
    assert!(matches!(found[1], Err(Error::Rejected { .. })));
    assert_eq!((lengths(&found[0]), lengths(&found[2])), (vec![1.0], vec![2.0]));
    assert_eq!(noting.sent().len(), 4, "once together, once each");
    assert_eq!((embedder.stats().split, embedder.stats().batches), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn an_error_reaches_the_calls_of_its_batch_and_no_others() {
    let (noting, embedder) = batched(64);
    noting.is_down.store(true, Ordering::Relaxed);
    let first = async { tokio::join!(embed(&embedder, &["a"]), embed(&embedder, &["b"])) };
    let later = async {
        sleep(Duration::from_millis(1_001)).await;
        let found = embed(&embedder, &["c"]);
        tokio::pin!(found);
        assert!(futures::poll!(&mut found).is_pending());
        sleep(Duration::from_millis(500)).await;
        noting.is_down.store(false, Ordering::Relaxed);
        found.await
    };
    let ((one, two), three) = tokio::join!(first, later);
    assert!(matches!(one, Err(Error::Unavailable { .. })));
    assert_eq!(one, two);
    assert_eq!(lengths(&three), [1.0]);
    assert_eq!(noting.sent().len(), 2, "nothing is sent again: whether to is for the node to say");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_short_is_garbled() {
    let (noting, embedder) = batched(64);
    noting.is_short.store(true, Ordering::Relaxed);
    let (one, two) = tokio::join!(embed(&embedder, &["a"]), embed(&embedder, &["b"]));
    assert!(matches!(one, Err(Error::Garbled { .. })) && matches!(two, Err(Error::Garbled { .. })));
}

#[tokio::test(start_paused = true)]
async fn rerankings_of_one_query_go_out_together() {
    let noting = Arc::new(Noting::default());
    let reranker = BatchedReranker::new(noting.clone(), BatchSettings::default());
    let call = Call::keyed("k");
    let (left, right) = (texts(&["a", "bb"]), texts(&["ccc"]));
    let found = tokio::join!(
        reranker.rerank("who", &left, &call),
        reranker.rerank("who", &right, &call),
        reranker.rerank("when", &right, &call),
    );
    assert_eq!(found.0.unwrap().scores, [1.0, 2.0]);
    assert_eq!(found.1.unwrap().scores, [3.0]);
    assert_eq!(found.2.unwrap().scores, [3.0]);
    let mut queries = noting.queries.lock().unwrap().clone();
    queries.sort();
    assert_eq!(queries, [("when".to_owned(), 1), ("who".to_owned(), 3)]);
}
