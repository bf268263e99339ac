//! Data stores in development environments, with the real PostgreSQL and Redis of this machine: an
//! app writes by the variables it is given, the server of the data store ends in every way there is,
//! and what was written is there. As processes, and PostgreSQL in a container too: its image holds
//! this machine's programs, because no registry can be asked for its makers' one.

#[path = "../crates/engine/tests/docker_fixture/daemon.rs"]
mod daemon;
mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use daemon::{daemon, docker};
use harness::lacking::{Lack, skip};
use harness::{Ark, eventually_within, kill, words};
use serde_json::Value;

/// A development environment, because of its name.
const ENV: &str = "eng1";
const PATIENCE: Duration = Duration::from_secs(60);

/// The newest of this machine's folders of PostgreSQL's programs, with its version.
fn postgres_here() -> Option<(PathBuf, String)> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/initdb").exists() && path.join("bin/psql").exists())
        .collect();
    found.sort();
    let newest = found.pop()?;
    let version = newest.file_name()?.to_string_lossy().into_owned();
    Some((newest.join("bin"), version))
}

/// Writes a launch file into the test's project.
fn write(ark: &Ark, app: &str, text: &str) {
    let folder = ark.dir.path().join("launch");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(format!("{app}.yml")), text).expect("a file");
}

/// A job that runs a shell command with what it is told of the data store `store`.
fn write_job(ark: &Ark, store: &str, script: &str) {
    let script = serde_json::to_string(script).expect("text");
    let text = format!(
        "run: {{type: job, command: [/bin/sh, -c, {script}, job]}}\ndependencies: [{store}]\n"
    );
    write(ark, "job", &text);
}

/// A command in the test's project.
fn at(ark: &Ark, args: &[&str]) -> Output {
    ark.command(args).current_dir(ark.dir.path()).output().expect("ark runs")
}

