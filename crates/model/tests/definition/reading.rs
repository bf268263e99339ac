//! What a right file means, and what a wrong one is told.

use ark_model::definition::{
    Architecture, AutoDeploy, Bytes, Code, Definition, DurationText, EngineKind, EngineRequirement,
    HeaderStep, HealthCheckKind, LaunchFile, Limits, Missed, Overlap, Protocol, Quantity,
    Readiness, RunKind, Step, StopSignal, Strategy, check_runnable, not_enforced, parse, parse_of,
};
use ark_model::traffic::{Adaptive, Maintenance, RateLimit};

fn app(text: &str) -> Definition {
    let parsed = parse("web.yml", text.as_bytes());
    assert!(parsed.ok(), "{text}\n{:?}", parsed.diagnostics);
    match parsed.launch {
        Some(LaunchFile::App(app)) => *app,
        other => panic!("{text}\n{other:?}"),
    }
}

fn findings(text: &str) -> Vec<(Code, String)> {
    let parsed = parse("web.yml", text.as_bytes());
    parsed.diagnostics.into_iter().map(|d| (d.code, d.path)).collect()
}

#[test]
fn an_empty_definition_has_every_default() {
    let app = app("{}");
    assert_eq!(app, Definition::default());
    assert_eq!(app.run.kind, RunKind::Worker);
    assert_eq!(app.run.requires, EngineRequirement::Any);
    assert_eq!(app.run.stop_signal, StopSignal::Term);
    assert_eq!(app.run.stop_grace, DurationText::from_secs(30));
    assert_eq!(app.count(), 1);
    assert_eq!(app.strategy_in("production"), Strategy::Rolling);
    assert_eq!(app.deploy.max_surge, Quantity::Percent(25));
    assert_eq!(app.deploy.max_unavailable, Quantity::Count(0));
    assert_eq!(app.deploy.watch, DurationText::from_secs(300));
    assert_eq!(app.deploy.min_healthy_time, None);
    assert_eq!(app.deploy.ready_timeout, DurationText::from_secs(120));
    assert_eq!(app.deploy.progress_deadline, DurationText::from_secs(300));
    assert_eq!(app.deploy.deadline, DurationText::from_secs(1800));
    assert_eq!(app.deploy.keep_old_for(Strategy::BlueGreen), DurationText::from_secs(600));
    assert_eq!(app.drain.requests, DurationText::from_secs(30));
    assert_eq!(app.drain.streams, DurationText::from_secs(300));
    assert_eq!(app.readiness(), Readiness::RunsFor(std::time::Duration::from_secs(10)));
    let hasty = self::app("deploy: {min_healthy_time: 500ms}");
    assert_eq!(hasty.readiness(), Readiness::RunsFor(std::time::Duration::from_millis(500)));
    assert_eq!(app.alarms, None);
}

