//! What a deployment would do, in words. Reads; changes nothing.

use std::collections::BTreeMap;

use ark_engine::Engine;
use ark_model::api::{PlanView, ProblemCode, Remedy};
use ark_model::definition::{Definition, Strategy};
use ark_model::environment::AppState;
use ark_model::release::{PinnedValue, ReleaseContent};
use ark_model::{AppName, EnvName, ReleaseNumber, Sha256};
use ark_planner::Policy;
use ark_planner::freeze::frozen;
use ark_store::{ConfigVersion, ReadTx};
use jiff::Timestamp;

use super::app_rows::artifact_words;
use super::app_rows::place;
use super::by_name;
use super::error::ApiError;
use super::intents::{check_own_names, default_kind, frozen_problem};
use super::judge::{Wanted, check_rights, strategy};
use super::needs::Needs;
use super::resolve::{missing_config, resolve};
use super::steps::{self, Side};
use super::unenforced::Asked;
use super::{data_store, diff, find};
use crate::auth::AllowedHosts;

/// Releases among which one of the same content is looked for.
const RELEASES_COMPARED: usize = 200;

/// What a plan is made under.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    /// The strategy that was asked for.
    pub(super) asked: Option<Strategy>,
    /// The names of the API and the console.
    pub(super) own: &'a AllowedHosts,
    pub(super) now: Timestamp,
}

pub(super) fn plan(
    tx: &ReadTx,
    env: &EnvName,
    app: &AppName,
    wanted: &Wanted,
    terms: &Terms<'_>,
    engine: &dyn Engine,
) -> Result<PlanView, ApiError> {
    let Terms { asked, own, now } = *terms;
    let kind = match tx.environment(env)? {
        Some(_) => find::active_environment(tx, env)?.kind,
        None => default_kind(env),
    };
    let state = tx.app_state(env, app)?;
    let live_number = state.as_ref().and_then(|state| state.live);
    let live = match live_number {
        Some(number) => tx.release(env, app, number)?,
        None => None,
    };
    let config = tx.config(env, app)?;
    let mut remedy = Vec::new();
    let mut refused = |error: ApiError| {
        let problem = error.into_problem();
        remedy.extend(problem.remedy);
        problem.detail
    };
    let mut refusals = Vec::new();
    if let Some(environment) = tx.environment(env)?
        && let Some(frozen) = frozen(&environment.freeze, now)
    {
        refusals.push(refused(frozen_problem(env, app, &frozen)));
    }
    if let Err(error) = data_store::check_place(tx, env, app, wanted) {
        refusals.push(refused(error));
    }
    if let Err(error) = check_rights(engine, env, app, wanted) {
        refusals.push(refused(error));
    }
    if let Err(error) = check_own_names(own, env, app, &wanted.definition) {
        refusals.push(refused(error));
    }
    let strategy = strategy(asked, &wanted.definition, env);
    let policy = Policy::of(&wanted.definition, kind, strategy);
    let needs = Needs::of(tx, env, &wanted.definition)?;
    let (content, missing) = content(env, app, wanted, &config, &needs);
    if !missing.is_empty() {
        refused(missing_config(env, app, missing.clone(), &needs));
    }
    let mut notes: Vec<String> = needs.words(env, app).into_iter().collect();
    notes.extend(by_name::words(tx, env, app, &content.definition, &content.config)?);
    let (release, release_exists) = number(tx, env, app, &content)?;
    let before = live.map(|release| release.content);
    let instances = policy.wanted(state.as_ref().and_then(|state| state.scale));
    let changes = before.as_ref() != Some(&content);
    let compared = before.as_ref();
    let mut view = PlanView {
        env: env.clone(),
        app: app.clone(),
        changes,
        live: live_number,
        release,
        release_exists,
        strategy,
        instances,
        runs: artifact_words(&wanted.artifact),
        artifact: compared.and_then(|before| diff::artifact(before, &content)),
        config: compared.map(|before| diff::config(before, &content)).unwrap_or_default(),
        definition: compared.map(|before| diff::definition(before, &content)).unwrap_or_default(),
        steps: Vec::new(),
        not_enforced: Asked::of(&wanted.definition)
            .unenforced(engine.kind_for(&wanted.artifact), &engine.capabilities()),
        missing,
        refusals,
        remedy,
        notes,
        warnings: wanted.warnings.clone(),
        expect: rests_on(state.as_ref(), &content),
    };
    let stopped = state.is_some_and(|state| state.stopped);
    if changes || stopped {
        let going = steps::Deploy {
            policy: &policy,
            to: Side::of(release, &wanted.definition),
            exists: release_exists,
            wanted: instances,
            live: live_number.map(|release| Side {
                release,
                definition: compared.map(|before| &before.definition),
            }),
            stopped,
        };
        view.steps = going.steps();
    }
    dedup(&mut view.remedy);
    Ok(view)
}

