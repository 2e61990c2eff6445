//! One mistake each: the code, the line, and the words that help.

use super::flows::{FAN, LINEAR, MULTIHOP};
use super::{one, one_with, problems, problems_with};

/// `LINEAR` with something else in place of a part of it.
fn linear(from: &str, to: &str) -> String {
    assert!(LINEAR.contains(from), "{from}");
    LINEAR.replace(from, to)
}

fn multihop(from: &str, to: &str) -> String {
    assert!(MULTIHOP.contains(from), "{from}");
    MULTIHOP.replace(from, to)
}

const SUB: &[(&str, &str)] = &[("linear", LINEAR)];

#[test]
fn three_mistakes_are_all_reported_at_once() {
    let yaml = linear("retrieve.bm25", "retrieve.bm26")
        .replace("answer.text", "answer.txt")
        .replace("question: inputs.question, chunks", "question: inputs.qestion, chunks");
    let found = problems(&yaml);
    let codes: Vec<&str> = found.iter().map(|line| &line[..10]).collect();
    assert_eq!(codes, ["FLOW0014 4", "FLOW0024 5", "FLOW0023 7"], "{found:#?}");
}

#[test]
fn an_unknown_operator_gets_the_nearest() {
    one(
        &linear("retrieve.bm25", "retrieve.bm52"),
        "FLOW0014 4:",
        &["`retrieve.bm52`", "did you mean `retrieve.bm25`?"],
    );
    one(&linear("retrieve.bm25", "search.bm25"), "FLOW0014 4:", &["did you mean `retrieve.bm25`?"]);
}

#[test]
fn an_unknown_flow_gets_the_nearest() {
    let yaml = multihop("flow: linear", "flow: liner");
    one_with(&yaml, SUB, "FLOW0015 12:", &["`liner`", "did you mean `linear`?"]);
}

#[test]
fn a_flow_that_calls_itself_is_refused_with_the_chain() {
    let a = "flow: a\nnodes:\n  n: { flow: b }\noutputs: { x: n.x }\n";
    let b = "flow: b\nnodes:\n  n: { flow: a }\noutputs: { x: n.x }\n";
    one_with(a, &[("a", a), ("b", b)], "FLOW0016 a.yaml3:", &["b -> a -> b"]);
}

#[test]
fn problems_of_a_sub_flow_are_reported_in_its_file() {
    let sub = LINEAR.replace("search.chunks }", "search.chunk }");
    one_with(MULTIHOP, &[("linear", &sub)], "FLOW0023 linear.yaml5:", &["did you mean `chunks`"]);
}

#[test]
fn an_unknown_port_gets_the_nearest() {
    let yaml = linear("chunks: search.chunks }", "chunks: search.chunks, chunk: search.chunks }");
    one(&yaml, "FLOW0017 5:", &["`read.answer` has no input `chunk`", "did you mean `chunks`?"]);
}

#[test]
fn a_missing_port_is_named_with_its_type() {
    one(
        &linear(", chunks: search.chunks }", " }"),
        "FLOW0018 5:",
        &["`chunks`", "`read.answer`", "`list<chunk>`"],
    );
}

#[test]
fn an_input_with_a_default_need_not_be_given() {
    let sub = LINEAR
        .replace("{ question: text }", "{ question: text, more: { type: int, default: 1 }, other: text? }");
    assert_eq!(problems_with(MULTIHOP, &[("linear", &sub)]), [""; 0]);
}

#[test]
fn an_unknown_setting_gets_the_nearest() {
    one(&linear("top_k: 8", "topk: 8"), "FLOW0019 4:", &["`topk`", "did you mean `top_k`?"]);
}

#[test]
fn a_setting_out_of_its_bounds_is_told_the_bound() {
    one(&linear("top_k: 8", "top_k: 0"), "FLOW0020 4:", &["setting `top_k` must be at least 1", "`0`"]);
    one(&linear("top_k: 8", "top_k: 1000"), "FLOW0020 4:", &["must be at most 100"]);
}

#[test]
fn a_setting_of_another_type_is_told_the_right_one() {
    one(&linear("top_k: 8", "top_k: many"), "FLOW0020 4:", &["must be a whole number", "`many`"]);
    one(&linear("index: docs", "index: [docs]"), "FLOW0020 4:", &["must be the name of an index"]);
}

