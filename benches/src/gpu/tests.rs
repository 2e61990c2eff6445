//! How long answers take, what is cached, who waits, and what breaks, on a clock that stands still.

use std::sync::Arc;

use anabranch_backends::chat::{OpenAiChat, OpenAiSettings};
use anabranch_backends::pool::Probe as _;
use anabranch_engine::backend::{Call, ChatModel, ChatRequest, Error};
use futures::future::join_all;

use super::*;

fn settings() -> GpuSettings {
    GpuSettings {
        slots: 2,
        prefill_per_sec: 1_000.0,
        decode_per_sec: 10.0,
        piece_tokens: 5,
        ..GpuSettings::default()
    }
}

fn gpu(settings: GpuSettings) -> Arc<Gpu> {
    Arc::new(Gpu::new(settings))
}

fn messages(text: &str) -> Vec<Message> {
    vec![Message { role: Role::User, content: text.into() }]
}

async fn ask(gpu: &Gpu, text: &str, max_tokens: u32) -> Result<Answer, Refusal> {
    gpu.answer(&messages(text), Some(max_tokens), &|_| {}).await
}

fn secs(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

/// A text of so many tokens that shares nothing with one of another letter.
fn text(letter: char, n_tokens: usize) -> String {
    letter.to_string().repeat(4 * n_tokens)
}

#[tokio::test(start_paused = true)]
async fn an_answer_takes_the_time_of_reading_and_of_writing() {
    let gpu = gpu(settings());
    let start = Instant::now();
    let answer = ask(&gpu, &text('a', 490), 20).await.unwrap();
    assert_eq!((answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens), (503, 0, 20));
    assert_eq!(answer.text.len(), 80);
    let took = secs(start);
    assert!((took - 2.503).abs() < 0.005, "{took}");
}

#[tokio::test(start_paused = true)]
async fn the_first_token_goes_out_by_itself_and_the_others_in_pieces() {
    let gpu = gpu(settings());
    let (start, pieces) = (Instant::now(), Mutex::new(Vec::new()));
    let on_piece = |piece: &str| pieces.lock().unwrap().push((piece.len() / 4, secs(start)));
    gpu.answer(&messages(""), Some(12), &on_piece).await.unwrap();
    let pieces = pieces.into_inner().unwrap();
    assert_eq!(pieces.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 5, 5, 1]);
    assert!((pieces[0].1 - 0.112).abs() < 0.005 && (pieces[1].1 - 0.612).abs() < 0.005, "{pieces:?}");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_answers_are_written_at_once_and_others_wait_in_order() {
    let gpu = gpu(settings());
    let start = Instant::now();
    let ends = join_all((0..5).map(|_| async {
        ask(&gpu, "x", 10).await.unwrap();
        start.elapsed().as_secs()
    }));
    let watched = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        gpu.stats()
    };
    let (ends, stats) = tokio::join!(ends, watched);
    assert_eq!(ends, [1, 1, 2, 2, 3]);
    assert_eq!((stats.running, stats.waiting), (2, 3));
    assert_eq!((gpu.stats().running, gpu.stats().waiting, gpu.stats().blocks), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn prompts_are_read_one_after_the_other() {
    let gpu = gpu(GpuSettings { slots: 10, ..settings() });
    let start = Instant::now();
    let prompts: Vec<_> = ('a'..='j').map(|letter| text(letter, 988)).collect();
    join_all(prompts.iter().map(|prompt| ask(&gpu, prompt, 1))).await;
    let took = secs(start);
    assert!((took - 10.1).abs() < 0.02, "ten seconds of reading, and one token: {took}");
}

#[tokio::test(start_paused = true)]
async fn a_beginning_that_was_read_before_is_not_read_again() {
    let gpu = gpu(settings());
    let shared = text('s', 1_000);
    ask(&gpu, &format!("{shared}one"), 1).await.unwrap();
    let start = Instant::now();
    let answer = ask(&gpu, &format!("{shared}two"), 1).await.unwrap();
    assert_eq!(answer.cached_tokens, 992, "its full blocks");
    assert!(secs(start) < 0.15, "{}", secs(start));
    let stats = gpu.stats();
    assert_eq!(stats.cached_tokens, 992);
    assert_eq!(stats.prompt_tokens, 2 * answer.prompt_tokens);
}

#[tokio::test(start_paused = true)]
async fn the_next_turn_of_a_conversation_finds_the_answer_before_it() {
    let gpu = gpu(settings());
    let mut conversation = messages(&text('q', 100));
    let first = gpu.answer(&conversation, Some(100), &|_| {}).await.unwrap();
    conversation.push(Message { role: Role::Assistant, content: first.text.as_str().into() });
    conversation.extend(messages("go on"));
    let second = gpu.answer(&conversation, Some(1), &|_| {}).await.unwrap();
    assert!(second.cached_tokens + BLOCK_TOKENS as u64 > 100 + 100, "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn whether_calls_that_come_together_share_what_they_read_is_a_setting() {
    for (shares, n_cached) in [(Shares::Read, 0), (Shares::Scheduled, 992)] {
        let gpu = gpu(GpuSettings { shares, ..settings() });
        let shared = text('s', 1_000);
        let (one, two) = (format!("{shared}one"), format!("{shared}two"));
        let (_, second) = tokio::join!(ask(&gpu, &one, 1), ask(&gpu, &two, 1));
        assert_eq!(second.unwrap().cached_tokens, n_cached, "{shares:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_cache_forgets_the_longest_unused() {
    let gpu = gpu(GpuSettings { cache_blocks: NonZeroUsize::new(100), ..settings() });
    let (old, new) = (text('o', 960), text('n', 960));
    for prompt in [&old, &new] {
        ask(&gpu, prompt, 1).await.unwrap();
    }
    let again = ask(&gpu, &new, 1).await.unwrap();
    assert_eq!(again.cached_tokens, 60 * BLOCK_TOKENS as u64);
    let gone = ask(&gpu, &old, 1).await.unwrap();
    assert_eq!(gone.cached_tokens, (100 - 60) * BLOCK_TOKENS as u64, "its beginning has stayed");
}

#[tokio::test(start_paused = true)]
async fn one_call_more_than_may_wait_is_refused() {
    let gpu = gpu(GpuSettings { slots: 1, max_waiting: 1, ..settings() });
    let answers = join_all((0..3).map(|_| ask(&gpu, "x", 1))).await;
    assert!(answers[0].is_ok() && answers[1].is_ok());
    assert_eq!(answers[2], Err(Refusal::Full(1)));
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_away_frees_its_slot() {
    let gpu = gpu(GpuSettings { slots: 1, ..settings() });
    let gone = tokio::time::timeout(Duration::from_millis(300), ask(&gpu, "x", 1_000)).await;
    assert!(gone.is_err() && gpu.stats().running == 0);
    let start = Instant::now();
    ask(&gpu, "y", 10).await.unwrap();
    assert!(secs(start) < 1.1, "{}", secs(start));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_killed_drops_what_it_works_on_and_forgets() {
    let gpu = gpu(settings());
    ask(&gpu, &text('a', 500), 1).await.unwrap();
    let killing = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        gpu.set_fault(Some(Fault::Killed));
        Instant::now()
    };
    let start = Instant::now();
    let (broken, _) = tokio::join!(ask(&gpu, "x", 100), killing);
    assert_eq!(broken, Err(Refusal::Killed));
    assert!(secs(start) < 0.31, "at once: {}", secs(start));
    assert_eq!(ask(&gpu, "x", 1).await, Err(Refusal::Killed));
    gpu.set_fault(None);
    assert_eq!(ask(&gpu, &text('a', 500), 1).await.unwrap().cached_tokens, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_stalled_goes_on_where_it_was() {
    let gpu = gpu(settings());
    let stalling = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        gpu.set_fault(Some(Fault::Stalled));
        tokio::time::sleep(Duration::from_mins(1)).await;
        gpu.set_fault(None);
    };
    let start = Instant::now();
    let (answer, ()) = tokio::join!(ask(&gpu, "x", 20), stalling);
    assert_eq!(answer.unwrap().completion_tokens, 20);
    let took = secs(start);
    assert!((61.0..62.5).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn faults_are_the_errors_that_a_client_would_make_of_them() {
    let gpu = gpu(settings());
    let patience = Patience { timeout: Duration::from_secs(20), idle_timeout: Duration::from_secs(3) };
    let model = Simulated::new("s", gpu.clone(), patience);
    let ask = || async { model.chat(&request(30), &Call::keyed("k")).await };
    let after = Duration::from_secs(7);
    gpu.set_fault(Some(Fault::Unavailable { retry_after: after }));
    assert!(matches!(ask().await, Err(Error::Overloaded { retry_after: Some(said), .. }) if said == after));
    assert!(model.look("/health", 10).await.is_none());
    gpu.set_fault(Some(Fault::Garbled));
    assert!(matches!(ask().await, Err(Error::Garbled { .. })));
    assert!(model.look("/health", 10).await.is_some(), "it does not know");
    gpu.set_fault(Some(Fault::Killed));
    assert!(matches!(ask().await, Err(Error::Unavailable { .. })));
    assert!(model.look("/health", 10).await.is_none());
    gpu.set_fault(Some(Fault::Stalled));
    let start = Instant::now();
    assert!(matches!(ask().await, Err(Error::TimedOut { .. })));
    assert_eq!(start.elapsed().as_secs(), 20, "nobody knows whether it is only busy");
    gpu.set_fault(None);
    let stalling = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        gpu.set_fault(Some(Fault::Stalled));
    };
    let start = Instant::now();
    let (late, ()) = tokio::join!(ask(), stalling);
    assert!(matches!(late, Err(Error::TimedOut { .. })));
    assert!((3.5..4.5).contains(&secs(start)), "it had begun: {}", secs(start));
}

fn request(max_tokens: u32) -> ChatRequest {
    let content = text('s', 200).as_str().into();
    let messages = vec![Message { role: Role::User, content }];
    ChatRequest { messages, max_tokens: Some(max_tokens), ..ChatRequest::default() }
}

async fn served() -> Server {
    let quick = GpuSettings { prefill_per_sec: 1e6, decode_per_sec: 1e4, ..settings() };
    Server::start(gpu(quick), "127.0.0.1:0").await.unwrap()
}

fn client(server: &Server, stream: bool) -> OpenAiChat {
    OpenAiChat::new(OpenAiSettings { stream, ..OpenAiSettings::new(server.url()) }).unwrap()
}

#[tokio::test]
async fn over_http_answers_come_in_one_piece_or_streamed_with_what_was_cached() {
    let server = served().await;
    let mut texts = Vec::new();
    for (stream, cached) in [(false, 0), (true, 208), (false, 208)] {
        let pieces = Mutex::new(0);
        let on_delta = |_: &str| *pieces.lock().unwrap() += 1;
        let call = Call { on_delta: &on_delta, ..Call::keyed("k") };
        let answer = client(&server, stream).chat(&request(20), &call).await.unwrap();
        assert_eq!(answer.model, "simulated");
        let usage = answer.usage;
        assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens), (213, cached, 20));
        assert_eq!(*pieces.lock().unwrap(), if stream { 5 } else { 1 });
        texts.push(answer.text);
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    let metrics = String::from_utf8(client(&server, true).look("/metrics", 1 << 16).await.unwrap()).unwrap();
    assert!(
        metrics.contains("vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"simulated\"} 416\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("vllm:num_requests_waiting{engine=\"0\",model_name=\"simulated\"} 0\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn over_http_faults_are_what_they_would_be() {
    let server = served().await;
    for stream in [true, false] {
        let client = client(&server, stream);
        let ask = || async { client.chat(&request(20), &Call::keyed("k")).await };
        ask().await.unwrap();
        server.gpu().set_fault(Some(Fault::Garbled));
        assert!(matches!(ask().await, Err(Error::Garbled { .. })), "{stream}");
        server.gpu().set_fault(Some(Fault::Unavailable { retry_after: Duration::from_secs(2) }));
        assert!(matches!(ask().await, Err(Error::Overloaded { retry_after: Some(_), .. })), "{stream}");
        server.gpu().set_fault(Some(Fault::Killed));
        assert!(matches!(ask().await, Err(Error::Unavailable { .. })), "{stream}");
        assert!(client.look("/health", 10).await.is_none());
        server.gpu().set_fault(None);
        while client.look("/health", 10).await.is_none() {
            tokio::task::yield_now().await;
        }
        ask().await.unwrap();
    }
}

#[tokio::test]
async fn over_http_an_answer_breaks_off_when_its_server_is_killed() {
    let server = Server::start(gpu(settings()), "127.0.0.1:0").await.unwrap();
    let gpu = server.gpu().clone();
    let on_delta = |_: &str| gpu.set_fault(Some(Fault::Killed));
    let call = Call { on_delta: &on_delta, ..Call::keyed("k") };
    let broken = client(&server, true).chat(&request(1_000), &call).await;
    assert!(matches!(broken, Err(Error::Unavailable { .. })), "{broken:?}");
}
