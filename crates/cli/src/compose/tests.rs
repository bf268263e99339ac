//! Tables of services and what becomes of them.

use super::*;

fn imported(service: &str) -> (String, Vec<String>) {
    let indented: String = service.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "services:\n  web:\n    image: web:1\n{indented}  db:\n    image: db:1\n    expose: [5432]\n"
    );
    let made = import(&text).unwrap_or_else(|failure| panic!("{text}: {failure:?}"));
    let web = made.apps.iter().find(|app| app.app.as_str() == "web").unwrap();
    let left_out = made.left_out.iter().map(|one| one.key.clone()).collect();
    (web.launch.clone(), left_out)
}

#[test]
fn what_has_an_equivalent_is_taken_over() {
    for (service, launch) in [
        ("", "{}\n"),
        ("ports: [80]", "expose:\n- name: default\n  port: 80\n"),
        (
            "ports: [{target: 8080}, \"9090/tcp\"]",
            "expose:\n- name: default\n  port: 8080\n- name: port-9090\n  port: 9090\n",
        ),
        ("expose: [5432]", "expose:\n- name: default\n  port: 5432\n  protocol: tcp\n"),
        (
            "environment: {LEVEL: info, COUNT: 3, NAME: null, HOST: \"${HOST:-a.test}\"}",
            "env: [NAME]\nenv_defaults:\n  COUNT: \"3\"\n  HOST: a.test\n  LEVEL: info\n",
        ),
        ("environment: [A=b, C]", "env: [C]\nenv_defaults:\n  A: b\n"),
        ("environment: {PRICE: \"$$5\"}", "env_defaults:\n  PRICE: \"$5\"\n"),
        ("depends_on: [db]", "dependencies: [db]\n"),
        ("depends_on: {db: {condition: service_healthy}}", "dependencies: [db]\n"),
        (
            "ports: [8080]\nhealthcheck:\n  test: [CMD, curl, -f, \"http://localhost:8080/health\"]\n  \
             interval: 5s\n  timeout: 2s\n  retries: 3\n  start_period: 1m",
            "expose:\n- name: default\n  port: 8080\n  health_check:\n    type: http\n    path: /health\n    \
             interval: \"5s\"\n    timeout: \"2s\"\n    failures: 3\n",
        ),
        (
            "ports: [80]\nhealthcheck: {test: \"wget -qO- http://127.0.0.1/ok || exit 1\"}",
            "expose:\n- name: default\n  port: 80\n  health_check:\n    type: http\n    path: /ok\n",
        ),
        (
            "ports: [9090, 8080]\nhealthcheck: {test: \"curl http://localhost:8080/ok\"}",
            "expose:\n- name: default\n  port: 9090\n- name: port-8080\n  port: 8080\n  \
             health_check:\n    type: http\n    path: /ok\n",
        ),
        (
            "deploy: {update_config: {order: start-first, delay: 0s}}",
            "deploy:\n  strategy: rolling\n",
        ),
        (
            "entrypoint: sh -c 'echo \"$$HOME\"; ls' a\\ b",
            "run:\n  command: [sh, \"-c\", \"echo \\\"$HOME\\\"; ls\", \"a b\"]\n",
        ),
        ("deploy: {mode: global}", "run:\n  type: daemon\n"),
        ("deploy: {mode: replicated}", "{}\n"),
        ("stop_signal: TERM", "run:\n  stop_signal: SIGTERM\n"),
        ("stop_signal: sigquit", "run:\n  stop_signal: SIGQUIT\n"),
        ("stop_signal: 2", "run:\n  stop_signal: SIGINT\n"),
        (
            "deploy: {update_config: {order: start-first, parallelism: 0}}",
            "deploy:\n  strategy: rolling\n  max_surge: \"100%\"\n",
        ),
        ("healthcheck: {disable: true, interval: 0s}", "{}\n"),
        ("healthcheck: {test: [NONE]}", "{}\n"),
        ("restart: unless-stopped", "{}\n"),
        ("init: true\ntty: false\nprivileged: false", "{}\n"),
        (
            "privileged: true\nread_only: false\ncap_add: [CAP_SYS_PTRACE, net_raw]",
            "run:\n  privileged: true\n  writable_root: true\n  capabilities: [SYS_PTRACE, NET_RAW]\n",
        ),
        (
            "environment: {DB: \"http://other.test/db\", DBA: db}",
            "env_defaults:\n  DB: \"http://other.test/db\"\n  DBA: db\n",
        ),
        ("volumes: [\"data:/var/lib/data\"]", "volumes:\n- name: data\n  path: /var/lib/data\n"),
        ("volumes: [/cache]", "volumes:\n- name: cache\n  path: /cache\n"),
        (
            "deploy: {replicas: 3, update_config: {order: start-first, parallelism: 2, delay: 10s, \
             monitor: 1m, failure_action: rollback}}",
            "autoscaling:\n  min_count: 3\n  max_count: 3\ndeploy:\n  strategy: rolling\n  \
             max_surge: 2\n  min_healthy_time: \"10s\"\n  watch: \"1m\"\n",
        ),
        (
            "deploy: {resources: {limits: {cpus: \"0.5\", memory: 512M}, reservations: {memory: 256m}}}",
            "resources:\n  cpu: 0.5\n  max_mem: 0.5\n  soft_mem_limit: 0.25\n",
        ),
        (
            "entrypoint: [/bin/web]\ncommand: serve --port 80\nstop_signal: SIGINT\nstop_grace_period: 1m30s",
            "run:\n  command: [/bin/web, serve, \"--port\", \"80\"]\n  stop_signal: SIGINT\n  \
             stop_grace: \"1m30s\"\n",
        ),
        (
            "ports: [\"${INNER:-81}\", 82]\nstop_grace_period: \"${G-5s}\"",
            "run:\n  stop_grace: \"5s\"\nexpose:\n- name: default\n  port: 81\n- name: port-82\n  port: 82\n",
        ),
        (
            "entrypoint: [sh, -c, \"echo $$HOME\"]\ndeploy: {replicas: \"${N:-3}\"}",
            "run:\n  command: [sh, \"-c\", \"echo $HOME\"]\nautoscaling:\n  min_count: 3\n  max_count: 3\n",
        ),
        (
            "build: {context: ., dockerfile: web.Dockerfile}",
            "build:\n  docker:\n    file: web.Dockerfile\n",
        ),
        (
            "build: {context: ./, dockerfile: ./docker/../web.Dockerfile}",
            "build:\n  docker:\n    file: web.Dockerfile\n",
        ),
        ("build: ./", "{}\n"),
    ] {
        let (made, left_out) = imported(service);
        assert_eq!(made, launch, "{service}");
        assert_eq!(left_out, Vec::<String>::new(), "{service}");
    }
}