#[test]
fn limits_and_maintenance_arrive_and_tcp_has_none() {
    let text = r#"
expose:
  - port: 80
    limits:
      rate: {per_s: 100, burst: 20}
      rate_per_client: {per_s: 5}
      concurrency: 64
      adaptive: gradient2
      operators: [{name: X-Operator, value: yes}, {cookie: ops}]
      body_mib: 8
      answer_within: 90s
      slow_start: 0s
    maintenance: {retry_after: 5m, page: "back soon"}
  - {name: admin, port: 81, maintenance: {}}
"#;
    let app = app(text);
    let [web, admin] = app.expose.as_slice() else { panic!("{:?}", app.expose) };
    let rate = |per_s, burst| Some(RateLimit { per_s, burst });
    let operator = |name: Option<&str>, cookie: Option<&str>, value: Option<&str>| HeaderStep {
        name: name.map(str::to_owned),
        cookie: cookie.map(str::to_owned),
        value: value.map(str::to_owned),
    };
    let limits = Limits {
        rate: rate(100, 20),
        rate_per_client: rate(5, 5),
        concurrency: Some(64),
        adaptive: Adaptive::Gradient2,
        operators: vec![
            operator(Some("X-Operator"), None, Some("yes")),
            operator(None, Some("ops"), None),
        ],
        body_mib: Some(8),
        answer_within: Some(DurationText::from_secs(90)),
        slow_start: Some(DurationText::from_secs(0)),
    };
    assert_eq!(web.limits, limits);
    let page = "back soon".to_owned();
    let maintenance = Maintenance { status: 503, retry_after_s: Some(300), page };
    assert_eq!(web.maintenance, Some(maintenance));
    assert_eq!(admin.maintenance, Some(Maintenance::default()));
    assert!(admin.limits.is_empty());

    let cases = [
        ("{port: 80, protocol: tcp, limits: {concurrency: 1}}", "expose[0].limits"),
        ("{port: 80, protocol: tcp, maintenance: {}}", "expose[0].maintenance"),
        ("{port: 80, limits: {rate: {per_s: 0}}}", "expose[0].limits.rate.per_s"),
        ("{port: 80, limits: {rate: {burst: 1}}}", "expose[0].limits.rate"),
        ("{port: 80, maintenance: {status: 200}}", "expose[0].maintenance.status"),
        ("{port: 80, limits: {adaptive: always}}", "expose[0].limits.adaptive"),
        ("{port: 80, limits: {operators: [{}]}}", "expose[0].limits.operators[0]"),
        ("{port: 80, limits: {operators: [{name: a b}]}}", "expose[0].limits.operators[0].name"),
        ("{port: 80, limits: {body_mib: 0}}", "expose[0].limits.body_mib"),
        ("{port: 80, path: /a;b}", "expose[0].path"),
    ];
    for (port, path) in cases {
        let found = findings(&format!("expose: [{port}]"));
        assert!(found.iter().any(|(_, at)| at.starts_with(path)), "{port}: {found:?}");
    }
    // More than the gateway takes: it would refuse the table of all apps.
    let page = "x".repeat((64 << 10) + 1);
    let rules = vec!["{name: a}"; 17].join(", ");
    let long = "x".repeat(1_025);
    let cases = [
        (format!("{{port: 80, maintenance: {{page: {page}}}}}"), "expose[0].maintenance.page"),
        (format!("{{port: 80, limits: {{operators: [{rules}]}}}}"), "expose[0].limits.operators"),
        (
            format!("{{port: 80, limits: {{operators: [{{name: a, value: {long}}}]}}}}"),
            "expose[0].limits.operators[0].value",
        ),
    ];
    for (port, path) in cases {
        let found = findings(&format!("expose: [{port}]"));
        assert!(found.iter().any(|(_, at)| at == path), "{path}: {found:?}");
    }
}

