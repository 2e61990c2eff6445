//! What `anabranch top` shows, as text: a head, the servers of the models, the jobs.

use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::cli::print::{BOLD, DIM, GREEN, RED, YELLOW};
use crate::cli::remote::{between, span, text as field};

/// Columns of a bar.
const BAR: u64 = 10;
/// Characters of a job's id where there is no room for all of it.
const ID_CHARS: usize = 9;
/// Least columns for what a job is about.
const WHAT_CHARS: usize = 18;

/// A cell of a table: its text, and how it looks.
struct Cell(String, anstyle::Style);

fn plain(text: impl Into<String>) -> Cell {
    Cell(text.into(), anstyle::Style::new())
}

/// All of it, in at most so many rows and columns.
pub(super) fn text(seen: &Json, rows: usize, columns: usize) -> String {
    let mut out = String::new();
    let head = format!(
        "anabranch {}  {}  tenant {}",
        field(seen, "/version"),
        field(seen, "/server"),
        field(seen, "/tenant")
    );
    let at = field(seen, "/at");
    let clock = at.get(11..19).unwrap_or_default();
    // Writing to a text cannot fail.
    let _ok =
        writeln!(out, "{BOLD}{}{BOLD:#}  {DIM}{clock} UTC{DIM:#}", cut(&head, columns.saturating_sub(14)));
    let _ok = writeln!(out, "{}", sums(seen));
    match seen.get("stale").and_then(Json::as_str) {
        Some(why) => {
            let _ok = writeln!(out, "{RED}{}{RED:#}", cut(&format!("as it was then; now: {why}"), columns));
        }
        None => out.push('\n'),
    }
    let list = |name: &str| seen.get(name).and_then(Json::as_array).cloned().unwrap_or_default();
    let (models, jobs) = (list("models"), list("jobs"));
    if !models.is_empty() {
        let heads = [
            "MODEL", "SERVER", "STATE", "LOAD", "WAITING", "ANSWERED", "FAILED", "P50", "P95", "TOKENS/S",
            "CACHED",
        ];
        out.push_str(&table(&heads, &models.iter().flat_map(servers).collect::<Vec<_>>(), columns));
        out.push('\n');
    }
    if jobs.is_empty() {
        let _ok = writeln!(out, "{DIM}no jobs yet{DIM:#}");
    } else {
        let now = at.parse::<jiff::Timestamp>().unwrap_or_else(|_| jiff::Timestamp::now());
        out.push_str(&jobs_in(columns, &jobs, now));
    }
    // The last line of a screen has none below it.
    let end = out.match_indices('\n').nth(rows.saturating_sub(2)).map_or(out.len(), |(at, _)| at + 1);
    out.truncate(end);
    out
}

fn sums(seen: &Json) -> String {
    let count = |pointer: &str| seen.pointer(pointer).and_then(Json::as_u64).unwrap_or_default();
    let (succeeded, failed) = (count("/day/succeeded"), count("/day/failed"));
    let share = match succeeded + failed {
        0 => String::new(),
        ended => format!(", {} % of them well", succeeded * 100 / ended),
    };
    let cost = seen.pointer("/day/usage/cost").and_then(Json::as_f64).filter(|cost| *cost > 0.0);
    format!(
        "{GREEN}{} running{GREEN:#}  {YELLOW}{} waiting{YELLOW:#}  {} queued    24 h: {} runs{share}, {} model calls, {} tokens{}",
        count("/queue/running"),
        count("/queue/waiting"),
        count("/queue/queued"),
        count("/day/jobs"),
        short(count("/day/usage/model_calls")),
        short(count("/day/usage/prompt_tokens") + count("/day/usage/completion_tokens")),
        cost.map_or_else(String::new, |cost| format!(", cost {cost:.2}")),
    )
}

