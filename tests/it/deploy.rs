//! What is in `deploy/` fits together and with the program, as far as it can be tried without Docker or a cluster; in
//! `first_key` the program takes the steps that lead to a service with a key.
//!
//! Not tried: building the image, starting the composition, installing the chart.

mod first_key;

use std::collections::BTreeSet;
use std::process::Command;

use anabranch::config::Config;
use serde_json::Value;

use crate::sdk;
use crate::support::{read, root};

/// The versions of Kubernetes whose schemas the chart's objects must pass: the oldest that it takes, and the newest known.
const KUBERNETES: [&str; 2] = ["1.30", "1.37"];

fn yaml(paths: &[&str]) -> Value {
    serde_json::from_str(&sdk::said(sdk::script("as_json.py").args(paths))).unwrap()
}

/// Every object of the chart: which values made it, and the object.
fn objects() -> Vec<(String, Value)> {
    let text = sdk::said(sdk::script("chart.py").arg("deploy/helm/anabranch").args(KUBERNETES));
    text.lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            (line["values"].as_str().unwrap().to_owned(), line["object"].take())
        })
        .collect()
}

fn of_kind<'a>(objects: &'a [(String, Value)], kind: &str) -> Vec<&'a Value> {
    objects.iter().map(|(_, object)| object).filter(|object| object["kind"] == kind).collect()
}

/// Seconds of `90s`, `15m`.
fn seconds(text: &Value) -> u64 {
    let text = text.as_str().unwrap();
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<u64>().unwrap() * if unit == "m" { 60 } else { 1 }
}

/// Whether an image is named with a tag that stays what it is.
fn is_pinned(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap();
    name.contains('@') || name.split_once(':').is_some_and(|(_, tag)| !["", "latest", "main"].contains(&tag))
}

#[test]
fn the_dockerfile_passes_its_linter() {
    sdk::said(sdk::program("hadolint").args(["--failure-threshold", "info", "deploy/Dockerfile"]));
}

#[test]
fn the_image_runs_as_nobody_and_asks_after_its_own_health() {
    let text = read("deploy/Dockerfile");
    let last = text.rsplit("\nFROM ").next().unwrap();
    assert!(last.contains("\nUSER 65532:65532"), "{last}");
    assert!(last.contains("\nHEALTHCHECK "), "{last}");
    for from in text.lines().filter_map(|line| line.strip_prefix("FROM ")) {
        assert!(is_pinned(from.split(' ').next().unwrap()), "FROM {from}");
    }
    assert!(!text.to_lowercase().contains("password") && !text.contains("ARG "), "no secrets in an image");
}

#[test]
fn whatever_is_copied_into_the_image_is_there_and_is_let_through() {
    let (docker, ignore) = (read("deploy/Dockerfile"), read(".dockerignore"));
    let let_through: BTreeSet<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut copied = BTreeSet::new();
    for line in docker.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        copied.extend(words.iter().take(words.len() - 1).copied());
    }
    for path in &copied {
        assert!(root().join(path).exists(), "the Dockerfile copies `{path}`, which is not there");
        assert!(let_through.contains(path), ".dockerignore keeps `{path}` out");
    }
    assert_eq!(let_through, copied, "what is let through is what is copied");
    // A member that is missing makes cargo refuse the whole workspace.
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: Vec<String> = serde_json::from_str(members).unwrap();
    for member in members {
        assert!(copied.contains(member.as_str()), "the Dockerfile does not copy the member `{member}`");
    }
}

#[test]
fn the_program_needs_only_libraries_that_the_base_of_the_image_has() {
    let program = root().join("target/debug/anabranch");
    let listed = sdk::said(Command::new("ldd").arg(&program));
    for line in listed.lines() {
        let name = line.split_whitespace().next().unwrap().rsplit('/').next().unwrap();
        let is_there = ["linux-vdso.so.1", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2"];
        assert!(is_there.contains(&name), "distroless/cc has no `{name}`");
    }
}

#[test]
fn the_composition_is_pinned_watched_and_keeps_its_secrets_in_files() {
    let path = "deploy/compose.yaml";
    let compose = yaml(&[path])[path].take();
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        assert!(is_pinned(service["image"].as_str().unwrap()), "{name}: {}", service["image"]);
        assert!(service["healthcheck"].is_object(), "{name} has no health check, and does not say so");
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} is published to everybody");
        }
        for (key, value) in service["environment"].as_object().into_iter().flatten() {
            let is_secret = key.contains("PASSWORD") || key.contains("KEY") || key.contains("TOKEN");
            assert!(!is_secret || value.as_str().unwrap().starts_with("/run/secrets/"), "{name}: {key}");
        }
        for secret in service["secrets"].as_array().into_iter().flatten() {
            assert!(compose["secrets"][secret.as_str().unwrap()]["file"].is_string(), "{name}: {secret}");
        }
        for other in service["depends_on"].as_object().into_iter().flatten().map(|(other, _)| other) {
            assert!(services.contains_key(other), "{name} waits for `{other}`");
        }
    }
    for (name, config) in compose["configs"].as_object().unwrap() {
        let file = config["file"].as_str().unwrap();
        assert!(root().join("deploy").join(file).exists(), "the config `{name}` is `{file}`");
    }
    assert_eq!(services["service"]["deploy"]["replicas"], 2);
    assert_eq!(services["service"]["user"], "65532:65532");
    let gpu = &services["vllm"]["deploy"]["resources"]["reservations"]["devices"][0];
    assert_eq!(gpu["capabilities"], serde_json::json!(["gpu"]));
}

