//! The store on SQLite, in memory and in files.

use super::*;
use crate::flows::Bundle;

async fn memory() -> Store {
    Store::open(Options::new(At::Memory), true).await.unwrap()
}

fn bundle(name: &str) -> Bundle {
    Bundle {
        name: name.to_owned(),
        flow: format!("flow: {name}"),
        flows: BTreeMap::default(),
        prompts: BTreeMap::default(),
    }
}

#[tokio::test]
async fn a_flow_has_versions_and_one_is_active() {
    let store = memory().await;
    let put = async |hash: &str, expected| {
        store.put_bundle(hash, &bundle("qa")).await.unwrap();
        let new = NewVersion {
            tenant: "t".into(),
            name: "qa".into(),
            hash: hash.into(),
            etag: format!("e-{hash}"),
            expected,
            ..NewVersion::default()
        };
        store.put_flow_version(&new).await.unwrap()
    };
    assert_eq!(put("h1", Expected::Nothing).await, FlowPut::New(1, true));
    assert_eq!(put("h1", Expected::Anything).await, FlowPut::Same(1));
    assert_eq!(put("h2", Expected::Nothing).await, FlowPut::Unexpected(Some("e-h1".into())));
    assert_eq!(put("h2", Expected::Etag("e-h1".into())).await, FlowPut::New(2, false));
    assert!(store.activate("t", "qa", 1).await.unwrap());
    assert!(!store.activate("t", "qa", 7).await.unwrap());
    let active = store.flow("t", "qa", None).await.unwrap().unwrap();
    assert_eq!((active.version, active.is_active), (1, true));
    assert_eq!(store.flow("other", "qa", None).await.unwrap(), None);
    let versions = store.versions("t", "qa").await.unwrap();
    assert_eq!(
        versions.iter().map(|v| (v.version, v.is_active)).collect::<Vec<_>>(),
        [(2, false), (1, true)]
    );
    assert_eq!(store.flows("t").await.unwrap().len(), 1);
    assert_eq!(store.bundle("h2").await.unwrap(), Some(bundle("qa")));
    assert_eq!(store.in_flight("t", "qa", Some(1)).await.unwrap(), 0);
}