#[test]
fn what_has_none_is_named() {
    for (service, keys) in [
        ("cap_add: [ALL]\ndevices: [\"/dev/kvm\"]", vec!["cap_add", "devices"]),
        ("build: ./web", vec!["build.context"]),
        ("build: {context: web, dockerfile: ../docker/x}", vec!["build.context"]),
        ("build: {context: ., dockerfile: ../docker/x}", vec!["build.dockerfile"]),
        ("build: ../web", vec!["build.context", "build.dockerfile"]),
        ("build: {context: ., dockerfile: /docker/x}", vec!["build.dockerfile"]),
        ("networks: [front]", vec!["networks"]),
        ("profiles: [debug]", vec!["profiles"]),
        ("ports: [\"53:53/udp\"]", vec!["ports"]),
        ("ports: [\"3000-3005\"]", vec!["ports"]),
        ("volumes: [\"./src:/app\"]", vec!["volumes"]),
        ("volumes: [{type: tmpfs, target: /scratch}]", vec!["volumes"]),
        ("volumes: [\"db_data:/data\"]", vec!["volumes"]),
        ("volumes: [/var/lib/My_Data]", vec!["volumes"]),
        ("volumes: [\"data:/a\", \"data:/b\"]", vec!["volumes"]),
        ("volumes: [\"a:/data\", \"b:/data\"]", vec!["volumes"]),
        ("volumes: [\"data:/data:ro\"]", vec!["volumes"]),
        (
            "volumes: [{type: volume, source: a, target: /a, volume: {nocopy: true}}]",
            vec!["volumes.volume"],
        ),
        ("ports: [\"8080:80\"]", vec!["ports"]),
        ("ports: [\"${PORT:-8080}:80\", \"${ANY}:82\"]", vec!["ports", "ports"]),
        ("ports: [{target: 80, published: 8080}]", vec!["ports"]),
        ("restart: on-failure:3", vec!["restart"]),
        ("container_name: web-1\nhostname: web", vec!["container_name", "hostname"]),
        ("tty: true", vec!["tty"]),
        ("stop_signal: SIGRTMIN+3", vec!["stop_signal"]),
        ("deploy: {mode: global, replicas: 2}", vec!["deploy.replicas"]),
        ("deploy: {mode: global-job}", vec!["deploy.mode"]),
        ("healthcheck: {test: [CMD, pgrep, web]}", vec!["healthcheck.test"]),
        ("ports: [5432]\nhealthcheck: {test: pg_isready}", vec!["healthcheck.test"]),
        ("ports: [80]\nhealthcheck: {interval: 5s}", vec!["healthcheck"]),
        (
            "ports: [80]\nhealthcheck: {test: \"curl http://localhost/\", start_interval: 1s}",
            vec!["healthcheck.start_interval"],
        ),
        (
            "deploy: {resources: {limits: {pids: 9}, reservations: {cpus: \"1\", devices: []}}}",
            vec![
                "deploy.resources.limits.pids",
                "deploy.resources.reservations.cpus",
                "deploy.resources.reservations.devices",
            ],
        ),
        (
            "depends_on: {db: {condition: service_started, restart: true, required: false}}",
            vec!["depends_on.db.restart", "depends_on.db.required"],
        ),
        ("depends_on: [db]\nenvironment: {DB_HOST: db}", vec!["environment.DB_HOST"]),
        (
            "environment: [\"URL=postgres://a:b@db:5432/a\"]",
            vec!["environment.URL", "environment.URL"],
        ),
        ("environment: A=1\nports: \"80:80\"", vec!["environment", "ports"]),
        ("build: 3\nhealthcheck: curl", vec!["build", "healthcheck"]),
        ("entrypoint: a; b\ncommand: \"'\"", vec!["entrypoint", "command"]),
        ("memswap_limit: 1g", vec!["memswap_limit"]),
        (
            "ports: [80]\nhealthcheck: {test: curl -f -X POST http://localhost/a}",
            vec!["healthcheck.test"],
        ),
        ("entrypoint: [wait-for, \"db:5432\"]", vec!["entrypoint"]),
        ("environment: {DB_PASSWORD: hunter2}", vec!["environment.DB_PASSWORD"]),
        ("environment: {URL: \"http://${HOST}/\"}", vec!["environment.URL"]),
        ("env_file: .env", vec!["env_file"]),
        ("depends_on: {db: {condition: service_completed_successfully}}", vec!["depends_on.db"]),
        ("depends_on: [nobody]", vec!["depends_on.nobody"]),
        ("ports: [80]\nhealthcheck: {test: [CMD, pg_isready]}", vec!["healthcheck.test"]),
        ("command: serve", vec!["command"]),
        ("restart: \"no\"", vec!["restart"]),
        (
            "deploy: {update_config: {parallelism: 1}}",
            vec!["deploy.update_config.order", "deploy.update_config.parallelism"],
        ),
        ("deploy: {placement: {}}", vec!["deploy.placement"]),
        ("what: is this", vec!["what"]),
        ("stop_grace_period: soon", vec!["stop_grace_period"]),
        ("stop_grace_period: 1.5s", vec!["stop_grace_period"]),
        ("scale: many", vec!["scale"]),
        ("cpus: half", vec!["deploy.resources (cpu)"]),
        (
            "deploy: {update_config: {order: start-first, delay: 10, parallelism: x}}",
            vec!["deploy.update_config.delay", "deploy.update_config.parallelism"],
        ),
        (
            "ports: [80]\nhealthcheck: {test: \"curl http://localhost/\", interval: often, retries: few, \
             start_period: later}",
            vec!["healthcheck.interval", "healthcheck.retries", "healthcheck.start_period"],
        ),
        ("entrypoint: [sh, \"${PROGRAM}\"]", vec!["entrypoint"]),
        ("stop_signal: $SIGNAL", vec!["stop_signal"]),
        ("ports: [\"80:${INNER}\"]", vec!["ports"]),
    ] {
        let (_, left_out) = imported(service);
        let keys: Vec<String> = keys.into_iter().map(|key| format!("services.web.{key}")).collect();
        let missing: Vec<_> = keys.iter().filter(|key| !left_out.contains(key)).collect();
        assert!(missing.is_empty(), "{service}: {left_out:?}");
        assert_eq!(left_out.len(), keys.len(), "{service}: {left_out:?}");
    }
}

