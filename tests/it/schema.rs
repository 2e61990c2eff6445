//! The JSON Schema that editors use takes every flow of the repository.

use anabranch_engine::diagnostic::Diagnostics;
use anabranch_engine::flow::schema::schema;
use anabranch_engine::flow::yaml;

use crate::support::{files, source};

#[test]
fn the_schema_takes_every_flow_of_the_repository() {
    let validator = jsonschema::validator_for(&schema(&anabranch_operators::registry())).unwrap();
    let mut wrong = Vec::new();
    for path in files("flows", "yaml") {
        let flow = yaml::read(&source(&path), &mut Diagnostics::default()).unwrap().to_json();
        wrong.extend(
            validator.iter_errors(&flow).map(|error| format!("{path}{}: {error}", error.instance_path())),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
