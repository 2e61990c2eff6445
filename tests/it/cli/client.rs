//! The commands that ask a server, against the real one: what they print, as text and as JSON, and how they end.

mod flows;
mod jobs;
mod keys;
mod top;

use serde_json::Value as Json;

use super::{Ran, anabranch, ran};
use crate::outside::service::Service;

/// A server, and commands that ask it.
struct Asked {
    service: Service,
    /// What stands in `ANABRANCH_KEY`.
    key: Option<String>,
}

impl Asked {
    fn new() -> Self {
        Self { service: Service::start(""), key: None }
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.with_key(self.key.as_deref(), args)
    }

    /// Runs a command with this key in its environment.
    fn with_key(&self, key: Option<&str>, args: &[&str]) -> Ran {
        let mut command = anabranch(args);
        command.current_dir(self.service.folder()).env("ANABRANCH_SERVER", &self.service.url);
        if let Some(key) = key {
            command.env("ANABRANCH_KEY", key);
        }
        ran(&mut command)
    }

    /// Runs a command that must go well; what it prints.
    fn out(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}{}", ran.out, ran.err);
        ran.out
    }

    /// As [`Asked::out`], of a command that prints JSON.
    fn json(&self, args: &[&str]) -> Json {
        let args: Vec<&str> = args.iter().chain(&["--json"]).copied().collect();
        serde_json::from_str(&self.out(&args)).unwrap()
    }

    /// Submits a job and waits until it has ended, or waits for somebody; its id.
    fn job(&self, args: &[&str]) -> String {
        let args: Vec<&str> = ["jobs", "submit"].iter().chain(args).copied().collect();
        self.out(&args).trim().to_owned()
    }

    /// A job, once it has this status.
    fn until(&self, id: &str, status: &str) -> Json {
        let begun = std::time::Instant::now();
        loop {
            let job = self.json(&["jobs", "show", id]);
            if job["status"] == status {
                return job;
            }
            assert!(begun.elapsed() < crate::outside::service::SOON, "it does not become {status}: {job}");
        }
    }
}

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_do() {
    // A port that was free a moment ago: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!("http://127.0.0.1:{port}");
    for command in [["jobs", "list"], ["flows", "list"], ["keys", "list"]] {
        let ran = super::run(&[command[0], command[1], "--server", &server]);
        assert_eq!(ran.code, Some(4), "{}", ran.err);
        assert!(ran.err.contains("cannot be reached") && ran.err.contains("anabranch serve"), "{}", ran.err);
        assert!(ran.out.is_empty());
    }
    let wrong = super::run(&["jobs", "list", "--server", "localhost"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
}

#[test]
fn the_doctor_says_of_everything_whether_it_works() {
    let asked = Asked::new();
    let found = asked.json(&["doctor"]);
    assert_eq!(found["ok"], true, "{found}");
    let checks = found["checks"].as_array().unwrap();
    let state = |name: &str| checks.iter().find(|check| check["check"] == name).unwrap()["state"].clone();
    for name in ["configuration", "data folder", "store", "clock", "model default", "server"] {
        assert_eq!(state(name), "ok", "{name}: {found}");
    }
    let text = asked.out(&["doctor"]);
    assert!(text.contains("is ready"), "{text}");

    let folder = tempfile::TempDir::new().unwrap();
    let config = "models: { default: { url: 'http://127.0.0.1:1', model: m } }\n";
    std::fs::write(folder.path().join("anabranch.yaml"), config).unwrap();
    let broken = ran(anabranch(&["doctor"]).current_dir(folder.path()));
    assert_eq!(broken.code, Some(4), "a model is away: {}", broken.out);
    assert!(broken.out.contains("fail  model default") && broken.out.contains("fix: "), "{}", broken.out);
    assert!(broken.out.contains("warn  server"), "nobody has to have a server: {}", broken.out);
    std::fs::write(folder.path().join("anabranch.yaml"), "modles: {}\n").unwrap();
    let wrong = ran(anabranch(&["doctor"]).current_dir(folder.path()));
    assert_eq!(wrong.code, Some(1), "{}", wrong.out);
    assert!(wrong.out.contains("fail  configuration"), "{}", wrong.out);
}

#[test]
fn without_a_configuration_the_flows_beside_it_are_served() {
    let asked = Asked::new();
    let names = |found: &Json| -> Vec<String> {
        let items = found["items"].as_array().unwrap();
        items.iter().map(|flow| flow["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&asked.json(&["flows", "list"])), ["asks", "few", "larger"]);
}
