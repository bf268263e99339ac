//! Artifacts: a directory is offered as a manifest, and only what the server lacks is sent.

use std::time::Duration;

use ark_model::Sha256;
use ark_model::api::{
    ARTIFACT_OFFER_BYTES_MAX, ArtifactAnswer, ArtifactOffer, BlobStored, ProblemCode,
};
use ark_model::artifact::BLOB_BYTES_MAX;
use ark_store::{BlobError, Put};
use axum::body::Body;
use axum::extract::State;
use futures::TryStreamExt as _;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use tokio_util::io::StreamReader;

use super::deployments::missing_blobs;
use super::error::{ApiError, chain};
use super::extract::{Json, Path};
use super::guard::place;
use super::operation::{Operation, Shared};
use crate::auth::Permission;

/// How long one blob may take to arrive.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(30 * 60);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/v1/artifacts",
            ("offerArtifact", "Offer a directory; answers which files are to be sent"),
            offer,
        )
        .about("What is offered is kept for an hour, and for as long as a release names it.")
        .needs(Permission::Deploy)
        .takes::<ArtifactOffer>()
        .body_up_to(ARTIFACT_OFFER_BYTES_MAX)
        .answers::<ArtifactAnswer>(200)
        .problems(&[ProblemCode::InvalidValue]),
        Operation::put("/v1/blobs/{sha256}", ("putBlob", "Send one file"), put)
            .about(
                "Answers 201 when it is new and 200 when it was there. `Content-Length` is needed. \
                 The content must have the digest.",
            )
            .needs(Permission::Deploy)
            .takes_bytes(0, UPLOAD_DEADLINE)
            .answers::<BlobStored>(201)
            .problems(&[ProblemCode::DigestMismatch, ProblemCode::BadRequest]),
    ]
}

async fn offer(
    State(state): State<Shared>,
    Json(offer): Json<ArtifactOffer>,
) -> Result<Json<ArtifactAnswer>, ApiError> {
    let manifest = offer.manifest;
    // It may become the context of an image. Whether instances can be given copies of it is judged by
    // the deployment that names it.
    manifest
        .check_context()
        .map_err(|error| ApiError::new(ProblemCode::InvalidValue, error.to_string()))?;
    let wanted = manifest.blobs();
    // Recorded first: from then on what is here already is not deleted. A clean-up that has read
    // the records before that must not be under way.
    let _blobs_stay = state.blobs_in_use.clone().read_owned().await;
    let now = Timestamp::now();
    let digest =
        state.store.write::<_, ApiError, _>(move |tx| Ok(tx.put_artifact(&manifest, now)?)).await?;
    let missing = missing_blobs(&state, wanted).await?;
    Ok(Json(ArtifactAnswer { digest, missing }))
}

async fn put(
    State(state): State<Shared>,
    Path(sha256): Path<Sha256>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<BlobStored>), ApiError> {
    let _place = place(&state.uploads, "uploads")?;
    let bytes = length(&headers)?;
    let reader = StreamReader::new(body.into_data_stream().map_err(std::io::Error::other));
    let put =
        state.blobs.put_async(reader, sha256, bytes).await.map_err(|error| blob_error(&error))?;
    let status = match put {
        Put::Stored => StatusCode::CREATED,
        Put::Present => StatusCode::OK,
    };
    Ok((status, Json(BlobStored { sha256, bytes })))
}

fn length(headers: &HeaderMap) -> Result<u64, ApiError> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let bytes: u64 = length.and_then(|text| text.parse().ok()).ok_or_else(|| {
        ApiError::new(ProblemCode::BadRequest, "the request does not say its content's length")
    })?;
    if bytes > BLOB_BYTES_MAX {
        let detail = format!("the file has {bytes} bytes; at most {BLOB_BYTES_MAX} are allowed");
        return Err(ApiError::new(ProblemCode::TooLarge, detail));
    }
    Ok(bytes)
}

fn blob_error(error: &BlobError) -> ApiError {
    let code = match error {
        BlobError::Digest { .. } => ProblemCode::DigestMismatch,
        BlobError::Length { .. } | BlobError::Received { .. } => ProblemCode::BadRequest,
        BlobError::TooLarge { .. } => ProblemCode::TooLarge,
        BlobError::Missing { .. } => ProblemCode::ArtifactIncomplete,
        BlobError::File { .. } => {
            let detail = "the file could not be kept: the disk is full or failed";
            return ApiError::new(ProblemCode::StorageFailed, detail)
                .remedy("free space", "ark gc")
                .context(chain(error));
        }
    };
    ApiError::new(code, error.to_string()).context(chain(error))
}
