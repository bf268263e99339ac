//! What every engine must do, written from what the process engine and Docker do. Each test is an
//! async function over a [`Fixture`]; `suite!` makes `#[tokio::test]`s of a group of them for one
//! fixture. The list of all cases is in `cases`, and nowhere else.

#![allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "each test binary uses its part of the suite"
)]

pub(crate) mod basic;
mod cases;
#[path = "../../../../tests/harness/lacking.rs"]
pub(crate) mod lacking;
pub(crate) mod logs;
pub(crate) mod programs;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_engine::{ArtifactSource, Engine, LogLimits, LogLine, LogQuery, StartSpec};
use ark_model::artifact::{Manifest, ManifestEntry, ManifestNode};
use ark_model::ids::{InstanceId, Sha256};
use ark_model::instance::{EngineState, Exit, ObservedInstance};
use futures::{FutureExt, TryStreamExt};

/// No wait of the suite is longer; a test that gets there has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// An engine to test, and the place it works over.
pub(crate) trait Fixture: Send {
    /// The engine object in use.
    fn engine(&self) -> Arc<dyn Engine>;

    /// Drops the engine object and makes another over the same place, as a server does that was
    /// killed and started again.
    fn restart(&mut self);

    /// A spec that runs the program, with nothing else to it.
    fn spec(&self, program: &Program) -> StartSpec;

    /// Why a case of the suite is known not to hold on this engine.
    fn exception(&self, _case: &str) -> Option<&'static str> {
        None
    }
}

/// Runs a case. One that is an exception has to fail: what holds by now is no exception any more.
pub(crate) async fn as_known(name: &str, known: Option<&str>, case: impl Future<Output = ()>) {
    let Some(reason) = known else { return case.await };
    let passed = AssertUnwindSafe(case).catch_unwind().await.is_ok();
    assert!(!passed, "{name} holds by now, and stands among the exceptions: {reason}");
}

/// What an instance of a test does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Program {
    /// Runs until it is asked to end, then ends with code 0. Writes `up` when it will do so.
    Obeys,
    /// Runs on when it is asked to end. Writes `up` when it will do so.
    Ignores,
    /// Ends at once with a code.
    Exits(i32),
    /// Ends at once by a signal.
    DiesOf(i32),
    /// Cannot be started: no such command.
    Missing,
    /// Writes lines and runs on; then as `Obeys`.
    Prints(Vec<String>),
    /// `sh -c`; for engines that run programs.
    Shell(String),
}

/// What writes `up` says that its signal is caught from now on.
const OBEYS: &str = "trap 'exit 0' TERM; echo up; sleep 1000 & wait";

impl Program {
    /// As a command, for engines that run programs.
    pub(crate) fn command(&self) -> Vec<String> {
        let script = match self {
            Self::Obeys => OBEYS.to_owned(),
            Self::Ignores => "trap '' TERM; echo up; sleep 1000".to_owned(),
            Self::Exits(code) => format!("exit {code}"),
            Self::DiesOf(signal) => format!("kill -{signal} $$; sleep 10"),
            Self::Missing => return vec!["no-such-command".to_owned()],
            Self::Prints(lines) => {
                let echo = |line: &String| format!("echo '{line}';");
                lines.iter().map(echo).collect::<String>() + OBEYS
            }
            Self::Shell(script) => script.clone(),
        };
        vec!["sh".to_owned(), "-c".to_owned(), script]
    }
}

