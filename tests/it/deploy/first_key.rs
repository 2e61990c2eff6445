//! The steps that lead from nothing to a service with a key, as `deploy/` documents them: the program itself, on a
//! `PostgreSQL`, with the configurations as they are but for their places.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{objects, of_kind, yaml};
use crate::cli;
use crate::stores::postgres::Postgres;
use crate::support::{client, read};

const FLOW: &str = "flow: larger\ninputs: { n: int }\nnodes:\n  compare: { op: judge.rule, in: { n: inputs.n }, with: \
                    { pass: n > 5 } }\noutputs: { larger: compare.pass }\n";
/// As `openssl rand -hex 32` makes one.
const ROOT_KEY: &str = "7d1c0b7d3a5f4e0f9a6b8c2d1e3f5a7b9c0d2e4f6a8b0c1d3e5f7a9b1c3d5e7f";

/// A container, as far as the program can tell: an empty database, secrets, and a configuration in its place.
struct Container {
    folder: TempDir,
    server: Postgres,
}

impl Container {
    async fn new(config: &str) -> Self {
        let (folder, server) = (TempDir::new().unwrap(), Postgres::start().await);
        server.create("anabranch").await;
        for name in ["flows", "run/secrets", "data"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("flows/larger.yaml"), FLOW).unwrap();
        let this = Self { folder, server };
        fs::write(this.folder.path().join("run/secrets/store_url"), this.url()).unwrap();
        fs::write(this.config(), this.placed(config)).unwrap();
        this
    }

    fn url(&self) -> String {
        self.server.url_of("anabranch", "anabranch")
    }

    fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("anabranch.yaml")
    }

    /// A text with the places of the image in this folder.
    fn placed(&self, text: &str) -> String {
        let here = |path: &str| self.folder.path().join(path).display().to_string();
        text.replace("/run/secrets", &here("run/secrets"))
            .replace("/etc/anabranch/flows", &here("flows"))
            .replace("data: /data", &format!("data: {}", here("data")))
            .replace("/tmp/anabranch", &here("data"))
    }

    /// The program with the arguments that `deploy/` gives it, but for the place of the configuration and the port.
    fn command(&self, args: &[String], root_key: Option<&str>) -> Command {
        let at = args.iter().position(|arg| arg == "--config").expect("it names the configuration");
        let mut args = args.to_vec();
        args[at + 1] = self.config().display().to_string();
        for arg in &mut args {
            *arg = arg.replace("0.0.0.0:7117", "0.0.0.0:0");
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = cli::anabranch(&args);
        command.current_dir(self.folder.path().join("data")).env("ANABRANCH_DATABASE_URL", self.url());
        if let Some(key) = root_key {
            command.env("ANABRANCH_ROOT_KEY", key);
        }
        command
    }
}

/// Ends with the test.
struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    fn start(mut command: Command, log: &Path) -> Self {
        let mut child = command
            .arg("--json")
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error}: {}", fs::read_to_string(log).unwrap_or_default()));
        let url = said["url"].as_str().unwrap().replace("0.0.0.0", "127.0.0.1");
        Self { child, url }
    }

    /// The status for whoever has this key, or none.
    async fn lets_in(&self, key: Option<&str>) -> u16 {
        let mut request = client().get(format!("{}/v1/flows", self.url));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        request.send().await.unwrap().status().as_u16()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn words(args: &Value) -> Vec<String> {
    args.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The arguments of the first command in `text` that follows `program`; it may go on in lines that follow a `\`.
fn arguments(text: &str, program: &str) -> Vec<String> {
    let (_, rest) = text.split_once(program).unwrap_or_else(|| panic!("nothing says `{program}`"));
    let mut words = Vec::new();
    for line in rest.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        words.extend(line.split_whitespace().filter(|word| *word != "\\").map(str::to_owned));
        if !line.ends_with('\\') {
            break;
        }
    }
    words
}

/// What the program prints: the key.
fn made(mut command: Command) -> String {
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_steps_of_the_composition_lead_to_a_service_with_a_key() {
    let path = "deploy/compose.yaml";
    let services = yaml(&[path])[path]["services"].take();
    let container = Container::new(&read("deploy/compose/anabranch.yaml")).await;
    made(container.command(&words(&services["migrate"]["command"]), None));
    let create = arguments(&read(path), "run --rm service");
    let key = made(container.command(&create, None));
    let serve = container.command(&words(&services["service"]["command"]), None);
    let service = Serving::start(serve, &container.folder.path().join("log"));
    assert_eq!((service.lets_in(None).await, service.lets_in(Some(&key)).await), (401, 200));
    let order = ["run --rm service", "up --detach"].map(|step| read(path).find(step).unwrap());
    assert!(order.is_sorted(), "a key comes before the services, which need one to begin");
}

#[tokio::test]
async fn the_steps_of_the_chart_lead_to_a_service_with_a_key() {
    let objects = objects();
    let as_it_comes: Vec<_> = objects.into_iter().filter(|(values, _)| values == "as it comes").collect();
    let called = |kind: &str, name: &str| {
        let found = of_kind(&as_it_comes, kind).into_iter().find(|object| object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("there is no {kind} `{name}`")).clone()
    };
    let config = called("ConfigMap", "rag-config")["data"]["anabranch.yaml"].clone();
    let container = Container::new(config.as_str().unwrap()).await;
    let args = |object: &Value| words(&object["spec"]["template"]["spec"]["containers"][0]["args"]);
    made(container.command(&args(&called("Job", "rag-migrate")), None));
    let serve = container.command(&args(&called("Deployment", "rag-serve")), Some(ROOT_KEY));
    let service = Serving::start(serve, &container.folder.path().join("log"));
    assert_eq!((service.lets_in(None).await, service.lets_in(Some(ROOT_KEY)).await), (401, 200));
    let notes = read("deploy/helm/anabranch/templates/NOTES.txt");
    let key = made(container.command(&arguments(&notes, "/usr/local/bin/anabranch"), Some(ROOT_KEY)));
    assert_eq!(service.lets_in(Some(&key)).await, 200);
}
