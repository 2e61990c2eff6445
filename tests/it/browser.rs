//! The dashboard in a real browser: Debian's Chromium, driven by the scripts of `tests/browser` through Playwright.
//!
//! Each test has a service of its own in this process; pictures of what was seen are left in `target/dashboard`.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Usage};
use anabranch_engine::cx::{Model, Resources};
use anabranch_engine::testing;
use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::support::root;

mod service;

use service::Service;

/// Where the tests look for the environment; `.ci/test` sets it.
const FOLDER: &str = "ANABRANCH_TEST_BROWSER";

fn python() -> PathBuf {
    let folder = std::env::var_os(FOLDER).unwrap_or_else(|| {
        panic!("{FOLDER} is not set: it names the folder that `./.ci/browser` prints (`./.ci/test` does all of it)")
    });
    root().join(folder).join("bin/python")
}

/// Runs a script of `tests/browser` against a service.
async fn drive(script: &str, service: &Service, more: &[(&str, String)]) {
    let mut command = Command::new(python());
    command.arg(root().join("tests/browser").join(script)).current_dir(root());
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("URL", &service.url)
        .envs(more.iter().map(|(name, value)| (name, value)));
    let ran = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    println!("{said}");
    assert!(ran.status.success(), "{script} ended with {}\n{said}\n{wrong}", ran.status);
}

/// Answers in words that cite: begins, and goes on once for each connection to its gate, so that nobody misses it.
#[derive(Debug)]
struct Talker {
    go_on: Arc<Semaphore>,
}

/// Words before it waits.
const BEGINNING: usize = 6;

#[async_trait]
impl ChatModel for Talker {
    fn name(&self) -> &'static str {
        "talker"
    }

    async fn chat(&self, _: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let text = "Herons nest in the tops of **tall trees** [1], often many pairs side by side.\n\n<img src=x onerror=alert(1)> \
                    is no picture.\n\n- they fish at dawn\n- they rest by day";
        for (index, word) in text.split_inclusive(' ').enumerate() {
            if index == BEGINNING {
                self.go_on.acquire().await.expect("never closed").forget();
            }
            (call.on_delta)(word);
        }
        Ok(ChatResponse {
            text: text.to_owned(),
            finish_reason: FinishReason::Stop,
            usage: Usage {
                prompt_tokens: 800,
                cached_tokens: 480,
                completion_tokens: 60,
                ..Usage::default()
            },
            model: "talker".to_owned(),
            tool_calls: Vec::new(),
            logprobs: Vec::new(),
        })
    }
}

/// A model that talks, and where its gate is.
async fn talking() -> (Resources, String) {
    let (go_on, gate) = (Arc::new(Semaphore::new(0)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = gate.local_addr().unwrap().to_string();
    let opened = go_on.clone();
    tokio::spawn(async move {
        while gate.accept().await.is_ok() {
            opened.add_permits(1);
        }
    });
    let mut resources = testing::resources();
    resources.models.insert("talker".to_owned(), Model::Chat(Arc::new(Talker { go_on })));
    (resources, address)
}

/// Runs a script against a service of its own.
async fn on_its_own(script: &str) {
    let (models, gate) = talking().await;
    drive(script, &Service::start(models, None).await, &[("GO_ON", gate)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_submitted_watched_and_looked_into() {
    on_its_own("journey.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_cancelled_retried_edited_answered_and_compared() {
    on_its_own("acting.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_ten_thousand_executions_is_shown_with_few_elements() {
    on_its_own("large.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_asked_for_and_kept_in_the_tab_alone() {
    let key = "a root key that is long enough to be one".to_owned();
    let (models, gate) = talking().await;
    let service = Service::start(models, Some(&key)).await;
    drive("signin.py", &service, &[("KEY", key), ("GO_ON", gate)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_side_by_side_searches_and_waits_are_drawn_as_they_were() {
    on_its_own("seeing.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_somebody_wrote_or_looked_at_is_lost_on_the_way() {
    on_its_own("staying.py").await;
}

/// Looks at every page, on a screen and on a phone.
async fn look(theme: &str) {
    let (models, gate) = talking().await;
    let service = Service::start(models, None).await;
    drive("looks.py", &service, &[("GO_ON", gate), ("THEMES", theme.to_owned())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_can_be_read_by_everybody_in_light_and_on_a_phone() {
    look("light").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_can_be_read_by_everybody_in_dark_and_on_a_phone() {
    look("dark").await;
}
