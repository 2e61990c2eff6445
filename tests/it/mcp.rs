//! What the official Python client of the Model Context Protocol makes of the service, over HTTP and over pipes.

use crate::sdk;
use crate::served::{CONFIG, Place, ROOT_KEY, Served, program};

/// Both revisions that the client speaks.
const SPOKEN: &str = "legacy: 2025-11-25\nauto: 2026-07-28\n";

/// The jobs whose calls the client took back, one in each revision, are cancelled.
fn are_cancelled(served: &Served) {
    let said = sdk::said(sdk::script("mcp_client.py").arg("cancelled").args([&served.url, ROOT_KEY, "2"]));
    assert_eq!(said, "2 cancelled\n");
}

#[test]
fn the_official_client_finds_calls_and_takes_back_tools_over_http() {
    let place = Place::new();
    let served = Served::start(&place);
    let said = sdk::said(sdk::script("mcp_client.py").arg("http").args([&served.url, ROOT_KEY]));
    assert_eq!(said, SPOKEN);
    are_cancelled(&served);
}

#[test]
fn the_official_client_finds_calls_and_takes_back_tools_over_pipes() {
    let place = Place::new();
    let mut script = sdk::script("mcp_client.py");
    script.arg("stdio").arg(program()).args(["mcp", "--config", CONFIG]).env("ROOT_KEY", ROOT_KEY);
    assert_eq!(sdk::said(script.current_dir(place.folder())), SPOKEN);
    are_cancelled(&Served::start(&place));
}
