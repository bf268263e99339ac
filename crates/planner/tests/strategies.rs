//! The strategies, as transcripts: a small world carries each plan out at once and acknowledges
//! what it is told to; what the plans do over time is held against what is expected. Crashes, late
//! acknowledgements and everything else that goes wrong are the simulator's work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ark_model::definition::{
    Definition, DurationText, Expose, HeaderStep, MirrorStep, Quantity, Step, Strategy,
};
use ark_model::deployment::{Abort, DeploymentKind};
use ark_model::environment::{AppState, EnvKind};
use ark_model::instance::{EngineState, Exit, InstanceState};
use ark_model::rollout::{AsksFor, Said, Share, WatchEnd};
use ark_model::{Deployment, DeploymentId, DeploymentState, InstanceId, ReleaseNumber, Verdict};
use ark_planner::judge::Slice;
use ark_planner::wishes::{self, Refusal, Wish};
use ark_planner::{
    Action, Admission, HostSeen, Input, Measured, Plan, Policy, ProbeSeen, Seen, ShareSeen,
    Transition, plan, watch,
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

const OLD: ReleaseNumber = ReleaseNumber(1);
const NEW: ReleaseNumber = ReleaseNumber(2);
const NEWER: ReleaseNumber = ReleaseNumber(3);

fn at(seconds: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("an instant")
        + SignedDuration::from_secs(seconds)
}

fn seconds(n: u64) -> DurationText {
    DurationText::from_secs(n)
}

/// What the gateway counts of a release in each second.
type Rates = BTreeMap<ReleaseNumber, (u64, u64)>;

struct World {
    now: i64,
    /// When the server was started.
    since: i64,
    measured_since: i64,
    held: Option<u32>,
    app: AppState,
    running: Option<Deployment>,
    waiting: Option<Deployment>,
    ended: Vec<Deployment>,
    policy: Policy,
    seen: Vec<Seen>,
    share: ShareSeen,
    /// Whether tables are acknowledged.
    acks: bool,
    /// Whether instances of the new release pass their check.
    healthy: bool,
    rates: Rates,
    /// Requests a second to the new release that it answers with 404, beside these.
    not_found: u64,
    measured: Vec<Arc<Measured>>,
    /// Up to when the gateway has said what it counted, when it says no more; what it counts since then
    /// comes in one slice when it is heard again.
    unheard_since: Option<i64>,
    unheard: BTreeMap<ReleaseNumber, Slice>,
    next: u128,
    log: Vec<String>,
    ended_watches: Vec<WatchEnd>,
}

impl World {
    /// Four instances of the old release serve; the new one is deployed.
    fn deploying(strategy: Strategy, steps: Vec<Step>) -> Self {
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

    fn ask(&mut self, release: ReleaseNumber, strategy: Strategy) {
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

    fn start(&mut self, release: ReleaseNumber) {
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

    fn plan(&self) -> Plan {
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

    fn note(&mut self, text: impl Into<String>) {
        self.log.push(format!("{} {}", self.now, text.into()));
    }

    fn round(&mut self) -> bool {
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

    fn acknowledge(&mut self) {
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

    fn act(&mut self, action: &Action) {
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

    fn transition(&mut self, transition: Transition) {
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
    fn pass(&mut self, seconds: i64) {
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
    fn away(&mut self, seconds: i64) {
        self.unheard_since = Some(self.now);
        for _ in 0..seconds {
            self.count();
            self.now += 1;
        }
        self.restart();
    }

    /// The gateway is heard again: what it counted meanwhile comes at once.
    fn heard(&mut self) {
        self.unheard_since = None;
        let measured = Measured { from: at(self.now), sides: std::mem::take(&mut self.unheard) };
        self.measured.push(Arc::new(measured));
    }

    /// What the gateway counts in a second.
    fn count(&mut self) {
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
    fn restart(&mut self) {
        self.since = self.now;
    }

    /// The same, and what was measured and written down cannot be read.
    fn restart_without_measures(&mut self) {
        self.restart();
        self.measured_since = self.now;
        self.measured.clear();
    }

    /// When it was first said that something begins so.
    fn said_at(&self, text: &str) -> Option<i64> {
        self.log.iter().find_map(|line| {
            let (at, said) = line.split_once(' ')?;
            said.starts_with(text).then(|| at.parse().expect("a second"))
        })
    }

    fn wish(&mut self, wish: Wish) -> Result<(), Refusal> {
        self.wish_at(None, wish)
    }

    /// As whoever saw it at this step, from 1.
    fn wish_at(&mut self, seen: Option<u32>, wish: Wish) -> Result<(), Refusal> {
        let said = Said { by: "ana".into(), at: at(self.now), reason: None };
        let d = self.running.as_ref().expect("a deployment");
        let (d, words) = wishes::apply(d, wish, seen, said)?;
        self.running = Some(d);
        self.note(words);
        Ok(())
    }

    fn abort(&mut self, superseded: bool) {
        let d = self.running.as_mut().expect("a deployment");
        d.abort = Some(Abort { by: "ana".into(), reason: None, superseded });
    }

    fn share(&self) -> Share {
        let rollout = self.running.as_ref().and_then(|d| d.rollout.as_ref());
        rollout.map(|r| r.share.clone()).unwrap_or_default()
    }

    fn asks(&self) -> Option<AsksFor> {
        let rollout = self.running.as_ref().and_then(|d| d.rollout.as_ref());
        rollout.and_then(|r| r.asks.as_ref()).map(|asks| asks.what)
    }

    /// Instances that serve.
    fn serving(&self, release: ReleaseNumber) -> usize {
        self.seen.iter().filter(|s| s.release == release && s.is_serving()).count()
    }

    fn state(&self) -> Option<DeploymentState> {
        self.running.as_ref().map(|d| d.state)
    }

    /// The transcript since the last call, without the seconds.
    fn transcript(&mut self) -> Vec<String> {
        let word = |line: String| line.split_once(' ').expect("two words").1.to_owned();
        std::mem::take(&mut self.log).into_iter().map(word).collect()
    }
}

fn judged(new: (u64, u64), old: (u64, u64)) -> Rates {
    [(NEW, new), (OLD, old)].into()
}

#[test]
fn a_canary_goes_step_by_step_and_the_old_side_stays_whole() {
    let pause = |n| Step::Pause(Some(seconds(n)));
    let steps = vec![Step::Weight(5), pause(10), Step::Weight(50), pause(10)];
    let mut world = World::deploying(Strategy::Canary, steps);
    let mut whole = true;
    for _ in 0..14 {
        world.pass(1);
        whole &= world.serving(OLD) == 4;
    }
    assert_eq!(
        world.transcript(),
        [
            "+1 v2",
            "5 % of the traffic goes to v2",
            "step 2 of 5: pause 10s",
            "+1 v2",
            "step 3 of 5: 50 % of the traffic"
        ]
    );
    assert_eq!((world.serving(NEW), world.share().percent), (1, 5), "too few for half of it");
    for _ in 0..12 {
        world.pass(1);
        whole &= world.serving(OLD) == 4;
    }
    assert_eq!((world.serving(NEW), world.share().percent), (2, 50));
    assert!(whole, "the old side keeps its size until it has no traffic");
    world.pass(20);
    let log = world.transcript();
    let place = |what: &str| {
        log.iter().position(|l| l == what).unwrap_or_else(|| panic!("{what}: {log:?}"))
    };
    assert!(place("+2 v2") < place("all of the traffic goes to v2"));
    assert!(place("all of the traffic goes to v2") < place("live"));
    assert!(place("live") < place("drain v1"));
    assert_eq!(world.ended[0].state, DeploymentState::Succeeded);
    assert_eq!((world.serving(NEW), world.serving(OLD)), (4, 0));
}

#[test]
fn a_step_counts_from_the_acknowledgement() {
    let steps = vec![Step::Weight(5), Step::Pause(Some(seconds(10)))];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.pass(3);
    let asked = world.share();
    assert_eq!(asked.percent, 5);
    // From here on the gateway does not answer: the table in force says 0.
    world.acks = false;
    world.share = ShareSeen::Of(NEW, Share::default());
    let d = world.running.as_mut().expect("a deployment");
    let rollout = d.rollout.as_mut().expect("steps");
    (rollout.step, rollout.share) = (0, asked);
    world.pass(60);
    assert_eq!(world.running.as_ref().and_then(|d| d.rollout.as_ref()).map(|r| r.step), Some(0));
    world.acks = true;
    world.pass(5);
    assert_eq!(world.running.as_ref().and_then(|d| d.rollout.as_ref()).map(|r| r.step), Some(1));
}

#[test]
fn of_a_kept_old_side_what_was_still_starting_is_let_in() {
    let mut world = World::deploying(Strategy::BlueGreen, vec![]);
    world.pass(20);
    assert_eq!(world.state(), Some(DeploymentState::Keeping));
    let kept = world.seen.iter_mut().find(|s| s.release == OLD).expect("an old one");
    (kept.state, kept.active_at) = (InstanceState::Starting, None);
    world.pass(5);
    assert_eq!((world.serving(OLD), world.serving(NEW)), (4, 4), "{:?}", world.log);
}

#[test]
fn blue_green_switches_once_and_keeps_the_old_side() {
    let mut world = World::deploying(Strategy::BlueGreen, vec![]);
    world.pass(2);
    assert_eq!((world.serving(NEW), world.serving(OLD), world.share().percent), (0, 4, 0));
    world.pass(3);
    assert_eq!(world.transcript(), ["+4 v2", "all of the traffic goes to v2", "live, keeping"]);
    assert_eq!((world.serving(NEW), world.serving(OLD)), (4, 4));
    world.pass(55);
    assert_eq!(world.serving(OLD), 4, "kept");
    world.pass(10);
    assert_eq!(
        world.transcript(),
        ["let go", "drain v1", "drain v1", "drain v1", "drain v1", "Succeeded"]
    );
    assert_eq!(world.seen.len(), 4);
}

#[test]
fn a_kept_old_side_takes_over_at_once() {
    let mut world = World::deploying(Strategy::BlueGreen, vec![]);
    world.pass(10);
    assert_eq!(world.state(), Some(DeploymentState::Keeping));
    world.transcript();
    world.abort(false);
    world.pass(1);
    assert_eq!(world.share().percent, 0);
    let log = world.transcript();
    assert!(!log.iter().any(|l| l.starts_with('+')), "nothing has to start: {log:?}");
    world.pass(5);
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    assert_eq!(world.app.live, Some(OLD));
    assert_eq!((world.serving(NEW), world.serving(OLD)), (0, 4));
}

/// Nothing is kept, and the old side is ending: it is started again before the new one goes.
#[test]
fn an_abort_goes_back_as_long_as_the_old_side_is_not_gone() {
    let mut world = World::deploying(Strategy::Canary, vec![Step::Weight(50)]);
    while world.state() != Some(DeploymentState::Draining) {
        if !world.round() {
            world.now += 1;
        }
    }
    assert_eq!((world.app.live, world.serving(OLD)), (Some(NEW), 4));
    world.abort(false);
    world.round();
    assert_eq!((world.state(), world.app.live), (Some(DeploymentState::Returning), Some(OLD)));
    world.pass(120);
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    assert_eq!((world.serving(NEW), world.serving(OLD)), (0, 4));
}

/// Half of the kept side is lost, and somebody goes back: the new side serves until the old one is whole.
#[test]
fn a_way_back_that_a_person_wants_takes_no_capacity_away() {
    let aborted = |judged: bool| {
        let mut world = World::deploying(Strategy::BlueGreen, vec![]);
        world.pass(10);
        assert_eq!(world.state(), Some(DeploymentState::Keeping));
        let old = world.seen.iter().filter(|s| s.release == OLD).map(|s| s.id);
        let lost: Vec<InstanceId> = old.take(2).collect();
        world.seen.retain(|s| !lost.contains(&s.id));
        assert_eq!((world.serving(OLD), world.serving(NEW)), (2, 4));
        world.abort(false);
        world.pass(1);
        if judged {
            let d = world.running.as_mut().expect("a deployment");
            d.diagnosis = Some(ark_model::Diagnosis::Judged { reasons: vec!["5xx".into()] });
        }
        world
    };
    // Those that are started take their time.
    let pass = |world: &mut World, seconds: i64| {
        for _ in 0..seconds {
            let since = at(world.now);
            for seen in world.seen.iter_mut().filter(|s| s.state == InstanceState::Starting) {
                seen.probe = Some(ProbeSeen { ready: false, since, last_failure: None });
            }
            world.pass(1);
        }
    };
    let mut world = aborted(false);
    pass(&mut world, 60);
    assert_eq!((world.share().percent, world.serving(NEW), world.serving(OLD)), (100, 4, 2));
    let now = at(world.now);
    for seen in world.seen.iter_mut().filter(|s| s.release == OLD) {
        seen.probe = Some(ProbeSeen { ready: true, since: now, last_failure: None });
    }
    world.pass(10);
    assert_eq!((world.serving(NEW), world.serving(OLD)), (0, 4));
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    assert!(world.transcript().contains(&"v2 gets no more traffic".to_owned()));
    // They do not come within the time that an instance has: there is no room for them, say.
    let mut never = aborted(false);
    pass(&mut never, 125);
    assert_eq!((never.share().percent, never.serving(OLD)), (0, 2));
    let said = "v2 gets no more traffic; 2 of 4 instances of v1 carry it".to_owned();
    assert!(never.transcript().contains(&said));
    // What is known to be bad does not serve as long.
    let mut bad = aborted(true);
    pass(&mut bad, 35);
    assert_eq!((bad.share().percent, bad.serving(OLD)), (0, 2));
}

#[test]
fn the_old_side_is_let_go_early_when_somebody_says_so() {
    let mut world = World::deploying(Strategy::BlueGreen, vec![]);
    world.pass(10);
    world.wish(Wish::Promote { full: false }).expect("it is kept");
    world.pass(3);
    assert_eq!(world.ended[0].state, DeploymentState::Succeeded);
}

#[test]
fn recreate_stops_all_then_starts_all() {
    let mut world = World::deploying(Strategy::Recreate, vec![]);
    world.pass(1);
    let log = world.transcript();
    let first_start = log.iter().position(|l| l.starts_with('+')).expect("a start");
    assert_eq!(&log[..first_start], ["drain v1", "drain v1", "drain v1", "drain v1"]);
    assert_eq!(log[first_start], "+4 v2");
    world.pass(3);
    assert_eq!(world.ended[0].state, DeploymentState::Succeeded);
    // It ends when what it made wait has ended, or has had the time of a drain.
    for (held, note) in [(Some(7), "7 requests that were held"), (None, "did not say")] {
        let mut world = World::deploying(Strategy::Recreate, vec![]);
        world.held = held;
        world.pass(20);
        assert_eq!(world.state(), Some(DeploymentState::Draining), "{held:?}");
        let mut answered = World::deploying(Strategy::Recreate, vec![]);
        answered.held = held;
        answered.pass(20);
        answered.held = Some(0);
        answered.pass(1);
        assert_eq!(answered.ended[0].state, DeploymentState::Succeeded, "{held:?}");
        assert_eq!(answered.ended[0].notes, Vec::<String>::new());
        world.pass(400);
        assert_eq!(world.ended[0].state, DeploymentState::Succeeded, "{held:?}");
        let said = world.ended[0].notes.join(" ");
        assert!(said.contains(note), "{said}");
    }
    // One that is busy is waited for: two versions never run beside each other.
    let mut world = World::deploying(Strategy::Recreate, vec![]);
    world.seen[0].in_flight = Some(3);
    world.pass(10);
    assert!(world.seen.iter().all(|s| s.release == OLD));
    world.pass(30);
    assert_eq!(world.ended[0].state, DeploymentState::Succeeded);
}

#[test]
fn a_failed_recreate_goes_back_the_same_way() {
    let mut world = World::deploying(Strategy::Recreate, vec![]);
    world.healthy = false;
    world.pass(130);
    let together =
        world.seen.iter().any(|s| s.release == OLD) && world.seen.iter().any(|s| s.release == NEW);
    assert!(!together);
    world.pass(10);
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    assert_eq!(world.serving(OLD), 4);
    // Those who never end put off its end, and change nothing of it.
    let mut held = World::deploying(Strategy::Recreate, vec![]);
    (held.healthy, held.held) = (false, Some(3));
    held.pass(140);
    assert_eq!((held.state(), held.serving(OLD)), (Some(DeploymentState::Returning), 4));
    held.pass(400);
    assert_eq!(held.ended[0].state, DeploymentState::RolledBack);
    assert!(held.ended[0].notes.join(" ").contains("3 requests that were held"));
}

#[test]
fn an_abort_takes_the_weight_first_and_the_instances_after_the_acknowledgement() {
    let steps = vec![Step::Weight(25), Step::Pause(None)];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.pass(10);
    assert_eq!((world.share().percent, world.asks()), (25, Some(AsksFor::Promotion)));
    world.abort(false);
    world.acks = false;
    world.transcript();
    world.pass(20);
    assert_eq!(world.share().percent, 0);
    let log = world.transcript();
    assert!(!log.iter().any(|l| l.starts_with("drain")), "{log:?}");
    world.acks = true;
    world.pass(5);
    assert!(world.transcript().contains(&"drain v2".to_owned()));
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
}

#[test]
fn a_third_version_in_mid_canary_finds_the_abandoned_one_drained() {
    let steps = vec![Step::Weight(25), Step::Pause(None)];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.pass(10);
    world.transcript();
    world.ask(NEWER, Strategy::Canary);
    world.abort(true);
    world.pass(10);
    let log = world.transcript();
    let place = |what: &str| {
        log.iter().position(|l| l.starts_with(what)).unwrap_or_else(|| panic!("{what}: {log:?}"))
    };
    assert!(place("v2 gets no more traffic") < place("drain v2"));
    assert!(place("drain v2") < place("+1 v3"));
    assert_eq!(world.ended[0].state, DeploymentState::Superseded);
    assert_eq!(world.running.as_ref().map(|d| (d.release, d.base)), Some((NEWER, Some(OLD))));
    assert_eq!((world.serving(NEW), world.serving(OLD)), (0, 4));
    assert_eq!(world.share().percent, 25, "it goes its own steps");
}

#[test]
fn what_an_earlier_deployment_left_serves_until_the_old_side_is_whole_again() {
    let left = ReleaseNumber(9);
    let steps = vec![Step::Weight(25), Step::Pause(None)];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.pass(10);
    // A rolling deployment was superseded when it had replaced three of four.
    for seen in world.seen.iter_mut().filter(|s| s.release == OLD).take(3) {
        seen.release = left;
    }
    world.abort(true);
    world.ask(NEWER, Strategy::Canary);
    for second in 0..60 {
        world.pass(1);
        // Once the newer one has begun, the abandoned canary serves like any other.
        let canary = if world.ended.is_empty() { 0 } else { world.serving(NEW) };
        let serving = world.serving(OLD) + world.serving(left) + canary;
        assert!(serving >= 4, "{serving} serve after {second} s: {:?}", world.log);
    }
    assert_eq!(world.running.as_ref().map(|d| (d.release, d.base)), Some((NEWER, Some(OLD))));
    assert_eq!((world.serving(left), world.serving(OLD)), (0, 4));
}

/// The canary without a share is no capacity: nothing that serves may go because it is there.
#[test]
fn a_canary_that_never_had_traffic_stands_in_for_nobody_on_the_way_back() {
    let left = ReleaseNumber(9);
    let mut world = World::deploying(Strategy::Canary, vec![Step::Approval {}, Step::Weight(100)]);
    world.pass(10);
    assert_eq!((world.asks(), world.serving(NEW)), (Some(AsksFor::Approval), 1));
    for seen in world.seen.iter_mut().filter(|s| s.release == OLD).take(3) {
        seen.release = left;
    }
    world.abort(false);
    for second in 0..60 {
        world.pass(1);
        let serving = world.serving(OLD) + world.serving(left);
        assert!(serving >= 4, "{serving} serve after {second} s: {:?}", world.log);
    }
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    assert_eq!((world.serving(NEW), world.serving(left), world.serving(OLD)), (0, 0, 4));
}

/// What an ended rolling deployment of the release left serves three quarters of the requests.
fn again_in_steps() -> World {
    let mut world = World::deploying(Strategy::Canary, vec![Step::Approval {}, Step::Weight(100)]);
    for seen in world.seen.iter_mut().filter(|s| s.release == OLD).take(3) {
        seen.release = NEW;
    }
    world
}

#[test]
fn a_release_that_serves_already_gives_its_traffic_to_a_whole_old_side() {
    let mut world = again_in_steps();
    for second in 0..30 {
        world.pass(1);
        let old = world.serving(OLD);
        match world.state() {
            None => assert!(old + world.serving(NEW) >= 4, "{second} s: {:?}", world.log),
            Some(_) => assert!(old >= 4, "{old} after {second} s: {:?}", world.log),
        }
    }
    assert_eq!(world.asks(), Some(AsksFor::Approval), "{:?}", world.log);
}

/// A server that has just begun has not heard from the gateway what serves.
#[test]
fn who_may_serve_already_counts_before_the_gateway_says_so() {
    let mut world = again_in_steps();
    world.acks = false;
    for seen in &mut world.seen {
        (seen.admission, seen.probe) = (Admission::Unknown, None);
    }
    world.pass(5);
    assert_eq!(world.state(), None, "{:?}", world.log);
}

#[test]
fn an_old_side_that_cannot_be_made_whole_is_not_waited_for_without_end() {
    let mut world = again_in_steps();
    for _ in 0..59 {
        world.pass(1);
        assert_eq!(world.state(), None, "{:?}", world.log);
        for seen in world.seen.iter_mut().filter(|s| s.state == InstanceState::Starting) {
            seen.probe =
                Some(ProbeSeen { ready: false, since: seen.created_at, last_failure: None });
        }
    }
    world.pass(3);
    assert_eq!(world.state(), Some(DeploymentState::Stepping), "{:?}", world.log);
}

#[test]
fn people_say_go_and_stay() {
    let approval =
        || vec![Step::Weight(10), Step::Approval {}, Step::Weight(50), Step::Pause(None)];
    let mut world = World::deploying(Strategy::Canary, approval());
    world.pass(10);
    assert_eq!(world.asks(), Some(AsksFor::Approval));
    assert_eq!(world.wish(Wish::Resume), Err(Refusal::NotPaused));
    world.wish(Wish::Approve).expect("it waits for that");
    world.pass(10);
    assert_eq!((world.share().percent, world.asks()), (50, Some(AsksFor::Promotion)));
    assert!(matches!(world.wish(Wish::Approve), Err(Refusal::NothingToApprove { step: 4, .. })));
    world.wish(Wish::Pause).expect("it can wait");
    assert!(matches!(world.wish(Wish::Pause), Err(Refusal::Paused { .. })));
    world.wish(Wish::Resume).expect("it is paused");
    world.pass(3);
    assert_eq!(world.asks(), Some(AsksFor::Promotion));
    world.wish(Wish::Promote { full: false }).expect("it waits for that");
    world.pass(10);
    assert_eq!(world.ended[0].state, DeploymentState::Succeeded);

    let mut full = World::deploying(Strategy::Canary, approval());
    full.pass(10);
    full.wish(Wish::Promote { full: true }).expect("to the end");
    full.pass(1);
    assert_eq!(full.share().percent, 10, "not before there are enough instances");
    full.pass(10);
    assert_eq!(full.ended[0].state, DeploymentState::Succeeded);
    assert!(!full.transcript().iter().any(|l| l.starts_with("50 %")));
}

#[test]
fn a_pause_counts_against_no_deadline_and_a_person_has_a_day() {
    let day = 24 * 60 * 60;
    for step in [Step::Approval {}, Step::Pause(None)] {
        let mut world = World::deploying(Strategy::Canary, vec![Step::Weight(10), step]);
        world.pass(10);
        // Plans are made at their times only; second by second would take too long.
        world.now += day - 60;
        world.pass(10);
        assert_eq!(world.state(), Some(DeploymentState::Stepping), "the deadline is 30 m");
        world.now += 60;
        world.pass(10);
        assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    }
    let mut paused = World::deploying(Strategy::Canary, vec![Step::Weight(10)]);
    paused.pass(1);
    paused.wish(Wish::Pause).expect("steps");
    paused.now += day - 60;
    paused.pass(10);
    assert_eq!(paused.state(), Some(DeploymentState::Stepping));
    paused.wish(Wish::Resume).expect("paused");
    paused.pass(20);
    assert_eq!(paused.ended[0].state, DeploymentState::Succeeded);
}

#[test]
fn scale_header_and_mirror_are_in_force_before_the_next_step() {
    let rule = HeaderStep { name: Some("x-canary".into()), cookie: None, value: Some("1".into()) };
    let mirror = MirrorStep { percent: 10, unsafe_methods: false };
    let steps = vec![
        Step::Scale(Quantity::Count(3)),
        Step::Header(rule.clone()),
        Step::Mirror(mirror.clone()),
        Step::Pause(None),
    ];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.pass(1);
    assert_eq!(world.share(), Share::default(), "not before the instances serve");
    world.pass(10);
    assert_eq!(world.serving(NEW), 3);
    assert_eq!(world.share(), Share { percent: 0, headers: vec![rule], mirror: Some(mirror) });
    world.wish(Wish::Promote { full: false }).expect("it waits");
    world.pass(10);
    assert_eq!(world.ended[0].state, DeploymentState::Succeeded);
    assert_eq!(
        world.ended[0].rollout.as_ref().map(|r| r.share.clone()),
        Some(Share { percent: 100, ..Share::default() })
    );
}

#[test]
fn the_judge_decides() {
    let steps = || vec![Step::Weight(50), Step::Pause(Some(seconds(60))), Step::Analysis {}];
    let run = |rates: Rates, time: i64| {
        let mut world = World::deploying(Strategy::Canary, steps());
        world.rates = rates;
        world.pass(time);
        world
    };
    let good = run(judged((20, 0), (20, 0)), 100);
    assert_eq!(good.ended[0].state, DeploymentState::Succeeded);
    let said = &good.ended[0].rollout.as_ref().expect("steps").judgements;
    assert_eq!(said.last().map(|j| (j.step, j.judgement.verdict)), Some((2, Verdict::Pass)));

    let bad = run(judged((10, 10), (20, 0)), 50);
    assert_eq!(bad.ended[0].state, DeploymentState::RolledBack, "before the pause is over");

    let mut silent = run(judged((0, 0), (0, 0)), 100);
    assert_eq!((silent.state(), silent.asks()), (Some(DeploymentState::Stepping), None), "held");
    silent.pass(300);
    assert_eq!(silent.asks(), Some(AsksFor::Judgement), "no data is never a pass");
    silent.wish(Wish::Promote { full: false }).expect("a person may");
    silent.pass(20);
    assert_eq!(silent.ended[0].state, DeploymentState::Succeeded);
}

/// What was measured is kept over a restart. Should it be lost, a verdict after a few seconds would be one
/// on less than was promised.
#[test]
fn a_restart_takes_nothing_from_the_time_on_which_a_verdict_rests() {
    let steps = || vec![Step::Weight(50), Step::Pause(Some(seconds(60))), Step::Analysis {}];
    let good = || judged((50, 0), (50, 0));
    let mut undisturbed = World::deploying(Strategy::Canary, steps());
    undisturbed.rates = good();
    undisturbed.pass(200);
    let began = undisturbed.said_at("50 %").expect("the share is in force");
    let promised = undisturbed.said_at("the judge passes").expect("a verdict") - began;
    assert!((60..65).contains(&promised), "{promised} s");
    // In the pause, and in the analysis, which has not found enough requests.
    for (restarts, rates) in [(vec![30], good()), (vec![20, 50], good()), (vec![90], Rates::new())]
    {
        let mut world = World::deploying(Strategy::Canary, steps());
        world.rates = rates;
        let mut last = 0;
        for restart in &restarts {
            world.pass(began + restart - world.now);
            assert_eq!(world.said_at("the judge passes"), None, "{restarts:?}");
            world.restart_without_measures();
            last = world.now;
        }
        world.rates = good();
        world.pass(300);
        let anew = world.said_at("what was measured is lost").expect("it is said");
        assert_eq!(anew, began + restarts[0], "{restarts:?}");
        let passed = world.said_at("the judge passes").expect("a verdict");
        assert!((60..65).contains(&(passed - last)), "{restarts:?}: {} s", passed - last);
    }
    // With what was measured nothing takes longer.
    let mut kept = World::deploying(Strategy::Canary, steps());
    kept.rates = good();
    kept.pass(began + 30);
    kept.restart();
    kept.pass(200);
    let passed = kept.said_at("the judge passes").expect("a verdict");
    assert!((60..65).contains(&(passed - began)), "{} s", passed - began);
    // Without an analysis ahead a pause is a pause.
    let mut world =
        World::deploying(Strategy::Canary, vec![Step::Weight(50), Step::Pause(Some(seconds(60)))]);
    world.pass(began + 30);
    world.restart_without_measures();
    world.pass(40);
    assert_eq!(world.said_at("what was measured is lost"), None);
    assert!(world.said_at("all of the traffic").is_some_and(|at| at <= began + 62));
}

/// Testers are let in by a header, and what they meet is judged from then on, not from the analysis on.
#[test]
fn a_canary_by_header_is_judged_by_what_its_testers_met() {
    let rule = || HeaderStep { name: Some("x-canary".into()), cookie: None, value: None };
    let steps = || vec![Step::Header(rule()), Step::Pause(Some(seconds(600))), Step::Analysis {}];
    let run = |new: (u64, u64), time: i64| {
        let mut world = World::deploying(Strategy::Canary, steps());
        world.pass(5);
        assert_eq!((world.share().percent, world.share().headers), (0, vec![rule()]));
        world.rates = judged(new, (100, 0));
        world.pass(time);
        world
    };
    let bad = run((5, 5), 60);
    assert_eq!(bad.ended[0].state, DeploymentState::RolledBack, "in the pause");
    let good = run((1, 0), 620);
    let judgements = &good.ended[0].rollout.as_ref().expect("steps").judgements;
    let passed = judgements.last().expect("a judgement");
    assert_eq!((passed.step, passed.judgement.verdict), (2, Verdict::Pass));
    let requests = passed.judgement.new.requests;
    assert!((595..=605).contains(&requests), "those of the pause: {requests}");
    // A second rule lets in others: what is judged begins anew, and early looks with it.
    let beta = HeaderStep { name: None, cookie: Some("beta".into()), value: None };
    let mut steps = steps();
    steps.insert(2, Step::Header(beta));
    let mut world = World::deploying(Strategy::Canary, steps);
    world.pass(5);
    world.rates = judged((1, 0), (100, 0));
    world.pass(650);
    assert_eq!((world.state(), world.asks()), (Some(DeploymentState::Stepping), None));
    let rollout = world.running.as_ref().and_then(|d| d.rollout.as_ref()).expect("steps");
    assert!(rollout.judged_from.is_some_and(|from| from > at(600)), "{rollout:?}");
    assert_eq!(rollout.looks, 0);
    assert!(rollout.looks_before >= 1);
}

/// The pause passed while the server was away: before it has heard what was counted meanwhile it knows
/// of the first seconds only.
#[test]
fn no_verdict_before_all_of_the_pause_is_known() {
    let steps = vec![Step::Weight(50), Step::Pause(Some(seconds(60))), Step::Analysis {}];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.rates = judged((100, 0), (100, 0));
    world.pass(12);
    world.rates = judged((50, 50), (100, 0));
    world.away(90);
    world.pass(5);
    assert_eq!(world.said_at("the judge passes"), None, "of a few seconds");
    assert_eq!((world.state(), world.asks()), (Some(DeploymentState::Stepping), None));
    world.heard();
    world.pass(20);
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    assert_eq!(world.said_at("the judge passes"), None);
}

#[test]
fn a_first_deployment_and_a_stopped_app_have_no_steps() {
    for live in [None, Some(OLD)] {
        let mut world =
            World::deploying(Strategy::Canary, vec![Step::Weight(5), Step::Pause(None)]);
        world.seen.clear();
        world.app.live = live;
        world.pass(10);
        assert_eq!(world.ended[0].state, DeploymentState::Succeeded, "{live:?}");
        assert_eq!(world.ended[0].rollout, None);
    }
}

#[test]
fn a_bad_canary_instance_ends_it_and_a_lost_old_one_is_replaced() {
    let steps = || vec![Step::Weight(5), Step::Pause(None)];
    let mut world = World::deploying(Strategy::Canary, steps());
    world.healthy = false;
    world.pass(130);
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);

    let mut world = World::deploying(Strategy::Canary, steps());
    world.pass(10);
    let exit =
        Exit { code: Some(1), signal: None, out_of_memory: false, requested: false, at: at(9) };
    world.seen[0].engine = Some(EngineState::Exited { exit });
    world.pass(5);
    assert_eq!((world.serving(OLD), world.serving(NEW)), (4, 1));
    assert_eq!(world.state(), Some(DeploymentState::Stepping));
    world.app.scale = Some(6);
    world.pass(10);
    assert_eq!((world.serving(OLD), world.serving(NEW)), (6, 1), "scaled in the middle");
}

#[test]
fn a_watch_window_ends_good_or_leads_back() {
    let after_deploying = |old: (u64, u64), new: (u64, u64)| {
        let mut world = World::deploying(Strategy::BlueGreen, vec![]);
        world.rates = judged((0, 0), old);
        world.pass(80);
        assert_eq!(world.ended.len(), 1);
        world.rates = judged(new, (0, 0));
        world.pass(305);
        world
    };
    let good = after_deploying((20, 0), (20, 0));
    assert_eq!(
        (good.ended_watches.clone(), good.app.good.clone()),
        (vec![WatchEnd::Completed], vec![NEW])
    );
    let bad = after_deploying((20, 0), (10, 10));
    assert_eq!((bad.ended_watches, bad.app.good), (vec![WatchEnd::RolledBack], vec![]));
    let both_bad = after_deploying((15, 5), (10, 10));
    assert_eq!(both_bad.ended_watches, [WatchEnd::FoundBad], "there is nothing good to go back to");
    // What is not found: of nobody's doing when it is asked for beside the rest, and of the release's
    // when it was found before.
    let not_found = |served: u64, not_found: u64| {
        let mut world = World::deploying(Strategy::BlueGreen, vec![]);
        world.rates = judged((0, 0), (20, 0));
        world.pass(80);
        world.rates = judged((served, 0), (0, 0));
        world.not_found = not_found;
        world.pass(305);
        (world.ended_watches, world.app.good)
    };
    assert_eq!(not_found(20, 30), (vec![WatchEnd::Completed], vec![NEW]), "a crawler");
    assert_eq!(not_found(14, 6), (vec![WatchEnd::RolledBack], vec![]));
    assert_eq!(not_found(0, 50), (vec![WatchEnd::RolledBack], vec![]), "asked again and again");
    // A restart in the middle of the window changes nothing of that: what turned bad before it counts,
    // and so does the old side that nobody measures again.
    let mut restarted = World::deploying(Strategy::BlueGreen, vec![]);
    restarted.rates = judged((0, 0), (20, 0));
    restarted.pass(80);
    restarted.rates = judged((20, 0), (0, 0));
    restarted.pass(20);
    restarted.restart();
    restarted.rates = judged((10, 10), (0, 0));
    restarted.pass(285);
    assert_eq!(restarted.ended_watches, [WatchEnd::RolledBack]);
    let mut cut = World::deploying(Strategy::Rolling, vec![]);
    cut.pass(60);
    assert!(cut.app.watch.is_some());
    cut.ask(NEWER, Strategy::Rolling);
    cut.pass(1);
    assert_eq!(cut.ended_watches, [WatchEnd::CutShort]);
}

/// What is missing at a window's end is waited for. A window of which nothing, or too little, is known
/// makes nothing known good; one in which hardly anybody asked does.
#[test]
fn a_watch_window_of_which_nothing_is_known_makes_nothing_known_good() {
    let watched = || {
        let mut world = World::deploying(Strategy::BlueGreen, vec![]);
        world.rates = judged((0, 0), (20, 0));
        world.pass(80);
        assert!(world.app.watch.is_some() && world.ended_watches.is_empty());
        world
    };
    // The server is killed as the window begins, and started again when it is over.
    let away = |new: (u64, u64)| {
        let mut world = watched();
        world.rates = judged(new, (0, 0));
        world.away(400);
        world.pass(10);
        assert_eq!(world.ended_watches, [], "what was counted is still to come");
        world
    };
    let mut good = away((20, 0));
    good.heard();
    good.pass(5);
    assert_eq!((good.ended_watches, good.app.good), (vec![WatchEnd::Completed], vec![NEW]));
    let mut bad = away((10, 10));
    bad.heard();
    bad.pass(5);
    assert_eq!((bad.ended_watches, bad.app.good), (vec![WatchEnd::RolledBack], vec![]));
    // The gateway is not heard again.
    let mut silent = away((20, 0));
    silent.pass(60);
    assert_eq!((silent.ended_watches, silent.app.good), (vec![WatchEnd::Unjudged], vec![]));
    // What was measured cannot be read: there is nothing to hold the release against.
    let mut lost = watched();
    lost.rates = judged((20, 0), (0, 0));
    lost.pass(20);
    lost.restart_without_measures();
    lost.pass(300);
    assert_eq!((lost.ended_watches, lost.app.good), (vec![WatchEnd::Unjudged], vec![]));
    // Nobody asked.
    let mut quiet = watched();
    quiet.rates = judged((0, 0), (0, 0));
    quiet.pass(305);
    assert_eq!((quiet.ended_watches, quiet.app.good), (vec![WatchEnd::Completed], vec![NEW]));
}

#[test]
fn what_is_said_to_one_step_is_no_answer_at_the_next() {
    let go_on = Wish::Promote { full: false };
    let steps = vec![Step::Weight(10), Step::Pause(None), Step::Approval {}, Step::Pause(None)];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.policy.keep_old = Duration::from_secs(60);
    world.pass(10);
    assert_eq!(world.asks(), Some(AsksFor::Promotion));
    // Twice before anything moved is once.
    world.wish_at(Some(2), go_on).expect("it waits for that");
    world.wish_at(Some(2), go_on).expect("and has not moved yet");
    world.pass(3);
    assert_eq!(world.asks(), Some(AsksFor::Approval), "{:?}", world.log);
    for wish in [go_on, Wish::Resume, Wish::Approve] {
        let refusal = world.wish_at(Some(2), wish).expect_err("it was said to another step");
        assert_eq!(
            refusal.to_string(),
            "it is no longer at step 2: it is at step 3 of 5 (approval) now, and waits for an \
             approval"
        );
    }
    world.pass(3);
    assert_eq!(world.asks(), Some(AsksFor::Approval), "nobody gave it: {:?}", world.log);
    world.wish_at(Some(2), Wish::Pause).expect("to stay is to stay, wherever it is");
    world.wish_at(Some(3), Wish::Resume).expect("it is paused there");
    world.wish_at(Some(3), Wish::Approve).expect("it waits for that");
    world.pass(3);
    assert_eq!(world.asks(), Some(AsksFor::Promotion), "{:?}", world.log);
    world.wish_at(Some(1), Wish::Promote { full: true }).expect("the end is the end");
    world.pass(10);
    assert_eq!(world.state(), Some(DeploymentState::Keeping), "{:?}", world.log);
    // The old side is let go only by whoever knows that it is kept.
    for wish in [go_on, Wish::Promote { full: true }] {
        let refusal = world.wish_at(Some(4), wish).expect_err("it was said to another step");
        assert!(refusal.to_string().contains("all of its steps are done"), "{refusal}");
    }
    world.wish_at(Some(6), go_on).expect("it is kept");
}
