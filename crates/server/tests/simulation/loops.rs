//! Single loops of the server, each in a scene of its own: driven by hand in simulated time, beside
//! an engine that says something only when something has changed. What each scene shows is a fault
//! that a loop once had.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use ark_model::artifact::Artifact;
use ark_model::definition::{Definition, Expose, HookStage, Run, RunKind, Strategy};
use ark_model::deployment::DeploymentKind;
use ark_model::environment::{AppState, EnvKind, EnvLease, EnvState, Environment};
use ark_model::event::{EventKind, NewEvent};
use ark_model::gateway::{CertificateChange, CertificateNews};
use ark_model::hook::{HookRun, HookState, HookWhat};
use ark_model::instance::{InstanceRecord, InstanceState, PortBinding};
use ark_model::release::ReleaseContent;
use ark_model::route::RouteTable;
use ark_model::run::{RunCause, RunRecord, RunState};
use ark_model::{AppName, Deployment, DeploymentState, EnvName, InstanceId, ReleaseNumber, RunId};
use ark_server::gateway_link::{RouteChanges, Routes, take_report};
use ark_server::observations::Observations;
use ark_server::tasks::housekeeping::Housekeeping;
use ark_server::tasks::round::TaskError;
use ark_server::tasks::{deployments, hooks, runs};
use ark_server::webhooks::{Question, Reply, Webhooks};
use ark_server::world::{CONTROLLER_LEASE, Clock, Fence, Settings, World};
use ark_store::{Blobs, EventFilter, Keyring, NewRelease, Options, Store, StoreError, WriteTx};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::chance::{Dice, SimHost, SimIds};
use super::clock::SimClock;
use super::universe::{Behaviour, SimEngine, Universe};

type Loop = Pin<Box<dyn Future<Output = TaskError>>>;

/// A server of which only some loops run.
struct Scene {
    world: World,
    clock: Arc<SimClock>,
    universe: Arc<Mutex<Universe>>,
    start: Timestamp,
    _dir: tempfile::TempDir,
}

fn env() -> EnvName {
    "production".parse().unwrap()
}

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn app(name: &str) -> AppName {
    name.parse().unwrap()
}

fn block<T>(future: impl Future<Output = T>) -> T {
    futures::executor::block_on(future)
}

impl Scene {
    fn new(webhooks: Arc<dyn Webhooks>) -> Self {
        Self::with(Store::inline_in_memory(start()).unwrap(), webhooks)
    }

    fn with(store: Store, webhooks: Arc<dyn Webhooks>) -> Self {
        let start = start();
        let dir = tempfile::tempdir().unwrap();
        let ids = Arc::new(SimIds::default());
        let universe = Arc::new(Mutex::new(Universe::new(start, Dice::new(7), &ids)));
        let clock = Arc::new(SimClock::new(start));
        let lease = block(store.write(move |tx| {
            tx.insert_environment(&Environment {
                name: env(),
                kind: EnvKind::Permanent,
                state: EnvState::Active,
                owner: "ana".into(),
                created_at: start,
                freeze: Vec::new(),
                lease: None,
            })?;
            tx.acquire_lease(CONTROLLER_LEASE, "scene", start, Duration::from_secs(86_400))
        }));
        let world = World {
            store,
            blobs: Blobs::open(dir.path()).unwrap(),
            keyring: Arc::new(Keyring::ephemeral().unwrap()),
            engine: Arc::new(SimEngine::new(universe.clone())),
            observations: Arc::new(Observations::default()),
            route_changes: Arc::new(RouteChanges::default()),
            halt: Arc::new(AtomicBool::new(false)),
            gateway_shutdown: watch::Sender::new(None),
            clock: clock.clone(),
            ids,
            host: Arc::new(SimHost),
            webhooks,
            settings: Arc::new(Settings::new("/nowhere".into())),
            fence: Fence { token: lease.unwrap().unwrap().token },
            planted: None,
        };
        Self { world, clock, universe, start, _dir: dir }
    }

    fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut WriteTx) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        block(self.world.store.write(change)).unwrap()
    }

    /// An app whose live release this is; its instances behave so.
    fn app(&self, name: &str, definition: Definition, behaviour: Behaviour) -> AppState {
        let (key, now) = (app(name), self.start);
        let state = self.write(move |tx| {
            let content =
                ReleaseContent { artifact: Artifact::None, definition, config: BTreeMap::new() };
            let release = tx
                .insert_release(NewRelease {
                    env: env(),
                    app: key.clone(),
                    content,
                    config_version: 0,
                    created_at: now,
                    created_by: "ana".into(),
                    commit: None,
                })?
                .into_release();
            let mut state = AppState::new(env(), key, now);
            state.live = Some(release.number);
            tx.put_app_state(&state)?;
            Ok(state)
        });
        let of = (env(), app(name), ReleaseNumber(1));
        self.universe.lock().unwrap().behaviours.insert(of, behaviour);
        state
    }

    /// An app that serves, by one instance at this port.
    fn serves(&self, name: &str, port: u16) -> InstanceRecord {
        let definition =
            Definition { expose: vec![Expose::new("default", 80)], ..job(RunKind::Service) };
        self.app(name, definition, Behaviour::Good);
        let address = ([127, 0, 0, 1], port).into();
        let ports = vec![PortBinding { expose: "default".into(), address }];
        let id = self.world.ids.instance();
        let instance = InstanceRecord { ports, ..instance(name, id, self.start) };
        let record = instance.clone();
        self.write(move |tx| tx.insert_instance(&record));
        instance
    }

    /// Somebody asks for a run.
    fn run(&self, name: &str, timeout: Duration) -> RunId {
        let run = run(name, RunId(self.world.ids.instance().0), timeout, self.clock.now());
        let (id, event) = (run.id, event(name, self.clock.now()));
        self.write(move |tx| {
            tx.insert_run(&run)?;
            tx.append_event(event).map(drop)
        });
        id
    }

    fn runs(&self, name: &str) -> Vec<RunRecord> {
        let key = app(name);
        block(self.world.store.read(move |tx| tx.runs_of(&env(), &key, None, 100))).unwrap()
    }

    fn deployment(&self, name: &str) -> Deployment {
        let all = block(self.world.store.read(ark_store::ReadTx::unfinished_deployments));
        all.unwrap().deployments.into_iter().find(|d| d.app == app(name)).unwrap()
    }

    /// Lets a loop run and time pass, in steps of 20 ms, until this holds. Answers after what time.
    fn until(&self, driven: &mut Loop, holds: impl Fn(&Self) -> bool) -> SignedDuration {
        let (begin, mut context) = (self.clock.now(), Context::from_waker(Waker::noop()));
        for _ in 0..10_000 {
            for _ in 0..40 {
                assert!(driven.as_mut().poll(&mut context).is_pending(), "the loop has ended");
            }
            if holds(self) {
                return self.clock.now().duration_since(begin);
            }
            self.clock.advance(SignedDuration::from_millis(20));
            self.universe.lock().unwrap().advance(&self.clock);
        }
        panic!("it never came to that");
    }

    /// How often the engine was asked so far.
    fn looks(&self) -> u64 {
        let universe = self.universe.lock().unwrap();
        universe.coverage.get("engine asked what runs").copied().unwrap_or(0)
    }
}

fn run(name: &str, id: RunId, timeout: Duration, now: Timestamp) -> RunRecord {
    RunRecord {
        id,
        env: env(),
        app: app(name),
        number: 1,
        release: ReleaseNumber(1),
        cause: RunCause::Asked { by: "ana".into() },
        args: Vec::new(),
        retries: 0,
        timeout,
        alone: false,
        state: RunState::Waiting,
        attempts: Vec::new(),
        start_after: None,
        stop: None,
        created_at: now,
        ended_at: None,
        outcome: None,
    }
}

/// One that serves.
fn instance(name: &str, id: InstanceId, now: Timestamp) -> InstanceRecord {
    InstanceRecord {
        id,
        env: env(),
        app: app(name),
        release: ReleaseNumber(1),
        node: ark_model::NodeName::local(),
        state: InstanceState::Active,
        ports: vec![PortBinding {
            expose: "default".into(),
            address: ([127, 0, 0, 1], 20_001).into(),
        }],
        created_at: now,
        running_since: Some(now),
        active_at: Some(now),
        draining_at: None,
        stopping_at: None,
        stopped_at: None,
        process: None,
        cause: None,
    }
}

