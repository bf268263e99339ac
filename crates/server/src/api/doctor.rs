//! `ark doctor`: looks at everything the server stands on and says what to do about the rest.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use ark_engine::Enforcement;
use ark_gateway::tls::certificates as files;
use ark_model::api::{CheckOutcome, DoctorCheck, DoctorReport};
use ark_store::{DamagedRecord, ReadTx};
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};

use super::error::{ApiError, chain};
use super::extract::Json;
use super::operation::Shared;

/// Less free space than this, in bytes, is a warning.
const FREE_BYTES_LOW: u64 = 1 << 30;
/// Less free space than this, in bytes, is a failure.
const FREE_BYTES_MIN: u64 = 64 << 20;
/// How many hosts without a certificate are named.
const FAILING_MAX: usize = 20;
/// From how long before its end on a certificate is a warning.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How long the engine may take to say what runs.
const ENGINE_DEADLINE: Duration = Duration::from_secs(5);

pub(super) async fn doctor(State(state): State<Shared>) -> Json<DoctorReport> {
    let mut checks =
        vec![store(&state).await, gateway(&state), engine(&state).await, images(&state).await];
    checks.extend(records(&state).await);
    let data_dir = state.settings.data_dir.clone();
    let disk = tokio::task::spawn_blocking(move || {
        let mut checks = vec![disk(&data_dir)];
        checks.extend(private(&data_dir));
        checks.extend(certificates(&data_dir, Timestamp::now()));
        checks.extend(acme(&data_dir));
        checks
    });
    checks.extend(disk.await.unwrap_or_default());
    for (name, enforcement) in state.engine.capabilities().rows() {
        checks.push(match enforcement {
            Enforcement::Enforced => check(name, CheckOutcome::Ok, "enforced"),
            Enforcement::NotEnforced { reason } => DoctorCheck {
                remedy: Some(remedy_of(name).to_owned()),
                ..check(name, CheckOutcome::Warn, format!("not enforced: {reason}"))
            },
        });
    }
    let outcome = checks.iter().map(|check| check.outcome).max().unwrap_or(CheckOutcome::Ok);
    Json(DoctorReport { checks, outcome })
}

fn check(name: &str, outcome: CheckOutcome, detail: impl Into<String>) -> DoctorCheck {
    DoctorCheck { name: name.to_owned(), outcome, detail: detail.into(), remedy: None }
}

fn remedy_of(capability: &str) -> &'static str {
    match capability {
        "app isolation" => "run `ark up` as root: each app then gets a user of its own",
        _ => {
            "give the server a writable cgroup: run it as root, or with a delegated cgroup (systemd: Delegate=yes)"
        }
    }
}

/// Writes a record, so that a full or read-only disk shows before a deployment meets it.
async fn store(state: &Shared) -> DoctorCheck {
    let written = state
        .store
        .write::<_, ApiError, _>(|tx| {
            tx.put_meta("doctor", "looked")?;
            Ok(tx.epoch()?)
        })
        .await;
    match written {
        Ok(_) => check("store", CheckOutcome::Ok, "reads and writes"),
        Err(error) => DoctorCheck {
            remedy: Some("free space on the disk of the data directory".to_owned()),
            ..check("store", CheckOutcome::Fail, error.problem().detail.clone())
        },
    }
}

/// Records that cannot be read, each with the way out; nothing when there are none.
async fn records(state: &Shared) -> Vec<DoctorCheck> {
    let name = "records";
    let damaged = match state.store.read(ReadTx::damaged_records).await {
        Ok(damaged) => damaged,
        Err(error) => return vec![check(name, CheckOutcome::Fail, chain(&error))],
    };
    let one = |record: DamagedRecord| {
        let whose = match record.app.as_str() {
            "" => format!("environment {}", record.env),
            app => format!("{app} in {}", record.env),
        };
        let detail = format!(
            "the record of {} {} cannot be read: {whose} is held up, and goes on as it is",
            record.noun, record.key
        );
        let remedy = match record.noun {
            "deployment" => format!(
                "restore ark.db from a backup (docs/store.md), or let go of this deployment: stop the \
                 server, sqlite3 DATA_DIR/ark.db \"DELETE FROM deployments WHERE id = '{}'\", start it",
                record.key
            ),
            _ => "restore ark.db from a backup (docs/store.md)".to_owned(),
        };
        DoctorCheck { remedy: Some(remedy), ..check(name, CheckOutcome::Fail, detail) }
    };
    damaged.into_iter().map(one).collect()
}

fn gateway(state: &Shared) -> DoctorCheck {
    let seen = state.observations.gateway();
    let at: Vec<String> = seen.http.iter().map(|at| format!("http://{at}")).collect();
    match (seen.connected, seen.refused) {
        (true, None) => {
            check("gateway", CheckOutcome::Ok, format!("connected, serves {}", at.join(", ")))
        }
        (true, Some(reason)) => check(
            "gateway",
            CheckOutcome::Fail,
            format!("connected, but refused the last route table: {reason}"),
        ),
        (false, _) => DoctorCheck {
            remedy: Some(
                "its supervisor starts it again; if it does not come back, restart `ark up`"
                    .to_owned(),
            ),
            ..check(
                "gateway",
                CheckOutcome::Fail,
                "not connected; what it was last told it goes on serving",
            )
        },
    }
}

