//! The store: nothing acknowledged is lost, nothing is written by who has lost a job, on either database.

mod bounds;
mod disk;
mod faults;
mod fence;
mod jobs;
mod migrations;
mod told;

use std::path::Path;

use anabranch::store::{At, Options, Store};

use crate::stores::postgres::Postgres;

/// A store in memory.
async fn memory() -> Store {
    Store::open(Options::new(At::Memory), true).await.unwrap()
}

/// A store in a file of this folder.
async fn file(folder: &Path) -> Store {
    Store::open(Options::new(At::Sqlite(folder.join("store.db"))), true).await.unwrap()
}

/// A store in a new database of this server.
async fn database(server: &Postgres, name: &str) -> Store {
    server.create(name).await;
    open(server, name).await
}

/// A store in a database that is there.
async fn open(server: &Postgres, name: &str) -> Store {
    Store::open(Options::new(At::Postgres(server.url_of(name, "anabranch").into())), true).await.unwrap()
}

/// Runs what is said of every store on each of them: each by itself in memory and in a file, all of them on one server.
macro_rules! on_every_database {
    ($($module:ident::$name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $name() { super::$module::$name(super::memory().await).await; })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                super::$module::$name(super::file(folder.path()).await).await;
            })*
        }
        mod postgres {
            #[tokio::test]
            async fn jobs() {
                let server = crate::stores::postgres::Postgres::start().await;
                $(
                    println!("{}", stringify!($name));
                    let store = super::database(&server, stringify!($name)).await;
                    super::$module::$name(store.clone()).await;
                    store.close().await;
                )*
            }
        }
    };
}

on_every_database! {
    jobs::a_flow_has_versions_and_one_is_active,
    jobs::a_job_is_submitted_journaled_ended_and_read_back,
    jobs::what_has_ended_never_changes,
    jobs::whoever_lost_a_job_can_write_nothing,
    jobs::claims_count_from_the_last_progress,
    jobs::only_owners_that_were_lost_count_against_a_job,
    jobs::twins_make_one_job,
    jobs::a_queued_or_waiting_job_is_cancelled_at_once,
    jobs::an_answer_wakes_the_job_whenever_it_comes,
    jobs::tenants_get_their_share_whoever_has_more_in_the_queue,
    jobs::large_payloads_are_cut_and_put_back,
    jobs::lists_are_filtered_and_paged,
    jobs::tasks_are_done_by_whoever_claims_them_and_fenced,
    told::a_wait_is_told_as_it_was_when_the_job_parked,
    told::the_same_draft_again_is_the_same_version,
    told::what_was_taken_from_the_folder_is_remembered,
    bounds::a_tenant_runs_no_more_than_its_own_bound,
    bounds::workers_that_claim_at_once_keep_a_tenants_bound,
    bounds::a_tenant_that_nothing_was_said_about_has_all_places,
    bounds::tenants_without_room_take_no_place_from_others,
    bounds::everything_that_has_not_ended_is_counted,
    bounds::what_nobody_works_on_times_out_with_its_deadline,
}
