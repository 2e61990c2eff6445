//! `anabranch keys`: made on a server and without one, listed, revoked; and what happens without the right one.

use serde_json::json;

use super::Asked;
use crate::outside::service::Service;

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn a_key_is_made_used_and_revoked() {
    let mut asked = Asked::new();
    let made = asked.run(&["keys", "create", "--name", "root", "--scope", "read,run,edit,admin"]);
    assert_eq!(made.code, Some(0), "{}", made.err);
    let key = made.out.trim().to_owned();
    assert!(key.starts_with("anb_") && lines(&made.out).len() == 1, "the key alone: {}", made.out);
    assert!(made.err.contains("not shown again"), "{}", made.err);

    // From now on a key is needed; the server may take some seconds to notice what others did, but it did this itself.
    let without = asked.run(&["jobs", "list"]);
    assert_eq!(without.code, Some(6), "{}", without.err);
    assert!(without.err.contains("key"), "{}", without.err);
    asked.key = Some(key);
    let looks = asked.json(&["keys", "create", "--name", "looks", "--scope", "read", "--expires", "90d"]);
    let looker = looks["key"].as_str().unwrap();
    assert_eq!((&looks["scopes"], &looks["tenant"]), (&json!(["read"]), &json!("default")));
    assert_eq!(asked.with_key(Some(looker), &["jobs", "list"]).code, Some(0));
    for refused in [
        &["jobs", "submit", "larger", "-i", "n=1"][..],
        &["keys", "list"][..],
        &["flows", "push", "flows/larger.yaml"][..],
    ] {
        let ran = asked.with_key(Some(looker), refused);
        assert_eq!(ran.code, Some(6), "{refused:?}: {}", ran.err);
    }
    let table = asked.out(&["keys", "list"]);
    assert!(table.contains("looks") && table.contains("root") && !table.contains("anb_"), "{table}");
    let id = looks["id"].as_str().unwrap();
    let itself = asked.run(&["keys", "revoke", looker]);
    assert_eq!(itself.code, Some(2), "{}", itself.err);
    asked.out(&["keys", "revoke", id]);
    assert_eq!(asked.with_key(Some(looker), &["jobs", "list"]).code, Some(6), "it is revoked");
    let listed = asked.json(&["keys", "list"]);
    let revoked = listed["items"].as_array().unwrap().iter().find(|key| key["id"] == id).unwrap();
    assert!(revoked["revoked_at"].is_string(), "{listed}");
    assert_eq!(asked.run(&["keys", "revoke", "key_0"]).code, Some(2));
    let wrong = asked.run(&["keys", "create", "--name", "x", "--scope", "rum"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
}

#[test]
fn who_asks_too_often_is_told_to_wait() {
    let mut asked = Asked { service: Service::start("limits: { requests_per_minute: 2 }\n"), key: None };
    asked.key = Some(asked.out(&["keys", "create", "--name", "me", "--scope", "read"]).trim().to_owned());
    let codes: Vec<_> = (0..6).map(|_| asked.run(&["jobs", "list"])).collect();
    let refused = codes.iter().find(|ran| ran.code != Some(0)).expect("six are more than two");
    assert_eq!(refused.code, Some(5), "{}", refused.err);
    assert!(refused.err.contains("ask again in"), "{}", refused.err);
}

#[test]
fn the_first_key_of_a_server_is_made_without_one() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("anabranch.yaml");
    let config = path.to_str().unwrap();
    std::fs::write(&path, "server: { listen: '0.0.0.0:0' }\n").unwrap();
    let run = |args: &[&str]| super::ran(super::anabranch(args).current_dir(folder.path()));
    let closed = run(&["serve", "--config", config]);
    assert_eq!(closed.code, Some(6), "{}", closed.err);
    assert!(closed.err.contains("anabranch keys create --local"), "{}", closed.err);

    // As deploy/compose.yaml does it.
    let made =
        run(&["keys", "create", "--config", config, "--name", "first", "--scopes", "read,run,edit,admin"]);
    assert_eq!(made.code, Some(0), "{}", made.err);
    assert!(made.out.starts_with("anb_"), "{}", made.out);
    let listed = run(&["keys", "list", "--local", "--json"]).json();
    assert_eq!(listed["items"][0]["scopes"], json!(["read", "run", "edit", "admin"]), "{listed}");
    let id = listed["items"][0]["id"].as_str().unwrap();
    assert_eq!(run(&["keys", "revoke", "--local", id]).code, Some(0));
    assert!(run(&["keys", "list", "--local"]).out.contains("revoked"));
    assert_eq!(run(&["keys", "revoke", "--local", "key_0"]).code, Some(2));
    let wrong = run(&["keys", "create", "--local", "--name", "x", "--scope", "rum"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("did you mean `run`?"), "{}", wrong.err);

    std::fs::write(&path, "store: { url: memory }\n").unwrap();
    let nowhere = run(&["keys", "create", "--local", "--name", "x", "--scope", "run"]);
    assert_eq!(nowhere.code, Some(3), "{}", nowhere.err);
}

#[test]
fn a_key_that_is_made_beside_a_running_server_is_good_there() {
    let mut asked = Asked::new();
    let made = asked.json(&["keys", "create", "--local", "--name", "beside", "--scope", "read"]);
    asked.key = Some(made["key"].as_str().unwrap().to_owned());
    assert_eq!(asked.run(&["jobs", "list"]).code, Some(0));
    assert_eq!(asked.run(&["jobs", "submit", "larger", "-i", "n=1"]).code, Some(6));
}
