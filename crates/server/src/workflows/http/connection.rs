//! Credentials for calls. A connection `<env>--<app>` is the configuration of that app, which need not
//! be deployed: its secrets are kept, versioned and shown to nobody as all others are.
//!
//! | variable | |
//! | --- | --- |
//! | `CONNECTION_HOSTS` | the hosts, separated by commas, that may be told the credentials; needed |
//! | `CONNECTION_AUTHORIZATION` | the whole value of `Authorization`: `Bearer ...` |
//! | `CONNECTION_USERNAME`, `CONNECTION_PASSWORD` | or these, as Basic |
//! | `CONNECTION_HEADER`, `CONNECTION_VALUE` | or a header field of its own |

use std::collections::BTreeMap;

use ark_model::{AppName, EnvName};
use ark_store::{ConfigValue, Keyring, SecretName, Store, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::caller::Outgoing;

/// Credentials, and who may be told them.
pub(super) struct Connection {
    name: String,
    hosts: Vec<String>,
    header: (String, String),
}

/// Reads a connection.
///
/// # Errors
/// What is missing, for people; never a value.
pub(super) async fn load(
    store: &Store,
    keyring: &Keyring,
    name: &str,
    namespace: Option<&str>,
) -> Result<Connection, String> {
    let (env, app) = place(name, namespace)?;
    let (e, a) = (env.clone(), app.clone());
    let config = store
        .read(move |tx| -> Result<_, StoreError> { tx.config(&e, &a) })
        .await
        .map_err(|error| error.to_string())?;
    let mut values = BTreeMap::new();
    for (key, value) in config.values {
        let value = match value {
            ConfigValue::Plain { value } => value,
            ConfigValue::Secret { version, sealed } => {
                let place = SecretName { env: &env, app: &app, name: &key, version };
                let opened = keyring.open_sealed(place, &sealed);
                opened.map_err(|error| error.to_string())?.expose().to_owned()
            }
        };
        values.insert(key, value);
    }
    read(name, &values, &format!("ark config set -e {env} {app}"))
}

/// `<env>--<app>`, or an app of the execution's own namespace.
fn place(name: &str, namespace: Option<&str>) -> Result<(EnvName, AppName), String> {
    let (env, app) = match (name.split_once("--"), namespace) {
        (Some((env, app)), _) => (env, app),
        (None, Some(env)) => (env, name),
        (None, None) => {
            return Err(format!("connection `{name}` must be named <environment>--<app>"));
        }
    };
    let named = |error: ark_model::NameError| format!("connection `{name}`: {error}");
    Ok((env.parse().map_err(named)?, app.parse().map_err(named)?))
}

fn read(name: &str, values: &BTreeMap<String, String>, set: &str) -> Result<Connection, String> {
    let value = |key: &str| values.get(key).cloned();
    let hosts: Vec<String> = value("CONNECTION_HOSTS")
        .unwrap_or_default()
        .split(',')
        .map(|host| host.trim().to_ascii_lowercase())
        .filter(|host| !host.is_empty())
        .collect();
    if hosts.is_empty() {
        return Err(format!(
            "connection `{name}` names no host that may be told its credentials: {set} CONNECTION_HOSTS=api.example.com"
        ));
    }
    let header = if let Some(whole) = value("CONNECTION_AUTHORIZATION") {
        ("authorization".to_owned(), whole)
    } else if let (Some(user), Some(password)) =
        (value("CONNECTION_USERNAME"), value("CONNECTION_PASSWORD"))
    {
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        ("authorization".to_owned(), format!("Basic {encoded}"))
    } else if let (Some(field), Some(value)) =
        (value("CONNECTION_HEADER"), value("CONNECTION_VALUE"))
    {
        (field.to_ascii_lowercase(), value)
    } else {
        return Err(format!(
            "connection `{name}` has no credentials: {set} --secret CONNECTION_AUTHORIZATION"
        ));
    };
    Ok(Connection { name: name.to_owned(), hosts, header })
}

impl Connection {
    /// Adds the credentials; they stand over a field of the same name.
    ///
    /// # Errors
    /// When the host may not be told them.
    pub(super) fn apply(self, outgoing: &mut Outgoing) -> Result<(), String> {
        let host = outgoing.url.host_str().unwrap_or_default().to_ascii_lowercase();
        if !self.hosts.contains(&host) {
            return Err(format!(
                "connection `{}` is not for host `{host}`: CONNECTION_HOSTS names those it is for",
                self.name
            ));
        }
        let (field, value) = self.header;
        outgoing.headers.retain(|(name, _)| *name != field);
        outgoing.headers.push((field, value));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn credentials_go_to_their_hosts_and_to_no_other() {
        let hosts = ("CONNECTION_HOSTS", "api.example.test, 127.0.0.1");
        for (pairs, wanted) in [
            (vec![hosts, ("CONNECTION_AUTHORIZATION", "Bearer x")], ("authorization", "Bearer x")),
            (
                vec![hosts, ("CONNECTION_USERNAME", "ana"), ("CONNECTION_PASSWORD", "p")],
                ("authorization", "Basic YW5hOnA="),
            ),
            (
                vec![hosts, ("CONNECTION_HEADER", "X-Key"), ("CONNECTION_VALUE", "k")],
                ("x-key", "k"),
            ),
        ] {
            let mut outgoing = Outgoing::get("https://API.example.test/x");
            read("c", &values(&pairs), "")
                .expect("a connection")
                .apply(&mut outgoing)
                .expect("told");
            let wanted = (wanted.0.to_owned(), wanted.1.to_owned());
            assert_eq!(outgoing.headers, [wanted]);
            let mut other = Outgoing::get("https://evil.test/x");
            let why = read("c", &values(&pairs), "").expect("a connection").apply(&mut other);
            assert!(why.expect_err("refused").contains("evil.test"));
            assert!(other.headers.is_empty());
        }
        assert!(read("c", &values(&[hosts]), "").is_err());
        assert!(read("c", &values(&[("CONNECTION_AUTHORIZATION", "x")]), "").is_err());
    }

    #[test]
    fn a_name_says_environment_and_app() {
        let text = |name: &str, namespace| {
            place(name, namespace).map(|(env, app)| format!("{env} {app}")).ok()
        };
        assert_eq!(text("production--pay", None).as_deref(), Some("production pay"));
        assert_eq!(text("pay", Some("dev")).as_deref(), Some("dev pay"));
        assert_eq!(text("pay", None), None);
        assert_eq!(text("Pay", Some("dev")), None);
    }
}
