//! `anabranch top`: what a server does, live, for a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Ended, print, remote, world};
use crate::client::{Ask, Client};
use crate::exit::{Error, Exit};

mod view;

/// Jobs of each kind that are looked at.
const JOBS: u16 = 200;
/// How far back sums go, in seconds.
const DAY_S: i64 = 86_400;
/// Rows, and columns, of a terminal that does not say.
const ROWS: usize = 40;
const COLUMNS: usize = 120;
/// To another screen, without a cursor; and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// To the first place; what is below is old.
const HOME: &str = "\u{1b}[H";
const REST: &str = "\u{1b}[J";
const LINE: &str = "\u{1b}[K\n";

/// Watch the runs, models and queue of a server, as they change
///
/// Asks the server again and again until Ctrl-C. Where standard output is no terminal, it prints once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch top
  anabranch top --every 5 --flow quickstart
  anabranch top --once
  anabranch top --json | jq .queue

JSON (--json), once:
  {server, at, version, tenant,
   queue: {queued, running, waiting},      (200 stands for 200 or more)
   day: {jobs, succeeded, failed, usage},  (of the last 24 hours)
   models: [...],                          (as of GET /v1/backends)
   jobs: [...]}                            (as of `jobs list`, what is open first)")]
pub(crate) struct Args {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=3600))]
    every: u16,
    /// Of this flow
    #[arg(long, value_name = "NAME")]
    flow: Option<String>,
    /// Most jobs that are shown
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// Print once and end
    #[arg(long)]
    once: bool,
    /// Print one JSON object and end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: remote::Args,
}

pub(crate) async fn run(args: &Args) -> Ended {
    let client = args.remote.client()?;
    // Before the screen is changed: what is wrong from the start is said in its place.
    let mut seen = look(&client, args).await?;
    if let Some(flow) = &args.flow
        && seen.get("jobs").and_then(Json::as_array).is_none_or(Vec::is_empty)
    {
        // Without jobs of that name it has to be a flow's; the server says what there is.
        client.json(Ask::get(&["flows", flow])).await?;
    }
    if args.json {
        print::json(&seen)?;
        return Ok(Exit::Ok);
    }
    if args.once || !std::io::stdout().is_terminal() {
        print::data(&view::text(&seen, usize::MAX, COLUMNS))?;
        return Ok(Exit::Ok);
    }
    let cancel = world::cancel_on_interrupt();
    let _screen = Screen::enter()?;
    loop {
        draw(&seen)?;
        let pause = tokio::time::sleep(Duration::from_secs(u64::from(args.every)));
        if cancel.run_until_cancelled(pause).await.is_none() {
            return Ok(Exit::Ok);
        }
        match cancel.run_until_cancelled(Box::pin(look(&client, args))).await {
            None => return Ok(Exit::Ok),
            Some(Ok(now)) => seen = now,
            // It may come back: the last look stays, and says that it is old.
            Some(Err(error)) => {
                if let Some(seen) = seen.as_object_mut() {
                    seen.insert("stale".to_owned(), json!(error.message));
                }
            }
        }
    }
}

/// All that is shown, as the server has it now.
async fn look(client: &Client, args: &Args) -> Result<Json, Error> {
    let jobs = |status: &str, limit: u16| {
        let ask = Ask::get(&["jobs"]).query("limit", limit).maybe("flow", args.flow.as_ref());
        client.json(if status.is_empty() { ask } else { ask.query("status", status) })
    };
    let now = jiff::Timestamp::now();
    let from = jiff::Timestamp::from_second(now.as_second().saturating_sub(DAY_S)).unwrap_or(now);
    let usage =
        Ask::get(&["usage"]).query("from", from).maybe("group_by", args.flow.as_ref().map(|_| "flow"));
    let (queued, running, waiting, newest, models, day, me) = tokio::try_join!(
        jobs("queued", JOBS),
        jobs("running", JOBS),
        jobs("waiting", JOBS),
        jobs("", args.limit),
        client.json(Ask::get(&["backends"])),
        client.json(usage),
        client.json(Ask::get(&["whoami"])),
    )?;
    let items = |page: &Json| page.get("items").and_then(Json::as_array).cloned().unwrap_or_default();
    let is_meant = |item: &Json| {
        args.flow.as_deref().is_none_or(|flow| item.get("group").and_then(Json::as_str) == Some(flow))
    };
    let day = items(&day).into_iter().find(is_meant).unwrap_or(Json::Null);
    let (queued, running, waiting) = (items(&queued), items(&running), items(&waiting));
    let counts = json!({ "queued": queued.len(), "running": running.len(), "waiting": waiting.len() });
    let mut shown: Vec<Json> = Vec::new();
    for job in running.into_iter().chain(waiting).chain(queued).chain(items(&newest)) {
        // What ended while the server was asked is told once, as it was asked first.
        if shown.len() < usize::from(args.limit) && shown.iter().all(|other| other.get("id") != job.get("id"))
        {
            shown.push(job);
        }
    }
    Ok(json!({
        "server": client.server(), "at": now.to_string(), "version": me.get("version"), "tenant": me.get("tenant"),
        "queue": counts, "day": day, "models": items(&models), "jobs": shown,
    }))
}

fn draw(seen: &Json) -> Result<(), Error> {
    let (rows, columns) = size();
    let text = view::text(seen, rows, columns);
    let mut out = anstream::stdout().lock();
    out.write_all(format!("{HOME}{}{REST}", text.replace('\n', LINE)).as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Rows and columns of the terminal.
fn size() -> (usize, usize) {
    let (rows, columns) = console::Term::stdout().size_checked().unwrap_or((0, 0));
    let or = |n: u16, other: usize| if n == 0 { other } else { usize::from(n) };
    (or(rows, ROWS), or(columns, COLUMNS))
}

/// The terminal's other screen, left however the command ends.
struct Screen;

impl Screen {
    fn enter() -> Result<Self, Error> {
        let mut out = std::io::stdout().lock();
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = std::io::stdout().lock();
        // There is nothing to leave where nobody reads any more.
        drop(out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush()));
    }
}
