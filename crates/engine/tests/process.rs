//! The conformance suite over the process engine, once for each way it can hold an instance: the
//! control groups it finds by itself, those of version 1 alone, and none.

mod conformance;
mod process_fixture;

use ark_engine::CgroupUse;
use conformance::conformance_suite;
use process_fixture::ProcessFixture;

macro_rules! whole_suite {
    ($name:ident, $cgroups:expr, limits: [$($limit:ident),* $(,)?]) => {
        mod $name {
            use super::*;

            conformance_suite! { ProcessFixture::new($cgroups);
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
                    a_missing_blob_is_named,
                    a_taken_port_is_named,
                    what_can_never_run_is_refused_at_once,
                    only_what_has_ended_is_removed,
                    the_unknown_is_said_to_be_unknown,
                    what_has_ended_has_no_stats_and_no_exec,
                    a_new_engine_object_adopts_everything,
                    what_ends_while_no_engine_looks_is_known_later,
                    changes_wake_a_waiter,
                    an_exec_passes_its_code_on,
                    two_hundred_instances_at_once,
                ]
                programs: [
                    the_environment_is_exactly_as_declared,
                    arguments_pass_untouched,
                    nothing_is_inherited,
                    each_instance_has_its_own_copy_of_the_files,
                    the_source_may_vanish_once_it_runs,
                    a_child_that_got_away_ends_with_its_instance,
                    a_kill_reaches_everything,
                    the_stop_signal_reaches_the_group,
                    stats_count_what_runs,
                    an_exec_is_in_the_same_place_as_its_instance,
                    an_exec_ends_with_its_instance_and_its_session,
                    $($limit),*
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
        }
    };
}

whole_suite!(with_the_groups_it_finds, CgroupUse::Auto, limits: [
    too_much_memory_is_seen_as_such,
    too_many_processes_are_refused,
    too_much_processor_time_is_held_back,
]);
whole_suite!(with_groups_of_version_1, CgroupUse::Version1Only, limits: [
    too_much_memory_is_seen_as_such,
    too_many_processes_are_refused,
    too_much_processor_time_is_held_back,
]);
whole_suite!(without_groups, CgroupUse::Never, limits: [
    limits_that_are_not_enforced_stop_nothing,
]);
