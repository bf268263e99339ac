//! The conformance suite over the Docker engine: the same cases as the process engine's, but for
//! those that a container answers otherwise, which stand in `docker_own.rs` or are named here.
//!
//! - `the_environment_is_exactly_as_declared`, `nothing_is_inherited`: a container also has
//!   `HOSTNAME` and `HOME`, and its image's own variables.
//! - `each_instance_has_its_own_copy_of_the_files`, `the_source_may_vanish_once_it_runs`,
//!   `a_missing_blob_is_named`: directories are the process engine's.
//! - `a_taken_port_is_named`: a container has an address of its own, so no port is taken.
//! - `the_stop_signal_reaches_the_group`: the daemon signals the main process alone.
//! - `a_child_that_got_away_ends_with_its_instance`, `a_kill_reaches_everything`,
//!   `an_exec_ends_with_its_instance_and_its_session`: pids in a container are not this
//!   host's; `docker_own.rs` looks for what is left by its mark instead.
//! - `what_can_never_run_is_refused_at_once`: an image may bring its own command.
//! - `two_hundred_instances_at_once`: a benchmark's work; ten stand in `docker_own.rs`.

mod conformance;
mod docker_fixture;

use docker_fixture::{DockerFixture, daemon, skip};

/// As `conformance_suite!`, skipped by name where no engine can be had.
macro_rules! docker_suite {
    ($($module:ident: [$($test:ident),* $(,)?])*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let socket = match daemon() {
                    Ok(socket) => socket,
                    Err(reason) => return skip(stringify!($test), reason),
                };
                let mut fixture = DockerFixture::new(socket);
                conformance::$module::$test(&mut fixture).await;
            }
        )*)*
    };
}

docker_suite! {
    basic: [
        a_start_runs_and_is_listed_with_its_labels,
        a_second_start_does_nothing,
        a_stop_is_obeyed,
        a_stop_that_is_ignored_ends_by_force,
        stopping_again_shortens_the_grace_and_never_lengthens_it,
        a_kill_ends_at_once,
        a_stop_right_after_a_start_is_not_lost,
        endings_are_kept_as_they_were,
        a_crash_loop_leaves_every_ending,
        a_missing_command_is_named,
        only_what_has_ended_is_removed,
        the_unknown_is_said_to_be_unknown,
        what_has_ended_has_no_stats_and_no_exec,
        a_new_engine_object_adopts_everything,
        what_ends_while_no_engine_looks_is_known_later,
        changes_wake_a_waiter,
        an_exec_passes_its_code_on,
    ]
    programs: [
        arguments_pass_untouched,
        stats_count_what_runs,
        an_exec_is_in_the_same_place_as_its_instance,
        too_much_memory_is_seen_as_such,
        too_many_processes_are_refused,
        too_much_processor_time_is_held_back,
    ]
    logs: [
        lines_are_kept_in_order_with_stream_and_time,
        a_long_line_is_cut_and_nothing_of_it_lost,
        binary_junk_disorders_nothing,
        the_log_is_bounded_and_its_newest_part_kept,
        a_tail_and_a_since_choose_lines,
        a_followed_log_ends_with_its_instance,
        a_log_may_be_followed_before_its_instance_runs,
        following_loses_nothing_while_files_rotate,
        output_after_a_restart_of_the_engine_is_kept,
    ]
}