#[track_caller]
fn good(ark: &Ark, args: &[&str]) -> String {
    let output = at(ark, args);
    assert!(output.status.success(), "ark {args:?}: {}", words(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What the job prints when it is run with these arguments.
#[track_caller]
fn job(ark: &Ark, args: &[&str]) -> String {
    let mut all = vec!["run", "job", "-e", ENV, "--"];
    all.extend(args);
    good(ark, &all)
}

fn instances(ark: &Ark, app: &str) -> Vec<Value> {
    let page = ark.get(&format!("/v1/environments/{ENV}/apps/{app}/instances"));
    page.and_then(|page| page["items"].as_array().cloned()).unwrap_or_default()
}

/// The process of the data store's one server that serves.
fn server(ark: &Ark, app: &str) -> Option<i32> {
    let all = instances(ark, app);
    let serving: Vec<&Value> = all.iter().filter(|i| i["state"] == "active").collect();
    let [one] = serving.as_slice() else { return None };
    i32::try_from(one["pid"].as_i64()?).ok()
}

/// Waits for another server than that.
fn another(ark: &Ark, app: &str, before: i32) {
    eventually_within(PATIENCE, "another server", || {
        server(ark, app).is_some_and(|pid| pid != before)
    });
}

/// Nothing that people or the gateway see holds the password.
#[track_caller]
fn hidden(ark: &Ark, store: &str, password: &str) {
    assert!(password.len() > 30, "{password}");
    let mut texts = vec![
        good(ark, &["config", "list", "-e", ENV, store, "--json"]),
        good(ark, &["events", "-e", ENV, "--json"]),
        good(ark, &["releases", store, "-e", ENV, "--json"]),
        good(ark, &["plan", store, "-e", ENV, "--json"]),
        good(ark, &["logs", store, "-e", ENV]),
    ];
    for file in ["server.log", "data/gateway.log", "data/gateway-table.json"] {
        texts.push(fs::read_to_string(ark.dir.path().join(file)).unwrap_or_default());
    }
    for text in &texts {
        assert!(!text.contains(password), "{text}");
    }
    assert!(texts[0].contains("STORE_PASSWORD"), "{}", texts[0]);
    // Neither does the list of processes, which every user of the machine may read.
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(password), "{}", entry.path().display());
    }
}

#[test]
fn what_is_written_to_postgres_outlives_everything_that_ends_it() {
    const TEST: &str = "what_is_written_to_postgres_outlives_everything_that_ends_it";
    let Some((bin, version)) = postgres_here() else {
        return skip(TEST, Lack::Postgres, "PostgreSQL is not installed");
    };
    let ark = Ark::up();
    write(&ark, "db", "type: postgres\nteam: eng-data\n");
    let psql = format!(
        "{}/psql \"$SERVICE_DB_POSTGRES_URL\" -v ON_ERROR_STOP=1 -Atqc \"$1\"",
        bin.display()
    );
    write_job(&ark, "db", &psql);

    let refused = at(&ark, &["deploy", "db", "-e", "production"]);
    assert_eq!(refused.status.code(), Some(2), "{}", words(&refused));
    assert!(words(&refused).contains("development environments only"), "{}", words(&refused));
    let planned = at(&ark, &["plan", "db", "-e", "production"]);
    assert!(words(&planned).contains("development environments only"), "{}", words(&planned));

    // The job's launch file brings its data store along.
    good(&ark, &["start", "job", "-e", ENV]);
    job(&ark, &["create table t (x int); insert into t values (1)"]);
    let add = |x: u32| job(&ark, &[&format!("insert into t values ({x})")]);
    let sum = || job(&ark, &["select coalesce(sum(x), 0) from t"]);
    assert_eq!(sum(), "1");

    // Credentials are told apart from the address too.
    let script = "echo $SERVICE_DB_POSTGRES_PASSWORD $SERVICE_DB_POSTGRES_USER \
                  $SERVICE_DB_POSTGRES_DATABASE $SERVICE_DB_POSTGRES_HOST $SERVICE_DB_POSTGRES_PROTO";
    write_job(&ark, "db", "eval \"$1\"");
    good(&ark, &["deploy", "job", "-e", ENV]);
    let told = job(&ark, &[script]);
    let told: Vec<&str> = told.split(' ').collect();
    assert_eq!(told[1..], ["app", "app", "127.0.0.1", "tcp"], "all but the password");
    let password = told[0].to_owned();
    hidden(&ark, "db", &password);
    let wrong = at(
        &ark,
        &[
            "run",
            "job",
            "-e",
            ENV,
            "--",
            &format!(
                "PGPASSWORD=wrong {}/psql -h $SERVICE_DB_POSTGRES_HOST -p $SERVICE_DB_POSTGRES_PORT -U app -c 'select 1' app",
                bin.display()
            ),
        ],
    );
    assert!(!wrong.status.success(), "{}", words(&wrong));
    write_job(&ark, "db", &psql);
    good(&ark, &["deploy", "job", "-e", ENV]);

    // A restart, a new release, a rollback, a stop: there is never more than one server.
    let before = server(&ark, "db").expect("a server");
    good(&ark, &["restart", "db", "-e", ENV]);
    another(&ark, "db", before);
    add(10);
    write(&ark, "db", &format!("type: postgres\nversion: {version}\n"));
    good(&ark, &["deploy", "db", "-e", ENV, "--strategy", "rolling"]);
    add(100);
    good(&ark, &["rollback", "db", "-e", ENV]);
    add(1_000);
    good(&ark, &["stop", "db", "-e", ENV]);
    let away = at(&ark, &["run", "job", "-e", ENV, "--", "select 1"]);
    assert!(!away.status.success(), "{}", words(&away));
    good(&ark, &["start", "db", "-e", ENV]);
    assert_eq!(sum(), "1111");

    // It is killed, and another takes over what it had committed.
    let before = server(&ark, "db").expect("a server");
    kill(before);
    another(&ark, "db", before);
    eventually_within(PATIENCE, "it has recovered", || {
        at(&ark, &["run", "job", "-e", ENV, "--", "select 1"]).status.success()
    });
    assert_eq!(sum(), "1111");

    // Another version than the data's, or this machine's, is refused before anything ends.
    write(&ark, "db", "type: postgres\nversion: 7\n");
    let refused = at(&ark, &["deploy", "db", "-e", ENV]);
    assert_eq!(refused.status.code(), Some(2), "{}", words(&refused));
    assert!(words(&refused).contains("version 7 is asked for"), "{}", words(&refused));
    write(&ark, "db", "type: postgres\nimage: postgres:17\n");
    let refused = at(&ark, &["deploy", "db", "-e", ENV]);
    assert!(words(&refused).contains("would begin with none"), "{}", words(&refused));
    let refused = at(&ark, &["scale", "db=2", "-e", ENV]);
    assert!(!refused.status.success(), "{}", words(&refused));

    // The environment goes, and comes again with another password: the data was left alone.
    good(&ark, &["env", "destroy", ENV, "--yes"]);
    write(&ark, "db", "type: postgres\n");
    good(&ark, &["start", "job", "-e", ENV]);
    assert_eq!(sum(), "1111");
    write_job(&ark, "db", "echo $SERVICE_DB_POSTGRES_PASSWORD");
    good(&ark, &["deploy", "job", "-e", ENV]);
    assert_ne!(job(&ark, &[]), password);
}

#[test]
fn what_is_written_to_redis_outlives_its_server() {
    const TEST: &str = "what_is_written_to_redis_outlives_its_server";
    let here = |program: &str| Path::new("/usr/bin").join(program).exists();
    if !here("redis-server") || !here("redis-cli") {
        return skip(TEST, Lack::Redis, "Redis is not installed");
    }
    let ark = Ark::up();
    write(&ark, "cache", "type: redis\n");
    write_job(
        &ark,
        "cache",
        "[ \"$1\" = password ] && exec echo $SERVICE_CACHE_REDIS_PASSWORD; \
         exec redis-cli --no-auth-warning -u \"$SERVICE_CACHE_REDIS_URL\" \"$@\"",
    );
    good(&ark, &["start", "job", "-e", ENV]);
    assert_eq!(job(&ark, &["set", "answer", "42"]), "OK");
    good(&ark, &["restart", "cache", "-e", ENV]);
    assert_eq!(job(&ark, &["get", "answer"]), "42");
    assert_eq!(job(&ark, &["set", "answer", "43"]), "OK");
    // Its file is flushed each second: what is older than that outlives a kill.
    std::thread::sleep(Duration::from_millis(1_500));
    let before = server(&ark, "cache").expect("a server");
    kill(before);
    another(&ark, "cache", before);
    assert_eq!(job(&ark, &["get", "answer"]), "43");
    hidden(&ark, "cache", &job(&ark, &["password"]));
}

/// An image with this machine's PostgreSQL, laid out as its makers' image is: a user `postgres` who
/// owns `/var/lib/postgresql`, and a shell.
/// As the makers' image has it: with an empty folder, and a volume of its own, where data were once kept.
fn make_image(socket: &Path, bin: &Path, version: &str, image: &str) {
    let place = tempfile::tempdir().expect("a directory");
    let script = format!(
        "set -e; mkdir -p bin tmp etc usr/bin var/lib/postgresql/data usr/share/postgresql \
           usr/lib/postgresql/{version} usr/share/zoneinfo; chmod 1777 tmp; \
         cp $(command -v busybox) bin/busybox; \
         for c in sh id cat ls sort mv rm sed sha256sum mkdir true echo env; do ln -s busybox bin/$c; done; \
         cp -r {bin} {bin}/../lib usr/lib/postgresql/{version}/; \
         rm -rf usr/lib/postgresql/{version}/lib/bitcode usr/lib/postgresql/{version}/lib/llvmjit*; \
         cp -r /usr/share/postgresql/{version} usr/share/postgresql/; \
         cp -r /usr/share/zoneinfo/UTC /usr/share/zoneinfo/Etc usr/share/zoneinfo/; \
         for lib in $(ldd {bin}/postgres {bin}/initdb {bin}/psql | grep -o '/[^ :]*' | sort -u); do \
           [ -e .$lib ] || {{ mkdir -p .$(dirname $lib); cp -L $lib .$lib; }}; done; \
         printf '%s\\n' root:x:0:0::/:/bin/sh postgres:x:999:999::/var/lib/postgresql:/bin/sh > etc/passwd; \
         echo 'postgres:x:999:' > etc/group; \
         chown -R 999:999 var/lib/postgresql; chmod 1777 var/lib/postgresql/data; \
         tar -c . | docker import -c 'VOLUME /var/lib/postgresql/data' - {image}",
        bin = bin.display(),
    );
    let host = format!("unix://{}", socket.display());
    let output = Command::new("sh")
        .args(["-c", &script])
        .env("DOCKER_HOST", host)
        .current_dir(place.path())
        .output()
        .expect("sh");
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn postgres_in_a_container_keeps_its_data_in_a_volume() {
    const TEST: &str = "postgres_in_a_container_keeps_its_data_in_a_volume";
    const IMAGE: &str = "ark-test/postgres:1";
    let Some((bin, version)) = postgres_here() else {
        return skip(TEST, Lack::Postgres, "PostgreSQL is not installed");
    };
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip(TEST, Lack::Docker, reason),
    };
    make_image(socket, &bin, &version, IMAGE);
    let ark = Ark::up_with(&[("DOCKER_HOST", &format!("unix://{}", socket.display()))]);
    write(&ark, "db", &format!("type: postgres\nversion: {version}\nimage: {IMAGE}\n"));
    // A process of this host is a client of it.
    let psql = format!("{}/psql \"$SERVICE_DB_POSTGRES_URL\" -Atqc \"$1\"", bin.display());
    write_job(&ark, "db", &psql);
    good(&ark, &["start", "job", "-e", ENV]);
    job(&ark, &["create table t (x int); insert into t values (7)"]);
    let containers = |state: &str| {
        let cluster = fs::read_to_string(ark.data_dir().join("docker/cluster")).expect("cluster");
        let label = format!("label=ark.cluster={cluster}");
        let state = format!("status={state}");
        let output = docker(socket)
            .args(["ps", "-aq", "--filter", &label, "--filter", &state])
            .output()
            .expect("docker");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let first = containers("running");
    assert_eq!(first.len(), 1);
    good(&ark, &["restart", "db", "-e", ENV]);
    let second = containers("running");
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
    assert_eq!(job(&ark, &["select x from t"]), "7");
    // Another container is a client of it too, by its name in their network.
    let name = format!("client-{}", std::process::id());
    let text = format!(
        "run: {{type: job, command: [/bin/sh, -c, '{}/psql $SERVICE_DB_POSTGRES_URL -Atqc \"$1\"', {name}]}}\n\
         dependencies: [db]\n",
        bin.display()
    );
    write(&ark, "job", &text);
    good(&ark, &["deploy", "job", "-e", ENV, "--image", IMAGE]);
    assert_eq!(job(&ark, &["select x from t"]), "7");
    let volumes = docker(socket)
        .args(["volume", "ls", "-q", "--filter", "label=ark.app=db"])
        .output()
        .expect("docker");
    let mine = fs::read_to_string(ark.data_dir().join("docker/cluster")).expect("cluster");
    let volumes = String::from_utf8_lossy(&volumes.stdout).into_owned();
    let volume = format!("ark-{}-{ENV}.db.postgres", &mine[..8]);
    assert!(volumes.lines().any(|line| line == volume), "{volumes}");
    // What is data for people is rubbish of a test.
    drop(ark);
    let script = format!(
        "docker ps -aq --filter label=ark.cluster={mine} | xargs -r docker rm -fv >/dev/null; \
         docker volume rm {volume}"
    );
    let host = format!("unix://{}", socket.display());
    let removed = Command::new("sh").args(["-c", &script]).env("DOCKER_HOST", host).output();
    let removed = removed.expect("sh");
    assert!(removed.status.success(), "{}", words(&removed));
}
