//! Whether an app that another needs is down, since when, and what was seen of it. Pure.

use ark_model::definition::{Definition, RunKind};
use ark_model::diagnosis::Down;
use ark_model::gateway::Readiness;
use ark_model::instance::{InstanceRecord, InstanceState, StopCause};
use ark_model::{AppName, EnvName};
use jiff::Timestamp;

/// What is known of an app.
#[derive(Debug)]
pub(super) struct AppNow<'a> {
    /// Of the live release, else of the newest; `None` when it has none.
    pub(super) definition: Option<&'a Definition>,
    /// Whether it was stopped by somebody.
    pub(super) stopped: bool,
    /// Whether somebody wants no instance of it.
    pub(super) scaled_to_zero: bool,
    /// Its newest instances, newest first, ended ones included.
    pub(super) instances: Vec<InstanceNow>,
}

/// What is known of an instance.
#[derive(Debug, Clone)]
pub(super) struct InstanceNow {
    pub(super) state: InstanceState,
    /// Whether it served at some time.
    pub(super) has_served: bool,
    /// When it took no more traffic.
    pub(super) ended_at: Option<Timestamp>,
    pub(super) cause: Option<StopCause>,
    /// What the gateway says; `None` when it says nothing, or nothing is to be checked.
    pub(super) readiness: Option<Readiness>,
}

impl InstanceNow {
    pub(super) fn of(record: &InstanceRecord) -> Self {
        Self {
            state: record.state,
            has_served: record.active_at.is_some(),
            ended_at: record.draining_at.or(record.stopping_at).or(record.stopped_at),
            cause: record.cause.clone(),
            readiness: None,
        }
    }

    /// The check that an instance does not pass which otherwise would serve.
    fn unready(&self) -> Option<&Readiness> {
        let active = self.state == InstanceState::Active;
        self.readiness.as_ref().filter(|readiness| active && !readiness.ready)
    }

    fn serves(&self) -> bool {
        self.state == InstanceState::Active && self.unready().is_none()
    }

    /// When it served last.
    fn served_until(&self) -> Option<Timestamp> {
        let until = self.unready().map(|readiness| readiness.since).or(self.ended_at);
        until.filter(|_| self.has_served)
    }
}

/// Why an app is down; `None` when it is not, or has no instances of its own will.
pub(super) fn down(env: &EnvName, app: AppName, now: &AppNow<'_>) -> Option<Down> {
    let Some(definition) = now.definition else {
        let seen = format!("not deployed in {env}");
        return Some(Down::App { app, data_store: false, seen, since: None });
    };
    match definition.run.kind {
        RunKind::Service | RunKind::Worker | RunKind::Daemon => {}
        // Nobody calls it now, or its time has not come.
        RunKind::Lambda | RunKind::Cron | RunKind::Job => return None,
    }
    if now.instances.iter().any(InstanceNow::serves) {
        return None;
    }
    Some(Down::App {
        app,
        data_store: definition.data_store.is_some(),
        seen: seen(now),
        since: now.instances.iter().filter_map(InstanceNow::served_until).max(),
    })
}