#[test]
fn a_secret_is_never_written_down() {
    let (launch, _) = imported("environment: {API_TOKEN: hunter2, DB_PASSWORD: \"${P:-hunter2}\"}");
    assert_eq!(launch, "env: [API_TOKEN, DB_PASSWORD]\n");
    for secret in [
        "DB_PASS: a",
        "PGPASSWD: a",
        "db_pwd: a",
        "SIGNING_KEY: a",
        "ENCRYPTION_KEYS: a",
        "URL: \"postgres://u:hunter2@db/a\"",
        "URL: \"redis://:hunter2@db\"",
        "URLS: \"http://a.test http://u:p@b.test\"",
    ] {
        let (launch, left) = imported(&format!("environment: {{{secret}}}"));
        let name = secret.split_once(':').unwrap().0;
        assert_eq!(launch, format!("env: [{name}]\n"), "{secret}");
        assert!(left.contains(&format!("services.web.environment.{name}")), "{secret}: {left:?}");
    }
    for plain in ["KEYBOARD: a", "PASSENGERS: a", "URL: \"http://u@a.test/x:y@z\""] {
        let (launch, _) = imported(&format!("environment: {{{plain}}}"));
        assert!(launch.starts_with("env_defaults:"), "{plain}: {launch}");
    }
}

