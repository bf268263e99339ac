//! The list of the suite's cases, in groups by what they ask of an engine.

/// Makes a test of each case of a group, over a new fixture each:
/// `suite! { programs, name => Fixture::new(); }`. `name` is the test's, for who skips it.
macro_rules! suite {
    ($group:ident, $name:ident => $fixture:expr;) => {
        $crate::conformance::cases! { $group, $name => $fixture; }
    };
    (cases $name:ident => $fixture:expr; $($module:ident: [$($test:ident),* $(,)?])*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let $name: &str = stringify!($test);
                let mut fixture = $fixture;
                let known = $crate::conformance::Fixture::exception(&fixture, $name);
                let case = $crate::conformance::$module::$test(&mut fixture);
                $crate::conformance::as_known($name, known, case).await;
            }
        )*)*
    };
}

macro_rules! cases {
    // Of every engine.
    (every, $name:ident => $fixture:expr;) => {
        $crate::conformance::suite! { cases $name => $fixture;
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
        }
    };
    // Of engines whose instances have the host's files and ports, and need a command.
    (on_the_host, $name:ident => $fixture:expr;) => {
        $crate::conformance::suite! { cases $name => $fixture;
            basic: [
                a_missing_blob_is_named,
                a_taken_port_is_named,
                what_can_never_run_is_refused_at_once,
                two_hundred_instances_at_once,
            ]
        }
    };
    // Of engines that run real programs.
    (programs, $name:ident => $fixture:expr;) => {
        $crate::conformance::suite! { cases $name => $fixture;
            programs: [
                arguments_pass_untouched,
                stats_count_what_runs,
                an_exec_is_in_the_same_place_as_its_instance,
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
    };
    // Of engines that run them beside the test, where it sees them.
    (processes, $name:ident => $fixture:expr;) => {
        $crate::conformance::suite! { cases $name => $fixture;
            programs: [
                the_environment_is_exactly_as_declared,
                nothing_is_inherited,
                each_instance_has_its_own_copy_of_the_files,
                the_source_may_vanish_once_it_runs,
                a_child_that_got_away_ends_with_its_instance,
                a_kill_reaches_everything,
                the_stop_signal_reaches_the_group,
                an_exec_ends_with_its_instance_and_its_session,
            ]
        }
    };
    // Where the engine enforces limits, and where it does not.
    (limits, $name:ident => $fixture:expr;) => {
        $crate::conformance::suite! { cases $name => $fixture;
            programs: [
                too_much_memory_is_seen_as_such,
                too_many_processes_are_refused,
                too_much_processor_time_is_held_back,
                more_cores_than_there_are_is_no_limit,
            ]
        }
    };
    (no_limits, $name:ident => $fixture:expr;) => {
        $crate::conformance::suite! { cases $name => $fixture;
            programs: [limits_that_are_not_enforced_stop_nothing]
        }
    };
}

pub(crate) use {cases, suite};
