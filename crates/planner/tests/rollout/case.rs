//! One situation of an app, and what is planned for it in a line.

use std::time::Duration;

use ark_model::definition::{Definition, DurationText, Expose, Strategy};
use ark_model::deployment::DeploymentKind;
use ark_model::environment::{AppState, EnvKind};
use ark_model::instance::{EngineState, Exit, InstanceState};
use ark_model::{Deployment, DeploymentId, DeploymentState, InstanceId, ReleaseNumber};
use ark_planner::{
    Action, Admission, HostSeen, Input, Plan, Policy, ProbeSeen, Seen, ShareSeen, plan,
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;
pub(crate) const OLD: ReleaseNumber = ReleaseNumber(1);
pub(crate) const NEW: ReleaseNumber = ReleaseNumber(2);

pub(crate) fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("an instant")
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

pub(crate) fn id(n: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(n))
}

pub(crate) fn policy(count: u32) -> Policy {
    let mut definition =
        Definition { expose: vec![Expose::new("http", 80)], ..Definition::default() };
    definition.autoscaling.min_count = Some(count);
    definition.deploy.min_healthy_time = Some(DurationText::from_secs(5));
    Policy::of(&definition, EnvKind::Permanent, Strategy::Rolling)
}

pub(crate) fn deployment(state: DeploymentState) -> Deployment {
    Deployment {
        base: Some(OLD),
        state,
        started_at: Some(start()),
        progress_at: Some(start()),
        ..Deployment::queued(
            DeploymentId(Uuid::from_u128(99)),
            ("production".parse().expect("a name"), "web".parse().expect("a name")),
            DeploymentKind::Deploy,
            NEW,
            Strategy::Rolling,
            ("ana".into(), start()),
        )
    }
}

/// An instance in `state`, created before the deployment when it is of the old release.
pub(crate) fn instance(n: u128, release: ReleaseNumber, state: InstanceState) -> Seen {
    let born = if release == OLD { -600 } else { 0 };
    let serving = state == InstanceState::Active;
    Seen {
        id: id(n),
        release,
        state,
        created_at: at(born),
        active_at: (state != InstanceState::Starting).then(|| at(born + 1)),
        draining_at: (state == InstanceState::Draining).then(|| at(0)),
        stopping_at: None,
        has_ports: true,
        drain: Duration::from_secs(30),
        engine: Some(EngineState::Running { since: at(born), process: None, address: None }),
        probe: Some(ProbeSeen { ready: serving, since: at(born), last_failure: None }),
        admission: match state {
            InstanceState::Starting => Admission::Candidate,
            InstanceState::Active => Admission::Active,
            InstanceState::Draining => Admission::Draining,
            InstanceState::Stopping | InstanceState::Stopped => Admission::Absent,
        },
        in_flight: Some(0),
        host: HostSeen::Answers,
        elsewhere: false,
    }
}

pub(crate) fn old(n: u128) -> Seen {
    instance(n, OLD, InstanceState::Active)
}

pub(crate) fn new(n: u128) -> Seen {
    instance(n, NEW, InstanceState::Active)
}

pub(crate) fn starting(n: u128, ready_since: Option<i64>) -> Seen {
    let probe = ProbeSeen {
        ready: ready_since.is_some(),
        since: at(ready_since.unwrap_or(0)),
        last_failure: Some("GET /_health answered 500".into()),
    };
    Seen { probe: Some(probe), ..instance(n, NEW, InstanceState::Starting) }
}

pub(crate) fn exited(mut seen: Seen, code: i32) -> Seen {
    let exit = Exit {
        began: None,
        code: Some(code),
        signal: None,
        out_of_memory: false,
        requested: false,
        at: at(1),
    };
    seen.engine = Some(EngineState::Exited { exit });
    seen
}

pub(crate) struct Case {
    pub(crate) app: AppState,
    pub(crate) running: Option<Deployment>,
    pub(crate) waiting: Option<Deployment>,
    pub(crate) count: u32,
    pub(crate) seen: Vec<Seen>,
    pub(crate) since: i64,
    pub(crate) now: i64,
}

impl Case {
    pub(crate) fn deploying(count: u32, seen: Vec<Seen>) -> Self {
        let running = deployment(DeploymentState::Replacing);
        let mut app = AppState::new(running.env.clone(), running.app.clone(), start());
        app.live = Some(OLD);
        app.running = Some(running.id);
        Self { app, running: Some(running), waiting: None, count, seen, since: 0, now: 1 }
    }

    pub(crate) fn steady(count: u32, seen: Vec<Seen>) -> Self {
        let mut case = Self::deploying(count, seen);
        case.app.running = None;
        case.running = None;
        case
    }

    pub(crate) fn at(mut self, now: i64) -> Self {
        self.now = now;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Deployment)) -> Self {
        change(self.running.as_mut().expect("a deployment"));
        self
    }

    pub(crate) fn plan(&self) -> Plan {
        self.plan_by(&policy(self.count))
    }

    pub(crate) fn plan_by(&self, policy: &Policy) -> Plan {
        plan(&Input {
            now: at(self.now),
            app: &self.app,
            ending: None,
            running: self.running.as_ref(),
            waiting: self.waiting.as_ref(),
            new_policy: Some(policy),
            live_policy: Some(policy),
            seen: &self.seen,
            share: ShareSeen::Even,
            measured: &[],
            measured_since: Timestamp::UNIX_EPOCH,
            measured_until: Timestamp::MAX,
            held: Some(0),
            since: at(self.since),
            planted: None,
        })
    }
}

/// The steps in short: `+2` starts two, `^7` activates, `-7` drains, `x7` stops, `!7` has ended.
pub(crate) fn short(plan: &Plan) -> String {
    let n = |id: &InstanceId| id.0.as_u128();
    let words: Vec<String> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::Start { count, .. } => format!("+{count}"),
            Action::Activate(id) => format!("^{}", n(id)),
            Action::Drain { id, .. } => format!("-{}", n(id)),
            Action::Stop { id, .. } => format!("x{}", n(id)),
            Action::Ended { id, .. } => format!("!{}", n(id)),
        })
        .collect();
    words.join(" ")
}