#[test]
fn a_port_of_the_host_is_named_as_it_stands() {
    let (_, left) = whole("services: {web: {image: a, ports: [\"127.0.0.1::8888\"]}}");
    let said = "services.web.ports: no port of 127.0.0.1 is opened for 8888";
    assert!(left[0].starts_with(said), "{left:?}");
}

#[test]
fn a_whole_file() {
    let text = "version: \"3\"\nx-common: &common {restart: always}\nservices:\n  Web_App: {<<: *common, \
                image: \"web:1\", ports: [80]}\n  worker:\n    <<: *common\n    image: worker:1\nvolumes: {data: }\n\
                networks: {front: {driver: overlay}}\nsecrets: {a: {file: a}}\n";
    let made = import(text).unwrap();
    let apps: Vec<&str> = made.apps.iter().map(|app| app.app.as_str()).collect();
    assert_eq!(apps, ["web-app", "worker"]);
    let keys: Vec<&str> = made.left_out.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["networks", "secrets"]);
    let made = import("services: {web: {image: \"web:${TAG:-7}\"}}").unwrap();
    assert_eq!(made.apps[0].image.as_deref(), Some("web:7"));
    let twice = import("services: {web_1: {image: a}, web-1: {image: b}}").unwrap_err();
    assert!(twice.headline.contains("web_1") && twice.headline.contains("web-1"), "{twice:?}");
    for bad in ["", "services: [a]", "a: b", "services: {\"a b\": {}}", "services: {a: [b]}", "{"] {
        assert_eq!(import(bad).unwrap_err().exit.0, 2, "{bad}");
    }
    for (bad, said) in [
        ("services: {}", "is empty"),
        ("services: ", "is empty"),
        ("services: [a]", "no mapping"),
        ("a: b", "has no `services`"),
        ("services:\n  a:\n    image: a\n    ports: !reset [80]\n", "line 4"),
        ("services:\n  a: !override\n    image: a\n", "line 2"),
        ("services: {a: {image: a, ports: !reset []}}", "line 1"),
    ] {
        let refused = import(bad).unwrap_err().headline;
        assert!(refused.contains(said), "{bad}: {refused}");
    }
    let made = "services: {a: {image: a}} # : !reset x\ninclude: [other.yml]";
    let made = import(made).unwrap();
    assert!(made.left_out[0].why.contains("not read"), "{:?}", made.left_out);
}

