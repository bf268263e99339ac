//! Images: built by the engine from a directory that was sent, and looked for.

use std::time::Duration;

use ark_engine::{BuildSpec, Built};
use ark_model::api::{
    BuildEvent, BuildRequest, IMAGES_FIND_MAX, ImagesFind, ImagesFound, ProblemCode,
};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::{HeaderValue, header};

use super::deployments::missing_blobs;
use super::error::{ApiError, chain};
use super::extract::Json;
use super::guard::place;
use super::intents::unknown_artifact;
use super::operation::{Content, Operation, Shared, subschema};
use crate::auth::Permission;

/// How long the engine may take to look for an image.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);
/// The longest name of an image, in bytes.
const NAME_BYTES_MAX: usize = 512;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/v1/builds", ("buildImage", "Build an image"), build)
            .about(
                "The context is an artifact that was sent. Answers newline-delimited JSON: what the \
                 builder says as it says it; the last line is `built` or `failed`. A client that \
                 leaves ends the build. One image is built at a time; others wait.",
            )
            .needs(Permission::Deploy)
            .takes::<BuildRequest>()
            .streams(200, Content::Lines(subschema::<BuildEvent>))
            .problems(&[
                ProblemCode::InvalidValue,
                ProblemCode::ArtifactIncomplete,
                ProblemCode::AlreadyExists,
                ProblemCode::NotSupported,
                ProblemCode::EngineFailed,
            ]),
        Operation::post("/v1/images/find", ("findImages", "Which of these images are here"), find)
            .needs(Permission::Read)
            .takes::<ImagesFind>()
            .answers::<ImagesFound>(200)
            .problems(&[ProblemCode::InvalidValue, ProblemCode::EngineFailed]),
    ]
}

async fn build(
    State(state): State<Shared>,
    Json(request): Json<BuildRequest>,
) -> Result<Response, ApiError> {
    check(&request.image)?;
    let place = place(&state.streams, "streams")?;
    // What was promised to be there is not deleted before it was read.
    let blobs_stay = state.blobs_in_use.clone().read_owned().await;
    let wanted = request.context;
    let record = state
        .store
        .read::<_, ApiError, _>(move |tx| Ok(tx.artifact(&wanted)?))
        .await?
        .ok_or_else(|| unknown_artifact(&wanted.to_string()))?;
    let missing = missing_blobs(&state, record.manifest.blobs()).await?;
    if !missing.is_empty() {
        let detail = format!("{} files of the build's context were not sent", missing.len());
        return Err(ApiError::new(ProblemCode::ArtifactIncomplete, detail));
    }
    let dockerfile = request.dockerfile.unwrap_or_else(|| "Dockerfile".to_owned());
    if !record.manifest.entries.iter().any(|entry| entry.path == dockerfile) {
        let detail = format!("the build's context has no file {dockerfile}");
        return Err(ApiError::new(ProblemCode::InvalidValue, detail)
            .remedy("name it", "build: {docker: {file: PATH}} in the launch file"));
    }
    let image = request.image.clone();
    let spec = BuildSpec {
        manifest: record.manifest,
        blobs: state.blobs.directory().to_owned(),
        dockerfile,
        image: request.image,
    };
    let said = state.engine.build(spec).await?;
    let lines = said.map(move |next| {
        let _held = (&place, &blobs_stay);
        let event = match next {
            Ok(Built::Line(text)) => BuildEvent::Log { text },
            Ok(Built::Done(digest)) => BuildEvent::Built { image: image.clone(), digest },
            Ok(Built::Failed(reason)) => BuildEvent::Failed { reason },
            Err(error) => BuildEvent::Failed { reason: chain(&error) },
        };
        let mut line = serde_json::to_string(&event).unwrap_or_default();
        line.push('\n');
        Ok::<_, std::convert::Infallible>(line)
    });
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, ndjson)], Body::from_stream(lines)).into_response())
}

async fn find(
    State(state): State<Shared>,
    Json(wanted): Json<ImagesFind>,
) -> Result<Json<ImagesFound>, ApiError> {
    if wanted.images.len() > IMAGES_FIND_MAX {
        let detail = format!("at most {IMAGES_FIND_MAX} images are looked for at once");
        return Err(ApiError::new(ProblemCode::InvalidValue, detail));
    }
    let mut found = ImagesFound::default();
    for image in wanted.images {
        check(&image)?;
        let asked = tokio::time::timeout(LOOK_DEADLINE, state.engine.image_digest(&image)).await;
        let digest = asked.map_err(|_| {
            ApiError::new(ProblemCode::EngineFailed, "the engine did not answer in time")
        })??;
        let Some(digest) = digest else { continue };
        if wanted.keep {
            let kept = tokio::time::timeout(LOOK_DEADLINE, state.engine.keep_image(&image)).await;
            // One that is in its registry only is fetched from there.
            kept.map_err(|_| {
                ApiError::new(ProblemCode::EngineFailed, "the engine did not answer in time")
            })??;
        }
        found.present.insert(image, digest);
    }
    Ok(Json(found))
}

/// `name:tag`, in the characters that images may have.
fn check(image: &str) -> Result<(), ApiError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    let tagged = image.rsplit('/').next().is_some_and(|last| {
        last.split_once(':').is_some_and(|(name, tag)| !name.is_empty() && !tag.is_empty())
    });
    if tagged && image.len() <= NAME_BYTES_MAX && image.bytes().all(plain) {
        return Ok(());
    }
    let detail = format!("`{}` is no image: write NAME:TAG", super::find::cut(image));
    Err(ApiError::new(ProblemCode::InvalidValue, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_name_and_a_tag() {
        for good in ["web:1a2b3c4", "registry.test:5000/shop/web:1", "a/b:c"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["web", "web:", ":1", "registry.test:5000/web", "a b:1", "web:1;rm"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