#[test]
fn every_key_of_arks_own_arrives() {
    let app = app(r#"
run:
  type: cron
  command: [./report, --days, 7, -v]
  schedule: "0 3 * * mon-fri"
  timezone: Europe/Berlin
  overlap: replace
  missed: skip
  stop_signal: SIGQUIT
  stop_grace: 1m30s
  writable_root: true
  capabilities: [SETUID, CHOWN]
  architecture: arm64
env: [DB_URL]
env_defaults: {LOG_LEVEL: info, RETRIES: 3, VERSION: 1.10, DEBUG: false}
resources: {cpu: .5, max_mem: 0.5, soft_mem_limit: 0.25}
deploy:
  strategy: canary
  max_surge: 2
  max_unavailable: 10%
  steps: [{weight: 5}, {pause: 1m}, {analysis: {}}, {weight: 50}, approval: {}]
  hooks: {pre_deploy: [./migrate]}
  watch: 0s
  min_healthy_time: 500ms
  ready_timeout: 10s
  progress_deadline: 20s
  deadline: 1m
  keep_old: 5s
drain: {requests: 2s, streams: 3s}
volumes: [{name: data, path: /data}]
"#);
    let run = &app.run;
    assert_eq!(run.kind, RunKind::Cron);
    assert_eq!(
        run.command.as_deref(),
        Some(&["./report", "--days", "7", "-v"].map(str::to_owned)[..])
    );
    assert_eq!(run.schedule.as_deref(), Some("0 3 * * mon-fri"));
    assert_eq!(run.timezone.as_deref(), Some("Europe/Berlin"));
    assert_eq!((run.overlap, run.missed), (Overlap::Replace, Missed::Skip));
    assert_eq!(run.stop_signal, StopSignal::Quit);
    assert_eq!(run.stop_grace, DurationText::from_secs(90));
    let rights = run.rights();
    assert!(rights.writable_root && !rights.privileged);
    assert_eq!(rights.capabilities.iter().collect::<Vec<_>>(), ["CHOWN", "SETUID"]);
    assert_eq!(run.architecture, Some(Architecture::Arm64));
    let defaults: Vec<_> = app.env_defaults.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(defaults, ["DEBUG=false", "LOG_LEVEL=info", "RETRIES=3", "VERSION=1.10"]);
    assert_eq!(app.resources.cpu, Some(0.5));
    assert_eq!(app.resources.max_mem, Some(Bytes(512 << 20)));
    assert_eq!(app.resources.soft_mem_limit, Some(Bytes(256 << 20)));
    let deploy = &app.deploy;
    assert_eq!(deploy.strategy, Strategy::Canary);
    assert_eq!(
        (deploy.max_surge, deploy.max_unavailable),
        (Quantity::Count(2), Quantity::Percent(10))
    );
    assert_eq!(
        deploy.steps,
        [
            Step::Weight(5),
            Step::Pause(Some(DurationText::from_secs(60))),
            Step::Analysis {},
            Step::Weight(50),
            Step::Approval {},
        ]
    );
    assert_eq!(deploy.hooks.pre_deploy.as_deref(), Some(&["./migrate".to_owned()][..]));
    assert!(deploy.watch.is_zero());
    assert_eq!(deploy.min_healthy_time, Some(DurationText::from_millis(500)));
    assert_eq!(deploy.keep_old_for(Strategy::Canary), DurationText::from_secs(5));
    assert_eq!(app.drain.streams, DurationText::from_secs(3));
    assert_eq!(app.volumes[0].path, "/data");
}

#[test]
fn kinds_follow_from_type_and_ports() {
    for (text, kind, requires) in [
        ("{}", RunKind::Worker, EngineRequirement::Any),
        ("run:\n", RunKind::Worker, EngineRequirement::Any),
        ("expose: []", RunKind::Worker, EngineRequirement::Any),
        ("expose: [{port: 80}]", RunKind::Service, EngineRequirement::Any),
        ("{run: {type: docker}, expose: [{port: 80}]}", RunKind::Service, EngineRequirement::Any),
        ("run: {type: process, command: [a]}", RunKind::Worker, EngineRequirement::ProcessOnly),
        (
            "{run: {type: process, command: [a]}, expose: [{port: 80}]}",
            RunKind::Service,
            EngineRequirement::ProcessOnly,
        ),
        ("{run: {type: daemon}, expose: [{port: 80}]}", RunKind::Daemon, EngineRequirement::Any),
        ("run: {type: job}", RunKind::Job, EngineRequirement::Any),
        ("run: {type: workflow}", RunKind::Job, EngineRequirement::Any),
        ("run: {type: lambda/us-west-1}", RunKind::Lambda, EngineRequirement::Any),
    ] {
        let app = app(text);
        assert_eq!((app.run.kind, app.run.requires), (kind, requires), "{text}");
    }
}

#[test]
fn ports_and_their_checks() {
    let app = app("
expose:
  - {name: web, port: 8080, hosts: [Web.Example.TEST], path: /app, health_check: {path: /_health, interval: 250ms}}
  - {name: admin, port: 8081, protocol: grpc, health_check: {type: tcp, failures: 9}}
  - {name: pprof, port: 6060}
");
    let [web, admin, pprof] = app.expose.as_slice() else { panic!("{:?}", app.expose) };
    assert_eq!((web.hosts[0].as_str(), web.path.as_str()), ("web.example.test", "/app"));
    assert_eq!(web.health_check.kind, HealthCheckKind::Http { path: "/_health".into() });
    assert_eq!(web.health_check.interval, DurationText::from_millis(250));
    assert_eq!(web.health_check.timeout, DurationText::from_secs(5));
    assert_eq!((web.health_check.successes, web.health_check.failures), (1, 3));
    assert_eq!(admin.protocol, Protocol::Grpc);
    assert_eq!((&admin.health_check.kind, admin.health_check.failures), (&HealthCheckKind::Tcp, 9));
    assert_eq!(pprof.health_check.kind, HealthCheckKind::Tcp);
    assert_eq!(app.readiness(), Readiness::Checks(vec![web, admin]));
}

#[test]
fn without_a_declared_check_the_first_port_is_asked() {
    let app = app("expose: [{port: 8080}, {name: pprof, port: 6060}]");
    assert_eq!(app.expose[0].name, "default");
    assert_eq!(app.readiness(), Readiness::Checks(vec![&app.expose[0]]));
}

#[test]
fn canary_in_production_holds_there_only() {
    let app = app("deploy_config: {canaryInProd: true}");
    assert_eq!(app.strategy_in("production"), Strategy::Canary);
    assert_eq!(app.strategy_in("staging"), Strategy::Rolling);
}

#[test]
fn an_app_that_depends_on_itself_is_refused_with_the_line() {
    let text = b"dependencies:\n- api\n- web\n";
    let of = |name: &str| {
        let app = name.parse().expect("a name");
        parse_of(Some(&app), "launch/web.yml", text)
    };
    let found = of("web").diagnostics;
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.code, one.path.as_str()), (Code::Contradiction, "dependencies[1]"));
    assert!(one.message.contains("`web` depends on itself"), "{}", one.message);
    let shown = one.render();
    assert!(shown.contains("- web") && shown.contains('3'), "{shown}");
    assert!(of("other").ok());
    assert!(parse("launch/web.yml", text).ok(), "nobody said which app it is");
}