/// Launch file and `key: why` of all that was left out, of the service `web`.
fn whole(services: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let made = import(services).unwrap_or_else(|failure| panic!("{services}: {failure:?}"));
    let launch = made.apps.into_iter().map(|app| (app.app.to_string(), app.launch)).collect();
    let left = made.left_out.into_iter().map(|one| format!("{}: {}", one.key, one.why)).collect();
    (launch, left)
}

#[test]
fn volumes_get_names_that_ark_takes() {
    for (volumes, expected, said) in [
        ("db_data:/data", "- name: db-data\n  path: /data\n", "db_data is called db-data here"),
        ("Data:/data", "- name: data\n  path: /data\n", "Data is called data here"),
        (
            "/var/lib/My_Data",
            "- name: var-lib-my-data\n  path: /var/lib/My_Data\n",
            "var/lib/My_Data is called var-lib-my-data here",
        ),
        (
            "a_b:/1\", \"a.b:/2\", \"a-b:/3",
            "- name: a-b\n  path: /1\n- name: a-b-2\n  path: /2\n- name: a-b-3\n  path: /3\n",
            "a-b is called a-b-3 here",
        ),
        ("data:/a\", \"data:/b", "- name: data\n  path: /a\n", "data is mounted once"),
        ("a:/data\", \"b:/data", "- name: a\n  path: /data\n", "is in a volume already"),
        ("_:/data", "- name: volume\n  path: /data\n", "_ is called volume here"),
    ] {
        let (launch, left) =
            whole(&format!("services: {{web: {{image: a, volumes: [\"{volumes}\"]}}}}"));
        assert_eq!(launch["web"], format!("volumes:\n{expected}"), "{volumes}");
        assert!(left.iter().any(|line| line.contains(said)), "{volumes}: {left:?}");
    }
    let (_, left) = whole(
        "services: {a: {image: a, volumes: [\"data:/a\"]}, b: {image: b, volumes: [\"data:/b\"]}}",
    );
    assert_eq!(left, ["volumes.data: shared by a and b: each app gets one of its own"]);
}

#[test]
fn a_value_beyond_the_limits_costs_its_key_alone() {
    for (service, expected, gone) in [
        (
            "healthcheck: {test: \"curl http://localhost/\", interval: 0s, retries: 5}\nports: [80]",
            "expose:\n- name: default\n  port: 80\n  health_check:\n    type: http\n    path: /\n    \
             failures: 5\ndeploy:\n  ready_timeout: \"2m30s\"\n",
            Some("expose[0].health_check.interval"),
        ),
        ("cpus: 5000\nmem_limit: 512m", "resources:\n  max_mem: 0.5\n", Some("resources.cpu")),
        ("cpus: 5000", "{}\n", Some("resources.cpu")),
        ("environment: {\"A;\": x, B: y}", "env_defaults:\n  B: \"y\"\n", Some("env_defaults.A;")),
        ("environment: [\"A B\"]", "{}\n", Some("env[0]")),
        ("deploy: {replicas: 20000}", "{}\n", Some("autoscaling.min_count")),
        (
            "deploy: {update_config: {order: start-first, delay: 2h}}",
            "deploy:\n  strategy: rolling\n",
            Some("deploy.min_healthy_time"),
        ),
        (
            "deploy: {update_config: {order: start-first, delay: 6m}}",
            "deploy:\n  strategy: rolling\n  min_healthy_time: \"6m\"\n  progress_deadline: \"11m\"\n",
            None,
        ),
        (
            "deploy: {update_config: {order: start-first, delay: 26m}}",
            "deploy:\n  strategy: rolling\n",
            Some("deploy.min_healthy_time"),
        ),
        ("healthcheck: {test: [NONE]}\nstop_grace_period: 48h", "{}\n", Some("run.stop_grace")),
    ] {
        let (launch, left) = imported(service);
        assert_eq!(launch, expected, "{service}");
        let gone = gone.map(|key| format!("launch/web.yml {key}"));
        assert_eq!(left.iter().find(|key| key.starts_with("launch/")), gone.as_ref(), "{service}");
    }
}

