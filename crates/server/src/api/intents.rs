//! From a request to a recorded deployment: what is to run is judged, its configuration resolved,
//! release, deployment and events are written. Everything that depends on what is recorded happens
//! in one transaction; nothing here calls the engine or the gateway.

use std::collections::{BTreeMap, BTreeSet};

use ark_model::api::{DeployRequest, DiagnosticView, ProblemCode};
use ark_model::artifact::Artifact;
use ark_model::definition::{
    self, Definition, Diagnostic, LaunchFile, Severity, Strategy, check_runnable,
};
use ark_model::deployment::DeploymentKind;
use ark_model::environment::{AppState, EnvKind, EnvState, Environment};
use ark_model::event::{EventKind, NewEvent};
use ark_model::receipt::Side;
use ark_model::release::{PinnedValue, ReleaseContent};
use ark_model::{AppName, Deployment, DeploymentId, DeploymentState, EnvName, ReleaseNumber};
use ark_planner::queue::{Running, enqueue, rollback_targets};
use ark_store::{ConfigValue, ConfigVersion, DeploymentFilter, InsertedRelease, NewRelease};
use ark_store::{ReadTx, WriteTx};
use jiff::Timestamp;

use super::app_rows::place;
use super::error::ApiError;
use super::find;
use crate::variables::{Identity, assemble};

/// The environment that is permanent without having been made so.
const PRODUCTION: &str = "production";
/// Deployments among which the release to go back to is looked for, newest first.
const HISTORY: usize = 500;
/// The longest reason or commit that is recorded, in characters.
const WORDS_CHARS_MAX: usize = 500;

/// Who does something, and when.
#[derive(Debug, Clone)]
pub(super) struct Act {
    pub(super) by: String,
    pub(super) now: Timestamp,
}

impl Act {
    pub(super) fn event(
        &self,
        kind: EventKind,
        env: &EnvName,
        app: Option<&AppName>,
        text: String,
    ) -> NewEvent {
        NewEvent {
            at: self.now,
            kind,
            by: self.by.clone(),
            env: Some(env.clone()),
            app: app.cloned(),
            deployment: None,
            instance: None,
            text,
        }
    }
}

/// What is to run, judged.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) definition: Definition,
    pub(super) artifact: Artifact,
    pub(super) warnings: Vec<DiagnosticView>,
}

/// Reads and judges the launch file of a request. `known` is the release that `from` names.
///
/// # Errors
/// `invalid-definition`, `data-store`, `not-runnable`, `bad-request`.
pub(super) fn judge(
    request: &DeployRequest,
    known: Option<ReleaseContent>,
    app: &AppName,
    engine: definition::EngineKind,
) -> Result<Wanted, ApiError> {
    let wanted = match (&request.launch, known) {
        (Some(_), Some(_)) => {
            let detail = "`launch` and `from` exclude each other";
            return Err(ApiError::new(ProblemCode::BadRequest, detail));
        }
        (None, None) => {
            let detail = "`launch` or `from` is needed";
            return Err(ApiError::new(ProblemCode::BadRequest, detail));
        }
        (None, Some(content)) => Wanted {
            definition: content.definition,
            artifact: content.artifact,
            warnings: Vec::new(),
        },
        (Some(launch), None) => {
            let (definition, warnings) = parse(&launch.file, &launch.text, app)?;
            let artifact = request.artifact.clone().unwrap_or(Artifact::None);
            Wanted { definition, artifact, warnings }
        }
    };
    check_runnable(&wanted.definition, engine).map_err(|found| not_runnable(&found, app))?;
    check_artifact(&wanted.artifact, engine, app)?;
    Ok(wanted)
}

fn parse(
    file: &str,
    text: &str,
    app: &AppName,
) -> Result<(Definition, Vec<DiagnosticView>), ApiError> {
    let file = find::cut(file);
    match definition::parse(&file, text.as_bytes()).into_result() {
        Ok((LaunchFile::App(definition), warnings)) => {
            Ok((*definition, warnings.iter().map(DiagnosticView::from).collect()))
        }
        Ok((LaunchFile::DataStore(_), _)) => {
            let detail = format!("{file} describes a data store, which Ark does not run");
            Err(ApiError::new(ProblemCode::DataStore, detail)
                .remedy("apps that use it name it", "databases: [...]"))
        }
        Err(found) => {
            let errors = found.iter().filter(|d| d.severity == Severity::Error).count();
            let noun = if errors == 1 { "error" } else { "errors" };
            let detail = format!("{file}: {errors} {noun}");
            Err(ApiError::new(ProblemCode::InvalidDefinition, detail)
                .diagnostics(found.iter().map(DiagnosticView::from).collect())
                .remedy("look closer", format!("ark validate {file}"))
                .context(format!("launch file of {app}")))
        }
    }
}

