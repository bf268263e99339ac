//! Which apps may run privileged: `ENV/APP` each, `*` for any. Said by whoever starts the server, so
//! that nobody who may only deploy can give an app the host. Pure.

use std::str::FromStr;

use ark_model::ids::{AppName, EnvName};

/// Any.
const ANY: &str = "*";

/// A list such as `tools/agent dev/*`; empty allows nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrivilegedApps(Vec<(Option<EnvName>, Option<AppName>)>);

impl FromStr for PrivilegedApps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |word: &str| {
            let wrong = || format!("`{word}` is no ENV/APP such as tools/agent or dev/*");
            let (env, app) = word.split_once('/').ok_or_else(wrong)?;
            let env = (env != ANY).then(|| env.parse()).transpose().map_err(|_| wrong())?;
            let app = (app != ANY).then(|| app.parse()).transpose().map_err(|_| wrong())?;
            Ok((env, app))
        };
        text.split_whitespace().map(one).collect::<Result<_, _>>().map(Self)
    }
}

impl PrivilegedApps {
    /// Whether this app may be.
    pub(super) fn has(&self, env: &EnvName, app: &AppName) -> bool {
        let fits = |(an_env, an_app): &(Option<EnvName>, Option<AppName>)| {
            an_env.as_ref().is_none_or(|an_env| an_env == env)
                && an_app.as_ref().is_none_or(|an_app| an_app == app)
        };
        self.0.iter().any(fits)
    }

    /// Why not, and what would help.
    pub fn refusal(env: &EnvName, app: &AppName) -> String {
        format!(
            "`run.privileged` of {app} in {env} is not allowed here; start the server with \
             ARK_ALLOW_PRIVILEGED={env}/{app}, or leave it out"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_named_may_be() {
        for (list, env, app, expected) in [
            ("", "dev", "web", false),
            ("dev/web", "dev", "web", true),
            ("dev/web", "production", "web", false),
            ("dev/web", "dev", "api", false),
            ("tools/agent dev/*", "dev", "api", true),
            ("*/agent", "production", "agent", true),
            ("*/*", "production", "web", true),
        ] {
            let apps: PrivilegedApps = list.parse().unwrap();
            assert_eq!(apps.has(&env.parse().unwrap(), &app.parse().unwrap()), expected, "{list}");
        }
        for bad in ["web", "a/b/c", "dev/web,api", "/", "Dev/web"] {
            assert!(bad.parse::<PrivilegedApps>().is_err(), "{bad}");
        }
    }
}
