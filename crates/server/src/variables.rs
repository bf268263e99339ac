//! The environment that an instance is given: what its release pins, and what Ark adds. Nothing is
//! inherited from the server. Called by the deployment task for each start and by the API for
//! `ark start -l`; decrypts nothing itself.

use std::collections::BTreeMap;

use ark_model::definition::{Definition, RunKind};
use ark_model::instance::PortBinding;
use ark_model::{AppName, EnvName, InstanceId};

use crate::data_stores::Credentials;

/// Where a process looks for programs when the definition does not declare `PATH` itself. A container has
/// its image's own.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How one dependency is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// The app depended on.
    pub app: AppName,
    /// Its `expose` entry.
    pub expose: String,
    /// `http` or `tcp`.
    pub proto: &'static str,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How a client makes itself known, when it is a data store of Ark's.
    pub credentials: Option<Credentials>,
}

/// Who the instance is.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// Its environment.
    pub env: &'a EnvName,
    /// Its app.
    pub app: &'a AppName,
    /// Its id; `None` for a process on an engineer's machine (`ark start -l`).
    pub instance: Option<InstanceId>,
}

/// All variables, sorted by name. `values` are the declared ones, secrets in clear.
///
/// What Ark injects wins over what is declared.
pub fn assemble(
    who: Identity<'_>,
    definition: &Definition,
    values: BTreeMap<String, String>,
    ports: &[PortBinding],
    dependencies: &[Discovered],
) -> BTreeMap<String, String> {
    let mut all = values;
    all.extend(identity(who, definition));
    if let Some(first) = ports.first() {
        all.insert("PORT".into(), first.address.port().to_string());
    }
    for port in ports {
        all.insert(format!("PORT_{}", upper(&port.expose)), port.address.port().to_string());
    }
    for d in dependencies {
        let prefix = format!("SERVICE_{}_{}", upper(d.app.as_str()), upper(&d.expose));
        all.insert(format!("{prefix}_PROTO"), d.proto.to_owned());
        all.insert(format!("{prefix}_HOST"), d.host.clone());
        all.insert(format!("{prefix}_PORT"), d.port.to_string());
        if let Some(credentials) = &d.credentials {
            for (name, value) in credentials.variables(&d.host, d.port) {
                all.insert(format!("{prefix}_{name}"), value);
            }
        }
    }
    for host in &definition.external_url_usage {
        all.insert(format!("EXTERNAL_URL_{}", upper(host)), format!("https://{host}:443"));
    }
    all
}

fn identity(who: Identity<'_>, definition: &Definition) -> Vec<(String, String)> {
    let (id, short) = match who.instance {
        Some(id) => (id.to_string(), id.short(who.app)),
        None => ("local".to_owned(), "local".to_owned()),
    };
    let local = who.instance.is_none();
    [
        ("_DEPLOY_ENV", who.env.to_string()),
        ("_APP_NAME", who.app.to_string()),
        ("_TEAM_OWNER", definition.team.clone().unwrap_or_default()),
        ("_POD_ID", id),
        ("_POD_SHORTNAME", short),
        ("_POD_REGION", "local".to_owned()),
        ("_POD_ACCOUNT", "local".to_owned()),
        ("_TRACING_ENABLED", "false".to_owned()),
        ("_IS_LOCAL", local.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .chain(of_function(who, definition))
    .collect()
}

/// A function of other platforms may have no name that begins with an underscore: written for one, it
/// knows itself by these.
fn of_function(who: Identity<'_>, definition: &Definition) -> Vec<(String, String)> {
    match definition.run.kind {
        RunKind::Lambda => {
            vec![
                ("DEPLOY_ENV".to_owned(), who.env.to_string()),
                ("APP_NAME".to_owned(), who.app.to_string()),
            ]
        }
        RunKind::Service | RunKind::Worker | RunKind::Daemon | RunKind::Cron | RunKind::Job => {
            Vec::new()
        }
    }
}

/// A name as part of a variable's: `district-authorizations` -> `DISTRICT_AUTHORIZATIONS`.
pub(crate) fn upper(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_injected_is_there_and_nothing_else() {
        let definition = Definition {
            external_url_usage: vec!["schools.clever.com".into()],
            ..Definition::default()
        };
        let (env, app) = ("dev".parse().expect("a name"), "who-is-who".parse().expect("a name"));
        let dep = Discovered {
            app: "district-authorizations".parse().expect("a name"),
            expose: "http".into(),
            proto: "http",
            host: "127.0.0.1".into(),
            port: 17_001,
            credentials: None,
        };
        let port = |name: &str, n| PortBinding {
            expose: name.into(),
            address: ([127, 0, 0, 1], n).into(),
        };
        let id = InstanceId(uuid::Uuid::nil());
        let all = assemble(
            Identity { env: &env, app: &app, instance: Some(id) },
            &definition,
            [("DB_URL".to_owned(), "x".to_owned())].into(),
            &[port("default", 20_000), port("pprof", 20_001)],
            &[dep],
        );
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "DB_URL",
                "EXTERNAL_URL_SCHOOLS_CLEVER_COM",
                "PORT",
                "PORT_DEFAULT",
                "PORT_PPROF",
                "SERVICE_DISTRICT_AUTHORIZATIONS_HTTP_HOST",
                "SERVICE_DISTRICT_AUTHORIZATIONS_HTTP_PORT",
                "SERVICE_DISTRICT_AUTHORIZATIONS_HTTP_PROTO",
                "_APP_NAME",
                "_DEPLOY_ENV",
                "_IS_LOCAL",
                "_POD_ACCOUNT",
                "_POD_ID",
                "_POD_REGION",
                "_POD_SHORTNAME",
                "_TEAM_OWNER",
                "_TRACING_ENABLED",
            ]
        );
        // A function's have no underscore: those of other platforms may have none.
        let mut function = Definition::default();
        function.run.kind = RunKind::Lambda;
        let who = Identity { env: &env, app: &app, instance: Some(id) };
        let of_function = assemble(who, &function, BTreeMap::new(), &[], &[]);
        for (name, value) in [("DEPLOY_ENV", "dev"), ("APP_NAME", "who-is-who")] {
            assert!(!all.contains_key(name), "{name}");
            assert_eq!(of_function[name], value);
            assert_eq!(of_function[&format!("_{name}")], value);
        }
        assert_eq!(all["PORT"], "20000");
        assert_eq!(all["PORT_PPROF"], "20001");
        assert_eq!(all["SERVICE_DISTRICT_AUTHORIZATIONS_HTTP_PORT"], "17001");
        assert_eq!(all["EXTERNAL_URL_SCHOOLS_CLEVER_COM"], "https://schools.clever.com:443");
    }
}
