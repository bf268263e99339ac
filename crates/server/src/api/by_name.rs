//! Variables that lead to another app by its name and its own port, as they do in Compose
//! (`http://api:8080`): nothing listens there, because an app is reached through the gateway, at a port
//! of Ark's. Called for plans and deployments; refuses nothing, because a name may mean something
//! else to the app. Of secrets nothing is known.

use std::collections::{BTreeMap, BTreeSet};

use ark_model::definition::Definition;
use ark_model::release::PinnedValue;
use ark_model::route::RouteKey;
use ark_model::{AppName, EnvName};
use ark_store::ReadTx;

use super::error::ApiError;
use crate::tasks::needed::addresses::addresses;
use crate::variables::upper;

/// How many variables are spoken of.
const NAMED_MAX: usize = 10;

/// A port of an app: its `expose` entry, and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Door {
    expose: String,
    port: u16,
    discovery: Option<u16>,
}

/// What to say of each variable that leads nowhere.
pub(super) fn words(
    tx: &ReadTx,
    env: &EnvName,
    own: &AppName,
    definition: &Definition,
    values: &BTreeMap<String, PinnedValue>,
) -> Result<Vec<String>, ApiError> {
    let plain = values.iter().filter_map(|(name, value)| match value {
        PinnedValue::Plain { value } => Some((name.clone(), value.clone())),
        PinnedValue::Secret { .. } => None,
    });
    let mut said = Vec::new();
    for address in addresses(&plain.collect()) {
        for (host, port) in &address.hosts {
            let Ok(app) = host.parse::<AppName>() else { continue };
            let Some(release) = tx.latest_release(env, &app)?.filter(|_| app != *own) else {
                continue;
            };
            let mut doors = Vec::new();
            for expose in &release.content.definition.expose {
                let name = expose.name.clone();
                let key = RouteKey { env: env.clone(), app: app.clone(), expose: name };
                let discovery = tx.discovery_port(&key)?;
                doors.push(Door { expose: expose.name.clone(), port: expose.port, discovery });
            }
            let declared: BTreeSet<&str> =
                definition.dependencies.iter().map(String::as_str).collect();
            let declared = declared.contains(app.as_str());
            said.extend(misled(address.variable(), &app, *port, &doors, declared));
        }
    }
    said.truncate(NAMED_MAX);
    Ok(said)
}

/// Why a variable does not lead to an app.
fn misled(
    variable: &str,
    app: &AppName,
    port: u16,
    doors: &[Door],
    declared: bool,
) -> Option<String> {
    if declared && doors.iter().any(|door| door.discovery == Some(port)) {
        return None;
    }
    let meant = doors.iter().find(|door| door.port == port).or(doors.first());
    let Some(door) = meant else {
        return Some(format!("{variable} names {app}:{port}, and {app} has no port at all"));
    };
    let prefix = format!("SERVICE_{}_{}", upper(app.as_str()), upper(&door.expose));
    let more = match declared {
        true => String::new(),
        false => format!(", once {app} stands under `dependencies`"),
    };
    Some(format!(
        "{variable} names {app}:{port}, where nothing listens: {app} is reached at \
         {prefix}_HOST and {prefix}_PORT, which are given to the app{more}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_the_apps_own_port_is_answered_with_what_to_read_instead() {
        let api: AppName = "my-api".parse().expect("a name");
        let door = |expose: &str, port, discovery| Door { expose: expose.into(), port, discovery };
        let doors = [door("default", 8_080, Some(10_001)), door("admin", 9_000, Some(10_002))];
        let reached = |which: &str| {
            format!(
                "where nothing listens: my-api is reached at SERVICE_MY_API_{which}_HOST and \
                 SERVICE_MY_API_{which}_PORT, which are given to the app"
            )
        };
        for (port, doors, declared, expect) in [
            (8_080, &doors[..], true, Some(format!("my-api:8080, {}", reached("DEFAULT")))),
            (9_000, &doors[..], true, Some(format!("my-api:9000, {}", reached("ADMIN")))),
            (80, &doors[..], true, Some(format!("my-api:80, {}", reached("DEFAULT")))),
            (
                8_080,
                &doors[..],
                false,
                Some(format!(
                    "my-api:8080, {}, once my-api stands under `dependencies`",
                    reached("DEFAULT")
                )),
            ),
            // Its port of Ark's, which is what the variables say.
            (10_002, &doors[..], true, None),
            (8_080, &[][..], true, Some("my-api:8080, and my-api has no port at all".to_owned())),
        ] {
            let said = misled("API_URL", &api, port, doors, declared);
            assert_eq!(said, expect.map(|rest| format!("API_URL names {rest}")), "{port}");
        }
    }
}
