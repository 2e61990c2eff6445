//! Conversations in which a model asks for calls.

use super::*;
use crate::testing::{Asking, Pretend, Says, rendered, validator};

const OSLO: &str = r#"{"city":"Oslo"}"#;

struct Ran {
    out: Result<Out, OpError>,
    requests: Vec<ChatRequest>,
    calls: Vec<String>,
    most_at_once: usize,
}

impl Ran {
    /// The results that the model was told in its last turn but one.
    fn told(&self) -> Vec<String> {
        let last = self.requests.last().and_then(|request| request.turns.last());
        last.map_or_else(Vec::new, |turn| {
            turn.results.iter().map(|result| result.content.to_string()).collect()
        })
    }
}

async fn run_with(settings: Value, input: In, answers: &[Says<'_>]) -> Ran {
    let model = Asking::new(answers);
    let tools = Pretend::with(&model);
    let mut all = json!({ "tools": ["weather", "report", "flaky", "pay", "broken"] });
    let Value::Object(settings) = settings else { panic!("settings are an object") };
    all.as_object_mut().unwrap().extend(settings);
    let operator: Call = serde_json::from_value(all).unwrap();
    let out = operator.run(&tools.cx(), input).await;
    Ran { out, requests: model.requests(), calls: tools.calls(), most_at_once: tools.most_at_once() }
}

fn asked() -> In {
    In { question: Some("Is it warm?".to_owned()), messages: None, history: None, values: None, tools: None }
}

async fn run(settings: Value, answers: &[Says<'_>]) -> Ran {
    run_with(settings, asked(), answers).await
}

#[tokio::test]
async fn a_model_calls_a_tool_and_answers() {
    let ran = run(json!({}), &[("Let me see.", &[("a", "weather", OSLO)]), ("It is 18 degrees.", &[])]).await;
    assert_eq!(ran.told(), [r#"{"degrees":18}"#]);
    let out = ran.out.unwrap();
    assert_eq!((out.text.as_str(), out.stopped_because.as_str()), ("It is 18 degrees.", "answered"));
    assert_eq!(ran.calls, [format!("weather {OSLO}")]);
    let expected = json!([{ "tool": "weather", "arguments": { "city": "Oslo" }, "result": { "degrees": 18 }, "turn": 1 }]);
    assert_eq!(Value::from(out.calls), expected);
    let roles: Vec<Role> = out.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant]);
    let names: Vec<&str> = ran.requests[0].tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["weather", "report", "flaky", "pay", "broken"]);
}

#[tokio::test]
async fn calls_of_one_turn_run_side_by_side_and_answer_in_order() {
    let calls: &[_] =
        &[("a", "weather", OSLO), ("b", "weather", r#"{"city":"Rome"}"#), ("c", "report", "{}")];
    let ran = run(json!({ "result_chars": 100_000 }), &[("", calls), ("done", &[])]).await;
    assert!(ran.out.is_ok() && ran.most_at_once == 3, "{} at once", ran.most_at_once);
    let turn = ran.requests[1].turns[0].clone();
    let ids: Vec<&str> = turn.results.iter().map(|result| &*result.id).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert!(turn.results[2].content.contains("second"));
}

#[tokio::test]
async fn calls_with_effects_run_one_after_the_other_in_their_place() {
    let calls: &[_] = &[
        ("a", "weather", OSLO),
        ("b", "pay", r#"{"amount":1}"#),
        ("c", "pay", r#"{"amount":2}"#),
        ("d", "weather", OSLO),
    ];
    let ran = run(json!({}), &[("", calls), ("done", &[])]).await;
    assert_eq!(ran.most_at_once, 1);
    let expected = [
        format!("weather {OSLO}"),
        r#"pay {"amount":1}"#.into(),
        r#"pay {"amount":2}"#.into(),
        format!("weather {OSLO}"),
    ];
    assert_eq!(ran.calls, expected);
}

#[tokio::test]
async fn a_wrong_call_is_never_sent_and_the_model_is_told_why() {
    for (name, arguments, why) in [
        ("wether", OSLO, "there is no tool `wether`; there are: `weather`, `report`"),
        ("weather", "{}", "\"city\" is a required property"),
        ("weather", r#"{"city": 3}"#, "3 is not of type \"string\" (at `/city`)"),
        ("weather", r#"{"city": "Oslo", "day": 1}"#, "'day' was unexpected"),
        ("weather", r#"{"city": "Oslo", "days": "two"}"#, "\"two\" is not of type \"integer\""),
        ("weather", r#"{"city": "Os"#, "they are no JSON: EOF"),
        ("weather", r#"["Oslo"]"#, "they are no JSON object"),
    ] {
        let wrong: &[_] = &[("a", name, arguments)];
        let ran = run(json!({}), &[("", wrong), ("", &[("b", "weather", OSLO)]), ("warm", &[])]).await;
        let told = &ran.requests[1].turns[0].results[0].content;
        assert!(told.starts_with("error: ") && told.contains(why), "{told}");
        assert_eq!(ran.calls, [format!("weather {OSLO}")], "only the corrected call is sent");
        let out = ran.out.unwrap();
        assert_eq!(out.calls[0]["refused"], json!(true));
        assert_eq!(out.stopped_because, "answered");
    }
}

#[tokio::test]
async fn a_model_that_only_makes_mistakes_is_stopped() {
    let wrong: &[_] = &[("a", "weather", "{}")];
    let answers = [("", wrong), ("", wrong), ("", wrong), ("I give up.", &[][..])];
    let ran = run(json!({ "max_repairs": 2 }), &answers).await;
    let out = ran.out.unwrap();
    assert_eq!((out.stopped_because.as_str(), out.text.as_str()), ("invalid_calls", "I give up."));
    assert_eq!(ran.requests[3].tool_choice, ToolChoice::None, "it is asked for words");
    assert!(ran.calls.is_empty());
}

#[tokio::test]
async fn turns_and_calls_are_bounded() {
    let call: &[_] = &[("a", "weather", OSLO)];
    let ran = run(json!({ "max_turns": 2 }), &[("", call), ("", call), ("as far as I know", &[])]).await;
    let out = ran.out.unwrap();
    assert_eq!((out.stopped_because.as_str(), out.text.as_str()), ("max_turns", "as far as I know"));
    let ran = run(json!({ "max_turns": 1, "last_word": false }), &[("half said", call)]).await;
    assert_eq!((ran.out.unwrap().text.as_str(), ran.requests.len()), ("half said", 1));
    let calls: &[_] = &[("a", "weather", OSLO), ("b", "weather", OSLO), ("c", "weather", OSLO)];
    let ran = run(json!({ "max_calls": 2 }), &[("", calls), ("enough", &[])]).await;
    assert_eq!(ran.calls.len(), 2);
    assert_eq!(ran.told()[2], "error: not called: all of the 2 calls are used up");
    assert_eq!(ran.out.unwrap().stopped_because, "max_calls");
}

#[tokio::test(start_paused = true)]
async fn only_tools_that_can_be_called_twice_are_called_again() {
    let calls: &[_] = &[("a", "flaky", "{}"), ("b", "broken", "{}")];
    let ran = run(json!({}), &[("", calls), ("done", &[])]).await;
    assert_eq!(ran.calls, ["flaky {}", "flaky {}", "flaky {}", "broken {}"]);
    assert_eq!(ran.told(), ["at last", "error: tool is unavailable: no bank"]);
    assert!(ran.out.is_ok(), "the model may find another way");
}

#[tokio::test]
async fn what_a_tool_refuses_is_told_to_the_model() {
    let ran = run(json!({}), &[("", &[("a", "weather", r#"{"city":"Atlantis"}"#)]), ("no", &[])]).await;
    assert_eq!(ran.told(), ["error: there is no city `Atlantis`"]);
    assert_eq!(ran.out.unwrap().calls[0]["error"], json!("there is no city `Atlantis`"));
}

#[tokio::test]
async fn long_values_are_passed_by_name() {
    let calls: &[_] = &[("a", "report", "{}")];
    let memo: &[_] = &[
        ("b", "pay", r#"{"amount": 1, "memo": "$report.1/rows/1"}"#),
        ("c", "pay", r#"{"amount": 2, "memo": "$search.text"}"#),
        ("d", "pay", r#"{"amount": 3, "memo": "$report.1"}"#),
        ("e", "pay", r#"{"amount": 4, "memo": "$5"}"#),
    ];
    let input = In { values: Some(json!({ "search.text": "a long text" })), ..asked() };
    let ran =
        run_with(json!({ "result_chars": 100 }), input, &[("", calls), ("", memo), ("done", &[])]).await;
    let cut = &ran.requests[1].turns[0].results[0].content;
    assert!(cut.contains("cut after 100 of 537 characters; `\"$report.1\"`"), "{cut}");
    let expected = [
        "report {}",
        r#"pay {"amount":1,"memo":"second"}"#,
        r#"pay {"amount":2,"memo":"a long text"}"#,
        r#"pay {"amount":4,"memo":"$5"}"#,
    ];
    assert_eq!(ran.calls, expected, "an object is no text, so the third is refused");
    assert!(ran.told()[2].contains("is not of type \"string\""), "{:?}", ran.told());
    assert!(ran.requests[0].messages[1].content.contains("- `$search.text`: a text of 11 characters"));
}

#[tokio::test]
async fn calls_without_a_name_of_their_own_get_one() {
    let calls: &[_] = &[("", "weather", OSLO), ("x", "weather", OSLO), ("x", "weather", OSLO)];
    let ran = run(json!({}), &[("", calls), ("done", &[])]).await;
    let turn = &ran.requests[1].turns[0];
    let ids: Vec<&str> = turn.calls.iter().map(|call| &*call.id).collect();
    let results: Vec<&str> = turn.results.iter().map(|result| &*result.id).collect();
    assert_eq!((ids.clone(), results), (vec!["call_0_0", "x", "call_0_2"], ids));
}

#[tokio::test]
async fn a_conversation_goes_on_where_it_was() {
    let first = run(json!({}), &[("", &[("a", "weather", OSLO)]), ("18 degrees", &[])]).await;
    let out = first.out.unwrap();
    let input = In { question: Some("And in Rome?".to_owned()), history: Some(out.history), ..asked() };
    // A server that begins to count anew in every answer.
    let call: &[_] = &[("a", "weather", r#"{"city":"Rome"}"#)];
    let second = run_with(json!({}), input, &[("", call), ("warm", &[])]).await;
    let request = &second.requests[1];
    let said: Vec<&str> = request.messages.iter().skip(1).map(|message| &*message.content).collect();
    assert_eq!(said, ["Is it warm?", "18 degrees", "And in Rome?"]);
    let after: Vec<usize> = request.turns.iter().map(|turn| turn.after).collect();
    assert_eq!(after, [2, 4], "after the system prompt and one message, and after all of them");
    let roles: Vec<String> = second.out.unwrap().history.as_array().unwrap().iter().map(shown).collect();
    let expected = [
        "user Is it warm?",
        "assistant a",
        "tool a",
        "assistant 18 degrees",
        "user And in Rome?",
        "assistant call_1_0",
        "tool call_1_0",
        "assistant warm",
    ];
    assert_eq!(roles, expected);
    let input = In { history: Some(json!({ "role": "user" })), ..asked() };
    let error = run_with(json!({}), input, &[]).await.out.unwrap_err();
    assert_eq!(error.to_string(), "`history`: it is no list of messages");
}

/// The role of a message, and its call or its words.
fn shown(message: &Value) -> String {
    let call = message.pointer("/tool_calls/0/id").or(message.get("tool_call_id"));
    let words = call.unwrap_or(&message["content"]);
    format!("{} {}", message["role"].as_str().unwrap(), words.as_str().unwrap())
}

#[tokio::test]
async fn a_recorded_conversation_with_its_own_system_prompt_goes_on() {
    let history = json!([
        { "role": "system", "content": "You are an agent of an airline." },
        { "role": "user", "content": "Is it warm in Oslo?" },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "1", "type": "function", "function": { "name": "forecast", "arguments": "{" } },
            { "id": "2", "type": "function", "function": { "name": "weather", "arguments": OSLO } },
        ] },
        { "role": "tool", "tool_call_id": "2", "name": "weather", "content": "18" },
    ]);
    let input = In { question: None, history: Some(history), ..asked() };
    let ran = run_with(json!({}), input, &[("Yes.", &[])]).await;
    let request = &ran.requests[0];
    assert_eq!(request.messages.len(), 2);
    assert_eq!(&*request.messages[0].content, "You are an agent of an airline.");
    assert_eq!(request.turns[0].results.len(), 2, "servers refuse a call without a result");
    assert!(ran.calls.is_empty(), "what is in the past is not done again");
    assert_eq!(ran.out.unwrap().history.as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn a_call_that_was_cut_off_says_so() {
    let ran =
        run(json!({ "max_tokens": 7 }), &[("CUT", &[("a", "weather", r#"{"city": "Os"#)]), ("no", &[])])
            .await;
    assert!(ran.told()[0].ends_with("your answer was cut off after 7 tokens"), "{:?}", ran.told());
}

#[tokio::test]
async fn arguments_that_servers_leave_out_are_none() {
    for written in ["", "null", " {} "] {
        let ran = run(json!({}), &[("", &[("a", "report", written)]), ("done", &[])]).await;
        assert_eq!(ran.calls, ["report {}"], "{written:?}");
    }
}

#[tokio::test]
async fn messages_alone_are_a_question_too() {
    let message = |role, content: &str| Message { role, content: content.into() };
    let messages = vec![message(Role::System, "Be brief."), message(Role::User, "Warm?")];
    let shared = |messages: &[Message]| Some(messages.iter().cloned().map(Arc::new).collect());
    let input = In { question: None, messages: shared(&messages), ..asked() };
    let ran = run_with(json!({}), input, &[("yes", &[])]).await;
    assert_eq!(ran.requests[0].messages, messages, "their own system prompt stands");
    let input = In { question: None, messages: shared(&messages[1..]), ..asked() };
    let ran = run_with(json!({}), input, &[("yes", &[])]).await;
    assert_eq!(ran.requests[0].messages[0].role, Role::System);
    assert_eq!(ran.requests[0].messages.len(), 2);
}

#[tokio::test]
async fn once_something_was_changed_a_failure_is_for_good() {
    let pay: &[_] = &[("a", "pay", r#"{"amount":1}"#)];
    let ran = run(json!({}), &[("", pay), ("FAIL", &[])]).await;
    let error = ran.out.unwrap_err();
    assert!(matches!(&error, OpError::Backend(backend::Error::Rejected { .. })), "{error}");
    assert!(error.to_string().ends_with("not made again, since a tool with effects was called before"));
    let ran = run(json!({}), &[("", &[("a", "weather", OSLO)]), ("FAIL", &[])]).await;
    assert!(matches!(ran.out.unwrap_err(), OpError::Backend(backend::Error::Unavailable { .. })));
}

#[tokio::test]
async fn without_effects_no_tool_with_effects_is_offered() {
    let ran = run(json!({ "effects": false }), &[]).await;
    let error = ran.out.unwrap_err().to_string();
    assert!(error.contains("tool `pay` must not be called twice"), "{error}");
    let settings = json!({ "effects": false, "tools": ["weather"] });
    assert!(run(settings.clone(), &[("yes", &[])]).await.out.is_ok());
    let operator: Call = serde_json::from_value(settings).unwrap();
    assert!(!operator.has_effects());
    assert_eq!(operator.model_calls_max(), 9);
}

#[tokio::test]
async fn tools_of_a_server_are_known_by_their_own_names() {
    let call: &[_] = &[("a", "tide", "{}")];
    let ran = run(json!({ "tools": ["sea"] }), &[("", call), ("high", &[])]).await;
    assert_eq!(
        (ran.calls.as_slice(), ran.out.unwrap().calls[0]["tool"].clone()),
        (&["tide {}".to_owned()][..], json!("sea.tide"))
    );
    let both = run(json!({ "tools": ["weather", "sea", "sea.tide"] }), &[("yes", &[])]).await;
    let names: Vec<&str> = both.requests[0].tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["weather", "tide", "sea.weather"], "whole names tell two of one name apart");
}

#[tokio::test]
async fn a_tool_without_a_schema_keeps_nobody_from_the_others() {
    let calls = [("a", "depth", r#"{"at":1}"#), ("b", "depth", r#"{"at":"x"}"#), ("c", "odd", "{}")];
    let ran = run(json!({ "tools": ["lake"] }), &[("", &calls), ("12 m", &[])]).await;
    assert_eq!(ran.calls, [r#"depth {"at":1}"#]);
    let told = ran.told();
    assert!(told[1].contains("is not of type") && told[2].contains("there is no tool `odd`"), "{told:?}");
    let offered = &ran.requests[0].tools;
    assert_eq!(
        (offered.len(), offered[0].schema["type"].as_str()),
        (1, Some("object")),
        "as servers read it"
    );
    let named = run(json!({ "tools": ["lake.odd", "weather"] }), &[]).await.out.unwrap_err().to_string();
    assert!(named.contains("the schema of tool `lake.odd` is none"), "{named}");
}

#[tokio::test]
async fn a_number_that_would_change_on_its_way_is_not_sent() {
    let calls = [
        ("a", "pay", r#"{"amount":18446744073709551616}"#),
        ("b", "pay", r#"{"amount":18446744073709551615}"#),
    ];
    let ran = run(json!({}), &[("", &calls), ("paid", &[])]).await;
    assert_eq!(ran.calls, [r#"pay {"amount":18446744073709551615}"#]);
    assert!(ran.told()[0].contains("more than 64 bits"), "{:?}", ran.told());
}

#[tokio::test]
async fn only_the_tools_that_were_chosen_are_offered() {
    let input = In { tools: Some(vec!["weather".to_owned()]), ..asked() };
    let ran = run_with(json!({}), input, &[("", &[("a", "pay", r#"{"amount":1}"#)]), ("no", &[])]).await;
    assert_eq!(ran.requests[0].tools.len(), 1);
    assert!(ran.calls.is_empty() && ran.told()[0].contains("there is no tool `pay`"));
    let input = In { tools: Some(vec!["launch".to_owned()]), ..asked() };
    let error = run_with(json!({}), input, &[]).await.out.unwrap_err();
    assert!(error.to_string().contains("`launch`, which is none of the tools"), "{error}");
}

#[tokio::test]
async fn the_prompt_names_the_values() {
    let values = json!({ "report": "a long text", "rows": [1, 2], "who": { "name": "Ada" }, "n": 3 });
    let ran = run_with(json!({}), In { values: Some(values), ..asked() }, &[("yes", &[])]).await;
    insta::assert_snapshot!(rendered(&ran.requests[0]));
}

#[test]
fn settings_out_of_range_and_a_node_that_is_asked_nothing_are_refused() {
    for wrong in [
        json!({}),
        json!({ "tools": [] }),
        json!({ "tools": ["a"], "max_turns": 0 }),
        json!({ "tools": ["a"], "turns": 1 }),
    ] {
        assert!(!validator("tool.call").is_valid(&wrong), "{wrong}");
    }
    let operator: Call = serde_json::from_value(json!({ "tools": ["program"] })).unwrap();
    assert_eq!(operator.check(&[("values".into(), Type::Json)])[0].message, "`tool.call` is asked nothing");
    assert!(operator.check(&[("messages".into(), Type::Json)]).is_empty());
}
