//! What `OpenAI`'s own Python client makes of the service.

use crate::sdk;
use crate::served::{Place, ROOT_KEY, Served};

#[test]
fn the_official_client_lists_asks_streams_stops_and_is_refused() {
    let place = Place::new();
    let served = Served::start(&place);
    let checks = sdk::said(sdk::script("openai_client.py").args([&served.url, ROOT_KEY]));
    assert_eq!(checks.lines().count(), 10, "{checks}");
}