#[test]
fn a_setting_out_of_a_set_is_told_the_set() {
    let yaml = linear("search.chunks } }", "search.chunks }, with: { style: shortt } }");
    one(&yaml, "FLOW0020 5:", &["one of `short`, `long`", "did you mean `short`?"]);
    let yaml = linear("search.chunks } }", "search.chunks }, with: { max_tokens: few } }");
    one(&yaml, "FLOW0020 5:", &["`max_tokens` must be a whole number"]);
}

#[test]
fn the_operator_has_the_last_word_on_its_settings() {
    one_with(&multihop("simple: [a]", "simple: []"), SUB, "FLOW0020 9:", &["route `simple` has no examples"]);
}

#[test]
fn a_missing_setting_is_named() {
    let yaml = multihop("    with: { routes: { simple: [a], multihop: [b] } }\n", "");
    one_with(&yaml, SUB, "FLOW0021 7:", &["needs the setting `routes`", "a mapping"]);
}

#[test]
fn an_unknown_name_gets_the_nearest_in_reach() {
    one(
        &linear("search.chunks }", "serch.chunks }"),
        "FLOW0022 5:",
        &["node `answer` reads `serch.chunks`", "did you mean `search`?"],
    );
    one(
        &linear("query: inputs.question", "query: question"),
        "FLOW0022 4:",
        &["did you mean `inputs.question`?"],
    );
    one(&linear("query: inputs.question", "query: carry.question"), "FLOW0022 4:", &["only inside a loop"]);
}

#[test]
fn an_unknown_output_gets_the_outputs_that_there_are() {
    one(
        &linear("search.chunks }", "search.chunk }"),
        "FLOW0023 5:",
        &[
            "node `answer` reads `search.chunk`, but `search` has no output `chunk`",
            "its outputs are `chunks` and `scores`",
        ],
    );
    one(
        &linear("search.chunks }", "search }"),
        "FLOW0023 5:",
        &["is a node", "`search.chunks` and `search.scores`"],
    );
}

#[test]
fn an_unknown_input_gets_the_nearest() {
    one(
        &linear("query: inputs.question", "query: inputs.qestion"),
        "FLOW0024 4:",
        &["did you mean `question`?"],
    );
}

#[test]
fn a_node_inside_a_loop_is_out_of_reach() {
    let yaml = multihop("first(once.chunks, hop.chunks)", "first(once.chunks, search.chunks)");
    let words = ["`search` is inside the loop `hop`", "`hop.<name>`", "[`search` is inside `hop`]"];
    one_with(&yaml, SUB, "FLOW0025 26:", &words);
    let yaml = FAN.replace("failed: size(fan.errors)", "failed: answer.text");
    one(&yaml, "FLOW0025 19:", &["inside the each `read`"]);
}

#[test]
fn a_value_of_another_type_is_refused_with_both_types_and_places() {
    one(
        &linear("chunks: search.chunks }", "chunks: search.scores }"),
        "FLOW0026 5:",
        &[
            "port `chunks` of `answer` takes `list<chunk>`, but `search.scores` is `list<float>`",
            "[`search` is defined here]",
        ],
    );
    one(
        &linear("question: text", "question: int")
            .replace("question: inputs.question, chunks", "question: \"'a'\", chunks"),
        "FLOW0026 4:",
        &["`inputs.question` is `int`"],
    );
}

#[test]
fn a_condition_must_be_a_bool_and_an_each_a_list() {
    let yaml = linear("search: { op", "search: { when: inputs.question, op")
        .replace("  answer: answer.text\n", "  answer: first(answer.text, '')\n")
        .replace("chunks: search.chunks\n", "n: present(search.chunks)\n");
    one(&yaml, "FLOW0029 4:", &["`when`", "`bool`", "`text`"]);
    one(&FAN.replace("each: inputs.queries", "each: inputs.question"), "FLOW0029 5:", &["`each`", "list"]);
    one_with(
        &multihop("done: think.done", "done: think.query"),
        SUB,
        "FLOW0029 23:",
        &["`until.done`", "`bool`"],
    );
}

