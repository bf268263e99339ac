//! The loop: one order after the other, whichever is due; then it waits until the next one is, or
//! hosts or files change. A task of the control thread, dropped when another gateway takes over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ark_model::gateway::CertificateChange;
use jiff::Timestamp;
use tokio::time::timeout;

use super::Acme;
use super::kept::{self, Failures};
use super::order::{self, Failure, Made};
use super::schedule::{self, Fault, Held, Next};
use crate::conductor::with_sources;
use crate::tls::Certificates;

/// How long it waits at most before it looks again: files may have changed.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// See the module. `directory` is where certificates are.
pub(crate) async fn keep(acme: Arc<Acme>, certificates: Arc<Certificates>, directory: PathBuf) {
    let mut changes = acme.hosts.subscribe();
    let mut failures = kept::read_failures(&directory);
    acme.news.open(&directory);
    loop {
        let hosts = changes.borrow_and_update().clone();
        let known = failures.hosts.len();
        failures.hosts.retain(|host, _| hosts.contains(host));
        if failures.hosts.len() != known {
            remember(&directory, &failures);
        }
        let now = Timestamp::now();
        let held = certificates.held();
        let of_hosts =
            hosts.iter().filter_map(|host| Some((host.as_str(), held_for(host, &held)?)));
        let of_hosts: BTreeMap<&str, Held> = of_hosts.collect();
        let authority = failures.authority.as_ref();
        match schedule::next(&hosts, &of_hosts, &failures.hosts, authority, now) {
            Next::Order(host) => {
                attend(&acme, &certificates, &directory, &mut failures, host).await;
            }
            Next::Wait(until) => {
                let wait = until.map(|until| until.duration_since(now));
                let wait = wait.and_then(|wait| Duration::try_from(wait).ok());
                let wait = wait.map_or(LOOK_AGAIN, |wait| wait.min(LOOK_AGAIN));
                // Ends with the gateway, never by itself.
                let _ = timeout(wait, changes.changed()).await;
            }
        }
    }
}

/// The certificate that is served for `host`: of several the one that is valid longest.
fn held_for(host: &str, held: &[HeldFor]) -> Option<Held> {
    let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
    let fits = |name: &String| name == host || Some(name) == wildcard.as_ref();
    let of_host = held.iter().filter(|held| held.names.iter().any(fits));
    of_host.map(|held| held.held).max_by_key(|held| held.not_after)
}

/// A certificate in force.
#[derive(Debug, Clone)]
pub(crate) struct HeldFor {
    names: Vec<String>,
    held: Held,
}

impl HeldFor {
    pub(crate) fn new(chain: &Path, loaded: &crate::tls::certificates::Loaded) -> Self {
        let (ours, taken) = (kept::is_ours(chain), kept::taken_at(chain));
        // Authorities say an earlier begin, for clocks that are slow: its life here is from when it
        // was got.
        let not_before = taken.map_or(loaded.not_before, |taken| taken.max(loaded.not_before));
        let held = Held { not_before, not_after: loaded.not_after, ours };
        Self { names: loaded.names.clone(), held }
    }
}

/// Gets one certificate, and puts it in force.
async fn attend(
    acme: &Acme,
    certificates: &Arc<Certificates>,
    directory: &Path,
    failures: &mut Failures,
    host: &str,
) {
    let before = failures.hosts.get(host).map_or(0, |failed| failed.times);
    let had_one = held_for(host, &certificates.held()).is_some_and(|held| held.ours);
    let got = match acme.ways.get(before as usize % acme.ways.len().max(1)) {
        Some(way) => order::certificate(acme, directory, host, *way).await.map(|made| (*way, made)),
        None => Err(Failure {
            fault: Fault::Host,
            told: None,
            reason: "no listener for the challenge that is asked for".to_owned(),
        }),
    };
    let now = Timestamp::now();
    let failure = match got {
        Ok((way, made)) => match put_in_force(certificates, directory, host, made, now).await {
            Ok(()) => {
                tracing::info!(host, ?way, "certificate got by ACME, in force now");
                let until = held_for(host, &certificates.held()).map(|held| held.not_after);
                let change = match had_one {
                    true => CertificateChange::Renewed { until },
                    false => CertificateChange::Issued { until },
                };
                acme.news.add(host, change, now);
                let (of_host, of_all) = (failures.hosts.remove(host), failures.authority.take());
                if of_host.is_some() || of_all.is_some() {
                    remember(directory, failures);
                }
                return;
            }
            // Not the host's fault, but asking again and again would use up what it is allowed.
            Err(reason) => Failure { fault: Fault::Host, told: None, reason },
        },
        Err(failure) => failure,
    };
    let Failure { fault, told, reason } = failure;
    let fault = schedule::whose(fault, host, &failures.hosts, now);
    let before = match fault {
        Fault::Authority => failures.authority.as_ref(),
        Fault::Host | Fault::RateLimited => failures.hosts.get(host),
    };
    let failed = schedule::after_failure(host, before, fault, told, reason, now);
    tracing::error!(
        host, reason = failed.reason, times = failed.times, again_at = %failed.until,
        "no certificate by ACME; what is served goes on being served"
    );
    let change = CertificateChange::Failed {
        reason: failed.reason.clone(),
        times: failed.times,
        next: failed.until,
    };
    acme.news.add(host, change, now);
    match fault {
        Fault::Authority => failures.authority = Some(failed),
        Fault::Host | Fault::RateLimited => {
            failures.authority = None;
            failures.hosts.insert(host.to_owned(), failed);
        }
    }
    remember(directory, failures);
}

async fn put_in_force(
    certificates: &Arc<Certificates>,
    directory: &Path,
    host: &str,
    made: Made,
    now: Timestamp,
) -> Result<(), String> {
    let (certificates, directory) = (certificates.clone(), directory.to_owned());
    let host = host.to_owned();
    let put = move || {
        let place = kept::write_certificate(&directory, &host, &made.chain, &made.key, now)?;
        crate::tls::log(&certificates.look());
        kept::remove_older(&directory, &place);
        crate::tls::log(&certificates.look());
        Ok(())
    };
    match tokio::task::spawn_blocking(put).await {
        Ok(put) => put.map_err(|error: crate::Error| with_sources(&error)),
        Err(error) => Err(error.to_string()),
    }
}

fn remember(directory: &Path, failures: &Failures) {
    if let Err(error) = kept::write_failures(directory, failures) {
        tracing::warn!(error = %with_sources(&error), "what failed by ACME is not written down");
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn of_several_certificates_the_one_that_is_served_counts() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let held = |names: &[&str], hours: i64, ours| HeldFor {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            held: Held {
                not_before: now,
                not_after: now + SignedDuration::from_hours(hours),
                ours,
            },
        };
        let all =
            [held(&["a.com"], 2, true), held(&["*.com"], 5, false), held(&["b.com"], 9, true)];
        assert_eq!(held_for("a.com", &all), Some(all[1].held));
        assert_eq!(held_for("b.com", &all), Some(all[2].held));
        assert_eq!(held_for("x.a.com", &all), None);
    }
}
