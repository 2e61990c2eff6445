//! The tools of `anabranch.yaml`, called by the built program: addresses, APIs that describe themselves, servers of tools.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json as Body, Router};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;

use super::project::Project;
use crate::served::{CONFIG, Place, ROOT_KEY, Served, program};

/// Calls one tool with the arguments that it is given.
const LOOK: &str = "flow: look\ninputs: { arguments: json }\nnodes:\n  look: { op: tool.run, with: { tool: TOOL }, in: { \
                    arguments: inputs.arguments } }\noutputs: { value: look.value, text: look.text }\n";
/// Lets a model call tools.
const ACT: &str = "flow: act\ninputs: { question: text }\nnodes:\n  act: { op: tool.call, with: { tools: [weather, pets] }, in: { \
                   question: inputs.question } }\noutputs: { text: act.text, calls: act.calls, why: act.stopped_because }\n";
const PETS: &str = "openapi: 3.1.0\npaths:\n  /pets/{id}:\n    get:\n      operationId: showPet\n      summary: Shows a pet.\n      \
                    parameters:\n        - { name: id, in: path, required: true, schema: { type: integer } }\n";

/// A server of this machine; stops when dropped.
struct Outside {
    url: String,
    _runtime: Runtime,
}

impl Outside {
    fn start() -> Self {
        let weather = async |Path(city): Path<String>, headers: HeaderMap| match city.as_str() {
            "Atlantis" => Err((StatusCode::NOT_FOUND, "there is no such city")),
            _ if headers.get("x-key").is_none_or(|key| key != "sesame") => {
                Err((StatusCode::UNAUTHORIZED, "who are you?"))
            }
            _ => Ok(Body(json!({ "city": city, "degrees": 18.50 }))),
        };
        let pet = async |Path(id): Path<u32>| Body(json!({ "id": id, "name": "Rex" }));
        let pay = async |Body(body): Body<Json>| Body(json!({ "paid": body["amount"] }));
        let routes = Router::new()
            .route("/weather/{city}", get(weather))
            .route("/pets/{id}", get(pet))
            .route("/pay", post(pay));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Self { url, _runtime: runtime }
    }
}

/// The configuration with three tools behind `url`.
fn config(url: &str) -> String {
    format!(
        "models: {{ default: {{ script: rules.yaml }} }}\ntools:\n  weather:\n    about: Tells the weather of a city.\n    \
         url: \"{url}/weather/{{city}}\"\n    arguments: {{ city: {{ type: string }} }}\n    headers: {{ X-Key: \
         \"${{file:key.txt}}\" }}\n    allow: [127.0.0.1]\n  pets: {{ openapi: pets.yaml, url: \"{url}\", allow: \
         [127.0.0.1] }}\n  pay:\n    about: Pays.\n    url: \"{url}/pay\"\n    method: POST\n    arguments: {{ amount: {{ type: \
         number }} }}\n    allow: [127.0.0.1]\n"
    )
}

fn project(config: &str) -> Project {
    let project = Project::new(config);
    project.write("key.txt", "sesame\n");
    project.write("pets.yaml", PETS);
    project.write("act.yaml", ACT);
    project.write("rules.yaml", "- { contains: none of these, answer: none }\n");
    project
}

/// Calls `tool`: what it answers, or what the program says and its exit code.
fn look(project: &Project, tool: &str, arguments: &Json) -> Result<Json, (Option<i32>, String)> {
    project.write("look.yaml", &LOOK.replace("TOOL", tool));
    let arguments = format!("arguments={arguments}");
    let ran = project.run(&["run", "look.yaml", "-i", &arguments, "--json"]);
    match ran.code {
        Some(0) => Ok(ran.json()["outputs"].clone()),
        code => Err((code, format!("{}{}", ran.out, ran.err))),
    }
}