fn seen(now: &AppNow<'_>) -> String {
    if now.stopped {
        return "stopped".to_owned();
    }
    if now.scaled_to_zero {
        return "scaled to 0".to_owned();
    }
    if let Some(readiness) = now.instances.iter().find_map(InstanceNow::unready) {
        return match &readiness.last_failure {
            Some(last) => format!("not ready: {last}"),
            None => "not ready".to_owned(),
        };
    }
    let ended = now.instances.iter().filter(|one| one.ended_at.is_some());
    let last = ended.max_by_key(|one| one.ended_at).and_then(|one| one.cause.as_ref());
    match last {
        Some(StopCause::Exited { exit }) => {
            format!("its last instance ended with {}", exit.words())
        }
        Some(StopCause::NeverReady { last }) => {
            format!("its last instance did not become ready: {last}")
        }
        Some(StopCause::StartFailed { reason }) => {
            format!("it could not be started: {}", reason.words())
        }
        Some(StopCause::Vanished) => "its last instance vanished".to_owned(),
        Some(
            StopCause::Replaced | StopCause::Returned | StopCause::ScaledDown | StopCause::Asked,
        )
        | None => match now.instances.iter().any(|one| one.state == InstanceState::Starting) {
            true => "it is starting".to_owned(),
            false => "no instance of it runs".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use ark_model::definition::{StoreProduct, StoreServer};
    use ark_model::instance::{Exit, StartFailure};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn one(state: InstanceState) -> InstanceNow {
        let over = state == InstanceState::Stopped;
        InstanceNow {
            state,
            has_served: state != InstanceState::Starting,
            ended_at: over.then(|| at(100)),
            cause: None,
            readiness: None,
        }
    }

    fn checked(ready: bool, last_failure: Option<&str>) -> InstanceNow {
        let readiness = Readiness {
            ready,
            since: at(70),
            ever: true,
            failures: u32::from(!ready),
            last_failure: last_failure.map(str::to_owned),
        };
        InstanceNow { readiness: Some(readiness), ..one(InstanceState::Active) }
    }

    fn ended(second: i64, cause: StopCause) -> InstanceNow {
        let ended_at = Some(at(second));
        InstanceNow { ended_at, cause: Some(cause), ..one(InstanceState::Stopped) }
    }

    fn exit() -> StopCause {
        StopCause::Exited {
            exit: Exit {
                began: None,
                code: Some(1),
                signal: None,
                out_of_memory: false,
                requested: false,
                at: at(0),
            },
        }
    }

    fn told(definition: &Definition, instances: Vec<InstanceNow>) -> String {
        let now = AppNow {
            definition: Some(definition),
            stopped: false,
            scaled_to_zero: false,
            instances,
        };
        words(&now)
    }

    fn words(now: &AppNow<'_>) -> String {
        let env = "production".parse().expect("a name");
        let down = down(&env, "api".parse().expect("a name"), now);
        down.map_or_else(|| "up".to_owned(), |down| down.words())
    }

    #[test]
    fn an_app_is_down_when_nothing_of_it_serves() {
        use InstanceState::{Active, Draining, Starting, Stopped, Stopping};
        let service = Definition::default();
        let since = |second: i64| {
            format!("nothing of it serves since {} UTC", at(second).strftime("%Y-%m-%d %H:%M:%S"))
        };
        let young = InstanceNow { has_served: false, ..ended(300, exit()) };
        let drains = InstanceNow { ended_at: Some(at(90)), ..one(Draining) };
        let stops = InstanceNow { ended_at: Some(at(95)), ..one(Stopping) };
        let full = StopCause::StartFailed {
            reason: StartFailure::ArtifactMissing { detail: "no such image".into() },
        };
        let never = StopCause::NeverReady { last: "answered 500".into() };
        for (instances, expect) in [
            (vec![one(Active)], "up".to_owned()),
            (vec![checked(true, None)], "up".to_owned()),
            (vec![checked(false, Some("answered 500")), one(Active)], "up".to_owned()),
            (
                vec![checked(false, Some("answered 500"))],
                format!("api (not ready: answered 500; {})", since(70)),
            ),
            (vec![checked(false, None)], format!("api (not ready; {})", since(70))),
            (vec![], "api (no instance of it runs)".to_owned()),
            (vec![one(Starting)], "api (it is starting)".to_owned()),
            (
                vec![one(Starting), ended(80, exit())],
                format!("api (its last instance ended with exit 1; {})", since(80)),
            ),
            // Those that never served say how it is, not since when.
            (
                vec![young.clone(), ended(80, StopCause::Replaced)],
                format!("api (its last instance ended with exit 1; {})", since(80)),
            ),
            (vec![young], "api (its last instance ended with exit 1)".to_owned()),
            (vec![drains, stops], format!("api (no instance of it runs; {})", since(95))),
            (
                vec![one(Stopped), ended(50, exit())],
                format!("api (no instance of it runs; {})", since(100)),
            ),
            (
                vec![InstanceNow { has_served: false, ..ended(80, full) }],
                "api (it could not be started: artifact missing: no such image)".to_owned(),
            ),
            (
                vec![InstanceNow { has_served: false, ..ended(80, never) }],
                "api (its last instance did not become ready: answered 500)".to_owned(),
            ),
            (
                vec![ended(80, StopCause::Vanished)],
                format!("api (its last instance vanished; {})", since(80)),
            ),
        ] {
            let case = format!("{instances:?}");
            assert_eq!(told(&service, instances), expect, "{case}");
        }
    }

    #[test]
    fn what_somebody_wants_is_said_as_that() {
        let service = Definition::default();
        let gone = || vec![ended(80, StopCause::Asked)];
        let now = |stopped, scaled_to_zero| AppNow {
            definition: Some(&service),
            stopped,
            scaled_to_zero,
            instances: gone(),
        };
        let since = "nothing of it serves since 1970-01-01 00:01:20 UTC";
        assert_eq!(words(&now(true, false)), format!("api (stopped; {since})"));
        assert_eq!(words(&now(false, true)), format!("api (scaled to 0; {since})"));
        let absent = AppNow { definition: None, instances: vec![], ..now(false, false) };
        assert_eq!(words(&absent), "api (not deployed in production)");
        let server = StoreServer { product: StoreProduct::Redis, version: None };
        let store = Definition { data_store: Some(server), ..Definition::default() };
        assert_eq!(
            told(&store, gone()),
            format!("data store api (no instance of it runs; {since})")
        );
    }

    #[test]
    fn what_has_instances_only_now_and_then_is_not_down_without_one() {
        for kind in [RunKind::Lambda, RunKind::Cron, RunKind::Job] {
            let mut definition = Definition::default();
            definition.run.kind = kind;
            assert_eq!(told(&definition, vec![]), "up", "{kind:?}");
        }
        for kind in [RunKind::Service, RunKind::Worker, RunKind::Daemon] {
            let mut definition = Definition::default();
            definition.run.kind = kind;
            assert_ne!(told(&definition, vec![]), "up", "{kind:?}");
        }
    }
}
