//! Which apps of an environment need which: what their launch files declare beside what the gateway
//! saw.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use ark_engine::Enforcement;
use ark_model::api::{
    DependenciesView, DependencyKnown, DependencyView, Page, PageQuery, ProblemCode,
};
use ark_model::environment::{AppState, Environment};
use ark_model::{AppName, EnvName};
use ark_store::{CallEdge, CallRecord, ReadTx};
use axum::extract::State;
use jiff::Timestamp;

use super::error::ApiError;
use super::extract::{Json, Path, Query, cursor, page, page_limit};
use super::find;
use super::operation::{Operation, Shared};
use crate::tasks::calls::{SINCE, kept_since};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get(
            "/v1/environments/{env}/dependencies",
            ("listDependencies", "Which apps need which, declared and observed"),
            list,
        )
        .about(
            "Declared is what the release that is live says. Observed are calls through discovery \
             ports, kept for a week: the gateway tells whose a connection is by the user of its \
             process or the address of its container. Of connections that last a moment only a \
             sample is looked at.",
        )
        .query::<PageQuery>()
        .answers::<DependenciesView>(200)
        .problems(&[ProblemCode::EnvironmentNotFound, ProblemCode::InvalidValue]),
    ]
}

/// Where a page ends: the dependency that was told last. The parts of its text are names, in which
/// there is no colon.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place(CallEdge);

