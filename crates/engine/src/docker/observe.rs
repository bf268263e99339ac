//! What the daemon says of this Ark's containers, in the engine's words. One question lists them
//! all; the details of each (exit code, instants, main process) are asked for once and kept until
//! an event or the container's state says that they are old.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ark_model::ids::InstanceId;
use ark_model::instance::{EngineState, Exit, ObservedInstance, ProcessIdentity, StartFailure};
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, EndpointSettings,
};
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures::TryStreamExt;
use jiff::Timestamp;

use super::place::{AskedStop, Stage};
use super::{Inner, config, connection, container_name, unavailable};
use crate::engine::{EngineError, LogLine};

/// Details are asked for again after this time even if no event came.
const DETAILS_MAX_AGE: Duration = Duration::from_secs(30);
/// The exit code that a shell and the daemon give for a program that is not there.
const NOT_FOUND: i64 = 127;
/// The exit code for a program that may not be run.
const NOT_EXECUTABLE: i64 = 126;

/// Details of containers.
#[derive(Default)]
pub(super) struct Cache {
    containers: Mutex<HashMap<String, Details>>,
}

struct Details {
    asked: Instant,
    listed: Option<ContainerSummaryStateEnum>,
    told: Told,
}

/// What the daemon tells of one container.
#[derive(Clone, Default)]
struct Told {
    state: ContainerState,
    /// In its environment's network.
    address: Option<IpAddr>,
}

impl Told {
    fn of(found: &mut ContainerInspectResponse) -> Self {
        let networks = found.network_settings.take().and_then(|settings| settings.networks);
        let address = |one: EndpointSettings| one.ip_address?.parse().ok();
        Self {
            state: found.state.take().unwrap_or_default(),
            address: networks.into_iter().flatten().find_map(|(_, one)| address(one)),
        }
    }
}

impl Cache {
    /// What is known of this container may be old.
    pub(super) fn forget(&self, container: &str) {
        self.lock().remove(container);
    }

    /// Everything may be old: events may have been missed.
    pub(super) fn forget_all(&self) {
        self.lock().clear();
    }

