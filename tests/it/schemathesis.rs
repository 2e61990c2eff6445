//! Schemathesis, which reads the `OpenAPI` document of a running service and sends it what the document allows and what it
//! does not: nothing may end in a way that the document does not tell, and nothing in a fault of the service.

use std::process::Output;
use std::time::Instant;

use crate::sdk;
use crate::served::{Place, ROOT_KEY, Served};

/// Cases that are drawn for each operation, beside those that stand for every parameter and every bound of it.
const EXAMPLES: &str = "5";
/// What no answer is held against: a document cannot tell which ids there are, nor all that makes an input wrong.
const UNCHECKED: &str = "positive_data_acceptance,negative_data_rejection";
/// Longest time that one answer may take, in seconds.
const ANSWER_SECS: &str = "20";
/// One thread: two that read Python at once fail now and then in Python 3.11 ("AST constructor recursion depth mismatch",
/// gh-106905), and are no faster under its lock.
const WORKERS: &str = "1";

/// Lets it try the operations that `which` chooses, always with the same requests; what it says.
fn tried(which: &[&str]) -> String {
    let place = Place::new();
    let served = Served::start(&place);
    let began = Instant::now();
    let mut tool = sdk::program("schemathesis");
    tool.arg("run").arg(format!("{}/openapi.json", served.url)).args(which);
    tool.args([
        "--phases",
        "examples,coverage,fuzzing,stateful",
        "--max-examples",
        EXAMPLES,
        "--checks",
        "all",
    ]);
    tool.args(["--generation-deterministic", "--no-shrink", "--continue-on-failure", "--workers", WORKERS]);
    tool.args(["--exclude-checks", UNCHECKED]);
    tool.args(["--request-timeout", ANSWER_SECS, "--warnings", "off", "--no-color"]);
    tool.arg("--header").arg(format!("Authorization: Bearer {ROOT_KEY}")).current_dir(place.folder());
    let Output { status, stdout, stderr } = tool.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{stdout}\n{stderr}");
    println!("{which:?}: {} s", began.elapsed().as_secs());
    stdout.into_owned()
}

/// The number before a word of the summary.
fn count(said: &str, before: &str) -> usize {
    let line = said.lines().find(|line| line.contains(before)).unwrap_or_else(|| panic!("{said}"));
    line.trim().split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok()).unwrap()
}

#[test]
fn every_operation_ends_as_its_document_tells() {
    let said =
        tried(&["--exclude-operation-id", "put_tenants_name", "--exclude-operation-id", "post_batches"]);
    let (tested, cases) = (count(&said, "Tested:"), count(&said, " generated"));
    assert!(tested > 70 && cases > 1_000, "{said}");
}

/// Alone: it could take all requests from the tenant that asks.
#[test]
fn setting_the_limits_of_a_tenant_ends_as_its_document_tells() {
    let said = tried(&["--include-operation-id", "put_tenants_name"]);
    assert_eq!(count(&said, "Tested:"), 1);
}