#[test]
fn an_address_and_an_api_are_called_with_arguments_of_the_flow() {
    let server = Outside::start();
    let project = project(&config(&server.url));
    let found = look(&project, "weather", &json!({ "city": "São Paulo" })).unwrap();
    assert_eq!(found["value"], json!({ "city": "São Paulo", "degrees": 18.5 }));
    assert_eq!(look(&project, "pets.showPet", &json!({ "id": 7 })).unwrap()["value"]["name"], "Rex");
    assert_eq!(look(&project, "pay", &json!({ "amount": 3 })).unwrap()["value"], json!({ "paid": 3 }));
    let program = look(&project, "program", &json!({ "source": "ans = 6 * 7" })).unwrap();
    assert_eq!(program["value"], 42);

    let (code, said) = look(&project, "weather", &json!({ "city": "Atlantis" })).unwrap_err();
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("tool `weather` rejected the request: 404 Not Found: there is no such city"),
        "{said}"
    );
    let (_, said) = look(&project, "pets.showPet", &json!({ "id": "seven" })).unwrap_err();
    assert!(said.contains("is not of type"), "{said}");
}

#[test]
fn a_plan_is_told_at_load_what_no_step_of_it_can_run() {
    let project = project(&config("http://127.0.0.1:1"));
    let plan = "flow: planned\ninputs: { question: text }\nnodes:\n  planner: { op: plan.llm, in: { question: inputs.question } }\n  \
                run: { plan: planner.plan, in: { question: inputs.question }, allow: [ALLOWED], outputs: { text: text } }\n\
                outputs: { text: run.text }\n";
    for (allowed, why) in [
        ("weather", "`weather` is a tool"),
        ("pets.showPet", "`pets.showPet` is a tool"),
        ("tool.run", "`tool.run` needs `tool`"),
        ("tool.call", "`tool.call` needs `tools`"),
    ] {
        project.write("planned.yaml", &plan.replace("ALLOWED", allowed));
        let ran = project.run(&["check", "planned.yaml"]);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(
            ran.code == Some(3) && said.contains(why) && said.contains("write a flow around it"),
            "{said}"
        );
    }
    project.write("planned.yaml", &plan.replace("ALLOWED", "warm, read.answer"));
    project.write(
        "warm.yaml",
        "flow: warm\ninputs: { city: text }\nnodes:\n  \
         call: { op: tool.run, with: { tool: weather }, in: { arguments: '{\"city\": inputs.city}' } }\n\
         outputs: { weather: call.text }\n",
    );
    let ran = project.run(&["check", "planned.yaml"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

#[test]
fn a_model_calls_them_and_is_told_what_it_did_wrong() {
    let server = Outside::start();
    let project = project(&config(&server.url));
    project.write(
        "rules.yaml",
        "- { contains: Rex, answer: It is warm and the pet is Rex. }\n\
         - contains: was not called\n  calls: [{ tool: weather, arguments: { city: Oslo } }, { tool: showPet, arguments: { id: 7 } }]\n\
         - contains: warm\n  calls: [{ tool: weather, arguments: { town: Oslo } }, { tool: fly }]\n",
    );
    let report = project.json(&["run", "act.yaml", "-i", "question=Is it warm in Oslo?", "--json"]);
    let outputs = &report["outputs"];
    assert_eq!(
        (&outputs["text"], &outputs["why"]),
        (&json!("It is warm and the pet is Rex."), &json!("answered"))
    );
    let calls = outputs["calls"].as_array().unwrap();
    let refused: Vec<bool> = calls.iter().map(|call| call["refused"] == true).collect();
    assert_eq!(refused, [true, true, false, false]);
    assert_eq!(calls[2]["result"]["degrees"], 18.5);
    assert_eq!((&calls[3]["tool"], &calls[3]["turn"]), (&json!("pets.showPet"), &json!(2)));
    assert_eq!(report["usage"]["model_calls"], 3);
}

#[test]
fn nothing_inside_is_called_unless_it_is_listed() {
    let server = Outside::start();
    let project = project(&config(&server.url).replace("    allow: [127.0.0.1]\n", ""));
    let (code, said) = look(&project, "weather", &json!({ "city": "Oslo" })).unwrap_err();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("is this machine, not a public address"), "{said}");
}

#[test]
fn a_tool_that_is_not_there_is_found_before_anything_runs() {
    let project = project(&config("http://127.0.0.1:9"));
    project.write("look.yaml", &LOOK.replace("TOOL", "wether"));
    let ran = project.run(&["check", "look.yaml"]);
    assert_eq!(ran.code, Some(3));
    assert!(
        ran.out.contains("FLOW0060") && ran.out.contains("did you mean `weather`?"),
        "{}{}",
        ran.out,
        ran.err
    );
    project.write("look.yaml", &LOOK.replace("TOOL", "pets.hidePet"));
    assert_eq!(project.run(&["check", "look.yaml"]).code, Some(3), "what an API has is known");
}

/// The configuration with the tools of another Anabranch, as `notes`.
fn notes(how: &str) -> Project {
    project(&format!("tools:\n  notes: {{ {how} }}\n"))
}

fn speaks(project: &Project) {
    let question = json!({ "question": "Where do herons nest?" });
    let found = look(project, "notes.quick", &question).unwrap();
    assert!(found["value"]["answer"]["text"].as_str().unwrap().contains("tall trees"), "{found}");
    assert!(found["text"].as_str().unwrap().contains("herons.md"), "a model reads it as written: {found}");
    let found = look(project, "notes.search_docs", &json!({ "query": "herons" })).unwrap();
    assert_eq!(found["value"]["chunks"][0]["doc"], "herons.md");
    let (_, said) = look(project, "notes.quick", &json!({})).unwrap_err();
    assert!(
        said.contains("\"question\\\" is a required property") || said.contains("is a required property"),
        "{said}"
    );
    let (_, said) = look(project, "notes.fly", &json!({})).unwrap_err();
    assert!(said.contains("the tools of `notes` have no `fly`"), "{said}");
    let doctor = project.run(&["doctor", "--json"]).json();
    let line = doctor["checks"].as_array().unwrap().iter().find(|check| check["check"] == "tool notes");
    let line = line.unwrap_or_else(|| panic!("{doctor}"));
    assert_eq!((&line["state"], &line["found"]), (&json!("ok"), &json!("it has 3 tools")));
}

#[test]
fn a_program_of_this_machine_speaks_mcp_over_its_pipes() {
    let place = Place::new();
    let (program, folder) = (program(), place.folder().display().to_string());
    speaks(&notes(&format!(
        "command: [\"{}\", mcp, --config, {CONFIG}], folder: \"{folder}\", env: {{ ROOT_KEY: {ROOT_KEY} }}",
        program.display()
    )));
}

#[test]
fn an_address_speaks_mcp_over_streamable_http() {
    let place = Place::new();
    let served = Served::start(&place);
    let url = &served.url;
    speaks(&notes(&format!(
        "mcp: \"{url}/mcp\", headers: {{ Authorization: \"Bearer ${{file:key.txt}}\" }}, allow: [127.0.0.1]"
    ).replace("key.txt", "root.txt")).with("root.txt", ROOT_KEY));
    let refused = notes(&format!("mcp: \"{url}/mcp\""));
    let (code, said) = look(&refused, "notes.quick", &json!({})).unwrap_err();
    assert_eq!(code, Some(3), "{said}");
}

#[test]
fn a_server_that_does_not_speak_says_why_and_in_time() {
    for (command, timeout, why) in [
        ("[sh, -c, \"echo out of order >&2; exit 3\"]", "30s", "it says: out of order"),
        ("[no-such-program-anywhere]", "30s", "cannot be started"),
        ("[sh, -c, \"while read line; do :; done\"]", "300ms", "did not start and list its tools within"),
        ("[sh, -c, \"echo this is no JSON; exit 0\"]", "30s", "it did not start"),
    ] {
        let project = notes(&format!("command: {command}, timeout: {timeout}, connect_timeout: {timeout}"));
        let (code, said) = look(&project, "notes.quick", &json!({})).unwrap_err();
        assert_eq!(code, Some(4), "{command}: {said}");
        assert!(said.contains(why), "{command}: {said}");
    }
}