#[test]
fn ready_is_waited_for_as_long_as_docker_would() {
    for (health, expected) in [
        ("{test: a}", ""),
        ("{test: a, start_period: 5s}", ""),
        ("{test: a, start_period: 30s}", ""),
        ("{test: a, start_period: 31s}", "deploy:\n  ready_timeout: \"2m1s\"\n"),
        ("{test: a, interval: 1m, retries: 3}", "deploy:\n  ready_timeout: \"3m\"\n"),
        (
            "{test: a, interval: 5s, retries: 0, start_period: 2m}",
            "deploy:\n  ready_timeout: \"2m15s\"\n",
        ),
        (
            "{test: a, interval: 10s, retries: 3, start_period: 9m30s}",
            "deploy:\n  ready_timeout: \"10m\"\n  progress_deadline: \"10m\"\n",
        ),
        (
            "{test: a, interval: 1s, retries: 60, start_period: 59m}",
            "deploy:\n  ready_timeout: \"1h\"\n  progress_deadline: \"1h\"\n  deadline: \"1h30m\"\n",
        ),
        ("{disable: true, start_period: 1h}", ""),
    ] {
        let (launch, left) = imported(&format!("ports: [80]\nhealthcheck: {health}"));
        let before = "expose:\n- name: default\n  port: 80\n";
        assert_eq!(launch, format!("{before}{expected}"), "{health}");
        assert!(!left.iter().any(|key| key.starts_with("launch/")), "{health}: {left:?}");
    }
}

#[test]
fn who_names_another_service_is_told_what_ark_calls_it() {
    let two = |web: &str, db: &str| whole(&format!("services:\n  web: {web}\n  my_db: {db}\n"));
    for (web, db, said) in [
        (
            "{image: a, depends_on: [my_db], environment: {URL: \"postgres://u@my_db:5432/a\"}}",
            "{image: \"postgres:16\"}",
            "services.web.environment.URL: my_db has another address here: SERVICE_MY_DB_DEFAULT_HOST \
             and SERVICE_MY_DB_DEFAULT_PORT say it",
        ),
        (
            "{image: a, environment: {URL: \"http://my_db:81\"}}",
            "{image: b, expose: [80, 81]}",
            "services.web.environment.URL: my_db has another address here: SERVICE_MY_DB_PORT_81_HOST \
             and SERVICE_MY_DB_PORT_81_PORT say it; add my-db to `dependencies`",
        ),
        (
            "{image: a, depends_on: [my_db], command: [run, \"my_db:9\"], entrypoint: [sh]}",
            "{image: b}",
            "services.web.command: my_db has no address here: it declares no port",
        ),
        (
            "{image: a, depends_on: [my_db]}",
            "{image: b}",
            "services.my_db.expose: others need it, and it declares no port: they are told no address \
             of it",
        ),
    ] {
        let (_, left) = two(web, db);
        assert!(left.iter().any(|line| line == said), "{web}: {left:#?}");
    }
    for (image, port) in [
        ("postgres", 5432),
        ("\"docker.io/library/redis:7-alpine\"", 6379),
        ("\"mysql@sha256:0\"", 3306),
        ("mariadb", 3306),
        ("mongo", 27017),
    ] {
        let (launch, left) = two("{image: a, depends_on: [my_db]}", &format!("{{image: {image}}}"));
        let expected = format!("expose:\n- name: default\n  port: {port}\n  protocol: tcp\n");
        assert_eq!(launch["my-db"], expected, "{image}");
        assert_eq!(left, Vec::<String>::new(), "{image}");
        let (launch, _) = two("{image: a}", &format!("{{image: {image}}}"));
        assert_eq!(launch["my-db"], "{}\n", "nobody needs it");
    }
}