fn event(name: &str, at: Timestamp) -> NewEvent {
    NewEvent {
        at,
        kind: EventKind::RunCreated,
        by: "ana".into(),
        env: Some(env()),
        app: Some(app(name)),
        deployment: None,
        instance: None,
        text: "somebody asks".into(),
    }
}

fn job(kind: RunKind) -> Definition {
    let mut definition = Definition { run: Run::of_kind(kind), ..Definition::default() };
    definition.run.command = Some(vec!["./job".into()]);
    definition.run.schedule = (kind == RunKind::Cron).then(|| "* * * * *".to_owned());
    definition
}

/// Webhooks: those whose address says `hang` never answer, all others after a question for patience.
#[derive(Debug, Default)]
struct Gates(Mutex<BTreeMap<String, u32>>);

#[async_trait]
impl Webhooks for Gates {
    async fn ask(&self, question: Question) -> Result<Reply, String> {
        if question.url.contains("hang") {
            return std::future::pending().await;
        }
        let mut asked = self.0.lock().unwrap();
        let times = asked.entry(question.key).or_default();
        *times += 1;
        let body = match times {
            1 => r#"{"status": "IN_PROGRESS", "retry_after_s": 1}"#,
            _ => r#"{"status": "SUCCEEDED"}"#,
        };
        Ok(Reply { status: 200, body: body.into() })
    }
}

fn no_webhooks() -> Arc<dyn Webhooks> {
    Arc::new(Gates::default())
}

/// Its time was looked at only with the next look at everything, up to ten seconds later.
#[test]
fn a_runs_time_counts_from_the_moment_it_is_seen_to_run() {
    let scene = Scene::new(no_webhooks());
    scene.app("batch", job(RunKind::Job), Behaviour::NeverReady);
    scene.run("batch", Duration::from_secs(3));
    let mut driven: Loop = Box::pin(runs::run(scene.world.clone()));
    let over = |s: &Scene| !s.runs("batch")[0].is_active();
    let took = scene.until(&mut driven, over);
    assert!(took > SignedDuration::from_secs(3), "it took {took:#}");
    assert!(took < SignedDuration::from_secs(5), "it took {took:#}");
    let attempt = scene.runs("batch")[0].attempts[0].clone();
    let told = attempt.stopping_at.unwrap().duration_since(attempt.started_at.unwrap());
    assert!(told < SignedDuration::from_millis(3_100), "it was told to end after {told:#}");
}

/// One app's schedule cannot be recorded: a run has the number that comes next.
#[test]
fn a_schedule_that_fails_holds_up_neither_others_nor_runs() {
    let scene = Scene::new(no_webhooks());
    for name in ["aa", "zz"] {
        scene.app(name, job(RunKind::Cron), Behaviour::JobEnds(0));
    }
    scene.app("batch", job(RunKind::Job), Behaviour::JobEnds(0));
    let mut taken = run("aa", RunId(uuid::Uuid::max()), Duration::from_secs(1), scene.start);
    taken.state = RunState::Ended;
    scene.write(move |tx| tx.insert_run(&taken));
    let mut driven: Loop = Box::pin(runs::run(scene.world.clone()));
    scene.until(&mut driven, |s| s.clock.now() > s.start + SignedDuration::from_secs(61));
    scene.run("batch", Duration::from_secs(60));
    let ended = |s: &Scene, name: &str| s.runs(name).iter().any(|run| !run.is_active());
    scene.until(&mut driven, |s| ended(s, "batch") && ended(s, "zz"));
    assert!(matches!(scene.runs("zz")[0].cause, RunCause::Schedule { .. }));
    assert_eq!(scene.runs("aa").len(), 1, "the one that is in the way");
}

