//! The conformance suite over the fake engine, as far as a script can follow it.

mod conformance;

use std::net::TcpListener;
use std::sync::Arc;

use ark_engine::fake::{Behaviour, Ending, FakeEngine, OnStop};
use ark_engine::{ArtifactSource, Engine, StartSpec};
use ark_model::artifact::ManifestNode;
use ark_model::instance::StartFailure;
use conformance::{Fixture, Program, plain_spec};
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

conformance::suite! { every, _name => FakeFixture::new(); }
conformance::suite! { on_the_host, _name => FakeFixture::new(); }
