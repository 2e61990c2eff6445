//! The part of the schema that every installation shares: the constructs of the language, described.

use serde_json::{Value, json};

use super::Object;
use crate::event::FailureKind;
use crate::flow::parse::fields;
use crate::limits;
use crate::types;

/// What stands under `$defs`, by name.
fn at(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn map_of(name: &str) -> Value {
    json!({ "type": "object", "additionalProperties": at(name) })
}

/// A map whose keys expressions can say.
fn named(name: &str) -> Value {
    json!({ "type": "object", "propertyNames": at("name"), "additionalProperties": at(name) })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn texts() -> Value {
    json!({ "type": "array", "items": text() })
}

fn whole(least: u32, most: Option<u32>) -> Value {
    let mut schema = json!({ "type": "integer", "minimum": least });
    if let Some(most) = most {
        super::add(&mut schema, "maximum", json!(most));
    }
    schema
}

fn or_late(schema: &Value) -> Value {
    json!({ "anyOf": [schema, at("late")] })
}

/// The kinds of scalars, by their names under `$defs`.
pub(super) fn scalars() -> Vec<(&'static str, Value)> {
    let simple =
        types::NAMES.iter().filter(|name| !name.contains('<')).copied().collect::<Vec<_>>().join("|");
    let suggested: Vec<&str> = types::NAMES.iter().filter(|name| !name.contains('<')).copied().collect();
    let type_text = json!({
        "description": "A type: a name such as `text`, `list<...>` or `map<...>`, with `?` if it may be absent.",
        "type": "string",
        "anyOf": [
            { "enum": suggested },
            { "pattern": format!("^((list|map)<.+>|{simple})( *\\?)?$") },
        ],
    });
    vec![
        ("name", json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]*$" })),
        (
            "expression",
            json!({
                "description": "An expression (CEL): a reference such as `search.chunks`, or anything made of references.",
                "type": ["string", "number", "boolean"],
            }),
        ),
        (
            "late",
            json!({
                "description": "An expression that is evaluated when the node starts.",
                "type": "string",
                "pattern": r"^\s*\$\{[\s\S]*\}\s*$",
            }),
        ),
        (
            "duration",
            json!({
                "description": "A duration: `200ms`, `90s`, `1m30s`.",
                "type": "string",
                "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
                "minLength": 2,
            }),
        ),
        ("type", type_text),
        ("failure_kind", json!({ "enum": FailureKind::ALL.map(FailureKind::as_str) })),
        ("any_input", json!({ "anyOf": [at("type"), at("input")] })),
        ("value", Value::Bool(true)),
    ]
}

/// The constructs with fixed keys.
pub(super) fn objects() -> Vec<Object> {
    vec![
        flow(),
        input(),
        node(),
        loop_(),
        wait(),
        fallback(),
        stop_when(),
        quorum(),
        retry(),
        on_error(),
        cache(),
        join(),
        budget(),
        test(),
        scripted(),
        scripted_call(),
        expect(),
    ]
}

fn flow() -> Object {
    Object {
        name: "flow_file",
        construct: &fields::FLOW,
        required: &["flow", "nodes"],
        properties: vec![
            ("flow", at("name"), "Name of the flow."),
            ("about", text(), "What the flow is for."),
            (
                "inputs",
                named("any_input"),
                "What the flow takes: a type each, or a mapping with the type in it.",
            ),
            ("budget", at("budget"), "What a run may spend."),
            ("nodes", nodes(), "The nodes, by name. References between them decide the order."),
            ("outputs", named("expression"), "What the flow gives: an expression each."),
            ("tests", json!({ "type": "array", "items": at("test") }), "Tests that `anabranch test` runs."),
        ],
    }
}

fn nodes() -> Value {
    let mut nodes = named("node");
    super::add(&mut nodes, "minProperties", json!(1));
    nodes
}

fn input() -> Object {
    Object {
        name: "input",
        construct: &fields::INPUT,
        required: &["type"],
        properties: vec![
            ("type", at("type"), "Type of the input. A `?` after it makes it optional."),
            ("default", Value::Object(serde_json::Map::new()), "Value if none is given."),
            ("min", json!({ "type": "number" }), "Least number, or least length of a text, list or map."),
            (
                "max",
                json!({ "type": "number" }),
                "Greatest number, or greatest length of a text, list or map.",
            ),
            ("about", text(), "What it is for."),
        ],
    }
}

fn node() -> Object {
    let some_duration = or_late(&at("duration"));
    let some_texts = json!({ "anyOf": [text(), texts()] });
    Object {
        name: "node",
        construct: &fields::NODE,
        required: &[],
        properties: vec![
            ("op", at("operator"), "The operator that the node runs."),
            ("flow", text(), "The flow that the node runs, by name."),
            ("loop", at("loop"), "Nodes that run again and again."),
            ("each", at("expression"), "The list over whose items the body runs: `op`, `flow` or `nodes`."),
            (
                "plan",
                at("expression"),
                "A plan that was made at run time; it reads what stands under `in`, and runs what stands under `allow`.",
            ),
            ("wait", at("wait"), "A question to somebody outside. What it shows stands under `in`."),
            ("in", map_of("expression"), "What goes into each input."),
            ("with", json!({ "type": "object" }), "Settings. `${ expr }` is evaluated when the node starts."),
            ("when", at("expression"), "Whether the node runs. If not, its outputs are absent."),
            ("after", some_texts.clone(), "Nodes to wait for without reading from them."),
            ("retry", at("retry"), "When and how often a failed attempt is made again."),
            ("timeout", some_duration.clone(), "Longest time of an attempt."),
            ("idle_timeout", some_duration, "Longest silence of a streaming attempt."),
            (
                "on_error",
                json!({ "anyOf": [{ "enum": ["fail", "skip"] }, at("on_error")] }),
                "What happens when the node fails: `fail`, `skip`, or something in its place.",
            ),
            (
                "cache",
                json!({ "anyOf": [{ "type": "boolean" }, at("duration"), at("cache")] }),
                "How long a result may be used again; `true` is an hour.",
            ),
            (
                "join",
                json!({ "anyOf": [{ "enum": ["all", "any"] }, at("join")] }),
                "How many inputs must be there before the node starts.",
            ),
            ("budget", at("budget"), "What the node may spend, with all that runs inside."),
            ("about", text(), "What the node is for."),
            ("as", at("name"), "Name of the item within the body of an each; `item` by default."),
            ("nodes", nodes(), "The nodes that run for every item of an each."),
            (
                "outputs",
                named("expression"),
                "What an each over nodes gives for an item: an expression each, the outputs are lists of it. What a plan must give: a type each.",
            ),
            (
                "concurrency",
                or_late(&whole(1, Some(limits::EACH_CONCURRENCY_MAX))),
                "Items of an each that run at once; 8 by default.",
            ),
            (
                "on_item_error",
                json!({ "enum": ["fail", "skip", "keep"] }),
                "What an item that fails does to the each.",
            ),
            (
                "min_success",
                json!({ "type": "number", "minimum": 0, "maximum": 1 }),
                "Share of the items that must succeed.",
            ),
            ("stop_when", at("stop_when"), "When an each has seen enough."),
            (
                "max_items",
                or_late(&whole(1, u32::try_from(limits::EACH_ITEMS).ok())),
                "Most items of an each.",
            ),
            ("allow", some_texts.clone(), "The operators and flows that the steps of a plan may run."),
            ("max_nodes", whole(1, Some(limits::PLAN_NODES_MAX)), "Most steps of a plan; 12 by default."),
            (
                "repair",
                whole(0, Some(limits::PLAN_REPAIRS_MAX)),
                "How often a planner may repair a plan that cannot be used; once by default.",
            ),
            (
                "order",
                json!({ "type": "object", "additionalProperties": some_texts }),
                "Which steps of a plan come after which: what one runs, and what those before it run.",
            ),
            ("must", some_texts, "What some step of every plan runs."),
            ("fallback", at("fallback"), "What runs in the place of a plan that cannot be used."),
        ],
    }
}

fn loop_() -> Object {
    Object {
        name: "loop",
        construct: &fields::LOOP,
        required: &["max_turns", "nodes"],
        properties: vec![
            (
                "max_turns",
                or_late(&whole(1, Some(limits::MAX_TURNS))),
                "Most turns. Reaching it is no failure.",
            ),
            ("carry", named("expression"), "First values of what one turn hands to the next."),
            ("nodes", nodes(), "The nodes of a turn."),
            ("next", named("expression"), "Values for the next turn, for everything that is carried."),
            ("until", named("expression"), "Reason and condition; the first that is true ends the loop."),
        ],
    }
}

fn wait() -> Object {
    Object {
        name: "wait",
        construct: &fields::WAIT,
        required: &["for"],
        properties: vec![
            ("for", at("type"), "Type of the answer."),
            ("about", text(), "What is asked."),
            ("deadline", at("duration"), "How long it waits; 24 hours by default, at most 30 days."),
            (
                "default",
                Value::Object(serde_json::Map::new()),
                "The value if nobody answers. Without it the node fails then.",
            ),
        ],
    }
}

fn fallback() -> Object {
    Object {
        name: "fallback",
        construct: &fields::FALLBACK,
        required: &["nodes", "outputs"],
        properties: vec![
            (
                "nodes",
                nodes(),
                "The nodes. They read `inputs`, which are what stands under `in` of the plan.",
            ),
            ("outputs", named("expression"), "What they give: everything that the plan must give."),
        ],
    }
}

fn stop_when() -> Object {
    Object {
        name: "stop_when",
        construct: &fields::STOP_WHEN,
        required: &["quorum"],
        properties: vec![("quorum", at("quorum"), "Enough items gave an equal value.")],
    }
}

fn quorum() -> Object {
    Object {
        name: "quorum",
        construct: &fields::QUORUM,
        required: &["of", "agree"],
        properties: vec![
            ("of", text(), "The output that is compared."),
            ("agree", whole(1, None), "How many items must agree."),
        ],
    }
}

fn retry() -> Object {
    Object {
        name: "retry",
        construct: &fields::RETRY,
        required: &[],
        properties: vec![
            (
                "attempts",
                whole(1, Some(limits::RETRY_ATTEMPTS)),
                "Most attempts, the first included; 3 by default.",
            ),
            ("backoff", at("duration"), "Wait before the second attempt; it doubles from there."),
            ("max_backoff", at("duration"), "Longest wait between two attempts."),
            (
                "on",
                json!({ "type": "array", "items": at("failure_kind") }),
                "The failures that are worth another attempt.",
            ),
        ],
    }
}

fn on_error() -> Object {
    Object {
        name: "on_error",
        construct: &fields::ON_ERROR,
        required: &[],
        properties: vec![
            ("value", map_of("value"), "Values that stand in for the outputs."),
            ("flow", text(), "A flow that runs in the node's place, with its inputs."),
        ],
    }
}

fn cache() -> Object {
    Object {
        name: "cache",
        construct: &fields::CACHE,
        required: &["ttl"],
        properties: vec![("ttl", at("duration"), "How long a result may be used again.")],
    }
}

fn join() -> Object {
    let only_true = json!({ "const": true });
    Object {
        name: "join",
        construct: &fields::JOIN,
        required: &[],
        properties: vec![
            ("all", only_true.clone(), "Every input must be settled."),
            ("any", only_true, "One input must be there."),
            ("at_least", whole(1, None), "So many inputs must be there."),
            (
                "deadline",
                at("duration"),
                "How long to wait for them; then the node starts with what there is.",
            ),
            (
                "cancel_losers",
                json!({ "type": "boolean" }),
                "Whether branches that are no longer wanted are stopped.",
            ),
        ],
    }
}

fn budget() -> Object {
    Object {
        name: "budget",
        construct: &fields::BUDGET,
        required: &[],
        properties: vec![
            ("model_calls", whole(0, None), "Most model calls."),
            ("model_tokens", whole(0, None), "Most tokens read and written by models."),
            (
                "cost",
                json!({ "type": "number", "minimum": 0 }),
                "Most money, in the currency of the price table.",
            ),
            ("wall", at("duration"), "Longest time."),
        ],
    }
}

fn test() -> Object {
    Object {
        name: "test",
        construct: &fields::TEST,
        required: &["name", "expect"],
        properties: vec![
            ("name", text(), "What the test shows."),
            ("inputs", map_of("value"), "Inputs of the run."),
            ("stub", map_of("value"), "Nodes that do not run, with their outputs, or `{error: kind}`."),
            ("replay", text(), "A file of recorded exchanges beside the flow."),
            (
                "script",
                json!({ "type": "array", "items": at("scripted") }),
                "What models answer, by the first rule that fits.",
            ),
            ("expect", at("expect"), "What must come out."),
        ],
    }
}

fn scripted() -> Object {
    Object {
        name: "scripted",
        construct: &fields::SCRIPTED,
        required: &[],
        properties: vec![
            (
                "contains",
                text(),
                "Text that one of the messages contains; with neither this nor `matches`, any request.",
            ),
            ("matches", text(), "Regular expression that one of the messages matches."),
            ("answer", text(), "What the model says; may be left out where there are `calls`."),
            (
                "calls",
                json!({ "type": "array", "items": at("scripted_call") }),
                "The tools that the answer asks for.",
            ),
        ],
    }
}

fn scripted_call() -> Object {
    Object {
        name: "scripted_call",
        construct: &fields::SCRIPTED_CALL,
        required: &["tool"],
        properties: vec![("tool", text(), "Its name."), ("arguments", map_of("value"), "Its arguments.")],
    }
}

fn expect() -> Object {
    Object {
        name: "expect",
        construct: &fields::EXPECT,
        required: &[],
        properties: vec![
            ("ran", texts(), "The nodes that ran, in any order."),
            ("skipped", texts(), "Nodes that did not run."),
            (
                "outputs",
                map_of("value"),
                "Outputs: a value, or `{contains: ...}`, `{at_least: ...}` and the like.",
            ),
            ("absent", texts(), "Outputs that are absent."),
            ("fails", json!({ "type": "object" }), "`{node, kind}` of the failure that ends the run."),
        ],
    }
}