/// A row a server of a model.
fn servers(model: &Json) -> Vec<Vec<Cell>> {
    let replicas = model.get("replicas").and_then(Json::as_array).cloned().unwrap_or_default();
    let count =
        |value: &Json, pointer: &str| value.pointer(pointer).and_then(Json::as_u64).unwrap_or_default();
    let waiting = count(model, "/queue/interactive") + count(model, "/queue/batch");
    let row = |(at, replica): (usize, &Json)| {
        let (in_flight, limit) = (count(replica, "/in_flight"), count(replica, "/limit"));
        let (word, style) = match (replica.get("paused"), field(replica, "/breaker").as_str()) {
            (Some(Json::Bool(true)), _) => ("paused", YELLOW),
            (_, "closed") => ("up", GREEN),
            (_, "half_open") => ("tried", YELLOW),
            _ => ("down", RED),
        };
        let failed: u64 = ["overloaded", "timed_out", "unavailable", "rejected", "garbled"]
            .iter()
            .map(|kind| count(replica, &format!("/calls/{kind}")))
            .sum();
        let ms = |pointer: &str| {
            let ms = replica.pointer(pointer).and_then(Json::as_f64).filter(|ms| *ms > 0.0);
            plain(ms.map_or_else(
                || "–".to_owned(),
                |ms| if ms < 1_000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1e3) },
            ))
        };
        let speed = ["/prompt_tokens_per_sec", "/completion_tokens_per_sec"]
            .iter()
            .filter_map(|pointer| replica.pointer(pointer)?.as_f64())
            .fold(0.0, |sum: f64, one| sum + one);
        let cached = replica.get("cached_share").and_then(Json::as_f64);
        let server = field(replica, "/address");
        vec![
            plain(if at == 0 { field(model, "/model") } else { String::new() }),
            plain(if server.is_empty() { format!("{}", at + 1) } else { server }),
            Cell(word.to_owned(), style),
            plain(format!("{} {in_flight}/{limit}", bar(in_flight, limit))),
            plain(if at == 0 { waiting.to_string() } else { String::new() }),
            plain(short(count(replica, "/calls/answered"))),
            Cell(failed.to_string(), if failed > 0 { RED } else { anstyle::Style::new() }),
            ms("/answers/p50_ms"),
            ms("/answers/p95_ms"),
            plain(format!("{speed:.0}")),
            plain(cached.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0))),
        ]
    };
    replicas.iter().enumerate().map(row).collect()
}

/// The jobs, with as many of their columns as leave room for what each is about. Ids have their whole length or their end:
/// all of a day begin alike.
fn jobs_in(columns: usize, jobs: &[Json], now: jiff::Timestamp) -> String {
    const HEADS: [&str; 8] = ["STATUS", "FLOW", "TOOK", "NODES", "CALLS", "TOKENS", "JOB", "WHAT"];
    const LESS: [&[&str]; 4] =
        [&[], &["CALLS", "TOKENS"], &["CALLS", "TOKENS", "NODES"], &["CALLS", "TOKENS", "NODES", "JOB"]];
    let with = |id_chars: usize, less: &[&str]| {
        let is_kept = |at: usize| HEADS.get(at).is_some_and(|head| !less.contains(head));
        let of = |job: &Json| {
            let cells = row(job, now, id_chars).into_iter().enumerate();
            cells.filter(|(at, _)| is_kept(*at)).map(|(_, cell)| cell).collect::<Vec<_>>()
        };
        let heads: Vec<&str> = HEADS.into_iter().filter(|head| !less.contains(head)).collect();
        (heads, jobs.iter().map(of).collect::<Vec<_>>())
    };
    let shapes = std::iter::once((usize::MAX, LESS[0])).chain(LESS.map(|less| (ID_CHARS, less)));
    let mut shown = with(usize::MAX, &[]);
    for (id_chars, less) in shapes {
        shown = with(id_chars, less);
        let before = shown.0.len().saturating_sub(1);
        let widths = (0..before).map(|at| width(&shown.0, &shown.1, at) + 2);
        if widths.sum::<usize>() + WHAT_CHARS <= columns {
            break;
        }
    }
    table(&shown.0, &shown.1, columns)
}

