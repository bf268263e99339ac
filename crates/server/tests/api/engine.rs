//! An engine that runs nothing: it has logs to give, and its `exec` repeats its input.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use ark_engine::{
    BuildSpec, BuildStream, Built, Capabilities, Enforcement, Engine, EngineError, EngineKind,
    ExecSession, ExecSpec, LogLine, LogQuery, LogSource, LogStream, StartSpec, Stats, StopOptions,
};
use ark_model::definition::Rights;
use ark_model::instance::ObservedInstance;
use ark_model::{AppName, EnvName, InstanceId};
use async_trait::async_trait;
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

pub(crate) struct TestEngine {
    kind: EngineKind,
    logs: Mutex<HashMap<InstanceId, watch::Sender<Vec<LogLine>>>>,
    /// What it keeps.
    pub(crate) instances: Mutex<Vec<ObservedInstance>>,
    /// Whether builds may end.
    pub(crate) builds_end: watch::Sender<bool>,
}

impl TestEngine {
    pub(crate) fn new(kind: EngineKind) -> Self {
        Self {
            kind,
            logs: Mutex::default(),
            instances: Mutex::default(),
            builds_end: watch::Sender::new(false),
        }
    }

    /// The instances it keeps.
    pub(crate) fn kept(&self) -> BTreeSet<InstanceId> {
        self.instances.lock().expect("see below").iter().map(|i| i.id).collect()
    }

    /// Lets an instance write a line.
    pub(crate) fn write(&self, id: InstanceId, at: Timestamp, text: &str) {
        let line = LogLine { at, stream: LogSource::Stdout, text: text.to_owned() };
        let mut logs = self.logs.lock().expect("no test panics while it holds this");
        logs.entry(id)
            .or_insert_with(|| watch::Sender::new(Vec::new()))
            .send_modify(|lines| lines.push(line));
    }
}

#[async_trait]
impl Engine for TestEngine {
    fn kind(&self) -> EngineKind {
        self.kind
    }

    fn capabilities(&self) -> Capabilities {
        let reason = "this engine is a test".to_owned();
        Capabilities {
            memory_limit: Enforcement::NotEnforced { reason },
            cpu_limit: Enforcement::Enforced,
            pids_limit: Enforcement::Enforced,
            kill_everything: Enforcement::Enforced,
            app_isolation: Enforcement::Enforced,
        }
    }

    fn refuses(&self, _: &EnvName, app: &AppName, rights: &Rights) -> Option<String> {
        rights.privileged.then(|| format!("`run.privileged` of {app} is not allowed in this test"))
    }

    async fn start(&self, _: &StartSpec) -> Result<(), EngineError> {
        Ok(())
    }

    async fn stop(&self, _: InstanceId, _: StopOptions) -> Result<(), EngineError> {
        Ok(())
    }

    async fn remove(&self, id: InstanceId) -> Result<(), EngineError> {
        self.instances.lock().expect("no test panics while it holds this").retain(|i| i.id != id);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        Ok(self.instances.lock().expect("see above").clone())
    }

    async fn build(&self, _: BuildSpec) -> Result<BuildStream, EngineError> {
        let mut may_end = self.builds_end.subscribe();
        let begun = futures::stream::iter([Ok(Built::Line("it begins".to_owned()))]);
        let done = futures::stream::once(async move {
            let _ = may_end.wait_for(|end| *end).await;
            Ok(Built::Done("sha256:1".to_owned()))
        });
        Ok(begun.chain(done).boxed())
    }

    async fn logs(&self, id: InstanceId, query: LogQuery) -> Result<LogStream, EngineError> {
        let mut lines = match self.logs.lock().expect("see above").get(&id) {
            Some(lines) => lines.subscribe(),
            None => return Err(EngineError::Unknown(id)),
        };
        let known: Vec<LogLine> = lines.borrow_and_update().clone();
        let wanted = |line: &LogLine| query.since.is_none_or(|since| line.at >= since);
        let mut first: Vec<LogLine> = known.iter().filter(|l| wanted(l)).cloned().collect();
        let skip = query.tail.map_or(0, |tail| first.len().saturating_sub(tail));
        let first = futures::stream::iter(first.split_off(skip).into_iter().map(Ok));
        if !query.follow {
            return Ok(first.boxed());
        }
        let more = futures::stream::unfold((lines, known.len()), async |(mut lines, seen)| {
            lines.changed().await.ok()?;
            let new = lines.borrow_and_update()[seen..].to_vec();
            let seen = seen + new.len();
            Some((futures::stream::iter(new.into_iter().map(Ok)), (lines, seen)))
        });
        Ok(first.chain(more.flatten()).boxed())
    }

    async fn exec(&self, id: InstanceId, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        if spec.command[0] != "repeat" {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            let program = spec.command[0].clone();
            return Err(EngineError::ExecFailed { id, program, source });
        }
        let (stdin, mut read) = tokio::io::duplex(64);
        let (mut write, stdout) = tokio::io::duplex(64);
        let exit = async move {
            // Reads all before it answers: whoever sends much must not wait for output first.
            let mut all = Vec::new();
            read.read_to_end(&mut all).await.expect("a pipe in memory");
            tokio::io::AsyncWriteExt::write_all(&mut write, &all).await.expect("a pipe in memory");
            Ok(7)
        };
        // As a real command, it runs whether or not anybody waits for its end.
        let exit = tokio::spawn(exec_deadline(exit));
        Ok(ExecSession {
            stdin: Some(Box::new(stdin)),
            stdout: Some(Box::new(stdout)),
            stderr: None,
            terminal: None,
            exit: Box::pin(async move { exit.await.expect("it does not panic") }),
        })
    }

    async fn stats(&self, _: InstanceId) -> Result<Stats, EngineError> {
        Ok(Stats { rss_bytes: 4_096, cpu_time: Duration::ZERO, processes: 1 })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        watch::Sender::new(0).subscribe()
    }
}

async fn exec_deadline<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("the test is long over")
}
