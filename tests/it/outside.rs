//! What the service does by itself, and what is said of jobs afterwards: webhooks, schedules, usage, feedback; over REST,
//! against the real binary, with real receivers.

mod bombs;
mod deliveries;
mod receiver;
mod said;
mod schedules;
pub(crate) mod service;
mod texts;

use service::Service;

use crate::stores::postgres::Postgres;

/// Lets webhooks go to receivers on this machine.
const ALLOWED: &str = "server: { webhook_allow: [127.0.0.1] }\n";

/// Runs a test against a service whose store is in a `PostgreSQL`.
async fn on_postgres(test: impl AsyncFnOnce(&mut Service)) {
    on_postgres_at(async |service, _| test(service).await).await;
}

/// As [`on_postgres`], with the address of the database.
async fn on_postgres_at(test: impl AsyncFnOnce(&mut Service, String)) {
    let server = Postgres::start().await;
    server.create("jobs").await;
    let url = server.url_of("jobs", "anabranch");
    let mut service = Service::start(&format!("store: {{ url: '{url}' }}\n{ALLOWED}"));
    test(&mut service, url).await;
}
