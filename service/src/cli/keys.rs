//! `anabranch keys`: who may call a server.

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::remote::{self, table, text};
use super::{Ended, print, world};
use crate::client::Ask;
use crate::exit::{Error, Exit};

mod local;

/// Make, list and revoke the keys of a server
///
/// A key belongs to a tenant and has scopes: `read` looks, `run` submits, stops and answers jobs, `edit` changes flows,
/// webhooks, schedules and indexes, `admin` makes keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch keys create --name ci --scope run --scope read
  anabranch keys create --name nightly --scope run --expires 90d
  anabranch keys list
  anabranch keys revoke key_0198...
  anabranch keys create --local --name first --scope read,run,edit,admin

The server is named by --server or ANABRANCH_SERVER, a key with the scope
`admin` stands in ANABRANCH_KEY; on the machine itself a server without keys
needs none. With --local (or --config, or --data) no server is asked: it is done
in the store that the configuration names, by whoever can write there. That is
where the first key of a server comes from that others can reach.

Exit codes: 2 wrong usage or no such key, 4 the server or the store is
unavailable, 5 a limit was reached, 6 the key does not allow it.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(CreateArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
}

pub(crate) async fn run(args: &Args) -> Ended {
    match &args.command {
        Command::Create(args) => create(args).await,
        Command::List(args) => list(args).await,
        Command::Revoke(args) => revoke(args).await,
    }
}

/// Most keys that are listed.
const PAGE: u32 = 1_000;

/// Whether a server is asked, or the store itself.
#[derive(Debug, Clone, Default, clap::Args)]
struct Place {
    /// Ask no server: do it in the store that the configuration names
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    world: world::Args,
    #[command(flatten)]
    remote: remote::Args,
}

impl Place {
    /// Whether it is done in the store.
    fn is_local(&self) -> bool {
        self.local || self.world.config.is_some() || self.world.data.is_some()
    }
}

/// Make a key: it is printed this once and kept nowhere
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch keys create --name ci --scope run --scope read
  anabranch keys create --name root --scope read,run,edit,admin
  anabranch keys create --local --config anabranch.yaml --name first --scope admin
  export ANABRANCH_KEY=\"$(anabranch keys create --name me --scope admin,read)\"

Prints the key to standard output and everything else to standard error.

JSON (--json): {id, tenant, name, scopes, created_at, expires_at?, key}")]
struct CreateArgs {
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// What it may do: `read`, `run`, `edit`, `admin`; can be repeated
    #[arg(
        long = "scope",
        visible_alias = "scopes",
        value_name = "SCOPE",
        value_delimiter = ',',
        required = true
    )]
    scopes: Vec<String>,
    /// Until when it is good: a time, or so long from now (`90d`, `12h`); for ever if unset
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Whose it is to be; only admins of the tenant `default` name another
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

async fn create(args: &CreateArgs) -> Ended {
    let now = jiff::Timestamp::now();
    let expires = args.expires.as_deref().map(|expires| moment(expires, now)).transpose()?;
    let made = if args.place.is_local() {
        let wanted =
            local::Wanted { name: &args.name, scopes: &args.scopes, expires, tenant: args.tenant.as_deref() };
        local::create(&args.place.world, wanted, now).await?
    } else {
        let mut body = json!({ "name": args.name, "scopes": args.scopes });
        if let Some(fields) = body.as_object_mut() {
            if let Some(expires) = expires {
                fields.insert("expires_at".to_owned(), json!(expires.to_string()));
            }
            if let Some(tenant) = &args.tenant {
                fields.insert("tenant".to_owned(), json!(tenant));
            }
        }
        args.place.remote.client()?.json(Ask::post(&["keys"]).json(body)).await?
    };
    if args.json {
        print::json(&made)?;
        return Ok(Exit::Ok);
    }
    print::data(&format!("{}\n", text(&made, "/key")))?;
    print::remark(&format!(
        "{} for tenant `{}`; the key is not shown again",
        text(&made, "/id"),
        text(&made, "/tenant")
    ));
    Ok(Exit::Ok)
}

/// List keys: what is kept of them, not the keys themselves
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch keys list

JSON (--json):
  {items: [{id, tenant, name, scopes, created_at, expires_at?, revoked_at?,
            used_at?}], next_cursor?}")]
struct ListArgs {
    /// Of this tenant; only admins of the tenant `default` name another
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

async fn list(args: &ListArgs) -> Ended {
    let page = if args.place.is_local() {
        local::list(&args.place.world, args.tenant.as_deref(), PAGE).await?
    } else {
        let ask = Ask::get(&["keys"]).query("limit", PAGE).maybe("tenant", args.tenant.as_ref());
        args.place.remote.client()?.json(ask).await?
    };
    if args.json {
        print::json(&page)?;
        return Ok(Exit::Ok);
    }
    let row = |key: &Json| {
        let scopes = key.get("scopes").and_then(Json::as_array).into_iter().flatten();
        let scopes: Vec<&str> = scopes.filter_map(Json::as_str).collect();
        let is_revoked = !text(key, "/revoked_at").is_empty();
        let until = if is_revoked { "revoked".to_owned() } else { text(key, "/expires_at") };
        vec![text(key, "/id"), text(key, "/name"), scopes.join(","), text(key, "/created_at"), until]
    };
    let items = page.get("items").and_then(Json::as_array).cloned().unwrap_or_default();
    if items.is_empty() {
        print::remark("there are no keys; make one: `anabranch keys create --name NAME --scope SCOPE`");
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    print::data(&table(&["ID", "NAME", "SCOPES", "CREATED", "UNTIL"], &rows))?;
    Ok(Exit::Ok)
}

/// Revoke keys: they are refused from now on
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch keys revoke key_0198...

Other processes of the server notice within seconds.")]
struct RevokeArgs {
    /// Keys, by their ids
    #[arg(required = true, value_name = "KEY_ID")]
    keys: Vec<String>,
    #[command(flatten)]
    place: Place,
}

async fn revoke(args: &RevokeArgs) -> Ended {
    if args.keys.iter().any(|id| id.starts_with("anb_")) {
        return Err(Error::usage("a key is revoked by its id, not by itself")
            .hint("`anabranch keys list` shows the ids: `key_...`"));
    }
    if args.place.is_local() {
        local::revoke(&args.place.world, &args.keys).await?;
        return Ok(Exit::Ok);
    }
    let client = args.place.remote.client()?;
    for id in &args.keys {
        client.send(Ask::new(Method::DELETE, &["keys", id])).await?;
        print::remark(&format!("revoked {id}"));
    }
    Ok(Exit::Ok)
}

/// A time (RFC 3339), or so long from `now`.
fn moment(text: &str, now: jiff::Timestamp) -> Result<jiff::Timestamp, Error> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at);
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()?.checked_mul(86_400));
    let wait = days.map(std::time::Duration::from_secs);
    let wait = wait.or_else(|| anabranch_engine::flow::parse::duration(text).ok());
    wait.and_then(|wait| now.checked_add(wait).ok()).ok_or_else(|| {
        Error::usage(format!("`{text}` is neither a time nor a duration"))
            .hint("write `2027-03-01T09:00:00Z`, `90d` or `12h`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_as_such_or_from_now() {
        let now = "2027-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(moment("90d", now).unwrap().to_string(), "2027-04-01T00:00:00Z");
        assert_eq!(moment("12h", now).unwrap().to_string(), "2027-01-01T12:00:00Z");
        assert_eq!(moment("2027-03-01T10:00:00+01:00", now).unwrap().to_string(), "2027-03-01T09:00:00Z");
        assert!(moment("soon", now).is_err());
    }
}
