//! What the sample app reads from its environment. Pure: the environment is passed in.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `PORT` | the port; 0 picks one |
//! | `LISTEN_HOST` | the address to listen on (default `127.0.0.1`); in a container `0.0.0.0` |
//! | `VERSION` | the version it says it is (default `1`) |
//! | `BROKEN` | `never-ready`, `crash`, `crash-after-ms:N`, `ill-between-ms:N-M`, `fails-one-in:N` |
//! | `START_DELAY_MS` | not ready for so long |
//! | `IGNORE_SIGTERM=1` | goes on when told to stop |
//! | `EXIT_AT_ONCE=1` | stops without finishing requests |
//! | `LOG_REQUESTS=1` | writes a line for each request but health checks |

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::http::HeaderValue;

/// All settings.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) address: SocketAddr,
    pub(super) identity: Identity,
    pub(super) broken: Broken,
    pub(super) start_delay: Duration,
    pub(super) on_sigterm: OnSigterm,
    pub(super) log_requests: bool,
}

/// Who this instance is.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) version: String,
    /// The same, for every answer.
    pub(super) version_header: HeaderValue,
    pub(super) app: String,
    pub(super) instance: String,
    pub(super) environment: String,
}

/// How the app fails on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    No,
    /// The health check answers 500 for ever.
    NeverReady,
    /// Exits with 1 at its start.
    Crash,
    /// Exits with 1 after this time.
    CrashAfter(Duration),
    /// The health check answers 500 from the first time after the start to the second.
    IllBetween(Duration, Duration),
    /// Is healthy, and answers one of so many requests with 500.
    FailsOneIn(NonZeroU64),
}

/// What SIGTERM does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnSigterm {
    /// Finish the requests at hand, then exit with 0.
    Finish,
    /// Nothing.
    Ignore,
    /// Exit with 0, cutting the requests at hand.
    ExitAtOnce,
}

impl Settings {
    /// Reads the variables through `get`.
    ///
    /// # Errors
    /// Names the variable that is missing or has no meaning.
    pub(super) fn read(get: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let port = get("PORT").context("PORT is not set")?;
        let port: u16 = port.parse().with_context(|| format!("PORT {port:?}"))?;
        let host: IpAddr = match get("LISTEN_HOST") {
            Some(host) => host.parse().with_context(|| format!("LISTEN_HOST {host:?}"))?,
            None => Ipv4Addr::LOCALHOST.into(),
        };
        let address = (host, port).into();
        let flag = |name: &str| get(name).is_some_and(|value| value == "1");
        let on_sigterm = match (flag("IGNORE_SIGTERM"), flag("EXIT_AT_ONCE")) {
            (false, false) => OnSigterm::Finish,
            (true, false) => OnSigterm::Ignore,
            (false, true) => OnSigterm::ExitAtOnce,
            (true, true) => bail!("IGNORE_SIGTERM and EXIT_AT_ONCE exclude each other"),
        };
        let start_delay = match get("START_DELAY_MS") {
            Some(ms) => milliseconds("START_DELAY_MS", &ms)?,
            None => Duration::ZERO,
        };
        let broken = Broken::read(get("BROKEN").as_deref().unwrap_or_default())?;
        let log_requests = flag("LOG_REQUESTS");
        let identity = Identity::read(&get)?;
        Ok(Self { address, identity, broken, start_delay, on_sigterm, log_requests })
    }
}

