//! The store: whether it can be reached, has the tables of this build, and tells the same time.

use super::Check;
use crate::config::Config;
use crate::exit::chain;
use crate::process::store_options;
use crate::store::{At, Options, Store, StoreError};

/// Greatest difference between two clocks that nobody has to think about.
const CLOCK_MS: i64 = 2_000;

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let (name, at) = match at(config) {
        Ok(found) => found,
        Err(why) => return vec![Check::fail("store", why, "set what `store.url` names")],
    };
    // A file that is not there yet is made by the first process that keeps something.
    if let At::Sqlite(path) = &at
        && !path.exists()
    {
        return vec![Check::ok("store", format!("{name} will be made by `anabranch serve`"))];
    }
    if matches!(at, At::Memory) {
        let fix = "name a file or a database in `store.url`, if jobs are to outlive the process";
        return vec![Check::warn("store", "nothing is kept: `memory`", fix)];
    }
    let store = match Store::open(Options::new(at), false).await {
        Ok(store) => store,
        Err(StoreError::Unavailable(why)) if why.contains("migrate") => {
            return vec![Check::fail("store", format!("{name}: {why}"), "run `anabranch migrate`")];
        }
        Err(error) => {
            let fix = "start the database, or put `store.url` right";
            return vec![Check::away("store", format!("{name}: {}", chain(&error)), fix)];
        }
    };
    let mut checks = vec![match store.ready().await {
        Ok(()) => {
            Check::ok("store", format!("{name} can be read and written, its tables are those of this build"))
        }
        Err(error) => {
            Check::away("store", format!("{name}: {}", chain(&error)), "look at the database's log")
        }
    }];
    if let Ok(theirs) = store.now_ms().await {
        checks.push(clock(theirs, jiff::Timestamp::now().as_millisecond()));
    }
    store.close().await;
    checks
}

fn clock(theirs: i64, ours: i64) -> Check {
    let off = ours.saturating_sub(theirs);
    let found = format!("{} ms off the database's", off.abs());
    match off.abs() {
        ..=CLOCK_MS => Check::ok("clock", found),
        _ => Check::warn("clock", found, "let both machines follow a time server"),
    }
}

/// Where the store is, and what it is called.
fn at(config: &Config) -> Result<(String, At), String> {
    let env = |name: &str| std::env::var(name).ok();
    let options = store_options(config, &env).map_err(|error| chain(&error))?;
    let name = match &options.at {
        At::Sqlite(path) => format!("`{}`", path.display()),
        At::Postgres(_) => "PostgreSQL".to_owned(),
        At::Memory => "`memory`".to_owned(),
    };
    Ok((name, options.at))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_told() {
        assert_eq!(clock(10_000, 10_500).state, State::Ok);
        assert_eq!(clock(10_000, 70_000).state, State::Warn);
        assert_eq!(clock(70_000, 10_000).found, "60000 ms off the database's");
    }
}
