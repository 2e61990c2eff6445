//! What the official Python client of the Model Context Protocol makes of the service, over HTTP and over pipes.

use crate::sdk;
use crate::served::{Place, Served, program};

/// Both revisions that the client speaks.
const SPOKEN: &str = "legacy: 2025-11-25\nauto: 2026-07-28\n";

#[test]
fn the_official_client_finds_and_calls_tools_over_http() {
    let place = Place::new();
    let served = Served::start(&place);
    assert_eq!(sdk::said(sdk::script("mcp_client.py").arg("http").arg(&served.url)), SPOKEN);
}

#[test]
fn the_official_client_finds_and_calls_tools_over_pipes() {
    let place = Place::new();
    let mut script = sdk::script("mcp_client.py");
    script.arg("stdio").arg(program()).args(["mcp", "--config"]).arg(place.config());
    assert_eq!(sdk::said(script.current_dir(place.folder())), SPOKEN);
}
