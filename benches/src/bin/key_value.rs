//! Looks keys up in texts longer than a window: `read.map_reduce` beside one call that is shown what fits.
//!
//! `key_value --data FOLDER [--limit N] [--json]` takes the 500 needles of lost-in-the-middle, 75 pairs each, and a
//! reader without a model: it answers a key with the value that stands beside it in the prompt, and with nothing where
//! the pair is not whole in there. So whatever is lost was lost by the way of reading. Windows go from the smallest that
//! holds a prompt with one pair up to one that holds all. The program fails if map-reduce misses a single key.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anabranch_benches::Outcome;
use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Usage};
use anabranch_engine::cx::{Cx, Model, Resources};
use anabranch_engine::operator::Operator as _;
use anabranch_engine::testing::cx_with;
use anabranch_engine::value::Message;
use anabranch_operators::read::map_reduce::{self, MapReduce};
use anabranch_operators::tokens;
use async_trait::async_trait;
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Most tokens of an answer.
const RESERVE: u32 = 128;
/// Windows above the smallest, in tokens.
const WINDOWS: [usize; 4] = [1024, 2048, 4096, 8192];
/// Tokens of the frame of a message, and of the beginning of an answer: as the operator counts.
const FRAME: [usize; 2] = [4, 3];

/// A line of the recorded file.
#[derive(Deserialize)]
struct Needle {
    ordered_kv_records: Vec<(String, String)>,
    key: String,
    value: String,
}

impl Needle {
    fn text(&self) -> String {
        self.ordered_kv_records
            .iter()
            .fold(String::new(), |text, (key, value)| text + &format!("\"{key}\": \"{value}\",\n"))
    }

    fn question(&self) -> String {
        format!("What is the value of the key \"{}\"?", self.key)
    }
}

/// A reader that knows what stands in its prompt, and nothing else.
#[derive(Debug, Default)]
struct Reader {
    /// The longest prompt so far, in tokens.
    longest: Mutex<usize>,
}

/// The value of the key that the prompt asks for, if the pair is whole in it.
fn look_up(prompt: &str) -> Option<&str> {
    let key = prompt.split("the value of the key \"").nth(1)?.split('"').next()?;
    let rest = prompt.split(&format!("\"{key}\": \"")).nth(1)?;
    rest.split_once("\",").map(|(value, _)| value)
}

/// Tokens of a prompt.
fn prompt_tokens(messages: &[Message]) -> usize {
    let [frame, begin] = FRAME;
    messages.iter().map(|message| tokens::count(&message.content) + frame).sum::<usize>() + begin
}

#[async_trait]
impl ChatModel for Reader {
    fn name(&self) -> &'static str {
        "reader"
    }

    async fn chat(&self, request: &ChatRequest, _: &Call<'_>) -> Result<ChatResponse, Error> {
        let mut longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        *longest = (*longest).max(prompt_tokens(&request.messages));
        let asked = request.messages.last().map(|message| &*message.content).unwrap_or_default();
        let noted: Vec<&str> = asked.lines().filter_map(|line| line.strip_prefix("Answer: ")).collect();
        let text = match (look_up(asked), noted.first()) {
            // The last call is shown notes, not pairs.
            (None, Some(answer)) => json!({ "rationale": "", "answer": answer }),
            (found, _) => json!({
                "extracted": "", "rationale": "", "answer": found.unwrap_or_default(), "found": found.is_some(),
                "confidence": 5,
            }),
        };
        Ok(ChatResponse {
            text: text.to_string(),
            finish_reason: FinishReason::Stop,
            usage: Usage::default(),
            model: "reader".to_owned(),
            tool_calls: Vec::new(),
            logprobs: Vec::new(),
        })
    }
}