/// A spec of a new instance that runs `command`.
pub(crate) fn plain_spec(command: Vec<String>) -> StartSpec {
    StartSpec {
        id: InstanceId(uuid::Uuid::now_v7()),
        env: "production".parse().unwrap(),
        app: "web".parse().unwrap(),
        release: "7".parse().unwrap(),
        node: ark_model::NodeName::local(),
        command,
        arguments: Vec::new(),
        variables: vec![("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())],
        artifact: ArtifactSource::None,
        host_names: Vec::new(),
        ports: Vec::new(),
        published: Vec::new(),
        memory_bytes: None,
        memory_soft_bytes: None,
        volumes: Vec::new(),
        user: None,
        rights: ark_model::definition::Rights::default(),
        cpu_cores: None,
        pids_max: None,
        stop_signal: ark_model::definition::StopSignal::Term,
        stop_grace: Duration::from_secs(30),
        log_limits: LogLimits::default(),
    }
}

/// What `list` says of one instance; `Gone` when nothing.
pub(crate) async fn state(engine: &Arc<dyn Engine>, id: InstanceId) -> EngineState {
    find(engine, id).await.map_or(EngineState::Gone, |seen| seen.state)
}

pub(crate) async fn find(engine: &Arc<dyn Engine>, id: InstanceId) -> Option<ObservedInstance> {
    engine.list().await.unwrap().into_iter().find(|seen| seen.id == id)
}

/// Waits until the instance's state is as wanted.
pub(crate) async fn until(
    engine: &Arc<dyn Engine>,
    id: InstanceId,
    what: &str,
    wanted: impl Fn(&EngineState) -> bool,
) -> EngineState {
    let mut changes = engine.changes();
    let begun = Instant::now();
    loop {
        changes.mark_unchanged();
        let seen = state(engine, id).await;
        if wanted(&seen) {
            return seen;
        }
        if begun.elapsed() >= DEADLINE {
            let lines = log(engine, id, LogQuery::default()).await;
            panic!("instance {id} never was {what}; it is {seen:?} and wrote {lines:#?}");
        }
        // Not by wake-ups alone: an engine may be slow to notice, and the fake moves by time.
        let _ = tokio::time::timeout(Duration::from_millis(20), changes.changed()).await;
    }
}

pub(crate) async fn until_running(engine: &Arc<dyn Engine>, id: InstanceId) -> EngineState {
    until(engine, id, "running", |state| match state {
        EngineState::Running { .. } => true,
        EngineState::Exited { .. } | EngineState::StartFailed { .. } => {
            panic!("instance {id} was to run and is {state:?}")
        }
        EngineState::Preparing | EngineState::Stopping { .. } | EngineState::Gone => false,
    })
    .await
}

pub(crate) async fn until_exited(engine: &Arc<dyn Engine>, id: InstanceId) -> Exit {
    let ended = until(engine, id, "ended", |state| {
        matches!(state, EngineState::Exited { .. } | EngineState::StartFailed { .. })
    });
    match ended.await {
        EngineState::Exited { exit } => exit,
        other => panic!("instance {id} was to exit and is {other:?}"),
    }
}

/// Starts and waits until it runs.
pub(crate) async fn run(engine: &Arc<dyn Engine>, spec: &StartSpec) -> InstanceId {
    engine.start(spec).await.unwrap();
    until_running(engine, spec.id).await;
    spec.id
}

/// Starts a program and waits until it does with signals what it is meant to do.
pub(crate) async fn run_up(engine: &Arc<dyn Engine>, spec: &StartSpec) -> InstanceId {
    run(engine, spec).await;
    until_logged(engine, spec.id, "up").await;
    spec.id
}

pub(crate) async fn log(engine: &Arc<dyn Engine>, id: InstanceId, query: LogQuery) -> Vec<LogLine> {
    let stream = engine.logs(id, query).await.unwrap();
    let all = stream.try_collect();
    tokio::time::timeout(DEADLINE, all).await.expect("the log ends").unwrap()
}

/// Waits until a line that the instance wrote is in its log.
pub(crate) async fn until_logged(engine: &Arc<dyn Engine>, id: InstanceId, text: &str) {
    let begun = Instant::now();
    while !log(engine, id, LogQuery::default()).await.iter().any(|line| line.text == text) {
        assert!(begun.elapsed() < DEADLINE, "instance {id} never wrote `{text}`");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A directory artifact made of blobs on disk.
pub(crate) struct Blobs {
    root: PathBuf,
    entries: Vec<ManifestEntry>,
}

impl Blobs {
    pub(crate) fn new(root: &Path) -> Self {
        std::fs::create_dir_all(root).unwrap();
        Self { root: root.to_owned(), entries: Vec::new() }
    }

    pub(crate) fn file(mut self, path: &str, content: &[u8], executable: bool) -> Self {
        let sha256 = Sha256::of(content);
        let blob = ark_engine::blob_path(&self.root, sha256);
        std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
        std::fs::write(blob, content).unwrap();
        let bytes = content.len() as u64;
        self.push(path, ManifestNode::File { sha256, bytes, executable });
        self
    }

    pub(crate) fn symlink(mut self, path: &str, target: &str) -> Self {
        self.push(path, ManifestNode::Symlink { target: target.to_owned() });
        self
    }

    fn push(&mut self, path: &str, node: ManifestNode) {
        self.entries.push(ManifestEntry { path: path.to_owned(), node });
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
    }

    pub(crate) fn source(&self) -> ArtifactSource {
        ArtifactSource::Directory {
            manifest: Manifest { entries: self.entries.clone() },
            blobs: self.root.clone(),
        }
    }
}

pub(crate) use cases::{cases, suite};
