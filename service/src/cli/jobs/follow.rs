//! `anabranch jobs watch`: what happens in a job, as it happens; and waiting for the end of one that was just submitted.

use std::sync::Arc;

use serde_json::Value as Json;

use super::super::{Ended, print, remote, run::progress};
use super::notices::notice;
use super::{line, show, text};
use crate::client::{Ask, Client, Watch, Watched};
use crate::exit::{Error, Exit};

/// Watch a job until it ends: a live tree on a terminal, else a line an event
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch jobs watch job_0198...
  anabranch jobs watch job_0198... --jsonl
  anabranch jobs watch job_0198... --json > job.json

A connection that breaks off is taken up after the last event. Ctrl-C ends the
watching, not the job.

JSON lines (--jsonl): {type, seq?, at?, node?, ...} for each event; `seq` is its
number in the journal, events without one are not repeated. The last line is
the job. JSON (--json): only the job, as `anabranch jobs show --json` has it.

Ends with 1 if the job does not succeed.")]
pub(super) struct Args {
    /// The job
    job: String,
    /// Go on after the event with this number
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// Print the job once it has ended
    #[arg(long)]
    json: bool,
    /// Print a line of JSON for each event, then the job
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
    #[command(flatten)]
    remote: remote::Args,
}

pub(super) async fn run(args: &Args) -> Ended {
    let client = args.remote.client()?;
    let shown = Shown { json: args.json, jsonl: args.jsonl, is_quiet: false };
    follow(&client, &args.job, args.after.map(|seq| seq.to_string()), &shown).await
}

/// What is done after a job was submitted.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(id = "after_submit")]
pub(super) struct After {
    /// Wait for the end, and print the outputs
    #[arg(long)]
    wait: bool,
    /// Watch it until the end, and print the outputs
    #[arg(long)]
    watch: bool,
    /// Print the job as JSON
    #[arg(long)]
    json: bool,
}

impl After {
    /// As `run` does: watches, and prints the job in this form.
    pub(super) fn watching(json: bool) -> Self {
        Self { wait: false, watch: true, json }
    }

    /// Whether the end is waited for.
    pub(super) fn waits(&self) -> bool {
        self.wait || self.watch
    }

    /// Prints the job that was `done` something to (submitted, answered), after its end if that is waited for.
    pub(super) async fn go_on(&self, client: &Client, job: Json, done: &str) -> Ended {
        let id = text(&job, "/id");
        if self.waits() {
            if is_over(&job) {
                return end(&job, self.json);
            }
            print::remark(&format!("{done} {id}"));
            let shown = Shown { json: self.json, jsonl: false, is_quiet: !self.watch };
            return follow(client, &id, None, &shown).await;
        }
        if self.json {
            print::json(&job)?;
        } else {
            print::data(&format!("{id}\n"))?;
            print::remark(&format!("{}; watch it with `anabranch jobs watch {id}`", text(&job, "/status")));
        }
        Ok(Exit::Ok)
    }
}

/// How a job is shown while one waits.
#[derive(Debug, Clone, Copy)]
struct Shown {
    json: bool,
    jsonl: bool,
    /// Nothing is shown before the end.
    is_quiet: bool,
}

async fn follow(client: &Client, id: &str, after: Option<String>, shown: &Shown) -> Ended {
    let observer: Option<Arc<dyn progress::Shown>> =
        if shown.jsonl || shown.is_quiet { None } else { progress::on_stderr() };
    let mut watch = Watch::new(client.clone(), id, after);
    let watched = tokio::select! {
        watched = events(&mut watch, shown.jsonl, observer.as_deref()) => watched,
        _ = tokio::signal::ctrl_c() => {
            if let Some(observer) = &observer {
                observer.end();
            }
            print::remark(&format!("the job goes on; watch it with `anabranch jobs watch {id}`"));
            return Ok(Exit::Interrupted);
        }
    };
    if let Some(observer) = &observer {
        observer.end();
    }
    let job = match watched? {
        Some(job) => job,
        None => client.json(Ask::get(&["jobs", id])).await?,
    };
    if shown.jsonl {
        print::data(&format!("{job}\n"))?;
        return exit_of(&job);
    }
    end(&job, shown.json)
}

/// Reads events until the end; the job as its last event has it.
async fn events(
    watch: &mut Watch,
    is_jsonl: bool,
    observer: Option<&dyn progress::Shown>,
) -> Result<Option<Json>, Error> {
    loop {
        let (event, data) = match watch.next().await? {
            Watched::Event { event, data, .. } => (event, data),
            Watched::Over => return Ok(None),
        };
        if is_jsonl {
            print::data(&format!("{data}\n"))?;
        }
        if let Some(observer) = observer {
            if let Some(notice) = notice(&event, &data) {
                observer.notice(&notice);
            } else if let Some(said) = said(&event, &data) {
                print::remark(&said);
            }
        }
        if event == "job_ended" {
            return Ok(data.get("job").cloned());
        }
    }
}

/// What of the rest a person wants to know.
fn said(event: &str, data: &Json) -> Option<String> {
    let node = text(data, "/node");
    Some(match event {
        "wait_opened" => format!("`{node}` waits for an answer until {}", text(data, "/until")),
        "wait_answered" => format!("`{node}` is answered: {}", text(data, "/value")),
        "cancel_requested" => format!("asked to stop: {}", text(data, "/reason")),
        "job_taken_up" => format!("taken up by {}", text(data, "/by")),
        _ => return None,
    })
}

fn is_over(job: &Json) -> bool {
    matches!(text(job, "/status").as_str(), "succeeded" | "failed" | "cancelled" | "timed_out")
}

/// Prints what a job came to.
fn end(job: &Json, is_json: bool) -> Ended {
    if is_json {
        print::json(job)?;
    } else if let Some(outputs) = job.get("outputs").and_then(Json::as_object).filter(|map| !map.is_empty()) {
        print::data(&show::outputs(outputs))?;
        print::remark(&line(job));
    } else {
        print::remark(&line(job));
    }
    exit_of(job)
}

fn exit_of(job: &Json) -> Ended {
    match text(job, "/status").as_str() {
        "succeeded" => Ok(Exit::Ok),
        "failed" => {
            let message = text(job, "/error/message");
            let at = text(job, "/error/scope");
            let at = if at.is_empty() { at } else { format!("`{at}`: ") };
            Err(Error::new(Exit::Failed, format!("the job failed: {at}{message}")))
        }
        "timed_out" => Err(Error::new(Exit::Failed, "the job reached its deadline")),
        "cancelled" => Err(Error::new(Exit::Failed, "the job was cancelled")),
        other => Err(Error::new(Exit::Failed, format!("the job is {other}"))),
    }
}
