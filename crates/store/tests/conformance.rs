//! What every store must do, whatever it is built on: the same cases run against a file, against
//! memory, and inline. A new backend is added to `backends!` and to nothing else.

mod conformance {
    pub(crate) mod deployments;
    pub(crate) mod intents;
    pub(crate) mod ledgers;
    pub(crate) mod pushes;
    pub(crate) mod runs;
    pub(crate) mod samples;
    pub(crate) mod transactions;
}

use ark_store::Store;
use conformance::{deployments, intents, ledgers, pushes, runs, samples, transactions};

/// A store to test, and what must live as long as it.
struct Backend {
    store: Store,
    _dir: Option<tempfile::TempDir>,
}

fn file() -> Backend {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path(), samples::at(0)).expect("a new store");
    Backend { store, _dir: Some(dir) }
}

fn memory() -> Backend {
    let store = Store::in_memory(samples::at(0)).expect("a new store");
    Backend { store, _dir: None }
}

fn inline() -> Backend {
    let store = Store::inline_in_memory(samples::at(0)).expect("a new store");
    Backend { store, _dir: None }
}

macro_rules! case {
    ($backend:ident: $($module:ident :: $case:ident)*) => {
        mod $backend {
            use super::{deployments, intents, ledgers, pushes, runs, transactions};
            $(
                #[tokio::test]
                async fn $case() {
                    let backend = super::$backend();
                    $module::$case(&backend.store).await;
                }
            )*
        }
    };
}

macro_rules! backends {
    ($($backend:ident)* ; $cases:tt) => {
        $( backends!(@one $backend $cases); )*
    };
    (@one $backend:ident { $($module:ident :: $case:ident)* }) => {
        case!($backend: $($module::$case)*);
    };
}

backends! {
    file memory inline;
    {
        transactions::an_error_undoes_only_its_own_closure
        transactions::a_panic_undoes_only_its_own_closure
        transactions::closures_run_in_the_order_they_were_sent
        transactions::a_read_sees_what_was_acknowledged
        transactions::commits_that_change_something_are_announced
        transactions::generations_grow_within_one_epoch
        transactions::a_new_epoch_ranks_above_everything_before
        pushes::a_delivery_is_recorded_once_and_the_newest_push_is_done
        pushes::registries_are_set_changed_and_forgotten
        intents::environments_are_created_listed_changed_and_deleted
        intents::deleting_an_environment_deletes_everything_in_it
        intents::app_states_are_kept_by_environment
        intents::each_change_of_an_app_has_a_number_of_its_own
        intents::nothing_is_recorded_without_its_environment
        intents::configuration_versions_build_on_one_another
        intents::tokens_are_found_by_digest_until_revoked
        intents::sessions_end_with_their_time_and_with_their_token
        intents::manifests_are_kept_while_a_release_names_them
        deployments::releases_are_numbered_and_equal_content_is_one_release
        deployments::deleted_release_numbers_are_not_given_again
        deployments::a_deployment_is_only_changed_from_the_expected_state
        deployments::deployments_are_listed_newest_first_in_pages
        deployments::finished_deployments_are_pruned_beyond_the_newest
        deployments::instances_are_alive_until_stopped
        deployments::those_that_stopped_lately_are_found_among_the_newest
        deployments::ports_are_not_given_twice_nor_within_the_hold
        deployments::a_route_keeps_its_discovery_port
        ledgers::events_are_followed_from_a_resume_point
        ledgers::a_list_of_rare_events_says_how_far_it_looked
        ledgers::events_are_pruned_and_their_numbers_are_not_given_again
        ledgers::an_idempotency_key_gives_the_same_answer_until_it_expires
        ledgers::a_stale_lease_is_refused
        ledgers::reports_may_be_repeated_late_and_lost
        ledgers::a_killed_gateways_last_counters_are_added_once
        ledgers::stalls_are_kept_until_reset
        ledgers::calls_are_kept_with_their_first_and_last_time_until_pruned
        runs::a_run_is_found_by_number_state_and_instance
        runs::one_run_stands_for_one_instant_of_a_schedule
        runs::runs_are_forgotten_by_their_end
        runs::what_did_not_run_is_forgotten_apart
        runs::a_run_that_a_task_waits_for_is_kept
    }
}
