//! An inventory as a planner reads it.

use anabranch_engine::operator::{Inventory, Part, Port};
use anabranch_engine::value::Value;
use serde_json::Value as Json;

/// The variables that the prompts of a planner have of the inventory.
pub(crate) const VARIABLES: [&str; 5] = ["parts", "given", "wanted", "rules", "max_steps"];

/// Their values, in that order.
pub(crate) fn variables(inventory: &Inventory) -> [(&'static str, Value); 5] {
    let [parts, given, wanted, rules, max_steps] = VARIABLES;
    [
        (parts, Value::list(inventory.parts.iter().map(part))),
        (given, Value::text(ports(&inventory.inputs))),
        (wanted, Value::text(ports(&inventory.outputs))),
        (rules, Value::list(self::rules(inventory).into_iter().map(Value::text))),
        (max_steps, Value::Int(i64::from(inventory.max_nodes))),
    ]
}

fn part(part: &Part) -> Value {
    Value::map([
        ("name", Value::Text(part.name.clone())),
        ("about", Value::Text(part.about.clone())),
        ("inputs", Value::text(ports(&part.inputs))),
        ("outputs", Value::text(ports(&part.outputs))),
        ("settings", Value::text(part.settings.as_ref().map(settings).unwrap_or_default())),
    ])
}

/// `query: text, filter: json?`
fn ports(ports: &[Port]) -> String {
    ports.iter().map(|port| format!("{}: {}", port.name, port.ty)).collect::<Vec<_>>().join(", ")
}

/// `top_k (integer, 10 unless given)`
fn settings(schema: &Json) -> String {
    let known = schema.get("properties").and_then(Json::as_object);
    let one = |(name, setting): (&String, &Json)| {
        let ty = match setting.get("type") {
            Some(Json::String(ty)) => ty.clone(),
            Some(Json::Array(types)) => {
                let types = types.iter().filter_map(Json::as_str).filter(|ty| *ty != "null");
                types.collect::<Vec<_>>().join(" or ")
            }
            _ => "value".to_owned(),
        };
        match setting.get("default").filter(|default| !default.is_null()) {
            Some(default) => format!("{name} ({ty}, {default} unless given)"),
            None => format!("{name} ({ty})"),
        }
    };
    known.into_iter().flatten().map(one).collect::<Vec<_>>().join(", ")
}

/// What a plan must keep to, in sentences.
fn rules(inventory: &Inventory) -> Vec<String> {
    let order = inventory.order.iter().map(|(later, first)| {
        let first = first.iter().map(|first| format!("`{first}`")).collect::<Vec<_>>().join(" and ");
        format!("A step that uses `{later}` comes after one that uses {first}.")
    });
    let must = inventory.must.iter().map(|must| format!("Some step uses `{must}`."));
    order.chain(must).collect()
}