/// What the release would be made of, and the names that have no value.
fn content(
    env: &EnvName,
    app: &AppName,
    wanted: &Wanted,
    config: &ConfigVersion,
    needs: &Needs,
) -> (ReleaseContent, Vec<String>) {
    let (config, missing) = match resolve(env, app, &wanted.definition, config, needs) {
        Ok(resolved) => (resolved, Vec::new()),
        Err(missing) => (known_values(&wanted.definition, config), missing),
    };
    let (artifact, definition) = (wanted.artifact.clone(), wanted.definition.clone());
    (ReleaseContent { artifact, definition, config }, missing)
}

/// What a plan rests on: the same text for as long as it would do the same.
pub(super) fn rests_on(state: Option<&AppState>, content: &ReleaseContent) -> String {
    let stands = state.map(|s| (s.live, s.running, s.waiting, s.scale, s.stopped));
    Sha256::of(format!("{stands:?} {}", content.digest()).as_bytes()).to_string()
}

/// Refuses a deployment that is no longer what was planned.
///
/// # Errors
/// `plan-changed`.
pub(super) fn check(
    tx: &ReadTx,
    env: &EnvName,
    app: &AppName,
    wanted: &Wanted,
    expected: &str,
) -> Result<(), ApiError> {
    let config = tx.config(env, app)?;
    let needs = Needs::of(tx, env, &wanted.definition)?;
    let (content, _) = content(env, app, wanted, &config, &needs);
    match rests_on(tx.app_state(env, app)?.as_ref(), &content) == expected {
        true => Ok(()),
        false => Err(changed(env, app)),
    }
}

/// The problem of a plan that rested on something else.
pub(super) fn changed(env: &EnvName, app: &AppName) -> ApiError {
    let detail =
        format!("what would be done with {} has changed since it was planned", place(env, app));
    ApiError::new(ProblemCode::PlanChanged, detail)
        .remedy("look at it again", format!("ark plan {app} -e {env}"))
}

fn dedup(remedy: &mut Vec<Remedy>) {
    let mut seen: Vec<Remedy> = Vec::new();
    remedy.retain(|one| {
        let new = !seen.contains(one);
        seen.push(one.clone());
        new
    });
}

/// What is configured of the declared names, when others are missing: enough for a comparison.
fn known_values(definition: &Definition, config: &ConfigVersion) -> BTreeMap<String, PinnedValue> {
    let value = |name: &String| match config.values.get(name) {
        Some(ark_store::ConfigValue::Plain { value }) => {
            Some(PinnedValue::Plain { value: value.clone() })
        }
        Some(ark_store::ConfigValue::Secret { version, .. }) => {
            Some(PinnedValue::Secret { version: *version })
        }
        None => {
            let default = definition.env_defaults.get(name)?;
            Some(PinnedValue::Plain { value: default.clone() })
        }
    };
    let names = definition.env.iter().chain(definition.env_defaults.keys());
    names.filter_map(|name| Some((name.clone(), value(name)?))).collect()
}

/// The number that a release of this content has, or would get.
fn number(
    tx: &ReadTx,
    env: &EnvName,
    app: &AppName,
    content: &ReleaseContent,
) -> Result<(ReleaseNumber, bool), ApiError> {
    let digest = content.digest();
    let releases = tx.releases(env, app, None, RELEASES_COMPARED)?;
    if let Some(same) = releases.iter().find(|release| release.digest == digest) {
        return Ok((same.number, true));
    }
    let next = releases.first().map_or(1, |newest| newest.number.0 + 1);
    Ok((ReleaseNumber(next), false))
}
