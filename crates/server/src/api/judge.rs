//! Judging what a request wants to run, before anything is recorded: its launch file, its artifact,
//! its strategy. Called for plans and for deployments; reads and writes no store.

use ark_engine::{Engine, EngineKind};
use ark_model::api::{DeployRequest, DiagnosticView, ProblemCode};
use ark_model::artifact::Artifact;
use ark_model::definition::{
    self, DataStoreKind, Definition, Diagnostic, LaunchFile, Severity, Strategy, check_runnable,
};
use ark_model::image_name::check_reference;
use ark_model::release::ReleaseContent;
use ark_model::{AppName, EnvName};

use super::error::ApiError;
use super::find;

/// What is to run, judged.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) definition: Definition,
    pub(super) artifact: Artifact,
    pub(super) warnings: Vec<DiagnosticView>,
    /// The image that the file of a data store names.
    pub(super) store_image: Option<String>,
}

/// Reads and judges the launch file of a request. `known` is the release that `from` names.
///
/// # Errors
/// `invalid-definition`, `invalid-value`, `data-store`, `not-runnable`, `bad-request`.
pub(super) fn judge(
    request: &DeployRequest,
    known: Option<ReleaseContent>,
    app: &AppName,
    engine: impl Fn(&Artifact) -> definition::EngineKind,
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
            store_image: None,
        },
        (Some(launch), None) => {
            let (definition, warnings, store_image) = parse(&launch.file, &launch.text, app)?;
            let artifact = request.artifact.clone().unwrap_or(Artifact::None);
            if let Artifact::Image { reference, .. } = &artifact {
                check_reference(reference)
                    .map_err(|why| ApiError::new(ProblemCode::InvalidValue, why))?;
            }
            if definition.data_store.is_some() && matches!(artifact, Artifact::Directory { .. }) {
                let detail = format!("`{app}` is a data store: it runs from no directory");
                return Err(ApiError::new(ProblemCode::NotRunnable, detail));
            }
            Wanted { definition, artifact, warnings, store_image }
        }
    };
    let engine = engine(&wanted.artifact);
    check_runnable(&wanted.definition, engine).map_err(|found| not_runnable(&found, app))?;
    check_artifact(&wanted.artifact, engine, app)?;
    Ok(wanted)
}

fn parse(
    file: &str,
    text: &str,
    app: &AppName,
) -> Result<(Definition, Vec<DiagnosticView>, Option<String>), ApiError> {
    let file = find::cut(file);
    match definition::parse_of(Some(app), &file, text.as_bytes()).into_result() {
        Ok((LaunchFile::App(definition), warnings)) => {
            Ok((*definition, warnings.iter().map(DiagnosticView::from).collect(), None))
        }
        Ok((LaunchFile::DataStore(store), warnings)) => match store.definition() {
            Some(definition) => {
                let warnings = warnings.iter().map(DiagnosticView::from).collect();
                Ok((definition, warnings, store.image))
            }
            None => Err(never_run(&file, store.kind)),
        },
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

/// The problem of a file that describes nothing Ark runs.
fn never_run(file: &str, kind: DataStoreKind) -> ApiError {
    let detail = format!("{file} describes {}", kind.why_not_run().unwrap_or_default());
    match kind {
        DataStoreKind::Library => ApiError::new(ProblemCode::NotRunnable, detail),
        _ => ApiError::new(ProblemCode::DataStore, detail)
            .remedy("apps that use it name it", "databases: [...]"),
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

/// Refuses an app that wants more of its host than the policy allows.
///
/// # Errors
/// `not-runnable`.
pub(super) fn check_rights(
    engine: &dyn Engine,
    env: &EnvName,
    app: &AppName,
    wanted: &Wanted,
) -> Result<(), ApiError> {
    let rights = wanted.definition.run.rights();
    let refusal = match engine.kind_for(&wanted.artifact) {
        // What else is asked for is listed as not enforced.
        EngineKind::Process if !rights.privileged => None,
        EngineKind::Process => Some("`run.privileged` is for containers; leave it out".to_owned()),
        EngineKind::Docker | EngineKind::Kubernetes | EngineKind::Fake => {
            engine.refuses(env, app, &rights)
        }
    };
    match refusal {
        None => Ok(()),
        Some(detail) => Err(ApiError::new(ProblemCode::NotRunnable, detail)),
    }
}

/// The strategy of a deployment: what was asked for, else what the definition says for this
/// environment.
pub(super) fn strategy(
    asked: Option<Strategy>,
    definition: &Definition,
    env: &EnvName,
) -> Strategy {
    // Two servers over one folder would destroy it.
    let asked = asked.filter(|_| definition.data_store.is_none());
    asked.unwrap_or_else(|| definition.strategy_in(env.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stands_over_the_launch_file() {
        let (production, dev) =
            ("production".parse().expect("a name"), "dev".parse().expect("a name"));
        let mut definition = Definition::default();
        assert_eq!(strategy(None, &definition, &production), Strategy::Rolling);
        definition.deploy_config.canary_in_prod = true;
        assert_eq!(strategy(None, &definition, &production), Strategy::Canary);
        assert_eq!(strategy(None, &definition, &dev), Strategy::Rolling);
        let asked = Some(Strategy::Recreate);
        assert_eq!(strategy(asked, &definition, &production), Strategy::Recreate);
    }
}