#[test]
fn processes_get_longer_to_stop_than_they_take_to_drain() {
    let (compose, config) = ("deploy/compose.yaml", "deploy/compose/anabranch.yaml");
    let all = yaml(&[compose, config]);
    let grace = seconds(&all[compose]["services"]["service"]["stop_grace_period"]);
    assert!(grace > seconds(&all[config]["server"]["drain"]), "compose gives {grace} s");

    for (values, object) in objects().iter().filter(|(_, object)| object["kind"] == "Deployment") {
        let pod = &object["spec"]["template"]["spec"];
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        let sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
        let drain = if values == "everything" { 60 } else { 20 };
        assert!(grace > drain + sleep, "{values}: {grace} s for {drain} s of draining");
    }
}

#[test]
fn the_chart_makes_objects_that_kubernetes_takes() {
    let objects = objects();
    let kinds: BTreeSet<&str> = objects.iter().filter_map(|(_, object)| object["kind"].as_str()).collect();
    let expected = [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    ];
    assert_eq!(kinds, BTreeSet::from(expected));
    println!("{} objects passed the schemas of Kubernetes {}", objects.len(), KUBERNETES.join(" and "));
}

#[test]
fn pods_are_probed_and_may_do_nothing_that_they_need_not() {
    let objects = objects();
    for object in of_kind(&objects, "Deployment").into_iter().chain(of_kind(&objects, "Job")) {
        let pod = &object["spec"]["template"]["spec"];
        let (name, container) = (&object["metadata"]["name"], &pod["containers"][0]);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL", "{name}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
        assert!(is_pinned(container["image"].as_str().unwrap()), "{name}");
        for variable in container["env"].as_array().unwrap().iter().filter(|one| one["name"] != "POD_IP") {
            assert!(variable["valueFrom"]["secretKeyRef"].is_object(), "{name}: {variable}");
        }
        if object["kind"] == "Deployment" {
            assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz", "{name}");
            assert_eq!(container["startupProbe"]["httpGet"]["path"], "/healthz", "{name}");
            assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz", "{name}");
        }
    }
}

#[test]
fn pods_are_told_where_the_others_reach_them_and_may_reach_each_other() {
    let objects = objects();
    for object in of_kind(&objects, "Deployment") {
        let (name, container) =
            (&object["metadata"]["name"], &object["spec"]["template"]["spec"]["containers"][0]);
        let args: Vec<&str> =
            container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
        if args.ends_with(&["--role", "api"]) {
            // It has no jobs to tell of.
            continue;
        }
        assert!(args.windows(2).any(|pair| pair == ["--advertise", "$(POD_IP)"]), "{name}: {args:?}");
        let address =
            container["env"].as_array().unwrap().iter().find(|one| one["name"] == "POD_IP").unwrap();
        assert_eq!(address["valueFrom"]["fieldRef"]["fieldPath"], "status.podIP", "{name}");
    }
    for policy in of_kind(&objects, "NetworkPolicy") {
        let pods = &policy["spec"]["podSelector"]["matchLabels"];
        let is_open = |peers: &Value| {
            let is_one = |peer: &Value| {
                peer["podSelector"].is_object()
                    && (peer["podSelector"]["matchLabels"].is_null()
                        || &peer["podSelector"]["matchLabels"] == pods)
            };
            peers.as_array().is_none_or(|peers| peers.iter().any(is_one))
        };
        assert!(is_open(&policy["spec"]["ingress"][0]["from"]), "{policy}");
        assert!(
            policy["spec"]["egress"]
                .as_array()
                .unwrap()
                .iter()
                .any(|rule| is_open(&rule["to"]) && rule["ports"][0]["port"] != 53),
            "{policy}"
        );
    }
}

#[test]
fn what_the_autoscaler_scales_is_there_and_has_no_number_of_its_own() {
    let objects = objects();
    for (values, scaler) in objects.iter().filter(|(_, object)| object["kind"] == "HorizontalPodAutoscaler") {
        let target = &scaler["spec"]["scaleTargetRef"]["name"];
        let deployment = objects
            .iter()
            .find(|(of, object)| {
                of == values && object["kind"] == "Deployment" && object["metadata"]["name"] == *target
            })
            .unwrap_or_else(|| panic!("{values}: there is no deployment {target}"));
        // A number in the deployment would undo what the autoscaler did, at every upgrade.
        assert!(deployment.1["spec"]["replicas"].is_null(), "{values}");
    }
    for deployment in of_kind(&objects, "Deployment") {
        let (selector, labels) = (
            &deployment["spec"]["selector"]["matchLabels"],
            &deployment["spec"]["template"]["metadata"]["labels"],
        );
        for (key, value) in selector.as_object().unwrap() {
            assert_eq!(&labels[key], value, "{}", deployment["metadata"]["name"]);
        }
    }
}

#[test]
fn the_program_takes_every_configuration() {
    let compose = "deploy/compose/anabranch.yaml";
    Config::parse(compose, &read(compose)).unwrap_or_else(|error| panic!("{error}"));
    let mut n_taken = 0;
    for (values, object) in objects().iter().filter(|(_, object)| object["kind"] == "ConfigMap") {
        let Some(text) = object["data"]["anabranch.yaml"].as_str() else { continue };
        Config::parse("anabranch.yaml", text).unwrap_or_else(|error| panic!("{values}: {error}\n{text}"));
        n_taken += 1;
    }
    assert!(n_taken >= 4, "{n_taken} configurations");
}
