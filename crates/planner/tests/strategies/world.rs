//! The small world: an app of four instances, a gateway that acknowledges, and a clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ark_model::definition::{Definition, DurationText, Expose, Step, Strategy};
use ark_model::deployment::{Abort, DeploymentKind};
use ark_model::environment::{AppState, EnvKind};
use ark_model::instance::{EngineState, Exit, InstanceState};
use ark_model::rollout::{AsksFor, Said, Share, WatchEnd};
use ark_model::{Deployment, DeploymentId, DeploymentState, InstanceId, ReleaseNumber};
use ark_planner::judge::Slice;
use ark_planner::wishes::{self, Refusal, Wish};
use ark_planner::{
    Action, Admission, HostSeen, Input, Measured, Plan, Policy, ProbeSeen, Seen, ShareSeen,
    Transition, plan, watch,
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;
pub(crate) const OLD: ReleaseNumber = ReleaseNumber(1);
pub(crate) const NEW: ReleaseNumber = ReleaseNumber(2);
pub(crate) const NEWER: ReleaseNumber = ReleaseNumber(3);

pub(crate) fn at(seconds: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("an instant")
        + SignedDuration::from_secs(seconds)
}

pub(crate) fn seconds(n: u64) -> DurationText {
    DurationText::from_secs(n)
}

/// What the gateway counts of a release in each second.
pub(crate) type Rates = BTreeMap<ReleaseNumber, (u64, u64)>;

pub(crate) struct World {
    pub(crate) now: i64,
    /// When the server was started.
    pub(crate) since: i64,
    pub(crate) measured_since: i64,
    pub(crate) held: Option<u32>,
    pub(crate) app: AppState,
    pub(crate) running: Option<Deployment>,
    pub(crate) waiting: Option<Deployment>,
    pub(crate) ended: Vec<Deployment>,
    pub(crate) policy: Policy,
    pub(crate) seen: Vec<Seen>,
    pub(crate) share: ShareSeen,
    /// Whether tables are acknowledged.
    pub(crate) acks: bool,
    /// Whether instances of the new release pass their check.
    pub(crate) healthy: bool,
    pub(crate) rates: Rates,
    /// Requests a second to the new release that it answers with 404, beside these.
    pub(crate) not_found: u64,
    pub(crate) measured: Vec<Arc<Measured>>,
    /// Up to when the gateway has said what it counted, when it says no more; what it counts since then
    /// comes in one slice when it is heard again.
    pub(crate) unheard_since: Option<i64>,
    pub(crate) unheard: BTreeMap<ReleaseNumber, Slice>,
    pub(crate) next: u128,
    pub(crate) log: Vec<String>,
    pub(crate) ended_watches: Vec<WatchEnd>,
}

impl World {
    /// Four instances of the old release serve; the new one is deployed.
    pub(crate) fn deploying(strategy: Strategy, steps: Vec<Step>) -> Self {
        let mut definition =
            Definition { expose: vec![Expose::new("http", 80)], ..Definition::default() };
        definition.autoscaling.min_count = Some(4);
        definition.deploy.min_healthy_time = Some(seconds(2));
        definition.deploy.steps = steps;
        definition.deploy.keep_old = Some(match strategy {
            Strategy::BlueGreen => seconds(60),
            _ => seconds(0),
        });
        definition.deploy.watch = seconds(300);
        let env = "production".parse().expect("a name");
        let app = "web".parse().expect("a name");
        let mut world = Self {
            now: 0,
            since: 0,
            measured_since: 0,
            held: Some(0),
            app: AppState::new(env, app, at(0)),
            running: None,
            waiting: None,
            ended: Vec::new(),
            policy: Policy::of(&definition, EnvKind::Permanent, strategy),
            seen: Vec::new(),
            share: ShareSeen::Even,
            acks: true,
            healthy: true,
            rates: Rates::new(),
            not_found: 0,
            measured: Vec::new(),
            unheard_since: None,
            unheard: BTreeMap::new(),
            next: 1,
            log: Vec::new(),
            ended_watches: Vec::new(),
        };
        world.app.live = Some(OLD);
        for _ in 0..4 {
            world.start(OLD);
        }
        for seen in &mut world.seen {
            seen.state = InstanceState::Active;
            seen.active_at = Some(at(-1));
            seen.admission = Admission::Active;
        }
        world.ask(NEW, strategy);
        world
    }

    pub(crate) fn ask(&mut self, release: ReleaseNumber, strategy: Strategy) {
        let id = DeploymentId(Uuid::from_u128(release.0.into()));
        self.waiting = Some(Deployment::queued(
            id,
            (self.app.env.clone(), self.app.app.clone()),
            DeploymentKind::Deploy,
            release,
            strategy,
            ("ana".into(), at(self.now)),
        ));
        self.policy.strategy = strategy;
    }

    pub(crate) fn start(&mut self, release: ReleaseNumber) {
        let ready = self.healthy || release == OLD;
        let id = InstanceId(Uuid::from_u128(self.next));
        self.next += 1;
        self.seen.push(Seen {
            id,
            release,
            state: InstanceState::Starting,
            created_at: at(self.now),
            active_at: None,
            draining_at: None,
            stopping_at: None,
            has_ports: true,
            drain: Duration::from_secs(30),
            engine: Some(EngineState::Running {
                since: at(self.now),
                process: None,
                address: None,
            }),
            probe: Some(ProbeSeen { ready, since: at(self.now), last_failure: None }),
            admission: Admission::Candidate,
            in_flight: Some(0),
            host: HostSeen::Answers,
            elsewhere: false,
        });
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(&Input {
            now: at(self.now),
            app: &self.app,
            ending: None,
            running: self.running.as_ref(),
            waiting: self.waiting.as_ref(),
            new_policy: Some(&self.policy),
            live_policy: Some(&self.policy),
            seen: &self.seen,
            share: self.share.clone(),
            held: self.held,
            measured: &self.measured,
            measured_since: at(self.measured_since),
            measured_until: at(self.unheard_since.unwrap_or(self.now)),
            since: at(self.since),
            planted: None,
        })
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.log.push(format!("{} {}", self.now, text.into()));
    }

    pub(crate) fn round(&mut self) -> bool {
        let plan = self.plan();
        let mut changed = !plan.actions.is_empty() || plan.transition.is_some();
        changed |= plan.rollout.is_some() || plan.begin_waiting.is_some() || plan.watch.is_some();
        for action in &plan.actions {
            self.act(action);
        }
        for said in &plan.said {
            self.note(said.clone());
        }
        if let (Some(rollout), Some(d)) = (plan.rollout.clone(), &mut self.running) {
            d.rollout = Some(rollout);
        }
        if let (true, Some(d)) = (plan.progressed, &mut self.running) {
            d.progress_at = Some(at(self.now));
        }
        if let Some(transition) = plan.transition.clone() {
            self.transition(transition);
        }
        if let Some(begins) = plan.begin_waiting
            && self.running.is_none()
            && let Some(mut d) = self.waiting.take()
        {
            d.state = begins.state;
            d.rollout = begins.rollout;
            d.base = self.app.live;
            d.started_at = Some(at(self.now));
            d.progress_at = d.started_at;
            self.running = Some(d);
        }
        match plan.watch {
            Some(watch::Move::Open(watch)) => self.app.watch = Some(watch),
            Some(watch::Move::End(watch)) => {
                self.app.watch = None;
                let end = watch.end.expect("an end");
                self.note(format!("watch {end:?}"));
                if end == WatchEnd::Completed {
                    self.app.good.push(watch.release);
                }
                self.ended_watches.push(end);
            }
            None => {}
        }
        self.acknowledge();
        changed
    }

    pub(crate) fn acknowledge(&mut self) {
        if !self.acks {
            return;
        }
        self.share = match self.running.as_ref().and_then(|d| Some((d, d.rollout.as_ref()?))) {
            Some((d, rollout)) => ShareSeen::Of(d.release, rollout.share.clone()),
            None => ShareSeen::Even,
        };
        for seen in &mut self.seen {
            seen.admission = match seen.state {
                InstanceState::Starting => Admission::Candidate,
                InstanceState::Active => Admission::Active,
                InstanceState::Draining => Admission::Draining,
                InstanceState::Stopping | InstanceState::Stopped => Admission::Absent,
            };
        }
    }

    pub(crate) fn act(&mut self, action: &Action) {
        let now = at(self.now);
        let find = |all: &mut Vec<Seen>, id: &InstanceId| {
            all.iter().position(|s| s.id == *id).expect("an instance")
        };
        match action {
            Action::Start { release, count } => {
                self.note(format!("+{count} {release}"));
                for _ in 0..*count {
                    self.start(*release);
                }
            }
            Action::Activate(id) => {
                let i = find(&mut self.seen, id);
                self.seen[i].state = InstanceState::Active;
                self.seen[i].active_at = Some(now);
            }
            Action::Drain { id, .. } => {
                let i = find(&mut self.seen, id);
                self.note(format!("drain {}", self.seen[i].release));
                self.seen[i].state = InstanceState::Draining;
                self.seen[i].draining_at = Some(now);
            }
            Action::Stop { id, .. } => {
                let i = find(&mut self.seen, id);
                self.seen[i].state = InstanceState::Stopping;
                let exit = Exit {
                    began: None,
                    code: Some(0),
                    signal: None,
                    out_of_memory: false,
                    requested: true,
                    at: now,
                };
                self.seen[i].engine = Some(EngineState::Exited { exit });
            }
            Action::Ended { id, .. } => {
                let i = find(&mut self.seen, id);
                self.seen.remove(i);
            }
        }
    }

    pub(crate) fn transition(&mut self, transition: Transition) {
        let now = at(self.now);
        let Some(mut d) = self.running.take() else { return };
        match transition {
            Transition::Abort(abort) => {
                self.note("abort");
                d.abort = Some(abort);
            }
            Transition::Live { keeping } => {
                self.note(if keeping { "live, keeping" } else { "live" });
                d.state =
                    if keeping { DeploymentState::Keeping } else { DeploymentState::Draining };
                d.live_at = Some(now);
                self.app.live = Some(d.release);
            }
            Transition::LetGo => {
                self.note("let go");
                d.state = DeploymentState::Draining;
            }
            Transition::Return(reason) => {
                self.note(format!("return: {reason:?}").chars().take(60).collect::<String>());
                if matches!(d.state, DeploymentState::Keeping | DeploymentState::Draining) {
                    self.app.live = d.base;
                }
                d.state = DeploymentState::Returning;
                d.returning_at = Some(now);
            }
            Transition::End { state, note, .. } => {
                self.note(format!("{state:?}"));
                d.state = state;
                d.notes.extend(note);
                self.ended.push(d);
                return;
            }
        }
        self.running = Some(d);
    }

    /// Lets a time pass, second by second.
    pub(crate) fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            for _ in 0..50 {
                if !self.round() {
                    break;
                }
            }
            self.count();
            self.now += 1;
        }
    }

    /// The server is away for a time: nothing is planned, and the gateway counts on.
    pub(crate) fn away(&mut self, seconds: i64) {
        self.unheard_since = Some(self.now);
        for _ in 0..seconds {
            self.count();
            self.now += 1;
        }
        self.restart();
    }

    /// The gateway is heard again: what it counted meanwhile comes at once.
    pub(crate) fn heard(&mut self) {
        self.unheard_since = None;
        let measured = Measured { from: at(self.now), sides: std::mem::take(&mut self.unheard) };
        self.measured.push(Arc::new(measured));
    }

    /// What the gateway counts in a second.
    pub(crate) fn count(&mut self) {
        let slice = |release, (served, failed): (u64, u64)| {
            let client_errors = if release == NEW { self.not_found } else { 0 };
            let served = served + client_errors;
            Slice { served, failed, client_errors, ..Slice::default() }
        };
        let sides = self.rates.iter().map(|(release, rate)| (*release, slice(*release, *rate)));
        if self.unheard_since.is_some() {
            for (release, slice) in sides.collect::<Vec<_>>() {
                self.unheard.entry(release).or_default().add(&slice);
            }
            return;
        }
        let measured = Measured { from: at(self.now), sides: sides.collect() };
        self.measured.push(Arc::new(measured));
    }

    /// The server is killed and started again.
    pub(crate) fn restart(&mut self) {
        self.since = self.now;
    }

    /// The same, and what was measured and written down cannot be read.
    pub(crate) fn restart_without_measures(&mut self) {
        self.restart();
        self.measured_since = self.now;
        self.measured.clear();
    }

    /// When it was first said that something begins so.
    pub(crate) fn said_at(&self, text: &str) -> Option<i64> {
        self.log.iter().find_map(|line| {
            let (at, said) = line.split_once(' ')?;
            said.starts_with(text).then(|| at.parse().expect("a second"))
        })
    }

    pub(crate) fn wish(&mut self, wish: Wish) -> Result<(), Refusal> {
        self.wish_at(None, wish)
    }

    /// As whoever saw it at this step, from 1.
    pub(crate) fn wish_at(&mut self, seen: Option<u32>, wish: Wish) -> Result<(), Refusal> {
        let said = Said { by: "ana".into(), at: at(self.now), reason: None };
        let d = self.running.as_ref().expect("a deployment");
        let (d, words) = wishes::apply(d, wish, seen, said)?;
        self.running = Some(d);
        self.note(words);
        Ok(())
    }

    pub(crate) fn abort(&mut self, superseded: bool) {
        let d = self.running.as_mut().expect("a deployment");
        d.abort = Some(Abort { by: "ana".into(), reason: None, superseded });
    }

    pub(crate) fn share(&self) -> Share {
        let rollout = self.running.as_ref().and_then(|d| d.rollout.as_ref());
        rollout.map(|r| r.share.clone()).unwrap_or_default()
    }

    pub(crate) fn asks(&self) -> Option<AsksFor> {
        let rollout = self.running.as_ref().and_then(|d| d.rollout.as_ref());
        rollout.and_then(|r| r.asks.as_ref()).map(|asks| asks.what)
    }

    /// Instances that serve.
    pub(crate) fn serving(&self, release: ReleaseNumber) -> usize {
        self.seen.iter().filter(|s| s.release == release && s.is_serving()).count()
    }

    pub(crate) fn state(&self) -> Option<DeploymentState> {
        self.running.as_ref().map(|d| d.state)
    }

    /// The transcript since the last call, without the seconds.
    pub(crate) fn transcript(&mut self) -> Vec<String> {
        let word = |line: String| line.split_once(' ').expect("two words").1.to_owned();
        std::mem::take(&mut self.log).into_iter().map(word).collect()
    }
}

pub(crate) fn judged(new: (u64, u64), old: (u64, u64)) -> Rates {
    [(NEW, new), (OLD, old)].into()
}