/// A hung webhook held up all hooks for ten seconds a question, and its own timeout with them.
#[test]
fn a_hung_webhook_holds_up_no_other_hook() {
    let scene = Scene::new(no_webhooks());
    for (n, (name, url, timeout_ms)) in [
        ("brief", "https://hang.example.test/", 2_000),
        ("patient", "https://hang.example.test/", 60_000),
        ("quick", "https://gate.example.test/", 60_000),
    ]
    .into_iter()
    .enumerate()
    {
        let state = scene.app(name, job(RunKind::Worker), Behaviour::Good);
        let gate = HookRun {
            name: "webhook 1".into(),
            stage: HookStage::PreDeploy,
            what: HookWhat::Webhook { url: url.into(), token: None },
            timeout_ms,
            state: HookState::Waiting,
            attempts: 0,
            instance: None,
            seen: false,
            begun_at: None,
            ask_at: None,
            stopping_at: None,
            ended_at: None,
            note: None,
            log: Vec::new(),
        };
        let id = ark_model::DeploymentId(uuid::Uuid::from_u128(n as u128 + 1));
        let d = Deployment {
            state: DeploymentState::Replacing,
            started_at: Some(scene.start),
            hooks: vec![gate],
            ..Deployment::queued(
                id,
                (env(), app(name)),
                DeploymentKind::Deploy,
                ReleaseNumber(1),
                Strategy::Rolling,
                ("ana".into(), scene.start),
            )
        };
        scene.write(move |tx| {
            tx.insert_deployment(&d)?;
            tx.put_app_state(&AppState { running: Some(id), ..state })
        });
    }
    let hook = |s: &Scene, name: &str| s.deployment(name).hooks[0].clone();
    let mut driven: Loop = Box::pin(hooks::run(scene.world.clone()));
    let quick = scene.until(&mut driven, |s| hook(s, "quick").state == HookState::Succeeded);
    assert!(quick < SignedDuration::from_secs(2), "it took {quick:#}");
    assert_eq!(hook(&scene, "quick").attempts, 2);
    let brief = scene.until(&mut driven, |s| hook(s, "brief").state == HookState::Failed);
    assert!(quick + brief < SignedDuration::from_millis(2_500), "it took {:#}", quick + brief);
    let note = hook(&scene, "brief").note.unwrap();
    assert!(note.contains("no SUCCEEDED within 2 s"), "{note}");
    let patient = hook(&scene, "patient");
    assert_eq!((patient.state, patient.attempts), (HookState::Running, 1), "asked once at a time");
    scene.until(&mut driven, |s| hook(s, "patient").attempts == 2);
    let failed = scene.until(&mut driven, |s| hook(s, "patient").state == HookState::Failed);
    assert!(failed < SignedDuration::from_secs(60), "it took {failed:#}");
    assert!(hook(&scene, "patient").attempts <= 7, "each question has its ten seconds");
}

/// Each step of a workflow, and each report of the gateway, made the loop ask the engine what runs.
#[test]
fn a_commit_that_says_nothing_of_an_app_is_no_reason_to_ask_the_engine() {
    let scene = Scene::new(no_webhooks());
    scene.app("web", job(RunKind::Job), Behaviour::Good);
    let mut driven: Loop = Box::pin(deployments::run(scene.world.clone()));
    scene.until(&mut driven, |s| s.clock.now() > s.start + SignedDuration::from_secs(1));
    let before = scene.looks();
    scene.until(&mut driven, |s| {
        let n = s.clock.now().to_string();
        s.write(move |tx| tx.put_meta("step", &n));
        s.clock.now() > s.start + SignedDuration::from_secs(3)
    });
    assert!(scene.looks() <= before + 1, "{} looks in two seconds", scene.looks() - before);
    let (before, event) = (scene.looks(), event("web", scene.clock.now()));
    scene.write(move |tx| tx.append_event(event));
    let took = scene.until(&mut driven, |s| s.looks() > before);
    assert!(took <= SignedDuration::from_millis(100), "an event is looked at at once: {took:#}");
}

/// Who asked for a look at all routes was forgotten when the store did not answer at that moment.
#[test]
fn a_read_that_fails_loses_no_route_change() {
    let scene = Scene::new(no_webhooks());
    let mut routes = Routes::default();
    let first = block(routes.next_table(&scene.world)).unwrap();
    assert!(first.is_some_and(|table| table.routes.is_empty()));
    scene.serves("web", 20_001);
    let now = scene.start;
    scene.world.route_changes.mark_all();
    // A store whose queue is always too long.
    let dir = tempfile::tempdir().unwrap();
    let busy = Options { queue_wait_max: Duration::ZERO, ..Options::default() };
    let store = Store::open_with(dir.path(), now, busy).unwrap();
    let broken = World { store, ..scene.world.clone() };
    let failed = block(routes.next_table(&broken));
    assert!(matches!(failed, Err(StoreError::Busy { .. })), "{failed:?}");
    let next = block(routes.next_table(&scene.world)).unwrap();
    assert!(next.is_some_and(|table| !table.routes.is_empty()), "the change is in the next table");
}

