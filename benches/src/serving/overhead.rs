//! What the scheduler costs a call, in wall time on one thread.

use std::sync::Arc;
use std::time::Instant;

use anabranch_backends::pool::{PoolSettings, PooledChat, Replica};
use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Usage};
use async_trait::async_trait;
use serde_json::{Value as Json, json};

use super::{Failed, median, of_run, request, rounded, row, taking, text};

const CALLERS: usize = 5_000;
const CALLS_EACH: usize = 10;
const ROUNDS: usize = 7;
/// Tokens of a prompt.
const PROMPT: usize = 2_000;

/// Answers as soon as everybody else has had a turn.
#[derive(Debug)]
struct Prompt;

#[async_trait]
impl ChatModel for Prompt {
    fn name(&self) -> &'static str {
        "prompt"
    }

    async fn chat(&self, _: &ChatRequest, _: &Call<'_>) -> Result<ChatResponse, Error> {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        Ok(ChatResponse {
            text: String::new(),
            finish_reason: FinishReason::Stop,
            usage: Usage { prompt_tokens: 2_000, completion_tokens: 10, ..Usage::default() },
            model: String::new(),
            tool_calls: Vec::new(),
            logprobs: vec![],
        })
    }
}

/// 5,000 callers at once, in flight and waiting.
pub fn figure() -> Result<Json, Failed> {
    let direct: Arc<dyn ChatModel> = Arc::new(Prompt);
    let pool = |n_servers: usize, in_flight: usize| -> Arc<dyn ChatModel> {
        let replica = |idx: usize| Replica {
            name: format!("s{idx}"),
            model: Arc::new(Prompt),
            probe: None,
            settings: taking(in_flight),
        };
        Arc::new(PooledChat::new("m", &PoolSettings::default(), (0..n_servers).map(replica).collect()))
    };
    let cases = [
        ("in_flight_on_1_server", 1, CALLERS),
        ("in_flight_on_4_servers", 4, CALLERS / 4),
        ("waiting_for_64_places_of_1_server", 1, 64),
        ("waiting_for_64_places_of_4_servers", 4, 16),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = serde_json::Map::new();
    let (mut plain, mut ours) = (Vec::new(), vec![Vec::new(); cases.len()]);
    for _ in 0..ROUNDS {
        // In turns, so that whatever else this machine does meets all of them.
        plain.push(runtime.block_on(micros(&direct))?);
        for (samples, (_, n_servers, in_flight)) in ours.iter_mut().zip(&cases) {
            samples.push(runtime.block_on(micros(&pool(*n_servers, *in_flight)))?);
        }
    }
    let plain = median(plain);
    for (samples, (name, _, _)) in ours.into_iter().zip(&cases) {
        let all = median(samples);
        let cost = all - plain;
        let details = json!({ "unit": "us a call", "all": rounded(all), "baseline": rounded(plain), "ratio": rounded(all / plain) });
        figures.insert((*name).to_owned(), row(cost, "<= 20", cost <= 20.0, &details));
    }
    Ok(Json::Object(figures))
}

/// Microseconds a call, of all callers together.
async fn micros(model: &Arc<dyn ChatModel>) -> Result<f64, Failed> {
    let asked = Arc::new(request(&text(0, PROMPT / 2), &text(1, PROMPT / 2), 10));
    let mut callers = tokio::task::JoinSet::new();
    let start = Instant::now();
    for caller in 0..CALLERS {
        let (model, asked) = (model.clone(), asked.clone());
        callers.spawn(async move {
            let caller = of_run(caller);
            let call = Call { caller: &caller, ..Call::keyed("k") };
            for _ in 0..CALLS_EACH {
                model.chat(&asked, &call).await?;
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / (CALLERS * CALLS_EACH) as f64)
}