fn not_runnable(found: &Diagnostic, app: &AppName) -> ApiError {
    ApiError::new(ProblemCode::NotRunnable, format!("`{app}` cannot run here: {}", found.message))
        .diagnostics(vec![found.into()])
}

fn check_artifact(
    artifact: &Artifact,
    engine: definition::EngineKind,
    app: &AppName,
) -> Result<(), ApiError> {
    match (artifact, engine) {
        (Artifact::Image { reference, .. }, definition::EngineKind::Process) => {
            let detail = format!(
                "`{app}` cannot run here: the process engine runs directories, not image `{}`",
                find::cut(reference)
            );
            Err(ApiError::new(ProblemCode::NotRunnable, detail)
                .remedy("deploy a directory", format!("ark deploy {app} --dir PATH")))
        }
        _ => Ok(()),
    }
}

/// The strategy of a deployment: what was asked for, else what the definition says for this
/// environment. Only `rolling` is carried out by this server.
///
/// # Errors
/// `strategy-unavailable`.
pub(super) fn strategy(
    asked: Option<Strategy>,
    definition: &Definition,
    env: &EnvName,
    app: &AppName,
) -> Result<Strategy, ApiError> {
    let (strategy, from) = match asked {
        Some(strategy) => (strategy, "was asked for"),
        None => {
            let strategy = definition.strategy_in(env.as_str());
            let by_canary = strategy != definition.deploy.strategy;
            let from = if by_canary {
                "follows from `deploy_config.canaryInProd`"
            } else {
                "is in the launch file"
            };
            (strategy, from)
        }
    };
    match strategy {
        Strategy::Rolling => Ok(strategy),
        Strategy::BlueGreen | Strategy::Canary | Strategy::Recreate => {
            let detail = format!("strategy `{strategy}` {from}, and this server cannot do it yet");
            Err(ApiError::new(ProblemCode::StrategyUnavailable, detail).remedy(
                "deploy it step by step",
                format!("ark deploy {app} -e {env} --strategy rolling"),
            ))
        }
    }
}

/// Every declared variable with its value, or the names of all that have none.
pub(super) fn resolve(
    env: &EnvName,
    app: &AppName,
    definition: &Definition,
    config: &ConfigVersion,
) -> Result<BTreeMap<String, PinnedValue>, Vec<String>> {
    let given = given_by_ark(env, app, definition);
    let mut resolved = BTreeMap::new();
    let mut missing = Vec::new();
    let declared = definition.env.iter().chain(definition.env_defaults.keys());
    for name in declared {
        if resolved.contains_key(name) || missing.contains(name) {
            continue;
        }
        let value = match (config.values.get(name), definition.env_defaults.get(name)) {
            (Some(ConfigValue::Plain { value }), _) => PinnedValue::Plain { value: value.clone() },
            (Some(ConfigValue::Secret { version, .. }), _) => {
                PinnedValue::Secret { version: *version }
            }
            (None, Some(default)) => PinnedValue::Plain { value: default.clone() },
            (None, None) => {
                if !given(name) {
                    missing.push(name.clone());
                }
                continue;
            }
        };
        resolved.insert(name.clone(), value);
    }
    if missing.is_empty() { Ok(resolved) } else { Err(missing) }
}

/// Which names Ark gives an instance by itself, so that nobody has to set them.
fn given_by_ark(env: &EnvName, app: &AppName, definition: &Definition) -> impl Fn(&str) -> bool {
    let who = Identity { env, app, instance: None };
    let injected = assemble(who, definition, BTreeMap::new(), &[], &[]);
    let upper = |name: &str| -> String {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        name.chars().map(letter).collect()
    };
    let ports: Vec<String> =
        definition.expose.iter().map(|e| format!("PORT_{}", upper(&e.name))).collect();
    let services: Vec<String> =
        definition.dependencies.iter().map(|d| format!("SERVICE_{}_", upper(d))).collect();
    move |name| {
        injected.contains_key(name)
            || (name == "PORT" && !ports.is_empty())
            || ports.iter().any(|port| port == name)
            || services.iter().any(|service| name.starts_with(service))
    }
}