/// Rounds of housekeeping at the scene's time; answers the words of events of a kind so far.
fn housekept(scene: &Scene, house: &mut Housekeeping, kind: EventKind) -> Vec<String> {
    for _ in 0..2 {
        block(house.round(&scene.world)).unwrap();
    }
    let filter = EventFilter { kinds: vec![kind], ..EventFilter::default() };
    let found = block(scene.world.store.read(move |tx| tx.events(&filter, 0, 100))).unwrap();
    found.into_iter().map(|event| format!("{}: {}", event.by, event.text)).collect()
}

/// A lease runs out: warned of an hour before, ended by the way everything ends. What has none, and
/// what is permanent, stays.
#[test]
fn an_environment_ends_with_its_lease() {
    let scene = Scene::new(no_webhooks());
    let (leased, kept): (EnvName, EnvName) = ("eng1".parse().unwrap(), "eng2".parse().unwrap());
    let (start, hour) = (scene.start, SignedDuration::from_hours(1));
    let lease =
        EnvLease { seconds: 8 * 3_600, until: start + hour * 8, by: "ana".into(), warned_at: None };
    let id = scene.world.ids.instance();
    let environment = |name: &EnvName, kind, lease| Environment {
        name: name.clone(),
        kind,
        state: EnvState::Active,
        owner: "ana".into(),
        created_at: start,
        freeze: Vec::new(),
        lease,
    };
    let all = [
        environment(&leased, EnvKind::Development, Some(lease.clone())),
        environment(&kept, EnvKind::Development, None),
    ];
    // Nobody can give it one; should its record have one, it stays nevertheless.
    let production = environment(&env(), EnvKind::Permanent, Some(lease));
    let record = InstanceRecord { env: leased.clone(), ..instance("web", id, start) };
    let state = AppState::new(leased.clone(), app("web"), start);
    scene.write(move |tx| {
        all.iter().try_for_each(|one| tx.insert_environment(one))?;
        tx.put_environment(&production)?;
        tx.put_app_state(&state)?;
        tx.insert_instance(&record)
    });
    let mut house = Housekeeping::default();
    let mut at = |hours: i64, minutes: i64, kind| {
        let then =
            start + hour * i32::try_from(hours).unwrap() + SignedDuration::from_mins(minutes);
        // It has looked without a gap for a while by then: no lease ends while nobody could renew it.
        let awake = then - SignedDuration::from_mins(62);
        while scene.clock.now() < then {
            let now = scene.clock.now();
            let next = if now < awake { awake } else { now + SignedDuration::from_secs(30) };
            scene.clock.advance(next.min(then).duration_since(now));
            block(house.round(&scene.world)).unwrap();
        }
        housekept(&scene, &mut house, kind)
    };
    assert!(at(6, 59, EventKind::EnvironmentLeaseEnding).is_empty());
    let warned = at(7, 1, EventKind::EnvironmentLeaseEnding);
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("eng1") && warned[0].starts_with("ark: "), "{warned:?}");
    assert!(at(7, 59, EventKind::EnvironmentDestroying).is_empty());
    let ended = at(8, 0, EventKind::EnvironmentDestroying);
    assert_eq!(ended, ["ark: the lease of environment eng1, last given by ana, has run out"]);

    // Its instance may still run: it is stopped first, then everything is forgotten.
    assert!(at(8, 1, EventKind::EnvironmentDestroyed).is_empty());
    let name = leased.clone();
    let web = block(scene.world.store.read(move |tx| tx.app_state(&name, &app("web")))).unwrap();
    assert!(web.unwrap().stopped);
    let now = scene.clock.now();
    scene.write(move |tx| {
        let mut record = tx.instance(id)?.unwrap();
        record.state = InstanceState::Stopped;
        record.stopped_at = Some(now);
        tx.put_instance(&record)
    });
    let gone = at(8, 2, EventKind::EnvironmentDestroyed);
    assert_eq!(gone.len(), 1, "{gone:?}");
    at(900, 0, EventKind::EnvironmentDestroyed);
    let left = block(scene.world.store.read(ark_store::ReadTx::environments)).unwrap();
    let left: Vec<EnvName> = left.into_iter().map(|environment| environment.name).collect();
    assert_eq!(left, [kept, env()]);
}

