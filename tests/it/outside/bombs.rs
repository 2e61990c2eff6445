//! Flows that are small to send and large to work out, sent to the real service: each is refused or fails, with a word on
//! why, and the process stays as small as it was meant to be.

use std::time::Instant;

use reqwest::Method;
use serde_json::json;

use super::service::Service;

/// A model that nobody asks: all of these end before.
const CONFIG: &str = "models: { default: { url: 'http://127.0.0.1:9', model: none } }\n";
/// Most memory that the process may ever have had, in a debug build.
const MEMORY_MB: u64 = 600;

/// A flow with one prompt.
fn prompt(template: &str) -> String {
    let template = serde_json::to_string(template).unwrap();
    format!(
        "flow: bomb\ninputs: {{ question: {{ type: text, default: what }} }}\nnodes:\n  \
         a: {{ op: query.rewrite, in: {{ question: inputs.question }}, with: {{ prompt: {template} }}, \
         retry: {{ attempts: 1 }} }}\noutputs: {{ query: a.query }}\n"
    )
}

/// A flow with one expression as its condition.
fn condition(expression: &str) -> String {
    let expression = serde_json::to_string(expression).unwrap();
    format!(
        "flow: bomb\ninputs: {{ n: {{ type: int, default: 1 }} }}\nnodes:\n  \
         a: {{ op: judge.rule, in: {{ n: inputs.n }}, with: {{ pass: {expression} }} }}\noutputs: {{ pass: a.pass }}\n"
    )
}

#[tokio::test]
async fn bombs_of_yaml_expressions_and_templates_end_within_bounds() {
    let service = Service::start(CONFIG);
    let aliases = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        let one = format!("*a{}", n - 1);
        format!("{text}a{n}: &a{n} [{}]\n", [one.as_str(); 10].join(","))
    });
    let numbers = format!("[{}]", (0..200).map(|n| n.to_string()).collect::<Vec<_>>().join(", "));
    let bombs = [
        ("aliases of aliases", aliases),
        ("brackets", format!("flow: deep\nnodes: {}{}", "[".repeat(100_000), "]".repeat(100_000))),
        ("mappings", format!("flow: deep\nnodes: {}", "{a: ".repeat(100_000))),
        ("nodes", {
            let nodes = (0..3_000).fold(String::new(), |nodes, n| {
                nodes + &format!("  n{n}: {{ op: judge.rule, with: {{ pass: 'true' }} }}\n")
            });
            format!("flow: many\nnodes:\n{nodes}outputs: {{ pass: n0.pass }}\n")
        }),
        ("parentheses", condition(&format!("{}n > 0{}", "(".repeat(20_000), ")".repeat(20_000)))),
        ("operators", condition(&format!("n{} > 0", " + 1".repeat(100_000)))),
        (
            "loops in an expression",
            condition(&format!(
                "{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, {numbers}.all(d, a + b + c + d >= 0))))"
            )),
        ),
        (
            "a text that doubles in an expression",
            condition(&format!(
                "size({}) > 0",
                (0..60).fold("'x'".to_owned(), |text, _| format!("[{text}].map(x, x + x)[0]"))
            )),
        ),
        (
            "loops in a template",
            prompt(
                "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a %}{% endfor %}{% endfor %}",
            ),
        ),
        (
            "a template that writes on and on",
            prompt(&format!("{{% for a in range(9999) %}}{}{{% endfor %}}", "x".repeat(9_999))),
        ),
        ("a template that calls itself", prompt("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}")),
        (
            "a text that doubles in a template",
            prompt(&format!("{{% set a = question %}}{}", "{% set a = a ~ a %}".repeat(60))),
        ),
        ("a text many times", prompt("{{ 'x' * 2000000000 }}")),
    ];
    for (what, yaml) in bombs {
        let begun = Instant::now();
        let body = json!({ "flow_yaml": yaml });
        let (status, answer) = service.ask(Method::POST, "/v1/jobs", Some(&body)).await;
        let told = match status {
            413 | 422 => format!("{} {}", answer["errors"][0]["code"], answer["errors"][0]["message"]),
            202 => {
                let job = service.job(answer["id"].as_str().unwrap(), "failed").await;
                assert_ne!(job["error"]["type"], "internal", "{what}: {job}");
                job["error"]["message"].to_string()
            }
            _ => panic!("{what}: {status} {answer}"),
        };
        assert!(told.len() < 10_000, "{what}: {told:.500}");
        println!("{what}: {told:.300} ({:?})", begun.elapsed());
    }
    let fine = service.submit("larger", json!({ "n": 7 })).await;
    service.job(&fine, "succeeded").await;
    let memory = service.most_memory_mb();
    println!("{memory} MB at most");
    assert!(memory < MEMORY_MB, "{memory} MB");
}