/// The problem of missing values, with what to type: names that look like secrets are to be set as
/// secrets.
pub(super) fn missing_config(env: &EnvName, app: &AppName, missing: Vec<String>) -> ApiError {
    let values = if missing.len() == 1 { "value" } else { "values" };
    let detail = format!(
        "{env} does not define {} {values} that {app} needs: {}",
        missing.len(),
        missing.join(", ")
    );
    let secret_words = ["SECRET", "KEY", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE"];
    let secret = |name: &&String| secret_words.iter().any(|word| name.contains(word));
    let (secrets, plain): (Vec<&String>, Vec<&String>) = missing.iter().partition(secret);
    let mut error = ApiError::new(ProblemCode::MissingConfig, detail);
    if !plain.is_empty() {
        let set: Vec<String> = plain.iter().map(|name| format!("{name}=…")).collect();
        let set = set.join(" ");
        error = error.remedy("set them", format!("ark config set -e {env} {app} {set}"));
    }
    if !secrets.is_empty() {
        let set: Vec<&str> = secrets.iter().map(|name| name.as_str()).collect();
        let set = set.join(" ");
        error = error.remedy("secret", format!("ark config set -e {env} {app} --secret {set}"));
    }
    error.missing(missing)
}

/// The environment, made on first use.
///
/// # Errors
/// `environment-destroying`.
pub(super) fn ensure_environment(
    tx: &mut WriteTx,
    env: &EnvName,
    kind: Option<EnvKind>,
    act: &Act,
) -> Result<Environment, ApiError> {
    if let Some(found) = tx.environment(env)? {
        return match found.state {
            EnvState::Active => Ok(found),
            EnvState::Destroying => Err(find::destroying(env)),
        };
    }
    let environment = Environment {
        name: env.clone(),
        kind: kind.unwrap_or_else(|| default_kind(env)),
        state: EnvState::Active,
        owner: act.by.clone(),
        created_at: act.now,
    };
    tx.insert_environment(&environment)?;
    let kind = match environment.kind {
        EnvKind::Permanent => "permanent",
        EnvKind::Development => "development",
    };
    let text = format!("environment {env} was created ({kind})");
    tx.append_event(act.event(EventKind::EnvironmentCreated, env, None, text))?;
    Ok(environment)
}

/// What an environment is unless told otherwise.
pub(super) fn default_kind(env: &EnvName) -> EnvKind {
    if env.as_str() == PRODUCTION { EnvKind::Permanent } else { EnvKind::Development }
}

/// What a request wants beside what is to run.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) id: DeploymentId,
    pub(super) strategy: Option<Strategy>,
    pub(super) running: Running,
    pub(super) reason: Option<String>,
    pub(super) commit: Option<String>,
}

/// Records release and deployment.
///
/// # Errors
/// `missing-config`, `strategy-unavailable`, `artifact-incomplete`, `environment-destroying`,
/// `already-exists` for a host of another app.
pub(super) fn deploy(
    tx: &mut WriteTx,
    env: &EnvName,
    app: &AppName,
    wanted: &Wanted,
    terms: &Terms,
    act: &Act,
) -> Result<Deployment, ApiError> {
    let strategy = strategy(terms.strategy, &wanted.definition, env, app)?;
    if let Some(found) = tx.environment(env)?
        && found.state == EnvState::Destroying
    {
        return Err(find::destroying(env));
    }
    let config = tx.config(env, app)?;
    let resolved = resolve(env, app, &wanted.definition, &config)
        .map_err(|missing| missing_config(env, app, missing))?;
    if let Artifact::Directory { digest } = &wanted.artifact
        && tx.artifact(digest)?.is_none()
    {
        return Err(unknown_artifact(&digest.to_string()));
    }
    ensure_environment(tx, env, None, act)?;
    check_hosts(tx, env, app, &wanted.definition)?;
    let inserted = tx.insert_release(NewRelease {
        env: env.clone(),
        app: app.clone(),
        content: ReleaseContent {
            artifact: wanted.artifact.clone(),
            definition: wanted.definition.clone(),
            config: resolved,
        },
        config_version: config.version,
        created_at: act.now,
        created_by: act.by.clone(),
        commit: terms.commit.as_deref().map(words),
    })?;
    if let InsertedRelease::New(release) = &inserted {
        let text = format!("release {} of {}", release.number, place(env, app));
        tx.append_event(act.event(EventKind::ReleaseCreated, env, Some(app), text))?;
    }
    let release = inserted.into_release().number;
    queue(tx, env, app, DeploymentKind::Deploy, release, strategy, terms, act)
}

