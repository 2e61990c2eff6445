//! What the commands share that ask a server: where it is, how tables are drawn, what an input on the command line means.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::print::{BOLD, DIM, GREEN, RED, YELLOW};
use crate::client::{Client, DEFAULT_SERVER};
use crate::config::{self, Config};
use crate::exit::Error;

/// Widest column of a table; what is longer is cut.
const COLUMN_CHARS: usize = 48;

/// Where the server is. The key is never an argument: others on the machine could read it.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(id = "remote")]
pub(crate) struct Args {
    /// Address of the server; that of `anabranch serve` in this folder if unset
    #[arg(long, value_name = "URL", env = "ANABRANCH_SERVER", hide_env_values = true)]
    pub(crate) server: Option<String>,
}

impl Args {
    /// The server, with the key in `ANABRANCH_KEY` if there is one.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        let server = match &self.server {
            Some(server) if !server.trim().is_empty() => server.clone(),
            _ => default_server(),
        };
        let key = std::env::var("ANABRANCH_KEY").ok().filter(|key| !key.trim().is_empty());
        Ok(Client::new(&server, key.map(Into::into))?)
    }
}

/// Where `anabranch serve` listens in this folder.
pub(crate) fn default_server() -> String {
    if !Path::new(config::FILE).is_file() {
        return DEFAULT_SERVER.to_owned();
    }
    // What is wrong with a configuration is the business of the commands that need it.
    let Ok(config) = Config::find(None) else { return DEFAULT_SERVER.to_owned() };
    let mut listen = config.server.listen;
    if listen.ip().is_unspecified() {
        let here: std::net::IpAddr = if listen.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        listen.set_ip(here);
    }
    format!("http://{listen}")
}

/// `NAME=VALUE` arguments of the option `option`, as a mapping.
pub(crate) fn pairs(option: &str, given: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let mut pairs = BTreeMap::new();
    for pair in given {
        let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Error::usage(format!("`{option} {pair}` has no `=`"))
                .hint(format!("write `{option} NAME=VALUE`")));
        };
        if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Error::usage(format!("`{option}`: `{name}` is given twice")));
        }
    }
    Ok(pairs)
}

/// The inputs of `--inputs FILE` with those of `-i` on top. `schema` is the JSON Schema of the flow's inputs, if it is
/// known: what it calls a text is taken as it stands, all else is read as YAML.
pub(crate) fn inputs(
    file: Option<&Path>,
    given: &[String],
    schema: Option<&Json>,
) -> Result<Map<String, Json>, Error> {
    let mut inputs = Map::new();
    if let Some(path) = file {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::usage(format!("cannot read `{shown}`: {error}")))?;
        match serde_yaml::from_str::<Json>(&text) {
            Ok(Json::Object(read)) => inputs = read,
            _ => return Err(Error::usage(format!("`{shown}` holds no mapping of names to values"))),
        }
    }
    for (name, value) in pairs("-i", given)? {
        let text = match value.strip_prefix('@') {
            Some(rest) if rest.starts_with('@') => rest.to_owned(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Error::usage(format!("`-i {name}`: cannot read `{path}`: {error}")))?,
            None => value,
        };
        let property = schema.and_then(|schema| schema.pointer(&format!("/properties/{name}")));
        let value = read_value(text, property);
        inputs.insert(name, value);
    }
    Ok(inputs)
}

/// A text is taken as it stands where the schema asks for one; anything else is read as YAML, of which JSON is a part.
pub(crate) fn read_value(text: String, schema: Option<&Json>) -> Json {
    let takes = |kind: &str| match schema.and_then(|schema| schema.get("type")) {
        Some(Json::String(known)) => known == kind,
        Some(Json::Array(known)) => known.iter().any(|known| known == kind),
        _ => false,
    };
    if takes("string") {
        return Json::String(text);
    }
    match serde_yaml::from_str::<Json>(&text) {
        Ok(Json::String(_)) | Err(_) => Json::String(text),
        // Nobody said what it is: a question with a colon in it is no mapping.
        Ok(Json::Object(_)) if schema.is_none() && !text.trim_start().starts_with('{') => Json::String(text),
        Ok(value) => value,
    }
}

/// Rows in aligned columns under their heads.
pub(crate) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heads.iter().map(|head| head.chars().count()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| cut(cell)).collect()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut text = format!("{BOLD}{}{BOLD:#}\n", line(&mut heads.iter().copied()));
    for row in &rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
        text.push('\n');
    }
    text
}

fn cut(cell: &str) -> String {
    let cell = cell.split_whitespace().collect::<Vec<_>>().join(" ");
    if cell.chars().count() <= COLUMN_CHARS {
        return cell;
    }
    cell.chars().take(COLUMN_CHARS - 1).chain(['…']).collect()
}

/// Text of a field; empty if there is none.
pub(crate) fn text(value: &Json, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Labels as they are given: `a=b c=d`.
pub(crate) fn labels(value: &Json) -> String {
    let pairs = value.get("labels").and_then(Json::as_object).into_iter().flatten();
    pairs
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A status in its colour.
pub(crate) fn status(word: &str) -> String {
    let style = match word {
        "succeeded" | "ok" => GREEN,
        "failed" | "timed_out" | "fail" => RED,
        "waiting" | "cancelled" | "warn" => YELLOW,
        _ => DIM,
    };
    format!("{style}{word}{style:#}")
}

/// How long ago, or how long: `340 ms`, `12 s`, `3 min`, `5 h`, `2 d`.
pub(crate) fn span(ms: i64) -> String {
    match ms {
        ..1_000 => format!("{} ms", ms.max(0)),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// Milliseconds between two times of a job; `None` if one is missing.
pub(crate) fn between(job: &Json, from: &str, to: &str) -> Option<i64> {
    let at = |pointer: &str| text(job, pointer).parse::<jiff::Timestamp>().ok();
    Some(at(to)?.as_millisecond().saturating_sub(at(from)?.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_input_is_read_as_the_flow_wants_it() {
        let read = |text: &str, schema: Json| read_value(text.to_owned(), Some(&schema));
        assert_eq!(read("3", json!({ "type": "string" })), json!("3"));
        assert_eq!(read("3", json!({ "type": "integer" })), json!(3));
        assert_eq!(read("[a, b]", json!({ "type": "array" })), json!(["a", "b"]));
        assert_eq!(read("x: z", json!({ "type": ["object", "null"] })), json!({ "x": "z" }));
        for text in ["Who?", "Note: what is it?", "yes sir"] {
            assert_eq!(read_value(text.to_owned(), None), json!(text));
        }
        assert_eq!(read_value("{a: 1}".to_owned(), None), json!({ "a": 1 }));
    }

    #[test]
    fn a_table_is_aligned_and_long_cells_are_cut() {
        let rows = [vec!["1".to_owned(), "x".repeat(60)], vec!["22".to_owned(), "a\nb".to_owned()]];
        let shown = table(&["ID", "NAME"], &rows).replace(&BOLD.to_string(), "").replace("\u{1b}[0m", "");
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "ID  NAME");
        assert_eq!(lines[1].chars().count(), 4 + COLUMN_CHARS);
        assert_eq!(lines[2], "22  a b");
    }

    #[test]
    fn times_are_told_shortly() {
        assert_eq!(
            [5, 1_500, 125_000, 7_300_000, 200_000_000].map(span),
            ["5 ms", "1 s", "2 min", "2 h", "2 d"]
        );
    }
}