async fn engine(state: &Shared) -> DoctorCheck {
    let kind = state.engine.kind();
    match tokio::time::timeout(ENGINE_DEADLINE, state.engine.look()).await {
        Ok(Ok(sight)) => {
            let detail = format!("{kind}, knows {} instances", sight.seen.len());
            match sight.silent.first() {
                None => check("engine", CheckOutcome::Ok, detail),
                Some((silent, error)) => {
                    let detail =
                        format!("{detail}; nothing is known of {silent}: {}", chain(error));
                    check("engine", CheckOutcome::Fail, detail)
                }
            }
        }
        Ok(Err(error)) => check("engine", CheckOutcome::Fail, format!("{kind}: {}", chain(&error))),
        Err(_) => check("engine", CheckOutcome::Fail, format!("{kind} does not answer")),
    }
}

/// Whether images can run here: a question for one that nobody has.
async fn images(state: &Shared) -> DoctorCheck {
    let asked = state.engine.image_digest("ark/doctor:none");
    let why = match tokio::time::timeout(ENGINE_DEADLINE, asked).await {
        Ok(Ok(_)) => return check("images", CheckOutcome::Ok, "a Docker engine answers"),
        Ok(Err(error)) => chain(&error),
        Err(_) => "it does not answer".to_owned(),
    };
    DoctorCheck {
        remedy: Some(
            "install and start Docker, or set DOCKER_HOST for the server to its socket".to_owned(),
        ),
        ..check("images", CheckOutcome::Warn, format!("only directories can run: {why}"))
    }
}

fn disk(data_dir: &Path) -> DoctorCheck {
    let name = "disk";
    let statistics = match rustix::fs::statvfs(data_dir) {
        Ok(statistics) => statistics,
        Err(error) => {
            return check(name, CheckOutcome::Fail, format!("{}: {error}", data_dir.display()));
        }
    };
    let free = statistics.f_bavail.saturating_mul(statistics.f_frsize);
    let outcome = match free {
        0..FREE_BYTES_MIN => CheckOutcome::Fail,
        FREE_BYTES_MIN..FREE_BYTES_LOW => CheckOutcome::Warn,
        FREE_BYTES_LOW.. => CheckOutcome::Ok,
    };
    let detail = format!("{} MiB free at {}", free >> 20, data_dir.display());
    let remedy = (outcome != CheckOutcome::Ok).then(|| "ark gc, or free space".to_owned());
    DoctorCheck { remedy, ..check(name, outcome, detail) }
}

/// Each certificate in files that is bad or ends soon; one line when all are well.
fn certificates(data_dir: &Path, now: Timestamp) -> Vec<DoctorCheck> {
    let name = "certificates";
    let pairs = files::pairs(&data_dir.join(files::DIRECTORY));
    let count = pairs.len();
    let bad: Vec<DoctorCheck> =
        pairs.iter().filter_map(|pair| certificate(name, pair, now)).collect();
    match (count, bad.is_empty()) {
        (0, _) => Vec::new(),
        (_, true) => vec![check(name, CheckOutcome::Ok, format!("{count} in force"))],
        (_, false) => bad,
    }
}

/// What could not be got by ACME. What is served goes on, and its end is a check of its own.
fn acme(data_dir: &Path) -> Vec<DoctorCheck> {
    let failing = ark_gateway::acme::failing(&data_dir.join(files::DIRECTORY));
    let one = |failing: ark_gateway::acme::Failing| {
        let host = failing.host.map_or_else(|| "any host".to_owned(), |host| host.clone());
        let detail = format!(
            "no certificate for {host}: {} (attempt {}, next {})",
            failing.reason, failing.times, failing.next
        );
        let remedy = "the host must lead here, on port 80 or 443, and the authority be reachable";
        DoctorCheck { remedy: Some(remedy.to_owned()), ..check("ACME", CheckOutcome::Warn, detail) }
    };
    failing.into_iter().take(FAILING_MAX).map(one).collect()
}

fn certificate(name: &str, pair: &files::Pair, now: Timestamp) -> Option<DoctorCheck> {
    let loaded = match pair.load() {
        Ok(loaded) => loaded,
        Err(problem) => {
            return Some(DoctorCheck {
                remedy: Some("replace the file; until then the one before is served".to_owned()),
                ..check(name, CheckOutcome::Warn, problem.to_string())
            });
        }
    };
    let left = loaded.not_after.duration_since(now);
    if left > EXPIRES_SOON {
        return None;
    }
    let (outcome, words) = match left.is_positive() {
        true => (CheckOutcome::Warn, format!("ends in {} days", left.as_hours() / 24)),
        false => (CheckOutcome::Fail, "has ended".to_owned()),
    };
    let detail = format!(
        "{} for {} {words} ({})",
        pair.chain.display(),
        loaded.names.join(", "),
        loaded.not_after
    );
    let remedy =
        Some("put a new certificate and key in its place; nothing is restarted".to_owned());
    Some(DoctorCheck { remedy, ..check(name, outcome, detail) })
}

/// Whether others may read what is nobody's business.
fn private(data_dir: &Path) -> Option<DoctorCheck> {
    let name = "data directory";
    let mode = data_dir.metadata().ok()?.permissions().mode() & 0o777;
    // Passing through is needed by apps that run under users of their own.
    if mode & 0o066 == 0 {
        return Some(check(name, CheckOutcome::Ok, format!("private (mode {mode:04o})")));
    }
    Some(DoctorCheck {
        remedy: Some(format!("chmod go-rw {}", data_dir.display())),
        ..check(name, CheckOutcome::Warn, format!("others may look into it (mode {mode:04o})"))
    })
}
