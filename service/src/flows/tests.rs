//! Flows in a store: bound, put, found, compiled again.

use super::*;
use crate::store::{At, Options};

async fn flows() -> Flows {
    let store = Store::open(Options::new(At::Memory), true).await.unwrap();
    Flows::new(store, Arc::new(anabranch_operators::registry()), Arc::new(|| None))
}

/// A flow `name` that rewrites a question with the prompt in a file.
fn rewriting(name: &str, file: &str) -> String {
    format!(
        "flow: {name}\ninputs: {{ question: text }}\nnodes:\n  new: {{ op: query.rewrite, with: {{ prompt: \"{file}\" }}, \
         in: {{ question: inputs.question }} }}\noutputs: {{ question: new.query }}\n"
    )
}

/// A flow `name` that calls `other`.
fn calling(name: &str, other: &str) -> String {
    format!(
        "flow: {name}\ninputs: {{ question: text }}\nnodes:\n  once: {{ flow: {other}, in: {{ question: inputs.question }} }}\n\
         outputs: {{ question: once.question }}\n"
    )
}

fn given(flow: String, flows: &[(&str, String)], prompts: &[(&str, &str)]) -> Given {
    Given {
        flow,
        flows: flows.iter().map(|(key, text)| ((*key).to_owned(), text.clone())).collect(),
        prompts: prompts.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect(),
    }
}

async fn put(flows: &Flows, tenant: &str, given: Given) -> FlowPut {
    let bound = flows.bind(tenant, given).await.unwrap();
    flows.put(tenant, &bound, None, Expected::Anything, false).await.unwrap()
}

fn problems(error: &FlowError) -> Vec<(String, String)> {
    let FlowError::Invalid(problems) = error else { panic!("{error}") };
    problems.iter().map(|problem| (problem.code.id().to_owned(), problem.message.clone())).collect()
}

#[tokio::test]
async fn a_flow_is_compiled_again_from_its_bundle_with_the_same_hash() {
    let flows = flows().await;
    let parts = given(
        calling("outer", "inner"),
        &[("inner", rewriting("inner", "p/new.md")), ("never_called", "not even YAML: [".into())],
        &[("p/new.md", "Say {{ question }} anew."), ("p/other.md", "")],
    );
    assert_eq!(put(&flows, "t", parts.clone()).await, FlowPut::New(1, true));
    assert_eq!(put(&flows, "t", parts).await, FlowPut::Same(1));
    let version = flows.version("t", "outer", None).await.unwrap();
    let bundle = flows.bundle(&version.hash).await.unwrap();
    assert_eq!(bundle.flows.keys().collect::<Vec<_>>(), ["inner"], "only what is read is kept");
    assert_eq!(bundle.prompts.keys().collect::<Vec<_>>(), ["p/new.md"]);
    // Another process, with the same store.
    let other = Flows::new(flows.store.clone(), Arc::new(anabranch_operators::registry()), Arc::new(|| None));
    let plan = other.pinned(&version.hash).await.unwrap();
    assert_eq!((&*plan.name, &*plan.hash), ("outer", &*version.hash));
    assert!(Arc::ptr_eq(&plan, &other.pinned(&version.hash).await.unwrap()), "compiled once");
    let ready = other.get("t", "outer", None).await.unwrap();
    assert_eq!((ready.version, ready.hash), (Some(1), version.hash));
}

#[tokio::test]
async fn what_is_not_given_is_an_active_flow_with_its_own_parts() {
    let flows = flows().await;
    put(&flows, "t", given(rewriting("leaf", "p.md"), &[], &[("p.md", "Leaf: {{ question }}")])).await;
    put(&flows, "t", given(calling("middle", "leaf"), &[], &[])).await;
    put(&flows, "t", given(calling("top", "middle"), &[], &[("p.md", "never read")])).await;
    let version = flows.version("t", "top", None).await.unwrap();
    let bundle = flows.bundle(&version.hash).await.unwrap();
    assert_eq!(bundle.flows.keys().collect::<Vec<_>>(), ["middle/leaf/leaf", "middle/middle"]);
    assert_eq!(bundle.prompts["middle/leaf/p.md"], "Leaf: {{ question }}");
    // What is pinned stays, whatever becomes of the flow that was called.
    put(&flows, "t", given(rewriting("leaf", "p.md"), &[], &[("p.md", "Another leaf: {{ question }}")]))
        .await;
    assert_eq!(flows.version("t", "top", None).await.unwrap(), version);
    let again = flows.bind("t", given(calling("top", "leaf"), &[], &[])).await.unwrap();
    assert_eq!(again.bundle.prompts["leaf/p.md"], "Another leaf: {{ question }}");
    // Another tenant has no such flow, and does not learn that there is one.
    let error = flows.bind("other", given(calling("top", "leaf"), &[], &[])).await.unwrap_err();
    assert_eq!(problems(&error), [("FLOW0015".to_owned(), "there is no flow `leaf`".to_owned())]);
}