fn row(job: &Json, now: jiff::Timestamp, id_chars: usize) -> Vec<Cell> {
    let count = |pointer: &str| job.pointer(pointer).and_then(Json::as_u64).unwrap_or_default();
    let status = field(job, "/status");
    let style = match status.as_str() {
        "succeeded" => GREEN,
        "failed" | "timed_out" => RED,
        "waiting" | "cancelled" => YELLOW,
        "running" => BOLD,
        _ => DIM,
    };
    let since = |pointer: &str| {
        let at = field(job, pointer).parse::<jiff::Timestamp>().ok()?;
        Some(now.as_millisecond().saturating_sub(at.as_millisecond()))
    };
    let took = between(job, "/started_at", "/finished_at")
        .or_else(|| since("/started_at"))
        .or_else(|| since("/created_at"));
    let (ended, running) = (count("/progress/nodes_ended"), count("/progress/nodes_running"));
    // That somebody stopped it is no news: its status says so.
    let why = if status == "cancelled" { String::new() } else { field(job, "/error/message") };
    let what = [field(job, "/preview"), why].into_iter().find(|text| !text.is_empty());
    vec![
        Cell(status, style),
        plain(field(job, "/flow")),
        plain(took.map_or_else(String::new, span)),
        plain(if running > 0 { format!("{ended}+{running}") } else { ended.to_string() }),
        plain(count("/usage/model_calls").to_string()),
        plain(short(count("/usage/prompt_tokens") + count("/usage/completion_tokens"))),
        Cell(end_of(&field(job, "/id"), id_chars), DIM),
        plain(what.unwrap_or_default()),
    ]
}

fn bar(of: u64, most: u64) -> String {
    let full = (of * BAR).checked_div(most).unwrap_or_default().min(BAR);
    (0..BAR).map(|at| if at < full { '█' } else { '░' }).collect()
}

/// `950`, `12K`, `3.4M`.
fn short(n: u64) -> String {
    match n {
        ..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{}K", n / 1_000),
        _ => format!("{:.1}M", n as f64 / 1e6),
    }
}

/// Rows under their heads, each line cut where the screen ends.
fn table(heads: &[&str], rows: &[Vec<Cell>], columns: usize) -> String {
    let widths: Vec<usize> = (0..heads.len()).map(|at| width(heads, rows, at)).collect();
    let mut out = String::new();
    let mut line = |cells: Vec<(&str, anstyle::Style)>| {
        let mut left = columns;
        for ((text, style), width) in cells.into_iter().zip(&widths) {
            let text = cut(&text.split_whitespace().collect::<Vec<_>>().join(" "), left.min(*width));
            let chars = text.chars().count();
            left = left.saturating_sub(chars);
            let padding = width.saturating_sub(chars).saturating_add(2).min(left);
            left -= padding;
            let _ok = write!(out, "{style}{text}{style:#}{:padding$}", "");
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    };
    line(heads.iter().map(|head| (*head, BOLD)).collect());
    for row in rows {
        line(row.iter().map(|cell| (cell.0.as_str(), cell.1)).collect());
    }
    out
}

/// Columns that the column `at` would have.
fn width(heads: &[&str], rows: &[Vec<Cell>], at: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.0.chars().count());
    cells.chain(heads.get(at).map(|head| head.chars().count())).max().unwrap_or_default()
}

/// The end of a text, of at most so many characters.
fn end_of(text: &str, chars: usize) -> String {
    let n = text.chars().count();
    if n <= chars {
        return text.to_owned();
    }
    let kept = text.chars().skip(n.saturating_sub(chars.saturating_sub(1)));
    std::iter::once('…').chain(kept).collect()
}

fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars.saturating_sub(1)).chain(['…']).take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen() -> Json {
        json!({
            "server": "http://127.0.0.1:7117", "at": "2026-11-29T05:20:18Z", "version": "0.1.0", "tenant": "default",
            "queue": { "queued": 3, "running": 1, "waiting": 1 },
            "day": { "jobs": 120, "succeeded": 98, "failed": 2, "usage": { "model_calls": 240, "prompt_tokens": 1_200_000, "completion_tokens": 34_000, "cost": 3.2 } },
            "models": [{ "model": "default", "queue": { "interactive": 2, "batch": 1 }, "replicas": [
                { "breaker": "closed", "in_flight": 4, "limit": 8, "calls": { "answered": 240, "timed_out": 1 },
                  "answers": { "p50_ms": 820.0, "p95_ms": 2100.0 }, "prompt_tokens_per_sec": 800.0, "completion_tokens_per_sec": 40.0, "cached_share": 0.6 },
                { "breaker": "open", "in_flight": 0, "limit": 8, "calls": { "answered": 0, "unavailable": 5 }, "cached_share": null },
            ] }],
            "jobs": [
                { "id": "job_1", "status": "running", "flow": "quickstart", "started_at": "2026-11-29T05:20:15Z",
                  "progress": { "nodes_ended": 3, "nodes_running": 2 }, "usage": { "model_calls": 1, "prompt_tokens": 800, "completion_tokens": 60 },
                  "preview": "In which trees\ndo herons nest?" },
                { "id": "job_2", "status": "failed", "flow": "broken", "started_at": "2026-11-29T05:20:10Z", "finished_at": "2026-11-29T05:20:11Z",
                  "progress": { "nodes_ended": 1 }, "usage": {}, "error": { "message": "the model is down" } },
            ],
        })
    }

    fn shown(rows: usize, columns: usize) -> String {
        anstream::adapter::strip_str(&text(&seen(), rows, columns)).to_string()
    }

    #[test]
    fn it_shows_the_queue_the_servers_and_the_jobs() {
        assert_eq!(
            shown(usize::MAX, 160),
            "\
anabranch 0.1.0  http://127.0.0.1:7117  tenant default  05:20:18 UTC
1 running  1 waiting  3 queued    24 h: 120 runs, 98 % of them well, 240 model calls, 1.2M tokens, cost 3.20

MODEL    SERVER  STATE  LOAD            WAITING  ANSWERED  FAILED  P50     P95    TOKENS/S  CACHED
default  1       up     █████░░░░░ 4/8  3        240       1       820 ms  2.1 s  840       60 %
         2       down   ░░░░░░░░░░ 0/8           0         5       –       –      0         –

STATUS   FLOW        TOOK  NODES  CALLS  TOKENS  JOB    WHAT
running  quickstart  3 s   3+2    1      860     job_1  In which trees do herons nest?
failed   broken      1 s   1      0      0       job_2  the model is down
"
        );
    }

    #[test]
    fn nothing_is_wider_or_longer_than_the_screen() {
        for (rows, columns) in [(5, 30), (24, 80), (3, 1)] {
            let shown = shown(rows, columns);
            assert!(shown.lines().count() < rows);
            assert!(shown.lines().skip(3).all(|line| line.chars().count() <= columns), "{shown}");
        }
    }

    #[test]
    fn a_narrow_terminal_tells_jobs_apart_and_says_what_they_are_about() {
        let id = |end: &str| json!(format!("job_01a0b1c2d3e4f5061728394a5b6c{end}"));
        let mut seen = seen();
        (seen["jobs"][0]["id"], seen["jobs"][1]["id"]) = (id("7d8e"), id("9fa0"));
        seen["jobs"][1] = json!({ "id": id("9fa0"), "status": "cancelled", "flow": "broken", "usage": {},
                                  "error": { "message": "it was cancelled on request" } });
        let shown = anstream::adapter::strip_str(&text(&seen, 40, 60)).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[lines.len() - 3..],
            [
                "STATUS     FLOW        TOOK  JOB        WHAT",
                "running    quickstart  3 s   …5b6c7d8e  In which trees do h…",
                "cancelled  broken            …5b6c9fa0",
            ],
            "{shown}"
        );
        assert!(text(&seen, 40, 160).contains("job_01a0b1c2d3e4f5061728394a5b6c7d8e"));
    }

    #[test]
    fn a_server_that_went_away_is_said_above_what_it_said_last() {
        let mut seen = seen();
        seen["stale"] = json!("the server cannot be reached");
        assert!(text(&seen, 40, 120).contains("as it was then; now: the server cannot be reached"));
    }
}