    fn get(&self, container: &str, listed: Option<ContainerSummaryStateEnum>) -> Option<Told> {
        let containers = self.lock();
        let known = containers.get(container)?;
        let fresh = known.listed == listed && known.asked.elapsed() < DETAILS_MAX_AGE;
        fresh.then(|| known.told.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Details>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Every instance, as it is now.
    pub(super) async fn list(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        let docker = self.connection.get().await?;
        let label = format!("{}={}", config::CLUSTER, self.cluster);
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        // Before the containers: a start that gets its container in between is seen twice, not
        // missed.
        let mut all = self.pending()?;
        let listed = connection::list(docker, &options)
            .await
            .map_err(|e| unavailable("list containers", e))?;
        let present: Vec<&str> = listed.iter().filter_map(|one| one.id.as_deref()).collect();
        self.cache.lock().retain(|id, _| present.contains(&id.as_str()));
        for summary in &listed {
            if let Some(seen) = self.observe(summary).await? {
                all.insert(seen.id, seen);
            }
        }
        Ok(all.into_values().collect())
    }

    /// One instance, as it is now; `None` when the engine does not know it.
    pub(super) async fn find(
        &self,
        id: InstanceId,
    ) -> Result<Option<ObservedInstance>, EngineError> {
        let docker = self.connection.get().await?;
        let pending = self.pending()?.remove(&id);
        let name = container_name(id);
        match connection::inspect(docker, &name).await {
            Ok(mut found) => {
                let mut told = Told::of(&mut found);
                self.ask_init(id, &mut told.state).await?;
                let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
                let created = found.created;
                Ok(self.instance(&labels, &told, created.as_deref()))
            }
            Err(error) if connection::status(&error) == Some(404) => Ok(pending),
            Err(error) => Err(unavailable("look at a container", error)),
        }
    }

    async fn observe(
        &self,
        summary: &ContainerSummary,
    ) -> Result<Option<ObservedInstance>, EngineError> {
        let (Some(container), Some(labels)) = (&summary.id, &summary.labels) else {
            return Ok(None);
        };
        let listed = summary.state;
        let known = self.cache.get(container, listed);
        let told = match known {
            Some(told) => told,
            None => {
                let docker = self.connection.get().await?;
                let mut told = match connection::inspect(docker, container).await {
                    Ok(mut found) => Told::of(&mut found),
                    // Removed since it was listed.
                    Err(error) if connection::status(&error) == Some(404) => return Ok(None),
                    Err(error) => return Err(unavailable("look at a container", error)),
                };
                if let Some(id) = labels.get(config::INSTANCE).and_then(|id| id.parse().ok()) {
                    self.ask_init(id, &mut told.state).await?;
                }
                // What was just created is about to be something else.
                if listed != Some(ContainerSummaryStateEnum::CREATED) {
                    let details = Details { asked: Instant::now(), listed, told: told.clone() };
                    self.cache.lock().insert(container.clone(), details);
                }
                told
            }
        };
        let created = summary.created.and_then(|s| Timestamp::from_second(s).ok());
        Ok(self.instance(labels, &told, created.map(|at| at.to_string()).as_deref()))
    }

    /// The daemon's first process in a container starts the program, so that the daemon itself
    /// does not see when there is none: then that process has said so, and it never ran.
    async fn ask_init(
        &self,
        id: InstanceId,
        state: &mut ContainerState,
    ) -> Result<(), EngineError> {
        let may_be = state.status == Some(ContainerStateStatusEnum::EXITED)
            && matches!(state.exit_code, Some(NOT_FOUND | NOT_EXECUTABLE));
        if !may_be {
            return Ok(());
        }
        let lines: Vec<LogLine> = self.read(id, "1", false).await?.try_collect().await?;
        if let Some(said) = lines.last().and_then(|line| said_by_init(&line.text)) {
            state.error = Some(said.to_owned());
            state.started_at = None;
        }
        Ok(())
    }

    fn instance(
        &self,
        labels: &HashMap<String, String>,
        told: &Told,
        created: Option<&str>,
    ) -> Option<ObservedInstance> {
        if labels.get(config::CLUSTER)? != &self.cluster {
            return None;
        }
        let id: InstanceId = labels.get(config::INSTANCE)?.parse().ok()?;
        let created = created.and_then(|at| at.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut state = engine_state(told, self.place.stop(id), created);
        if state == EngineState::Preparing
            && let Some(reason) = self.place.failure(id)
        {
            state = EngineState::StartFailed { reason };
        }
        if let (EngineState::Running { process, address, .. }, true) =
            (&mut state, self.options.elsewhere)
        {
            // Another host has other processes, and its networks are its own: ports are published.
            (*process, *address) = (None, None);
        }
        Some(ObservedInstance {
            id,
            env: labels.get(config::ENV)?.parse().ok()?,
            app: labels.get(config::APP)?.parse().ok()?,
            release: labels.get(config::RELEASE)?.parse().ok()?,
            state,
        })
    }

    /// Starts without a container.
    fn pending(&self) -> Result<BTreeMap<InstanceId, ObservedInstance>, EngineError> {
        let failed = |e| unavailable("read the directory of pending starts", e);
        let ids = self.place.all_pending().map_err(failed)?;
        let seen = |id: InstanceId| {
            let pending = self.place.pending(id)?;
            let state = match (pending.stage, self.place.stop(id)) {
                (Stage::Failed(reason), _) => EngineState::StartFailed { reason },
                (Stage::Waiting(_), Some(stop)) => never_started(stop),
                (Stage::Waiting(_), None) => EngineState::Preparing,
            };
            let (env, app, release) = (pending.env, pending.app, pending.release);
            Some((id, ObservedInstance { id, env, app, release, state }))
        };
        Ok(ids.into_iter().filter_map(seen).collect())
    }
}

/// A container's state in the engine's words.
fn engine_state(told: &Told, stop: Option<AskedStop>, created: Timestamp) -> EngineState {
    let Told { state, address } = told;
    use ContainerStateStatusEnum as Status;
    match (state.status.unwrap_or(Status::EMPTY), stop) {
        (Status::CREATED, stop) => match (start_failure(state), stop) {
            (Some(reason), _) => EngineState::StartFailed { reason },
            (None, Some(stop)) => never_started(stop),
            (None, None) => EngineState::Preparing,
        },
        (Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING, Some(stop)) => {
            EngineState::Stopping { since: stop.at }
        }
        (Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING, None) => {
            EngineState::Running {
                since: instant(state.started_at.as_deref()).unwrap_or(created),
                process: state.pid.and_then(process),
                address: *address,
            }
        }
        (Status::EXITED | Status::DEAD | Status::REMOVING, stop) => {
            match start_failure(state).filter(|_| instant(state.started_at.as_deref()).is_none()) {
                Some(reason) => EngineState::StartFailed { reason },
                None => EngineState::Exited { exit: exit(state, stop, created) },
            }
        }
        (Status::EMPTY, _) => EngineState::Preparing,
    }
}

/// Stopped before it had a process.
fn never_started(stop: AskedStop) -> EngineState {
    let exit = Exit {
        began: None,
        code: None,
        signal: Some(9),
        out_of_memory: false,
        requested: true,
        at: stop.at,
    };
    EngineState::Exited { exit }
}

fn exit(state: &ContainerState, stop: Option<AskedStop>, created: Timestamp) -> Exit {
    let at = instant(state.finished_at.as_deref()).unwrap_or(created);
    let code = state.exit_code.and_then(|code| i32::try_from(code).ok());
    // The daemon tells a death by signal as a shell does: 128 + signal.
    let signal = code.map(|code| code - 128).filter(|signal| (1..=31).contains(signal));
    Exit {
        // The daemon notes the start of what ends at once after its end.
        began: instant(state.started_at.as_deref()).map(|began| began.min(at)),
        code: code.filter(|_| signal.is_none()),
        signal,
        out_of_memory: state.oom_killed == Some(true),
        requested: stop.is_some_and(|stop| stop.at <= at),
        at,
    }
}

/// `exec no-such-command failed: No such file or directory`, as tini and catatonit say it.
fn said_by_init(line: &str) -> Option<&str> {
    let is_init = line.starts_with("[FATAL tini") || line.contains("catatonit");
    is_init.then(|| line.find("exec ").map(|at| &line[at..])).flatten()
}

/// Why the daemon could not start a container; `None` when it did, or has not tried.
fn start_failure(state: &ContainerState) -> Option<StartFailure> {
    let error = state.error.as_deref().filter(|error| !error.is_empty())?;
    Some(failure(error, state.exit_code))
}

/// The daemon's reason, sorted.
pub(super) fn failure(error: &str, exit_code: Option<i64>) -> StartFailure {
    let detail = readable(error);
    let says = |words: &[&str]| words.iter().any(|word| error.contains(word));
    if says(&["executable file not found", "no such file or directory", "permission denied"])
        || matches!(exit_code, Some(NOT_FOUND | NOT_EXECUTABLE))
    {
        StartFailure::CommandNotFound { detail }
    } else if let Some(port) = taken_port(error) {
        StartFailure::PortTaken { port }
    } else if says(&["cannot allocate memory", "no space left on device", "address pools"]) {
        StartFailure::NoCapacity { detail }
    } else {
        StartFailure::Other { detail }
    }
}

/// `Bind for 10.0.0.5:20001 failed: port is already allocated`, and what the kernel says of others'.
fn taken_port(error: &str) -> Option<u16> {
    let taken = ["port is already allocated", "address already in use"];
    let at = taken.iter().find_map(|words| error.find(words))?;
    let digits = |word: &str| word.trim_end_matches(':').rsplit_once(':')?.1.parse().ok();
    error[..at].split_whitespace().rev().find_map(digits)
}

/// `exec: "no-such-command": executable file not found in $PATH` out of a chain of layers.
fn readable(error: &str) -> String {
    let start = error.rfind("exec: ").unwrap_or(0);
    error[start..].trim_end_matches(": unknown").trim().to_owned()
}

/// An instant of the daemon; its zero is none.
fn instant(text: Option<&str>) -> Option<Timestamp> {
    let at: Timestamp = text?.parse().ok()?;
    (at > Timestamp::UNIX_EPOCH).then_some(at)
}

/// The main process, where the daemon's processes are this host's.
fn process(pid: i64) -> Option<ProcessIdentity> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0)?;
    crate::process::host::identity(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: ContainerStateStatusEnum, code: i64) -> ContainerState {
        ContainerState {
            status: Some(status),
            exit_code: Some(code),
            started_at: Some("2026-01-01T00:00:00.5Z".to_owned()),
            finished_at: Some("2026-01-01T00:00:10Z".to_owned()),
            ..ContainerState::default()
        }
    }

    fn told(state: &ContainerState) -> Told {
        Told { state: state.clone(), address: None }
    }

    fn stop(at: &str) -> AskedStop {
        let at: Timestamp = at.parse().unwrap();
        AskedStop { at, kill_at: at, before_start: false, told: true }
    }

    fn ended(state: &ContainerState, stop: Option<AskedStop>) -> Exit {
        match engine_state(&told(state), stop, Timestamp::UNIX_EPOCH) {
            EngineState::Exited { exit } => exit,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        for (error, expected) in [
            ("Bind for 10.0.0.5:20001 failed: port is already allocated", Some(20_001)),
            (
                "driver failed: Error starting userland proxy: listen tcp4 10.0.0.5:20002: bind: \
                 address already in use",
                Some(20_002),
            ),
            ("no space left on device", None),
        ] {
            assert_eq!(taken_port(error), expected, "{error}");
        }
    }

    #[test]
    fn endings_are_told_as_they_were() {
        let exited = |code| state(ContainerStateStatusEnum::EXITED, code);
        for (code, expected) in [
            (0, (Some(0), None)),
            (1, (Some(1), None)),
            (128, (Some(128), None)),
            (137, (None, Some(9))),
            (143, (None, Some(15))),
            (255, (Some(255), None)),
        ] {
            let exit = ended(&exited(code), None);
            assert_eq!((exit.code, exit.signal), expected, "{code}");
        }
        assert!(ended(&exited(0), Some(stop("2026-01-01T00:00:09Z"))).requested);
        assert!(!ended(&exited(0), Some(stop("2026-01-01T00:00:11Z"))).requested, "it came late");
    }

    #[test]
    fn a_container_that_never_ran_says_why() {
        let mut created = state(ContainerStateStatusEnum::CREATED, 127);
        created.started_at = Some("0001-01-01T00:00:00Z".to_owned());
        created.error = Some(
            "failed to create shim task: OCI runtime create failed: runc create failed: unable to \
             start container process: exec: \"no-such-command\": executable file not found in \
             $PATH: unknown"
                .to_owned(),
        );
        let EngineState::StartFailed { reason } =
            engine_state(&told(&created), None, Timestamp::UNIX_EPOCH)
        else {
            panic!()
        };
        assert_eq!(
            reason.words(),
            "command not found: exec: \"no-such-command\": executable file not found in $PATH"
        );
        created.error = None;
        assert_eq!(
            engine_state(&told(&created), None, Timestamp::UNIX_EPOCH),
            EngineState::Preparing
        );
    }
}
