//! The conformance suite over the fake engine, as far as a script can follow it.

mod conformance;

use std::net::TcpListener;
use std::sync::Arc;

use ark_engine::fake::{Behaviour, Ending, FakeEngine, OnStop};
use ark_engine::{ArtifactSource, Engine, StartSpec};
use ark_model::artifact::ManifestNode;
use ark_model::instance::StartFailure;
use conformance::{Fixture, Program, conformance_suite, plain_spec};
use jiff::Timestamp;

struct FakeFixture {
    engine: FakeEngine,
}

impl FakeFixture {
    fn new() -> Self {
        Self { engine: FakeEngine::new(Arc::new(Timestamp::now), Arc::new(behaviour)) }
    }
}

impl Fixture for FakeFixture {
    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(self.engine.clone())
    }

    fn restart(&mut self) {
        self.engine = self.engine.clone();
    }

    fn spec(&self, program: &Program) -> StartSpec {
        plain_spec(match program {
            Program::Obeys => vec!["obeys".into()],
            Program::Ignores => vec!["ignores".into()],
            Program::Exits(code) => vec!["exits".into(), code.to_string()],
            Program::DiesOf(signal) => vec!["dies-of".into(), signal.to_string()],
            Program::Missing => vec!["no-such-command".into()],
            Program::Prints(lines) => {
                let mut command = vec!["prints".to_owned()];
                command.extend(lines.iter().cloned());
                command
            }
            Program::Shell(_) => panic!("the fake runs no programs"),
        })
    }
}

fn behaviour(spec: &StartSpec) -> Behaviour {
    let number = || spec.command[1].parse().unwrap();
    let mut behaviour = Behaviour { exec_code: 7, log: vec!["up".into()], ..Behaviour::default() };
    match spec.command[0].as_str() {
        "obeys" => {}
        "ignores" => behaviour.on_stop = OnStop::Ignores,
        "exits" => behaviour.ends = Some((std::time::Duration::ZERO, Ending::Code(number()))),
        "dies-of" => behaviour.ends = Some((std::time::Duration::ZERO, Ending::Signal(number()))),
        "prints" => behaviour.log.extend(spec.command[1..].iter().cloned()),
        missing => {
            let detail = format!("`{missing}`");
            behaviour.start_failure = Some(StartFailure::CommandNotFound { detail });
        }
    }
    if let ArtifactSource::Directory { manifest, .. } = &spec.artifact
        && let Some(entry) = manifest.entries.first()
        && matches!(entry.node, ManifestNode::File { .. })
    {
        let detail = format!("blob of `{}`", entry.path);
        behaviour.start_failure = Some(StartFailure::ArtifactMissing { detail });
    }
    for port in &spec.ports {
        if TcpListener::bind(port.address).is_err() {
            let port = port.address.port();
            behaviour.start_failure = Some(StartFailure::PortTaken { port });
        }
    }
    behaviour
}

conformance_suite! { FakeFixture::new();
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
}