impl Identity {
    fn read(get: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let any = |names: [&str; 2], default: &str| {
            let set = names.into_iter().find_map(&get).filter(|value| !value.is_empty());
            // The answer is one line, whatever the variables hold.
            set.unwrap_or_else(|| default.to_owned()).replace(char::is_whitespace, "_")
        };
        let version = any(["VERSION", "VERSION"], "1");
        let version_header = HeaderValue::from_str(&version)
            .with_context(|| format!("VERSION {version:?} cannot be a header"))?;
        Ok(Self {
            version,
            version_header,
            app: any(["_APP_NAME", "APP_NAME"], "sample"),
            instance: any(["_POD_SHORTNAME", "ARK_INSTANCE_ID"], "local"),
            environment: any(["_DEPLOY_ENV", "DEPLOY_ENV"], "local"),
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, app, instance, environment, .. } = self;
        write!(f, "app={app} version={version} instance={instance} env={environment}")
    }
}

impl Broken {
    fn read(text: &str) -> anyhow::Result<Self> {
        match text.split_once(':') {
            None if text.is_empty() => Ok(Self::No),
            None if text == "never-ready" => Ok(Self::NeverReady),
            None if text == "crash" => Ok(Self::Crash),
            Some(("crash-after-ms", ms)) => milliseconds("BROKEN", ms).map(Self::CrashAfter),
            Some(("ill-between-ms", span)) if let Some((from, to)) = span.split_once('-') => {
                Ok(Self::IllBetween(milliseconds("BROKEN", from)?, milliseconds("BROKEN", to)?))
            }
            Some(("fails-one-in", n)) => {
                let n = n.parse().with_context(|| format!("BROKEN {text:?}: one in how many"))?;
                Ok(Self::FailsOneIn(n))
            }
            _ => bail!(
                "BROKEN {text:?} (known: never-ready, crash, crash-after-ms:N, \
                 ill-between-ms:N-M, fails-one-in:N)"
            ),
        }
    }
}

fn milliseconds(name: &str, text: &str) -> anyhow::Result<Duration> {
    let ms = text.parse().with_context(|| format!("{name} {text:?} in milliseconds"))?;
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Settings> {
        Settings::read(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn defaults() {
        let settings = read(&[("PORT", "0")]).expect("PORT is enough");
        let line = settings.identity.to_string();
        assert_eq!(line, "app=sample version=1 instance=local env=local");
        assert_eq!(settings.broken, Broken::No);
        assert_eq!(settings.on_sigterm, OnSigterm::Finish);
        assert_eq!(settings.start_delay, Duration::ZERO);
    }

    #[test]
    fn the_injected_variables_say_who_it_is() {
        let identity = read(&[
            ("PORT", "4000"),
            ("VERSION", "2\n"),
            ("_APP_NAME", "web"),
            ("_DEPLOY_ENV", "production"),
            ("ARK_INSTANCE_ID", "web-7f3a"),
        ]);
        let line = identity.expect("settings").identity.to_string();
        assert_eq!(line, "app=web version=2_ instance=web-7f3a env=production");
    }

    #[test]
    fn ways_of_being_broken() {
        for (text, expect) in [
            ("", Broken::No),
            ("never-ready", Broken::NeverReady),
            ("crash", Broken::Crash),
            ("crash-after-ms:250", Broken::CrashAfter(Duration::from_millis(250))),
            (
                "ill-between-ms:250-900",
                Broken::IllBetween(Duration::from_millis(250), Duration::from_millis(900)),
            ),
        ] {
            let settings = read(&[("PORT", "0"), ("BROKEN", text)]).expect(text);
            assert_eq!(settings.broken, expect);
        }
    }

    #[test]
    fn what_has_no_meaning_is_named() {
        for (variables, named) in [
            (&[][..], "PORT"),
            (&[("PORT", "http")], "PORT"),
            (&[("PORT", "70000")], "PORT"),
            (&[("PORT", "0"), ("BROKEN", "a bit")], "a bit"),
            (&[("PORT", "0"), ("BROKEN", "crash-after-ms:soon")], "soon"),
            (&[("PORT", "0"), ("BROKEN", "ill-between-ms:5")], "ill-between-ms:5"),
            (&[("PORT", "0"), ("BROKEN", "fails-one-in:0")], "one in how many"),
            (&[("PORT", "0"), ("START_DELAY_MS", "-1")], "START_DELAY_MS"),
            (&[("PORT", "0"), ("VERSION", "a\u{7f}")], "VERSION"),
            (&[("PORT", "0"), ("IGNORE_SIGTERM", "1"), ("EXIT_AT_ONCE", "1")], "exclude"),
        ] {
            let error = read(variables).expect_err(named).to_string();
            assert!(error.contains(named), "{error:?} names {named:?}");
        }
    }
}