/// Refuses hosts that lead to another app of the environment already. Other environments run the
/// same launch files: there a host is left to whoever has it, and each app has its own name beside.
fn check_hosts(
    tx: &ReadTx,
    env: &EnvName,
    app: &AppName,
    definition: &Definition,
) -> Result<(), ApiError> {
    let places = |definition: &Definition| -> BTreeSet<(String, String)> {
        let of = |e: &definition::Expose| -> Vec<(String, String)> {
            let path = e.path.trim_end_matches('/');
            e.hosts.iter().map(|h| (h.to_ascii_lowercase(), path.to_owned())).collect()
        };
        definition.expose.iter().flat_map(of).collect()
    };
    let wanted = places(definition);
    if wanted.is_empty() {
        return Ok(());
    }
    for other in tx.app_states_of(env)? {
        if other.app == *app {
            continue;
        }
        let mut releases: BTreeSet<ReleaseNumber> = other.live.into_iter().collect();
        for id in [other.running, other.waiting] {
            releases.extend(unfinished(tx, id)?.map(|d| d.release));
        }
        for number in releases {
            let Some(release) = tx.release(&other.env, &other.app, number)? else { continue };
            let theirs = places(&release.content.definition);
            if let Some((host, path)) = wanted.intersection(&theirs).next() {
                let owner = place(&other.env, &other.app);
                let detail = format!("host {host}{path}/ leads to {owner} already");
                return Err(ApiError::new(ProblemCode::AlreadyExists, detail)
                    .remedy("its hosts", format!("ark status {} -e {}", other.app, other.env)));
            }
        }
    }
    Ok(())
}

/// The problem of an artifact that was never offered.
pub(super) fn unknown_artifact(digest: &str) -> ApiError {
    let detail = format!("artifact {digest} was not sent to this server");
    ApiError::new(ProblemCode::ArtifactIncomplete, detail)
        .remedy("send it first", "POST /v1/artifacts, then PUT /v1/blobs/{sha256}")
}

/// Records a deployment of an earlier release; the running one gives way.
///
/// # Errors
/// `release-not-found`, with nothing changed.
pub(super) fn rollback(
    tx: &mut WriteTx,
    env: &EnvName,
    app: &AppName,
    to: Option<ReleaseNumber>,
    terms: &Terms,
    act: &Act,
) -> Result<Deployment, ApiError> {
    find::active_environment(tx, env)?;
    let state = find::app(tx, env, app)?;
    let target = match to {
        Some(number) => find::release(tx, env, app, number)?.number,
        None => last_good(tx, &state)?,
    };
    queue(tx, env, app, DeploymentKind::Rollback, target, Strategy::Rolling, terms, act)
}

fn last_good(tx: &ReadTx, state: &AppState) -> Result<ReleaseNumber, ApiError> {
    let (env, app) = (&state.env, &state.app);
    let filter = DeploymentFilter { env: Some(env.clone()), app: Some(app.clone()) };
    let history = tx.deployments(&filter, None, HISTORY)?;
    let running = unfinished(tx, state.running)?;
    for target in rollback_targets(state, running.as_ref(), &history) {
        if tx.release(env, app, target)?.is_some() {
            return Ok(target);
        }
    }
    let detail = match state.live {
        Some(live) => format!(
            "there is no release of {} to go back to: none but {live} succeeded without being rolled \
             back from; name one to go there all the same",
            place(env, app)
        ),
        None => format!("there is no release of {} to go back to", place(env, app)),
    };
    Err(ApiError::new(ProblemCode::ReleaseNotFound, detail)
        .remedy("all releases", format!("ark releases {app} -e {env}"))
        .remedy("name one", format!("ark rollback {app} -e {env} --to RELEASE")))
}

fn unfinished(tx: &ReadTx, id: Option<DeploymentId>) -> Result<Option<Deployment>, ApiError> {
    let found = match id {
        Some(id) => tx.deployment(id)?,
        None => None,
    };
    Ok(found.filter(|d| !d.state.is_terminal()))
}

