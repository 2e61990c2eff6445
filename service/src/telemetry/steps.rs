//! What kinds of steps there are, by the names of their operators.

/// What stands for an operator where a run waits for somebody.
pub(super) const WAIT: &str = "wait";
/// The operator in which a model calls tools: the calls below it are the tools' own spans.
pub(super) const AGENT: &str = "tool.call";

/// The module of an operator: `retrieve` of `retrieve.bm25`.
pub(crate) fn module_of(op: &str) -> &str {
    op.split('.').next().unwrap_or_default()
}

/// What kind of step an operator is: its module says.
pub(super) fn kind_of(op: &str) -> &'static str {
    match module_of(op) {
        "retrieve" => "RETRIEVER",
        "rerank" => "RERANKER",
        _ if op == AGENT => "AGENT",
        "guard" => "GUARDRAIL",
        "judge" | "verify" => "EVALUATOR",
        _ => "CHAIN",
    }
}