/// What is printed for a window.
#[derive(Serialize)]
struct Row {
    window: usize,
    needles: usize,
    map_reduce: f64,
    portions: f64,
    calls: f64,
    single_call: f64,
    secs: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<ExitCode> {
    let args = parse_args()?;
    let mut needles = read(&args.data.join("recorded/kv_retrieval/kv-retrieval-75_keys.jsonl.gz"))?;
    needles.truncate(args.limit);
    let reader = Arc::new(Reader::default());
    let models = [("default".to_owned(), Model::Chat(reader.clone()))].into();
    let cx = cx_with(Resources { models, ..Resources::default() });
    let smallest = smallest_window(&cx, &reader, &needles).await?;

    let mut out = std::io::stdout().lock();
    if !args.is_json {
        writeln!(out, "window   needles  map-reduce  portions  calls   one call, cut  seconds")?;
    }
    let mut is_good = true;
    for window in [smallest].into_iter().chain(WINDOWS) {
        let row = measure(&cx, &needles, window).await?;
        is_good &= row.map_reduce >= 1.0;
        if args.is_json {
            writeln!(out, "{}", serde_json::to_string(&row)?)?;
        } else {
            writeln!(
                out,
                "{:<8} {:<8} {:<11.3} {:<9.1} {:<7.1} {:<14.3} {:.1}",
                row.window, row.needles, row.map_reduce, row.portions, row.calls, row.single_call, row.secs
            )?;
        }
    }
    if args.is_json {
        writeln!(out, "{}", json!({ "smallest_window": smallest, "pass": is_good }))?;
    } else {
        let verdict = if is_good { "pass" } else { "FAIL" };
        writeln!(
            out,
            "{verdict}: every key is found at every window from {smallest} tokens on, which hold one pair"
        )?;
        writeln!(
            out,
            "specification: 100 % for every window that holds one pair; a single call finds what it is shown"
        )?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn settings(context_tokens: usize) -> MapReduce {
    MapReduce { context_tokens, reserve_output: RESERVE, ..MapReduce::default() }
}

fn input(question: String, text: String) -> map_reduce::In {
    map_reduce::In { question, document: None, text: Some(text), chunks: None, n_questions: None }
}

/// The smallest window that holds every prompt about the longest pair of all.
async fn smallest_window(cx: &Cx, reader: &Reader, needles: &[Needle]) -> Outcome<usize> {
    let pairs = needles.iter().flat_map(|needle| &needle.ordered_kv_records);
    let longest = pairs.max_by_key(|(key, value)| tokens::count(&format!("\"{key}\": \"{value}\",\n")));
    let (key, value) = longest.ok_or("there are no needles")?.clone();
    let needle = Needle { ordered_kv_records: vec![(key.clone(), value.clone())], key, value };
    settings(100_000).run(cx, input(needle.question(), needle.text())).await?;
    let longest = *reader.longest.lock().unwrap_or_else(PoisonError::into_inner);
    // Keys differ in length, and where two texts meet there may be a few tokens more.
    Ok(longest + RESERVE as usize + 16)
}

async fn measure(cx: &Cx, needles: &[Needle], window: usize) -> Outcome<Row> {
    let started = Instant::now();
    let (mut found, mut portions, mut calls, mut shown) = (0, 0, 0, 0);
    for needle in needles {
        let out = settings(window).run(cx, input(needle.question(), needle.text())).await?;
        found += usize::from(out.text == needle.value);
        portions += out.stats.portions;
        calls += out.stats.map_calls + out.stats.collapse_calls + usize::from(out.found);
        shown += usize::from(single_call(needle, window) == Some(needle.value.clone()));
    }
    let n = needles.len().max(1) as f64;
    Ok(Row {
        window,
        needles: needles.len(),
        map_reduce: found as f64 / n,
        portions: portions as f64 / n,
        calls: calls as f64 / n,
        single_call: shown as f64 / n,
        secs: started.elapsed().as_secs_f64(),
    })
}

/// What the reader finds in one prompt that holds the beginning of the text, as far as the window goes.
fn single_call(needle: &Needle, window: usize) -> Option<String> {
    let (question, text) = (needle.question(), needle.text());
    let room =
        window.saturating_sub(RESERVE as usize + tokens::count(&question) + FRAME.iter().sum::<usize>());
    let end = tokens::ends(&text).into_iter().take(room).next_back()?;
    let shown = text.get(..end)?;
    look_up(&format!("{question}\n{shown}")).map(str::to_owned)
}

fn read(path: &std::path::Path) -> Outcome<Vec<Needle>> {
    let file = File::open(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    let mut needles = Vec::new();
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        needles.push(serde_json::from_str(&line?)?);
    }
    Ok(needles)
}

struct Args {
    data: PathBuf,
    limit: usize,
    is_json: bool,
}

fn parse_args() -> Outcome<Args> {
    let usage = "usage: key_value --data FOLDER [--limit N] [--json]";
    let mut parsed = Args { data: PathBuf::from("../shared/data"), limit: usize::MAX, is_json: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("`{arg}` needs a value\n{usage}"));
        match arg.as_str() {
            "--data" => parsed.data = value()?.into(),
            "--limit" => parsed.limit = value()?.parse()?,
            "--json" => parsed.is_json = true,
            _ => return Err(format!("unknown argument `{arg}`\n{usage}").into()),
        }
    }
    Ok(parsed)
}
