//! The tables: every version can be applied twice, and the first can be brought to the newest.

use anabranch::store::{At, Options, Store, migrations};
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};

use crate::stores::postgres::Postgres;

#[tokio::test]
async fn every_migration_can_be_applied_twice() {
    let mut sqlite = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    for (version, name, text) in migrations(false) {
        for round in 1..=2 {
            sqlite
                .execute(text)
                .await
                .unwrap_or_else(|error| panic!("{version} {name}, round {round}: {error}"));
        }
    }
    let server = Postgres::start().await;
    let mut postgres = PgConnection::connect(&server.url("anabranch")).await.unwrap();
    for (version, name, text) in migrations(true) {
        for round in 1..=2 {
            sqlx::raw_sql(text)
                .execute(&mut postgres)
                .await
                .unwrap_or_else(|error| panic!("{version} {name}, round {round}: {error}"));
        }
    }
}

#[tokio::test]
async fn versions_have_numbers_of_their_own_and_rise() {
    for is_postgres in [false, true] {
        let versions: Vec<i64> = migrations(is_postgres).iter().map(|(version, ..)| *version).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_opened_again_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let store = super::file(folder.path()).await;
        store.ready().await.unwrap();
        store.close().await;
    }
    let server = Postgres::start().await;
    let store = super::database(&server, "again").await;
    store.close().await;
    super::open(&server, "again").await.ready().await.unwrap();
}

#[tokio::test]
async fn tables_that_are_missing_old_or_new_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = At::Sqlite(folder.path().join("store.db"));
    let refused = async || Store::open(Options::new(at.clone()), false).await.unwrap_err().to_string();
    assert!(
        refused().await.contains("its tables are missing: run `anabranch migrate`"),
        "{}",
        refused().await
    );
    super::file(folder.path()).await.close().await;
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    connection.execute("UPDATE _sqlx_migrations SET version = 9000 WHERE version = 1").await.unwrap();
    assert!(refused().await.contains("have version 9000"), "{}", refused().await);
    connection.execute("DELETE FROM _sqlx_migrations WHERE version > 1").await.unwrap();
    assert!(refused().await.contains("this build needs"), "{}", refused().await);
}