#[tokio::test]
async fn a_flow_that_calls_itself_through_active_flows_is_refused() {
    let flows = flows().await;
    put(&flows, "t", given(rewriting("a", "p.md"), &[], &[("p.md", "{{ question }}")])).await;
    put(&flows, "t", given(calling("b", "a"), &[], &[])).await;
    for (flow, other) in [("a", "b"), ("a", "a")] {
        let error = flows.bind("t", given(calling(flow, other), &[], &[])).await.unwrap_err();
        let problems = problems(&error);
        assert_eq!(problems[0].0, "FLOW0016", "{problems:?}");
        assert!(problems[0].1.contains("calls itself"), "{problems:?}");
    }
}

#[tokio::test]
async fn parts_stay_within_the_folder_of_the_flow() {
    let flows = flows().await;
    let error = flows.bind("t", given(rewriting("a", "../p.md"), &[], &[])).await.unwrap_err();
    assert!(problems(&error)[0].1.contains("leads out of the flow's folder"), "{error}");
    let error = flows.bind("t", given(rewriting("a", "p.md"), &[], &[("../p.md", "")])).await.unwrap_err();
    assert_eq!(error.to_string(), "`../p.md` is no path relative to the flow");
    let error = flows.bind("t", given(rewriting("a", "p.md"), &[], &[])).await.unwrap_err();
    assert!(problems(&error)[0].1.contains("no prompt `p.md` was given"), "{error}");
}

#[tokio::test]
async fn going_back_to_a_version_is_seen_at_once_and_unknown_flows_are_named() {
    let flows = flows().await;
    let version =
        async |prompt: &str| put(&flows, "t", given(rewriting("qa", "p.md"), &[], &[("p.md", prompt)])).await;
    assert_eq!(version("one {{ question }}").await, FlowPut::New(1, true));
    assert_eq!(version("two {{ question }}").await, FlowPut::New(2, false));
    assert_eq!(flows.get("t", "qa", None).await.unwrap().version, Some(2));
    assert_eq!(flows.activate("t", "qa", 1).await.unwrap().version, 1);
    assert_eq!(flows.get("t", "qa", None).await.unwrap().version, Some(1));
    assert_eq!(flows.get("t", "qa", Some(2)).await.unwrap().version, Some(2));
    let unknown = async |tenant: &str, name: &str, version| {
        let FlowError::Unknown { name, hint } = flows.get(tenant, name, version).await.unwrap_err() else {
            panic!()
        };
        (name, hint.unwrap_or_default())
    };
    assert_eq!(unknown("t", "qs", None).await, ("qs".into(), "did you mean `qa`?".into()));
    assert_eq!(unknown("t", "qa", Some(9)).await, ("qa@9".into(), "its newest version is 2".into()));
    assert_eq!(unknown("other", "qa", None).await, ("qa".into(), String::new()));
    assert!(flows.remove("t", "qa").await.unwrap());
    assert_eq!(unknown("t", "qa", Some(1)).await.0, "qa");
    assert!(!flows.remove("t", "qa").await.unwrap());
}

#[tokio::test]
async fn a_draft_is_a_version_that_new_jobs_do_not_take() {
    let flows = flows().await;
    let bound =
        flows.bind("t", given(rewriting("qa", "p.md"), &[], &[("p.md", "{{ question }}")])).await.unwrap();
    let put = flows.put("t", &bound, Some("key_1"), Expected::Nothing, true).await.unwrap();
    assert_eq!(put, FlowPut::New(1, true));
    let again = flows.put("t", &bound, Some("key_1"), Expected::Nothing, true).await.unwrap();
    assert_eq!(again, FlowPut::SameDraft(1), "the same flow again is the same version");
    let FlowError::Unknown { hint, .. } = flows.get("t", "qa", None).await.unwrap_err() else { panic!() };
    assert_eq!(hint.unwrap(), "it has drafts alone: activate one, or ask for `version=1`");
    assert_eq!(flows.get("t", "qa", Some(1)).await.unwrap().version, Some(1));
    assert!(flows.activate("t", "qa", 1).await.unwrap().is_active);
    assert_eq!(flows.get("t", "qa", None).await.unwrap().version, Some(1));
}

#[tokio::test]
async fn a_draft_that_is_put_again_to_be_active_stays_the_version_that_it_is() {
    let flows = flows().await;
    let bind = async |prompt: &str| {
        flows.bind("t", given(rewriting("qa", "p.md"), &[], &[("p.md", prompt)])).await.unwrap()
    };
    let (one, two) = (bind("one {{ question }}").await, bind("two {{ question }}").await);
    let put = async |bound: &Bound, is_draft| {
        flows.put("t", bound, None, Expected::Anything, is_draft).await.unwrap()
    };
    assert_eq!(put(&one, false).await, FlowPut::New(1, true));
    assert_eq!(put(&two, true).await, FlowPut::New(2, false));
    assert_eq!(put(&two, true).await, FlowPut::SameDraft(2));
    assert_eq!(flows.get("t", "qa", None).await.unwrap().version, Some(1));
    assert_eq!(put(&two, false).await, FlowPut::New(2, false));
    assert_eq!(flows.get("t", "qa", None).await.unwrap().version, Some(2));
    assert_eq!(
        put(&one, false).await,
        FlowPut::New(3, false),
        "whoever puts an older one makes it the newest"
    );
}