#[test]
fn rules_over_several_values() {
    use Code::{
        Contradiction, DuplicateName, LegacyType, MissingKey, NoCommand, NoEffect, OutOfRange,
        UnknownValue, WrongKind,
    };
    for (text, expected) in [
        ("run: {type: cron}", &[(MissingKey, "run.type")][..]),
        ("run: {timezone: UTC}", &[(WrongKind, "run.timezone")]),
        ("run: {type: process}", &[(NoCommand, "run.type")]),
        ("{run: {type: job}, expose: [{port: 1}]}", &[(NoEffect, "expose")]),
        ("{run: {type: workflow}, expose: []}", &[(LegacyType, "run.type")]),
        ("{run: {type: daemon}, autoscaling: {min_count: 2}}", &[(NoEffect, "autoscaling")]),
        ("lambda: {Timeout: 5}", &[(NoEffect, "lambda")]),
        ("expose: [{port: 1}, {port: 2}]", &[(DuplicateName, "expose[1]")]),
        (
            "expose: [{name: a, port: 1, hosts: [x.test]}, {name: b, port: 2, hosts: [x.test]}]",
            &[(DuplicateName, "expose[1].hosts")],
        ),
        (
            "expose: [{name: a, port: 1, hosts: [x.test]}, {name: b, port: 2, hosts: [x.test], path: /b}]",
            &[],
        ),
        // One container port under two names: real files did that for http and https.
        ("expose: [{name: a, port: 80}, {name: b, port: 80}]", &[]),
        (
            "volumes: [{name: a, path: /a}, {name: a, path: /a}]",
            &[(DuplicateName, "volumes[1].name"), (DuplicateName, "volumes[1].path")],
        ),
        (
            "resources: {max_mem: 1, soft_mem_limit: 2}",
            &[(Contradiction, "resources.soft_mem_limit")],
        ),
        ("resources: {soft_mem_limit: 2}", &[]),
        ("{type: postgres, version: 16, image: 'postgres:16'}", &[]),
        ("{type: redis}", &[]),
        ("{type: aurora, version: 16, image: x}", &[(WrongKind, "version"), (WrongKind, "image")]),
        ("{type: redis, dev: {region: us-west-1}}", &[(NoEffect, "dev")]),
        ("{type: postgres, version: '16'}", &[(Code::WrongType, "version")]),
        ("autoscaling: {min_count: 3, max_count: 2}", &[(Contradiction, "autoscaling.max_count")]),
        ("autoscaling: {max_count: 0}", &[(Contradiction, "autoscaling.max_count")]),
        ("autoscaling: {metric: cpu}", &[(MissingKey, "autoscaling.metric")]),
        ("autoscaling: {metric_target: 50}", &[(MissingKey, "autoscaling.metric_target")]),
        (
            "deploy_config: {autoDeployEnvs: [a], strategies: {a: canary-confirm}}",
            &[(Contradiction, "deploy_config.strategies.a")],
        ),
        (
            "deploy_config: {autoDeployEnvs: [a], strategies: {a: no-confirm, b: no-confirm}}",
            &[(NoEffect, "deploy_config.strategies.b")],
        ),
        (
            "deploy_config: {autoDeployEnvs: [a], strategies: {a: confirm}}",
            &[(UnknownValue, "deploy_config.strategies.a")],
        ),
        ("autoscaling: {metric: active-percent, metric_target: 70}", &[]),
        ("deploy: {max_surge: 0%}", &[(Contradiction, "deploy.max_surge")]),
        ("deploy: {max_surge: 0, strategy: recreate}", &[]),
        ("deploy: {deadline: 10s}", &[]),
        ("deploy: {deadline: 10s, ready_timeout: 11s}", &[(Contradiction, "deploy.ready_timeout")]),
        ("deploy: {min_healthy_time: 299s}", &[]),
        ("deploy: {min_healthy_time: 5m}", &[(Contradiction, "deploy.min_healthy_time")]),
        (
            "deploy: {min_healthy_time: 20s, progress_deadline: 15s}",
            &[(Contradiction, "deploy.min_healthy_time")],
        ),
        ("deploy: {min_healthy_time: 20s, progress_deadline: 21s}", &[]),
        // Beyond both deadlines it is said once.
        ("deploy: {min_healthy_time: 31m}", &[(Contradiction, "deploy.min_healthy_time")]),
        (
            "deploy: {strategy: canary, steps: [{weight: 50}, {weight: 5}]}",
            &[(Contradiction, "deploy.steps[1].weight")],
        ),
        (
            "deploy: {strategy: canary, steps: [{weight: 50, pause: 1m}]}",
            &[(Contradiction, "deploy.steps[0]")],
        ),
        ("{deploy: {steps: [{weight: 5}]}, deploy_config: {canaryInProd: true}}", &[]),
        (
            "{deploy: {strategy: rolling}, deploy_config: {canaryInProd: true}}",
            &[(NoEffect, "deploy.strategy")],
        ),
        (
            "expose: [{port: 1, health_check: {type: tcp, path: /a}}]",
            &[(Contradiction, "expose[0].health_check.path")],
        ),
        (
            "alarms: [{type: InternalErrorAlarm, severity: minor, parameters: {threshold: 5}}]",
            &[(OutOfRange, "alarms[0].parameters.threshold")],
        ),
        (
            "alarms: [{type: KinesisDelaysAlarm, severity: minor, parameters: {threshold: 5000}}]",
            &[],
        ),
    ] {
        let found = findings(text);
        let found: Vec<_> = found.iter().map(|(code, path)| (*code, path.as_str())).collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn suggestions_name_what_was_meant() {
    for (text, suggestion) in [
        ("envs: []", Some("env")),
        ("environment: []", Some("env")),
        ("command: [a]", Some("run.command")),
        ("replicas: 3", Some("autoscaling.min_count")),
        ("aws: {dynamo: {read: [a]}}", Some("dynamodb")),
        ("mesh_config: {dev: {migrationState: mesh_only}}", Some("state")),
        ("resources: {soft_limit_mem: 1}", Some("soft_mem_limit")),
        ("expose: [{port: \"80\"}]", Some("80")),
        ("env: FOO", Some("[FOO]")),
        ("team: [eng-web]", Some("eng-web")),
        ("team: 7", Some("\"7\"")),
        ("deploy_config: {canaryInProd: yes}", Some("true")),
        ("drain: {requests: 30}", Some("30s")),
        ("deploy: {strategy: Blue_Green}", Some("blue-green")),
        ("run: {type: Docker}", Some("docker")),
        ("run: {architecture: x86-64}", Some("x86_64")),
        ("run: {capabilities: [net_admin]}", Some("NET_ADMIN")),
        ("autoscaling: {min_count: 2.0}", Some("2")),
        ("zebra: 1", None),
        (
            "alarms: [{type: InternalErrorAlarm, severity: minor, parameters: {lifevest: true}}]",
            None,
        ),
    ] {
        let parsed = parse("x.yml", text.as_bytes());
        let error = parsed.errors().next().unwrap_or_else(|| panic!("{text} was accepted"));
        assert_eq!(error.suggestion.as_deref(), suggestion, "{text}: {error}");
    }
}

#[test]
fn findings_look_as_promised() {
    let text =
        "alarms:\n- type: BadRequestAlarm\n  severity: major\n  paramaters:\n    threshold: 0.1\n";
    let parsed = parse("web.yml", text.as_bytes());
    assert_eq!(
        parsed.diagnostics[0].render(),
        "  E012 unknown key `paramaters` in alarms[0]; did you mean `parameters`?\n\
         \u{20}   4 │   paramaters:\n\
         \u{20}     │   ^^^^^^^^^^"
    );
    let text = "team: [a]\nexpose:\n- port: eighty\nrun: docker\n";
    let parsed = parse("web.yml", text.as_bytes());
    let shown: Vec<_> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "E013 `team` must be a text, found a list; did you mean `a`? (line 1, column 1)",
            "E013 `expose[0].port` must be a whole number, found a text (line 3, column 9)",
            "E013 `run` must be a mapping, found a text (line 4, column 6)",
        ]
    );
}