#[test]
fn a_loop_that_is_looked_at_twice_loses_no_problem_of_a_sub_flow() {
    let yaml = "flow: widening
inputs: { q: text }
nodes:
  hop:
    loop:
      max_turns: 2
      carry: { n: \"1\" }
      nodes: { sub: { flow: linear, in: { question: inputs.q } } }
      next: { n: double(size(sub.answer)) * 0.5 }
outputs: { n: hop.n }
";
    let sub = LINEAR.replace("search.chunks }", "search.chunk }");
    one_with(yaml, &[("linear", &sub)], "FLOW0023 linear.yaml5:", &[]);
}

#[test]
fn a_loop_carries_one_type() {
    let words = ["`carry.query` is `text`", "`next.query` is `bool`", "[the first value is `text`]"];
    let yaml = multihop("query: think.query }", "query: think.done }")
        .replace("query: carry.query", "query: inputs.question");
    one_with(&yaml, SUB, "FLOW0034 22:", &words);
}

#[test]
fn a_cycle_is_printed_as_a_chain() {
    let yaml = linear("query: inputs.question }", "query: answer.text }");
    one(&yaml, "FLOW0031 4:", &["search -> answer -> search", "`loop`", "[`answer` reads `search` here]"]);
    let yaml = linear("query: inputs.question }", "query: \"search.chunks[0].text\" }");
    one(&yaml, "FLOW0031 4:", &["`search` waits for itself", "search -> search"]);
}

#[test]
fn a_loop_that_reads_its_own_result_from_inside_is_a_cycle() {
    let yaml = multihop("{ query: carry.query }", "{ query: hop.query }");
    one_with(&yaml, SUB, "FLOW0031 20:", &["hop -> hop"]);
}

#[test]
fn a_prompt_is_checked_against_the_ports() {
    let with = |prompt: &str| {
        linear("search.chunks } }", &format!("search.chunks }}, with: {{ prompt: {prompt} }} }}"))
    };
    assert_eq!(problems(&with("\"{{ question }}\"")), [""; 0]);
    let words = ["the prompt of `answer` reads `qestion`", "did you mean `question`?"];
    one(&with("\"{{ qestion }}\""), "FLOW0036 5:", &words);
    one_with(&with("p.md"), &[("p.md", "\n{{ qestion }}")], "FLOW0036 p.md2:", &["[used by `answer`]"]);
    one(&with("none.md"), "FLOW0047 5:", &["`none.md`"]);
    one(&with("\"{{ question\""), "FLOW0035 5:", &[]);
}

#[test]
fn names_of_models_and_indexes_are_checked() {
    one(&linear("index: docs", "index: dcs"), "FLOW0037 4:", &["no index `dcs`", "did you mean `docs`?"]);
    let yaml = linear("search.chunks } }", "search.chunks }, with: { model: gpt } }");
    one(&yaml, "FLOW0038 5:", &["no model `gpt`", "`default`"]);
}

#[test]
fn a_join_that_cannot_be_met_is_refused() {
    let join = |join: &str, chunks: &str| {
        linear("answer: { op: read.answer", &format!("more: {{ op: retrieve.bm25, in: {{ query: inputs.question }} }}\n  answer: {{ join: {join}, op: read.answer"))
            .replace("chunks: search.chunks }", &format!("chunks: {chunks} }}"))
            .replace("chunks: search.chunks\n", "chunks: search.chunks\n  more: more.chunks\n")
    };
    let both = "\"first(search.chunks, more.chunks)\"";
    assert_eq!(problems(&join("any", both)), [""; 0]);
    one(
        &join("{ at_least: 3 }", both),
        "FLOW0040 6:",
        &["`join: at_least: 3` of `answer` can never be met", "2 nodes"],
    );
    one(&join("any", "search.chunks"), "FLOW0040 6:", &["reads 1 node"]);
    one(&join("any", "search.chunks + more.chunks"), "FLOW0040 6:", &["has no effect", "first(...)"]);
}

#[test]
fn a_node_that_can_never_run_is_a_warning() {
    let found = problems(&linear("search: { op", "search: { when: \"1 > 2\", op"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("FLOW0041 4: node `search` can never run"), "{found:#?}");
    assert!(found[1].starts_with("FLOW0041 5: node `answer` can never run: it needs `search`"), "{found:#?}");
}

#[test]
fn a_node_that_nobody_uses_is_a_warning() {
    one(&linear("  answer: answer.text\n", ""), "FLOW0042 5:", &["nothing uses", "`answer`"]);
}

#[test]
fn an_output_that_may_be_absent_is_a_warning() {
    let yaml = multihop("first(hop.stopped_because, \"answered at once\")", "hop.stopped_because");
    one_with(
        &yaml,
        SUB,
        "FLOW0043 29:",
        &[
            "output `why` is absent whenever `hop` is skipped",
            "first(hop.stopped_because, ...)",
            "runs only if",
        ],
    );
    one(
        &linear("answer: { op", "answer: { on_error: skip, op"),
        "FLOW0043 7:",
        &["`answer` is skipped if it fails"],
    );
}

#[test]
fn tests_name_what_is_there() {
    one_with(
        &multihop("inputs: { question: Who? }", "inputs: { qestion: Who? }"),
        SUB,
        "FLOW0048 32:",
        &["`qestion`", "did you mean `question`?"],
    );
    one_with(
        &multihop("hop/search: {", "hop/serch: {"),
        SUB,
        "FLOW0048 33:",
        &["`hop/serch`", "did you mean `search`?"],
    );
    one_with(&multihop("text: none,", "txt: none,"), SUB, "FLOW0048 33:", &["`txt`", "no output"]);
    one_with(&multihop("ran: [triage,", "ran: [triag,"), SUB, "FLOW0048 34:", &["`triag`"]);
    one_with(
        &multihop("outputs: { answer: none }", "outputs: { anser: none }"),
        SUB,
        "FLOW0048 34:",
        &["`anser`"],
    );
}

#[test]
fn what_stands_in_for_a_failed_node_must_fit() {
    let value =
        |value: &str| linear("answer: { op", &format!("answer: {{ on_error: {{ value: {value} }}, op"));
    assert_eq!(problems(&value("{ text: none, confidence: 0 }")), [""; 0]);
    assert_eq!(problems(&value("{ text: none }")), [""; 0], "`confidence` is read by nobody");
    one(&value("{ confidence: 0 }"), "FLOW0049 5:", &["gives no value for `text`, which the flow reads"]);
    one(&value("{ txt: none, text: a, confidence: 0 }"), "FLOW0049 5:", &["`txt`", "did you mean `text`?"]);
    one(&value("{ text: 7, confidence: 0 }"), "FLOW0049 5:", &["expected `text`, found `int`"]);
    let yaml = linear("search: { op", "search: { on_error: { flow: other }, op");
    let other = "flow: other\ninputs: { query: text }\nnodes:\n  a: { op: retrieve.bm25, in: { query: inputs.query } }\noutputs: { chunks: a.chunks }\n";
    one_with(&yaml, &[("other", other)], "FLOW0049 4:", &["no output `scores`"]);
    let whole = other.replace("a.chunks }", "a.chunks, scores: a.scores }");
    assert_eq!(problems_with(&yaml, &[("other", &whole)]), [""; 0]);
}

#[test]
fn scopes_that_are_nested_too_deep_are_refused() {
    let mut body = "x: { op: retrieve.bm25, in: { query: item } }".to_owned();
    for level in 0..9 {
        let name = if level == 0 { "x.chunks".to_owned() } else { format!("n{}.o", level - 1) };
        body = format!("n{level}: {{ each: \"['a']\", nodes: {{ {body} }}, outputs: {{ o: {name} }} }}");
    }
    let yaml = format!("flow: deep\nnodes: {{ {body} }}\noutputs: {{ o: n8.o }}\n");
    one(&yaml, "FLOW0050 2:", &["more than 8 deep"]);
}

#[test]
fn after_names_nodes_of_the_same_scope() {
    one(
        &linear("answer: { op", "answer: { after: serch, op"),
        "FLOW0052 5:",
        &["`serch`", "did you mean `search`?"],
    );
    one_with(
        &multihop("answer:\n    op", "answer:\n    after: think\n    op"),
        SUB,
        "FLOW0052 25:",
        &["inside `hop`"],
    );
}

#[test]
fn a_flow_without_outputs_is_a_warning() {
    one(
        &linear("outputs:\n  answer: answer.text\n  chunks: search.chunks\n", ""),
        "FLOW0053 1:",
        &["`linear` has no outputs"],
    );
}

#[test]
fn a_label_that_no_route_gives_is_a_warning() {
    one_with(
        &multihop("triage.label == \"simple\"", "triage.label == \"simpl\""),
        SUB,
        "FLOW0054 11:",
        &["never `simpl`", "did you mean `simple`?"],
    );
}