impl Place {
    fn of(view: &DependencyView) -> Self {
        Self(CallEdge {
            from: (view.from_env.clone(), view.from.clone()),
            to: (view.to_env.clone(), view.to.clone()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CallEdge { from, to } = &self.0;
        write!(f, "{}:{}:{}:{}", from.0, from.1, to.0, to.1)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(4, ':');
        let mut app = || {
            let env = parts.next()?.parse().ok()?;
            Some((env, parts.next()?.parse().ok()?))
        };
        let (from, to) = (app().ok_or(())?, app().ok_or(())?);
        Ok(Self(CallEdge { from, to }))
    }
}

/// One page of all of them, which are in the order of their places.
fn page_of(
    all: Vec<DependencyView>,
    after: Option<&Place>,
    limit: usize,
) -> (Page<DependencyView>, u64) {
    let total = all.len() as u64;
    let beyond = all.into_iter().filter(|view| after.is_none_or(|after| Place::of(view) > *after));
    let items = beyond.take(limit + 1).collect();
    (page(items, limit, |view| Place::of(view).to_string(), |view| view), total)
}

async fn list(
    State(state): State<Shared>,
    Path(env): Path<EnvName>,
    Query(query): Query<PageQuery>,
) -> Result<Json<DependenciesView>, ApiError> {
    let now = Timestamp::now();
    let limit = page_limit(query.limit)?;
    let after: Option<Place> = cursor(query.cursor.as_deref())?;
    let blind = match state.engine.capabilities().app_isolation {
        Enforcement::Enforced => None,
        Enforcement::NotEnforced { reason } => Some(reason),
    };
    let sees_all = blind.is_none();
    let (items, since) = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            let environment = find::environment(tx, &env)?;
            let declared = declared(tx, &env)?;
            let apps = tx.app_names_of(&env)?.into_iter().filter_map(|app| app.parse().ok());
            let mut items = join(&env, &apps.collect(), declared, tx.calls_of(&env)?);
            if !sees_all {
                // That it was not seen says nothing.
                let unseen = |item: &&mut DependencyView| item.known == DependencyKnown::Declared;
                items.iter_mut().filter(unseen).for_each(|item| item.note = None);
            }
            Ok((items, since(tx, &environment, now)?))
        })
        .await?;
    let (Page { items, next }, total) = page_of(items, after.as_ref(), limit);
    Ok(Json(DependenciesView { items, next, total, since, blind }))
}

/// Since when calls of this environment's apps would be known.
fn since(
    tx: &ReadTx,
    environment: &Environment,
    now: Timestamp,
) -> Result<Option<Timestamp>, ApiError> {
    let begun: Option<Timestamp> = tx.meta(SINCE)?.and_then(|at| at.parse().ok());
    Ok(begun.map(|begun| begun.max(environment.created_at).max(kept_since(now))))
}

/// What each app of the environment says that it needs, by the release that is live, else the one
/// that is on its way or waits for it.
fn declared(tx: &ReadTx, env: &EnvName) -> Result<Vec<(AppName, AppName)>, ApiError> {
    let mut all = Vec::new();
    for AppState { app, live, running, waiting, .. } in tx.app_states_of(env)? {
        let release = match (live, running.or(waiting)) {
            (Some(live), _) => Some(live),
            (None, Some(id)) => tx.readable_deployment(id)?.map(|deployment| deployment.release),
            (None, None) => None,
        };
        let Some(release) = release else { continue };
        let Some(release) = tx.release(env, &app, release)? else { continue };
        let needs = release.content.definition.dependencies;
        all.extend(needs.iter().filter_map(|name| Some((app.clone(), name.parse().ok()?))));
    }
    Ok(all)
}

/// Both together, by the one that needs.
fn join(
    env: &EnvName,
    apps: &BTreeSet<AppName>,
    declared: Vec<(AppName, AppName)>,
    seen: Vec<CallRecord>,
) -> Vec<DependencyView> {
    let mut all: BTreeMap<CallEdge, (bool, Option<CallRecord>)> = BTreeMap::new();
    for (from, to) in declared {
        let edge = CallEdge { from: (env.clone(), from), to: (env.clone(), to) };
        all.entry(edge).or_default().0 = true;
    }
    for record in seen {
        let known = all.entry(record.edge.clone()).or_default();
        known.1 = Some(record);
    }
    let view = |(edge, (declared, seen)): (CallEdge, (bool, Option<CallRecord>))| {
        let CallEdge { from, to } = edge;
        let known = match (declared, &seen) {
            (true, Some(_)) => DependencyKnown::Both,
            (true, None) => DependencyKnown::Declared,
            (false, _) => DependencyKnown::Observed,
        };
        let is_there = |(of, app): &(EnvName, AppName)| of != env || apps.contains(app);
        // Seen of an app that is no more.
        if known == DependencyKnown::Observed && !(is_there(&from) && is_there(&to)) {
            return None;
        }
        let note = note(known, &from, &to, is_there(&to));
        Some(DependencyView {
            from_env: from.0,
            from: from.1,
            to_env: to.0,
            to: to.1,
            known,
            first_seen: seen.as_ref().map(|record| record.first_seen),
            last_seen: seen.as_ref().map(|record| record.last_seen),
            note,
        })
    };
    all.into_iter().filter_map(view).collect()
}

/// What is to be said of a dependency.
fn note(
    known: DependencyKnown,
    from: &(EnvName, AppName),
    to: &(EnvName, AppName),
    is_there: bool,
) -> Option<String> {
    match known {
        DependencyKnown::Observed if from.0 != to.0 => {
            Some(format!("{} is of another environment, and can be destroyed with that", to.1))
        }
        DependencyKnown::Observed => Some(format!(
            "nothing starts {1} before {0}, and {0} is not told where {1} is: name {1} under \
             `dependencies` of {0}",
            from.1, to.1
        )),
        DependencyKnown::Declared if !is_there => Some(format!("there is no {} in {}", to.1, to.0)),
        DependencyKnown::Declared => {
            Some("no call was seen: perhaps it is no longer needed".to_owned())
        }
        DependencyKnown::Both => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(env: &str, app: &str) -> (EnvName, AppName) {
        (env.parse().expect("a name"), app.parse().expect("a name"))
    }

    #[test]
    fn declared_and_observed_are_joined_and_what_is_amiss_is_said() {
        let seen = |from, to| {
            let first_seen = Timestamp::from_second(10).expect("an instant");
            let last_seen = Timestamp::from_second(20).expect("an instant");
            CallRecord { edge: CallEdge { from, to }, first_seen, last_seen }
        };
        let (dev, web) = key("dev", "web");
        let name = |app: &str| key("dev", app).1;
        let items = join(
            &dev,
            &["web", "api", "db", "mail"].map(name).into(),
            vec![(web.clone(), name("api")), (web.clone(), name("db")), (web, name("gone"))],
            vec![
                seen(key("dev", "web"), key("dev", "api")),
                seen(key("dev", "web"), key("dev", "mail")),
                seen(key("dev", "web"), key("prod", "api")),
                seen(key("dev", "old"), key("dev", "api")),
                seen(key("prod", "web"), key("dev", "api")),
            ],
        );
        let told: Vec<String> = items
            .iter()
            .map(|item| {
                let DependencyView { from_env, from, to_env, to, known, note, .. } = item;
                let note = note.as_deref().and_then(|note| note.split([':', ',']).next());
                let seen = if item.last_seen.is_some() { "seen" } else { "unseen" };
                format!("{from_env}/{from} {to_env}/{to} {known:?} {seen}: {}", note.unwrap_or("-"))
            })
            .collect();
        assert_eq!(
            told,
            [
                "dev/web dev/api Both seen: -",
                "dev/web dev/db Declared unseen: no call was seen",
                "dev/web dev/gone Declared unseen: there is no gone in dev",
                "dev/web dev/mail Observed seen: nothing starts mail before web",
                "dev/web prod/api Observed seen: api is of another environment",
                "prod/web dev/api Observed seen: api is of another environment",
            ]
        );
        // Page by page they are the same, and a cursor that was made up is none.
        let (mut told, mut after) = (Vec::new(), None);
        loop {
            let (page, total) = page_of(items.clone(), after.as_ref(), 4);
            assert_eq!(total, 6);
            assert!(page.items.len() <= 4);
            told.extend(page.items);
            match page.next {
                Some(next) => after = Some(next.parse().expect("a place")),
                None => break,
            }
        }
        assert_eq!(told, items);
        for text in ["", "dev:web", "dev:web:dev", "dev:web:dev:api:x", "Dev:web:dev:api"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
