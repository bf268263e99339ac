//! Tables of services and what becomes of them.

use super::*;

fn imported(service: &str) -> (String, Vec<String>) {
    let indented: String = service.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("services:\n  web:\n    image: web:1\n{indented}  db:\n    image: db:1\n");
    let made = import(&text).unwrap_or_else(|failure| panic!("{text}: {failure:?}"));
    let web = made.apps.iter().find(|app| app.app.as_str() == "web").unwrap();
    let left_out = made.left_out.iter().map(|one| one.key.clone()).collect();
    (web.launch.clone(), left_out)
}

#[test]
fn what_has_an_equivalent_is_taken_over() {
    for (service, launch) in [
        ("", "{}\n"),
        ("ports: [\"8080:80\"]", "expose:\n- name: default\n  port: 80\n"),
        (
            "ports: [{target: 8080, published: 80}, \"127.0.0.1:9090:9090/tcp\"]",
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
             interval: \"5s\"\n    timeout: \"2s\"\n    failures: 3\ndeploy:\n  ready_timeout: \"1m\"\n",
        ),
        (
            "ports: [80]\nhealthcheck: {test: \"wget -qO- http://127.0.0.1/ok || exit 1\"}",
            "expose:\n- name: default\n  port: 80\n  health_check:\n    type: http\n    path: /ok\n",
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
            "ports: [\"${PORT:-8080}:${INNER:-81}\", \"${ANY}:82\"]\nstop_grace_period: \"${G-5s}\"",
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
    ] {
        let (made, left_out) = imported(service);
        assert_eq!(made, launch, "{service}");
        assert_eq!(left_out, Vec::<String>::new(), "{service}");
    }
}

#[test]
fn what_has_none_is_named() {
    for (service, keys) in [
        ("privileged: true\ncap_add: [NET_ADMIN]", vec!["privileged", "cap_add"]),
        ("networks: [front]", vec!["networks"]),
        ("profiles: [debug]", vec!["profiles"]),
        ("ports: [\"53:53/udp\"]", vec!["ports"]),
        ("ports: [\"3000-3005\"]", vec!["ports"]),
        ("volumes: [\"./src:/app\"]", vec!["volumes"]),
        ("volumes: [{type: tmpfs, target: /scratch}]", vec!["volumes"]),
        ("environment: {DB_PASSWORD: hunter2}", vec!["environment.DB_PASSWORD"]),
        ("environment: {URL: \"http://${HOST}/\"}", vec!["environment.URL"]),
        ("env_file: .env", vec!["env_file"]),
        ("depends_on: {db: {condition: service_completed_successfully}}", vec!["depends_on.db"]),
        ("depends_on: [nobody]", vec!["depends_on.nobody"]),
        ("ports: [80]\nhealthcheck: {test: [CMD, pg_isready]}", vec!["healthcheck.test"]),
        ("command: serve", vec!["command"]),
        ("restart: \"no\"", vec!["restart"]),
        ("deploy: {update_config: {parallelism: 1}}", vec!["deploy.update_config.order"]),
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
}