#[test]
fn a_wrong_file_shows_what_is_right_of_it() {
    let parsed =
        parse("web.yml", b"team: eng-web\nexpose: [{port: 80}, {port: x}]\nenv: [A, 1, B]\n");
    assert!(!parsed.ok());
    match &parsed.launch {
        Some(LaunchFile::App(app)) => {
            assert_eq!(app.team.as_deref(), Some("eng-web"));
            assert_eq!(app.expose.len(), 1);
            assert_eq!(app.env, ["A", "B"]);
        }
        other => panic!("{other:?}"),
    }
    assert!(parsed.into_result().is_err());
}

#[test]
fn anchors_and_merge_keys() {
    let app = app("
expose:
- &port {name: a, port: 1, health_check: &check {type: http, path: /ok}}
- {<<: *port, name: b}
- {name: c, health_check: *check, port: 2}
");
    assert_eq!(app.expose[1].name, "b");
    assert_eq!(app.expose[1].port, 1);
    assert_eq!(app.expose[1].health_check, app.expose[2].health_check);
}

#[test]
fn a_digest_is_of_the_meaning() {
    let one = app("{team: a, env: [X], resources: {cpu: 1}}");
    let same =
        app("resources:\n  cpu: 1.0\nenv:\n- X\n# words\nteam: 'a'\ndrain: {requests: 30s}\n");
    let other = app("{team: a, env: [Y], resources: {cpu: 1}}");
    assert_eq!(one.digest(), same.digest());
    assert_ne!(one.digest(), other.digest());
    assert!(one.digest().starts_with("sha256:"));
    assert_eq!(one.digest().len(), "sha256:".len() + 64);
}

#[test]
fn what_the_process_engine_can_run() {
    let bare = app("expose: [{port: 80}]");
    let error = check_runnable(&bare, EngineKind::Process).expect_err("nothing to run");
    assert_eq!(error.code, Code::NoCommand);
    assert!(error.message.contains("run: {command:") && error.message.contains("--image"));
    assert!(check_runnable(&bare, EngineKind::Docker).is_ok());
    assert!(check_runnable(&bare, EngineKind::Fake).is_ok());
    let process = app("run: {type: process, command: [a]}");
    assert!(check_runnable(&process, EngineKind::Process).is_ok());
    let error = check_runnable(&process, EngineKind::Kubernetes).expect_err("another engine");
    assert_eq!(error.code, Code::WrongEngine);
    assert!(error.message.contains("process engine") && error.message.contains("--image"));
}

#[test]
fn what_no_engine_honours_is_listed() {
    let app = app("
run: {architecture: arm64, writable_root: true, capabilities: [CHOWN]}
expose: [{port: 80, bind: 80}]
aws: {custom: true}
use_iam_roles: true
elbs: {production: [a]}
pod_config: {group: us-west-1}
");
    let paths = |engine| {
        let list = not_enforced(&app, engine);
        list.into_iter().map(|entry| entry.path).collect::<Vec<_>>()
    };
    let everywhere = ["expose[0].bind", "aws", "use_iam_roles", "pod_config", "elbs"];
    let of_images = ["run.writable_root", "run.capabilities"];
    for (engine, more) in [(EngineKind::Docker, &[][..]), (EngineKind::Process, &of_images)] {
        let all = [&["run.architecture"], more, &everywhere].concat();
        assert_eq!(paths(engine), all, "{engine:?}");
    }
    assert_eq!(not_enforced(&Definition::default(), EngineKind::Process), []);
}

#[test]
fn what_nobody_follows_is_listed_and_what_holds_is_not() {
    let alarm = "{type: InternalErrorAlarm, severity: major, parameters: {threshold: 0.1}}";
    for (text, expected) in [
        ("alarms: []", &[][..]),
        (&format!("alarms: [{alarm}]"), &["alarms"]),
        ("autoscaling: {min_count: 2}", &[]),
        ("autoscaling: {min_count: 2, max_count: 2}", &[]),
        ("autoscaling: {max_count: 1}", &[]),
        ("autoscaling: {min_count: 2, max_count: 4}", &["autoscaling.max_count"]),
        (
            "autoscaling: {metric: cpu, metric_target: 50}",
            &["autoscaling.metric", "autoscaling.metric_target"],
        ),
        ("deploy_config: {blockDevDeploys: true}", &["deploy_config.blockDevDeploys"]),
        ("deploy_config: {blockDevDeploys: false, autoDeployEnvs: [dev]}", &[]),
        ("run: {architecture: x86_64}", &["run.architecture"]),
        ("telemetry: {enabled: true}", &["telemetry"]),
        ("telemetry: {enabled: false, tracing: {exporters: [datadog]}}", &[]),
    ] {
        let list = not_enforced(&app(text), EngineKind::Docker);
        let paths: Vec<&str> = list.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, expected, "{text}");
    }
}

#[test]
fn a_build_goes_to_each_environment_in_its_own_way() {
    let app = app("
deploy: {steps: [{weight: 5}, {approval: {}}]}
deploy_config:
  autoDeployEnvs: [dev, staging, production]
  strategies: {staging: confirm-then-deploy, production: canary-confirm}
");
    let ways = &app.deploy_config.strategies;
    assert_eq!(ways.get("dev").copied().unwrap_or_default(), AutoDeploy::NoConfirm);
    assert_eq!(ways["staging"], AutoDeploy::ConfirmThenDeploy);
    assert_eq!(ways["production"], AutoDeploy::CanaryConfirm);
}