#[tokio::test]
async fn what_was_put_or_removed_over_the_api_stays_so_until_the_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, prompt: &str| {
        std::fs::write(folder.path().join(format!("{name}.yaml")), rewriting(name, "p.md")).unwrap();
        std::fs::write(folder.path().join("p.md"), prompt).unwrap();
    };
    write("ask", "from the folder {{ question }}");
    write("gone", "from the folder {{ question }}");
    let flows = flows().await;
    assert_eq!(flows.load_folder("t", folder.path()).await.unwrap().changed.len(), 2);
    let pushed = given(rewriting("ask", "p.md"), &[], &[("p.md", "from the API {{ question }}")]);
    assert_eq!(put(&flows, "t", pushed).await, FlowPut::New(2, false));
    assert!(flows.remove("t", "gone").await.unwrap());
    let again = flows.load_folder("t", folder.path()).await.unwrap();
    assert_eq!((again.changed.len(), again.unchanged), (0, vec!["ask".to_owned(), "gone".to_owned()]));
    assert_eq!(flows.version("t", "ask", None).await.unwrap().version, 2);
    assert!(flows.version("t", "gone", None).await.is_err());
    write("gone", "changed in the folder {{ question }}");
    let changed = flows.load_folder("t", folder.path()).await.unwrap().changed;
    assert_eq!(changed, [("ask".to_owned(), 3), ("gone".to_owned(), 2)]);
    assert_eq!(flows.version("t", "gone", None).await.unwrap().version, 2);
}

#[tokio::test]
async fn a_bundle_that_this_build_reads_otherwise_is_refused_with_both_hashes() {
    let flows = flows().await;
    let bound =
        flows.bind("t", given(rewriting("qa", "p.md"), &[], &[("p.md", "{{ question }}")])).await.unwrap();
    flows.store.put_bundle("older", &bound.bundle).await.unwrap();
    let error = flows.pinned("older").await.unwrap_err();
    let FlowError::OtherHash { wanted, found, .. } = &error else { panic!("{error}") };
    assert_eq!((&**wanted, &**found), ("older", &*bound.plan.hash));
    assert!(matches!(flows.pinned("none").await.unwrap_err(), FlowError::NoBundle(_)));
}

#[tokio::test]
async fn a_flow_that_is_sent_along_is_kept_by_its_hash_alone() {
    let flows = flows().await;
    let sent = given(rewriting("once", "p.md"), &[], &[("p.md", "{{ question }}")]);
    let ready = flows.sent_along("t", sent).await.unwrap();
    assert_eq!((&*ready.name, ready.version), ("once", None));
    assert!(flows.names("t").await.unwrap().is_empty());
    assert!(Arc::ptr_eq(&flows.pinned(&ready.hash).await.unwrap(), &ready.plan));
}

#[tokio::test]
async fn the_flows_of_a_folder_are_taken_in_and_broken_ones_reported() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("outer.yaml", &calling("outer", "parts/inner"));
    write("parts/inner.yaml", &rewriting("inner", "../prompts/new.md"));
    write("prompts/new.md", "Say {{ question }} anew.");
    write("broken.yaml", "flow: broken\nnodes: { a: { op: no.such } }\n");
    write("twin.yaml", &calling("outer", "parts/inner"));
    write("notes.yaml", "not: a flow\n");
    let flows = flows().await;
    let loaded = flows.load_folder("default", folder.path()).await.unwrap();
    assert_eq!(loaded.changed, [("outer".to_owned(), 1)]);
    let broken: Vec<_> =
        loaded.broken.iter().map(|broken| broken.path.file_name().unwrap().to_owned()).collect();
    assert_eq!(broken, ["broken.yaml", "twin.yaml"]);
    assert!(loaded.broken[0].to_string().contains("FLOW0014"), "{}", loaded.broken[0]);
    assert!(loaded.broken[1].to_string().contains("stands in"), "{}", loaded.broken[1]);
    let bundle = flows.bundle(&flows.version("default", "outer", None).await.unwrap().hash).await.unwrap();
    assert_eq!(bundle.flows.keys().collect::<Vec<_>>(), ["parts/inner"]);
    assert_eq!(bundle.prompts.keys().collect::<Vec<_>>(), ["prompts/new.md"]);

    let again = flows.load_folder("default", folder.path()).await.unwrap();
    assert_eq!((again.changed.len(), again.unchanged), (0, vec!["outer".to_owned()]));
    write("prompts/new.md", "Say {{ question }} otherwise.");
    let changed = flows.load_folder("default", folder.path()).await.unwrap();
    assert_eq!(changed.changed, [("outer".to_owned(), 2)]);
    // Whoever goes back meant it: the same folder does not bring the newer version back.
    flows.activate("default", "outer", 1).await.unwrap();
    flows.load_folder("default", folder.path()).await.unwrap();
    assert_eq!(flows.get("default", "outer", None).await.unwrap().version, Some(1));
}