/// One release that cannot be parsed held up the routes of all apps.
#[test]
fn a_record_that_cannot_be_read_holds_up_its_own_app_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::with(Store::open(dir.path(), start()).unwrap(), no_webhooks());
    scene.world.settings = Arc::new(Settings::new(dir.path().to_owned()));
    let (web, mailer) = (scene.serves("web", 20_001), scene.serves("mailer", 20_002));
    let of = |table: &RouteTable, name: &str| {
        table.routes.iter().find(|route| route.key.app == app(name)).cloned().unwrap()
    };
    let mut before = Routes::default();
    let first = block(before.next_table(&scene.world)).unwrap().unwrap();
    std::fs::write(dir.path().join("gateway-table.json"), serde_json::to_vec(&first).unwrap())
        .unwrap();
    let database = rusqlite::Connection::open(dir.path().join("ark.db")).unwrap();
    let damage = |sql: &str| assert!(database.execute(sql, []).unwrap() > 0, "{sql}");
    damage("UPDATE releases SET body = '{' WHERE app = 'web'");
    damage("UPDATE instances SET body = '{' WHERE app = 'web'");
    let drained = InstanceRecord {
        state: InstanceState::Draining,
        draining_at: Some(scene.start),
        ..mailer.clone()
    };
    scene.write(move |tx| tx.put_instance(&drained));
    scene.world.route_changes.mark_all();
    // The server that built the first table, and one that was started since and knows only what the
    // gateway has on its disk.
    for mut routes in [before, Routes::default()] {
        routes.forget_pushed();
        scene.world.route_changes.mark_all();
        let next = block(routes.next_table(&scene.world)).unwrap().unwrap();
        assert_eq!(of(&next, "web"), of(&first, "web"));
        assert_ne!(of(&next, "mailer"), of(&first, "mailer"));
    }
    // Put right, it is followed again.
    damage(
        "UPDATE releases SET body = (SELECT replace(body, 'mailer', 'web') FROM releases
            WHERE app = 'mailer') WHERE app = 'web'",
    );
    scene.write(move |tx| {
        tx.put_instance(&InstanceRecord { state: InstanceState::Stopping, ..web })
    });
    let next = block(Routes::default().next_table(&scene.world)).unwrap().unwrap();
    assert!(of(&next, "web").targets.is_empty());
}

/// What is told twice, because its answer was lost or the server was started anew, is one event.
#[test]
fn each_news_of_a_certificate_is_one_event() {
    let scene = Scene::new(no_webhooks());
    let at = scene.start;
    let news = |number: u64, host: &str, change| CertificateNews {
        number,
        at,
        host: host.to_owned(),
        change,
    };
    let until = Some(at + SignedDuration::from_hours(24 * 90));
    let failed = CertificateChange::Failed {
        reason: "the authority asked and got 404".into(),
        times: 2,
        next: at + SignedDuration::from_mins(8),
    };
    let all = [
        news(5, "a.example.com", CertificateChange::Issued { until }),
        news(6, "b.example.com", failed),
        news(9, "a.example.com", CertificateChange::Renewed { until }),
    ];
    for (seq, told) in [&all[..1], &all[..2], &all[..2], &all[1..]].into_iter().enumerate() {
        let mut report = scene.universe.lock().unwrap().report();
        (report.seq, report.certificates) = (seq as u64 + 1, told.to_vec());
        block(take_report(&scene.world, &report)).unwrap();
    }
    let filter = EventFilter { kinds: vec![EventKind::Certificate], ..EventFilter::default() };
    let events = block(scene.world.store.read(move |tx| tx.events(&filter, 0, 100))).unwrap();
    let texts: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "certificate for a.example.com issued by ACME, valid until 2026-04-01T00:00:00Z",
            "no certificate for b.example.com by ACME: the authority asked and got 404 (attempt 2, \
             next 2026-01-01T00:08:00Z); what is served goes on being served",
            "certificate for a.example.com renewed by ACME, valid until 2026-04-01T00:00:00Z",
        ]
    );
    assert!(events.iter().all(|event| event.by == "gateway" && event.env.is_none()));
}
