//! Five shapes of flow, with what each gives for a question, and how many attempts it makes.

use serde_json::{Value as Json, json};

/// A shape of flow.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) yaml: String,
    pub(super) inputs: fn(question: &str) -> Json,
    pub(super) outputs: fn(question: &str) -> Json,
    /// Attempts that ask the model.
    pub(super) n_calls: usize,
    /// The answer that it waits for.
    pub(super) answer: Option<fn(question: &str) -> Json>,
}

/// A node that asks the model for the question with a word more.
fn ask(name: &str, question: &str) -> String {
    format!(
        "  {name}: {{ op: query.rewrite, in: {{ question: {question} }}, \
         with: {{ prompt: \"{{{{ question }}}}\", max_chars: 10000 }}, retry: {{ attempts: 1 }} }}\n"
    )
}

fn after(question: &str, n_calls: usize) -> String {
    format!("{question}{}", " indeed".repeat(n_calls))
}

pub(super) fn all() -> Vec<Shape> {
    let text = |question: &str| json!({ "question": question });
    vec![
        Shape {
            name: "chain",
            yaml: format!(
                "flow: chain\ninputs: {{ question: text }}\nnodes:\n{}{}{}{}outputs: {{ query: d.query }}\n",
                ask("a", "inputs.question"),
                ask("b", "a.query"),
                ask("c", "b.query"),
                ask("d", "c.query")
            ),
            inputs: text,
            outputs: |question| json!({ "query": after(question, 4) }),
            n_calls: 4,
            answer: None,
        },
        Shape {
            name: "branches",
            yaml: format!(
                "flow: branches\ninputs: {{ question: text }}\nnodes:\n{}{}{}{}{}\
                 outputs: {{ left: l2.query, right: r2.query, middle: m.query }}\n",
                ask("l", "inputs.question"),
                ask("l2", "l.query"),
                ask("r", "inputs.question"),
                ask("r2", "r.query"),
                ask("m", "inputs.question")
            ),
            inputs: text,
            outputs: |question| {
                json!({
                    "left": after(question, 2), "right": after(question, 2), "middle": after(question, 1),
                })
            },
            n_calls: 5,
            answer: None,
        },
        Shape {
            name: "turns",
            yaml: format!(
                "flow: turns\ninputs: {{ question: text }}\nnodes:\n  hop:\n    loop:\n      max_turns: 4\n      \
                 carry: {{ query: inputs.question }}\n      nodes:\n      {}      next: {{ query: think.query }}\n\
                 outputs: {{ query: hop.query, turns: hop.turns }}\n",
                ask("think", "carry.query")
            ),
            inputs: text,
            outputs: |question| json!({ "query": after(question, 4), "turns": 4 }),
            n_calls: 4,
            answer: None,
        },
        Shape {
            name: "items",
            yaml: "flow: items\ninputs: { questions: list<text> }\nnodes:\n  \
                   every: { each: inputs.questions, op: query.rewrite, in: { question: item }, concurrency: 3, \
                   with: { prompt: \"{{ question }}\", max_chars: 10000 }, retry: { attempts: 1 } }\n\
                   outputs: { queries: every.query }\n"
                .to_owned(),
            inputs: |question| {
                let questions: Vec<String> = (0..6).map(|n| format!("{question} ({n})")).collect();
                json!({ "questions": questions })
            },
            outputs: |question| {
                let queries: Vec<String> = (0..6).map(|n| after(&format!("{question} ({n})"), 1)).collect();
                json!({ "queries": queries })
            },
            n_calls: 6,
            answer: None,
        },
        Shape {
            name: "asks",
            yaml: format!(
                "flow: asks\ninputs: {{ question: text }}\nnodes:\n{}  \
                 approve: {{ wait: {{ for: text, about: Which words?, deadline: 1h }}, in: {{ draft: a.query }} }}\n{}\
                 outputs: {{ query: b.query, answered: approve.answered }}\n",
                ask("a", "inputs.question"),
                ask("b", "approve.value")
            ),
            inputs: text,
            outputs: |question| json!({ "query": after(&format!("{question}, says somebody"), 1), "answered": true }),
            n_calls: 2,
            answer: Some(|question| json!(format!("{question}, says somebody"))),
        },
    ]
}