/// Records a deployment as the newest waiting one of its app.
fn queue(
    tx: &mut WriteTx,
    env: &EnvName,
    app: &AppName,
    kind: DeploymentKind,
    release: ReleaseNumber,
    strategy: Strategy,
    terms: &Terms,
    act: &Act,
) -> Result<Deployment, ApiError> {
    let state = match tx.app_state(env, app)? {
        Some(state) => state,
        None => AppState::new(env.clone(), app.clone(), act.now),
    };
    let deployment = Deployment {
        id: terms.id,
        env: env.clone(),
        app: app.clone(),
        kind,
        release,
        base: None,
        strategy,
        state: DeploymentState::Queued,
        created_at: act.now,
        created_by: act.by.clone(),
        reason: terms.reason.as_deref().map(words),
        started_at: None,
        progress_at: None,
        live_at: None,
        returning_at: None,
        finished_at: None,
        diagnosis: None,
        failures: Vec::new(),
        abort: None,
        baseline: BTreeMap::new(),
        baseline_routes: Side::default(),
        receipt: None,
        notes: Vec::new(),
    };
    let running = unfinished(tx, state.running)?;
    let waiting = unfinished(tx, state.waiting)?;
    let queued = enqueue(&state, &deployment, running.as_ref(), waiting.as_ref(), terms.running);
    let mut events = Vec::new();
    if let Some(ended) = &queued.superseded {
        tx.put_deployment(ended, DeploymentState::Queued)?;
        events.push(superseded_event(ended, act));
    }
    if let (Some(giving_way), Some(before)) = (&queued.giving_way, &running) {
        tx.put_deployment(giving_way, before.state)?;
        let text = format!("{} gives way to {release}", giving_way.release);
        let event = act.event(EventKind::DeploymentProgress, env, Some(app), text);
        events.push(NewEvent { deployment: Some(giving_way.id), ..event });
    }
    tx.insert_deployment(&deployment)?;
    tx.put_app_state(&queued.app)?;
    let asked = match kind {
        DeploymentKind::Deploy => "deployment of",
        DeploymentKind::Rollback => "rollback to",
    };
    let because = deployment.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
    let text = format!("{asked} {release} of {} was asked for{because}", place(env, app));
    let event = act.event(EventKind::DeploymentQueued, env, Some(app), text);
    events.push(NewEvent { deployment: Some(deployment.id), ..event });
    for event in events {
        tx.append_event(event)?;
    }
    Ok(deployment)
}

/// The event of a deployment that ended before it began.
pub(super) fn superseded_event(ended: &Deployment, act: &Act) -> NewEvent {
    let text = format!("{} was superseded before it began", ended.release);
    let event = act.event(EventKind::DeploymentFinished, &ended.env, Some(&ended.app), text);
    NewEvent { deployment: Some(ended.id), ..event }
}

/// What somebody wrote for the record, cut to a length.
pub(super) fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORDS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (EnvName, AppName) {
        ("production".parse().expect("a name"), "web".parse().expect("a name"))
    }

    #[test]
    fn all_missing_names_are_told_at_once_and_what_ark_gives_is_not_among_them() {
        let (env, app) = names();
        let definition = Definition {
            env: [
                "DB_URL",
                "SESSION_KEY",
                "LOG_LEVEL",
                "PORT",
                "_APP_NAME",
                "SERVICE_GEAR_ADMIN_HTTP_HOST",
            ]
            .map(str::to_owned)
            .to_vec(),
            env_defaults: [("LOG_LEVEL".to_owned(), "info".to_owned())].into(),
            dependencies: vec!["gear-admin".into()],
            expose: vec![definition::Expose::new("default", 80)],
            ..Definition::default()
        };
        let config = ConfigVersion { version: 0, values: BTreeMap::new() };
        let missing = resolve(&env, &app, &definition, &config).expect_err("two are missing");
        assert_eq!(missing, ["DB_URL", "SESSION_KEY"]);
        let problem = missing_config(&env, &app, missing).into_problem();
        assert_eq!((problem.status, problem.exit_code), (403, 7));
        let remedy: Vec<String> = problem.remedy.into_iter().map(|r| r.command).collect();
        assert_eq!(
            remedy,
            [
                "ark config set -e production web DB_URL=…",
                "ark config set -e production web --secret SESSION_KEY",
            ]
        );
    }

    #[test]
    fn only_rolling_is_carried_out_and_can_always_be_asked_for() {
        let (env, app) = names();
        let mut definition = Definition::default();
        assert_eq!(strategy(None, &definition, &env, &app).ok(), Some(Strategy::Rolling));
        definition.deploy_config.canary_in_prod = true;
        let refused = strategy(None, &definition, &env, &app).expect_err("canary");
        assert_eq!(refused.problem().exit_code, 7);
        assert!(refused.problem().detail.contains("canaryInProd"));
        assert!(refused.problem().remedy[0].command.ends_with("--strategy rolling"));
        let asked = Some(Strategy::Rolling);
        assert_eq!(strategy(asked, &definition, &env, &app).ok(), Some(Strategy::Rolling));
        let dev = "dev".parse().expect("a name");
        assert_eq!(strategy(None, &definition, &dev, &app).ok(), Some(Strategy::Rolling));
        for other in [Strategy::BlueGreen, Strategy::Canary, Strategy::Recreate] {
            assert!(strategy(Some(other), &definition, &dev, &app).is_err(), "{other}");
        }
    }
}
