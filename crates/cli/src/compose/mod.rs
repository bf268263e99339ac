//! Compose files as launch files: one for each service, and a list of what has no equivalent. Pure:
//! reads text, makes text. `ark import` writes it down.
//!
//! Whatever stands in a Compose file is either taken over, named in the list, or begins with `x-`. What
//! Ark's format does not take is left out and named; it never keeps the rest from being taken over.

mod addresses;
mod health;
mod interpolate;
mod resources;
mod service;
mod settle;
mod update;
mod volumes;
mod words;
mod yaml;

use std::collections::BTreeMap;

use ark_model::AppName;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// The longest file that is read, in bytes.
const FILE_BYTES_MAX: usize = 1 << 20;
/// The most services of one file.
const SERVICES_MAX: usize = 500;

/// What became of a Compose file.
#[derive(Debug, Serialize)]
pub(crate) struct Imported {
    /// Launch files, in the order of their names.
    pub(crate) apps: Vec<App>,
    /// What is not in them.
    pub(crate) left_out: Vec<LeftOut>,
}

/// A service as an app.
#[derive(Debug, Serialize)]
pub(crate) struct App {
    pub(crate) app: AppName,
    /// The text of its launch file.
    pub(crate) launch: String,
    /// The image it runs, when the file names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    /// Variables that its environment must define.
    pub(crate) needs: Vec<String>,
}

/// Something without an equivalent, or with one that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LeftOut {
    /// `services.web.cap_add`.
    pub(crate) key: String,
    /// Why, or what to do instead.
    pub(crate) why: String,
}

/// Where a list of what was left out is made.
#[derive(Default)]
struct Notes {
    place: String,
    all: Vec<LeftOut>,
}

impl Notes {
    fn add(&mut self, key: &str, why: impl Into<String>) {
        let key = match self.place.as_str() {
            "" => key.to_owned(),
            place => format!("{place}.{key}"),
        };
        self.all.push(LeftOut { key, why: why.into() });
    }
}

/// Reads a Compose file.
pub(crate) fn import(text: &str) -> Result<Imported, Failure> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Failure::usage(format!("the file is longer than {FILE_BYTES_MAX} bytes")));
    }
    // As Compose reads it: `y` and `no` are texts.
    let options = serde_saphyr::options! { strict_booleans: true };
    let file: Value = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Failure::usage("the file is not YAML").detail(error.to_string()))?;
    let services = match file.get("services") {
        Some(Value::Object(services)) if !services.is_empty() => services,
        Some(Value::Object(_) | Value::Null) => {
            return Err(Failure::usage(
                "`services` of the file is empty: there is nothing to import",
            ));
        }
        Some(_) => return Err(Failure::usage("`services` of the file is no mapping of services")),
        None => return Err(Failure::usage("the file has no `services`: it is no Compose file")),
    };
    if let Some(line) = tagged(text) {
        let what = format!("line {line}: `!reset` and `!override` change another file");
        let failure = Failure::usage(what);
        return Err(failure.remedy("import what the files are together", "docker compose config"));
    }
    if services.len() > SERVICES_MAX {
        return Err(Failure::usage(format!("more than {SERVICES_MAX} services")));
    }
    let mut notes = Notes::default();
    top(&file, &mut notes);
    let services = resolved(services, &mut notes)?;
    let peers = addresses::peers(&services);
    let mut apps = Vec::new();
    let mut volumes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, app, service) in &services {
        notes.place = format!("services.{name}");
        let made = service::launch(name, service, &peers, &mut notes);
        for volume in made.volumes {
            volumes.entry(volume).or_default().push(name);
        }
        let (launch, needs) = settle::settled(app, made.launch, &mut notes)?;
        apps.push(App { app: app.clone(), launch, image: made.image, needs });
    }
    notes.place = String::new();
    for (volume, users) in volumes.iter().filter(|(_, users)| users.len() > 1) {
        let why = format!("shared by {}: each app gets one of its own", users.join(" and "));
        notes.add(&format!("volumes.{volume}"), why);
    }
    apps.sort_by(|a, b| a.app.cmp(&b.app));
    Ok(Imported { apps, left_out: notes.all })
}

/// The number of the first line whose value is tagged as one that changes another file: the reader of
/// YAML gives the value without its tag.
fn tagged(text: &str) -> Option<usize> {
    let tag = |line: &str| {
        let tags = ["!reset", "!override"].into_iter();
        tags.flat_map(|tag| line.match_indices(tag)).any(|(at, tag)| {
            let (before, after) = (line[..at].trim_end(), &line[at + tag.len()..]);
            let value = before.is_empty() || before.ends_with([':', '-', ',', '[']);
            value && !before.contains('#') && (after.is_empty() || after.starts_with(' '))
        })
    };
    text.lines().position(tag).map(|index| index + 1)
}

/// A service by its name, its app's, and what stands under it.
type Service = (String, AppName, Map<String, Value>);

/// The services with their texts put in, by their names and those of the apps.
fn resolved(services: &Map<String, Value>, notes: &mut Notes) -> Result<Vec<Service>, Failure> {
    let mut all = Vec::new();
    let mut named: BTreeMap<AppName, &str> = BTreeMap::new();
    for (name, service) in services {
        let app = app_name(name)?;
        if let Some(other) = named.insert(app.clone(), name) {
            return Err(Failure::usage(format!("services {other} and {name} are both app {app}"))
                .remedy("", "give one of them another name"));
        }
        notes.place = format!("services.{name}");
        let empty = Map::new();
        let service = match service {
            Value::Null => &empty,
            Value::Object(service) => service,
            _ => return Err(Failure::usage(format!("services.{name} is no mapping"))),
        };
        all.push((name.clone(), app, interpolate::service(service, notes)));
    }
    Ok(all)
}

/// Keys beside the services.
fn top(file: &Value, notes: &mut Notes) {
    for (key, value) in file.as_object().into_iter().flatten() {
        let nothing = |value: &Value| value.as_object().map_or(value.is_null(), Map::is_empty);
        let empty = value.as_object().is_none_or(|map| map.values().all(nothing));
        match key.as_str() {
            "services" | "version" | "name" => {}
            key if key.starts_with("x-") => {}
            "volumes" if empty => {}
            "networks" if empty => {}
            "volumes" => {
                notes.add("volumes", "volumes are the engine's own; options are not taken over");
            }
            "networks" => notes.add("networks", "each environment has one network, made by Ark"),
            "secrets" => notes.add("secrets", "secrets are variables: ark config set --secret"),
            "configs" => notes.add("configs", "files belong into the image"),
            "include" => notes.add(
                "include",
                "other files are not read: import what docker compose config makes of them all",
            ),
            other => notes.add(other, "unknown"),
        }
    }
}

/// `Web_1` is `web-1`.
fn app_name(service: &str) -> Result<AppName, Failure> {
    let name = service.to_ascii_lowercase().replace(['_', '.'], "-");
    name.parse().map_err(|error| {
        Failure::usage(format!("service {service}: {error}")).remedy("", "give it another name")
    })
}

#[cfg(test)]
mod tests;
