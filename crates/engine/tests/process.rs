//! The conformance suite over the process engine, once for each way it can hold an instance: the
//! control groups it finds by itself, those of version 1 alone, and none.

mod conformance;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use ark_engine::{CgroupUse, Engine, ProcessEngine, ProcessOptions, StartSpec};
use conformance::{Fixture, Program, conformance_suite, plain_spec};
use tempfile::TempDir;

/// `up` says that the signal is caught from now on.
const OBEYS: &str = "trap 'exit 0' TERM; echo up; sleep 1000 & wait";

struct ProcessFixture {
    place: TempDir,
    cgroups: CgroupUse,
    engine: Option<Arc<ProcessEngine>>,
}

impl ProcessFixture {
    fn new(cgroups: CgroupUse) -> Self {
        let place = tempfile::tempdir().unwrap();
        // So that other users can pass through to their apps' files.
        std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let mut fixture = Self { place, cgroups, engine: None };
        fixture.restart();
        fixture
    }
}

impl Fixture for ProcessFixture {
    fn engine(&self) -> Arc<dyn Engine> {
        let engine: Arc<dyn Engine> = Arc::clone(self.engine.as_ref().unwrap()) as _;
        engine
    }

    fn restart(&mut self) {
        self.engine = None;
        let shim = vec![env!("CARGO_BIN_EXE_ark-shim-test").into()];
        let options = ProcessOptions { cgroups: self.cgroups, ..ProcessOptions::default() };
        let engine = ProcessEngine::with_options(self.place.path(), shim, options).unwrap();
        self.engine = Some(Arc::new(engine));
    }

    fn spec(&self, program: &Program) -> StartSpec {
        let script = match program {
            Program::Obeys => OBEYS.to_owned(),
            Program::Ignores => "trap '' TERM; echo up; sleep 1000".to_owned(),
            Program::Exits(code) => format!("exit {code}"),
            Program::DiesOf(signal) => format!("kill -{signal} $$; sleep 10"),
            Program::Missing => return plain_spec(vec!["no-such-command".to_owned()]),
            Program::Prints(lines) => {
                let echo = |line: &String| format!("echo '{line}';");
                lines.iter().map(echo).collect::<String>() + OBEYS
            }
            Program::Shell(script) => script.clone(),
        };
        plain_spec(vec!["sh".to_owned(), "-c".to_owned(), script])
    }
}

/// Leaves no process behind, however a test ends.
impl Drop for ProcessFixture {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take() else { return };
        let everything = async move {
            for one in engine.list().await.unwrap_or_default() {
                let _ = engine.kill(one.id).await;
            }
            for one in engine.list().await.unwrap_or_default() {
                let engine: Arc<dyn Engine> = Arc::clone(&engine) as _;
                conformance::until(&engine, one.id, "ended", |state| {
                    !matches!(
                        state,
                        ark_model::instance::EngineState::Running { .. }
                            | ark_model::instance::EngineState::Stopping { .. }
                            | ark_model::instance::EngineState::Preparing
                    )
                })
                .await;
            }
        };
        let cleaner = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(everything);
        });
        let _ = cleaner.join();
    }
}

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
