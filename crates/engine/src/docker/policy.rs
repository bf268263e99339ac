//! Which apps may have which rights beyond those of every container. Said by whoever starts the server,
//! so that nobody who may only deploy can give an app the host. Pure.

use std::str::FromStr;

use ark_model::definition::Rights;
use ark_model::ids::{AppName, EnvName};

/// Any.
const ANY: &str = "*";

/// A list of apps, `ENV/APP` each, `*` for any: `tools/agent dev/*`. Empty names nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppList(Vec<(Option<EnvName>, Option<AppName>)>);

impl FromStr for AppList {
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

impl AppList {
    /// Every app.
    pub fn everybody() -> Self {
        Self(vec![(None, None)])
    }

    fn has(&self, env: &EnvName, app: &AppName) -> bool {
        let fits = |(an_env, an_app): &(Option<EnvName>, Option<AppName>)| {
            an_env.as_ref().is_none_or(|an_env| an_env == env)
                && an_app.as_ref().is_none_or(|an_app| an_app == app)
        };
        self.0.iter().any(fits)
    }
}

/// Who may ask for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RightsPolicy {
    /// Who may be privileged.
    pub privileged: AppList,
    /// Who may have capabilities that reach beyond the container.
    pub capabilities: AppList,
    /// Who may write to its image's files.
    pub writable_root: AppList,
}

impl Default for RightsPolicy {
    /// Nobody may reach beyond its container; what its image's files look like is everybody's own matter.
    fn default() -> Self {
        Self {
            privileged: AppList::default(),
            capabilities: AppList::default(),
            writable_root: AppList::everybody(),
        }
    }
}

impl RightsPolicy {
    /// The variable of the server that holds [`Self::privileged`].
    pub const PRIVILEGED: &str = "ARK_ALLOW_PRIVILEGED";
    /// The variable of the server that holds [`Self::capabilities`].
    pub const CAPABILITIES: &str = "ARK_ALLOW_CAPABILITIES";
    /// The variable of the server that holds [`Self::writable_root`].
    pub const WRITABLE_ROOT: &str = "ARK_ALLOW_WRITABLE_ROOT";

    /// Why an app may not have these rights, and what would help; `None` when it may.
    pub fn refusal(&self, env: &EnvName, app: &AppName, rights: &Rights) -> Option<String> {
        let refused = |key: &str, what: &str, variable: &str| {
            format!(
                "`{key}`{what} of {app} in {env} is not allowed here; start the server with \
                 {variable}={env}/{app}, or leave it out"
            )
        };
        if rights.privileged && !self.privileged.has(env, app) {
            return Some(refused("run.privileged", "", Self::PRIVILEGED));
        }
        let beyond: Vec<&str> = rights.beyond_its_own().collect();
        if !beyond.is_empty() && !self.capabilities.has(env, app) {
            let names = format!(" ({})", beyond.join(", "));
            return Some(refused("run.capabilities", &names, Self::CAPABILITIES));
        }
        if rights.writable_root && !self.writable_root.has(env, app) {
            return Some(refused("run.writable_root", "", Self::WRITABLE_ROOT));
        }
        None
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
            let apps: AppList = list.parse().unwrap();
            assert_eq!(apps.has(&env.parse().unwrap(), &app.parse().unwrap()), expected, "{list}");
        }
        for bad in ["web", "a/b/c", "dev/web,api", "/", "Dev/web"] {
            assert!(bad.parse::<AppList>().is_err(), "{bad}");
        }
    }

    #[test]
    fn each_right_has_its_own_list() {
        let rights = |privileged, writable_root, capabilities: &[&str]| Rights {
            privileged,
            writable_root,
            capabilities: capabilities.iter().map(|name| (*name).to_owned()).collect(),
        };
        let only = |list: &str| list.parse::<AppList>().unwrap();
        let usual = RightsPolicy::default();
        let named = RightsPolicy {
            privileged: only("dev/web"),
            capabilities: only("dev/web"),
            writable_root: only("dev/web"),
        };
        let (env, app) = ("dev".parse().unwrap(), "web".parse().unwrap());
        let other = "api".parse().unwrap();
        for (asked, by_default, of_another) in [
            (rights(false, false, &[]), None, None),
            (rights(false, false, &["CHOWN", "SETUID"]), None, None),
            (rights(false, true, &[]), None, Some("ARK_ALLOW_WRITABLE_ROOT=dev/api")),
            (
                rights(false, false, &["CHOWN", "SYS_ADMIN"]),
                Some("(SYS_ADMIN) of web in dev is not allowed"),
                Some("ARK_ALLOW_CAPABILITIES=dev/api"),
            ),
            (
                rights(true, false, &[]),
                Some("`run.privileged` of web in dev"),
                Some("ARK_ALLOW_PRIVILEGED=dev/api"),
            ),
        ] {
            let says = |answer: Option<String>, words: Option<&str>| match (answer, words) {
                (None, None) => true,
                (Some(answer), Some(words)) => answer.contains(words),
                _ => false,
            };
            assert!(says(usual.refusal(&env, &app, &asked), by_default), "{asked:?}");
            assert!(named.refusal(&env, &app, &asked).is_none(), "{asked:?}");
            assert!(says(named.refusal(&env, &other, &asked), of_another), "{asked:?}");
        }
    }
}
