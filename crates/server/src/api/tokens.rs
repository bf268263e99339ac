//! Tokens. Making one is the other operation whose answer holds a secret: the token, once.

use ark_model::api::{
    Page, PageQuery, ProblemCode, Role, TokenCreate, TokenCreated, TokenKind, TokenSecret,
    TokenView,
};
use ark_model::event::{EventKind, NewEvent};
use ark_store::{StoreError, TokenRecord};
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;

use super::error::ApiError;
use super::extract::{Json, Path, Query, cursor, page, page_limit};
use super::find;
use super::operation::{Operation, Shared};
use crate::auth::{Caller, Permission, new_access_key, new_token, role_of};

/// The longest name of a token, in bytes.
const NAME_BYTES_MAX: usize = 100;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/tokens", ("listTokens", "Tokens, by name, without their text"), list)
            .needs(Permission::ManageTokens)
            .query::<PageQuery>()
            .answers::<Page<TokenView>>(200),
        Operation::post(
            "/v1/tokens",
            ("createToken", "Make a token; its text is shown once"),
            create,
        )
        .about(
            "Kind `bearer` (the default) is answered with `token`, kind `aws` with `access_key_id` \
             and `secret_access_key`, a pair for AWS's clients.",
        )
        .needs(Permission::ManageTokens)
        .takes::<TokenCreate>()
        .answers::<TokenCreated>(201)
        .problems(&[ProblemCode::AlreadyExists, ProblemCode::InvalidValue]),
        Operation::delete("/v1/tokens/{token}", ("revokeToken", "Revoke a token"), revoke)
            .about("From the next request on. Revoking it again changes nothing.")
            .needs(Permission::ManageTokens)
            .answers_nothing(204)
            .problems(&[ProblemCode::TokenNotFound, ProblemCode::InvalidValue]),
    ]
}

fn view(record: TokenRecord) -> TokenView {
    TokenView {
        // A role of a newer server can do nothing here; the weakest word comes closest.
        role: role_of(&record).unwrap_or(Role::Reader),
        id: record.id,
        name: record.name,
        created_at: record.created_at,
        created_by: record.created_by,
        last_used_at: record.last_used_at,
        revoked_at: record.revoked_at,
        kind: if record.aws.is_some() { TokenKind::Aws } else { TokenKind::Bearer },
        access_key_id: record.aws.map(|key| key.access_key_id),
    }
}

async fn list(
    State(state): State<Shared>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<TokenView>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let skip: usize = cursor(query.cursor.as_deref())?.unwrap_or(0);
    let tokens = state.store.read::<_, ApiError, _>(|tx| Ok(tx.tokens()?)).await?;
    let from_here: Vec<(usize, TokenRecord)> =
        tokens.into_iter().enumerate().skip(skip).take(limit + 1).collect();
    Ok(Json(page(from_here, limit, |(index, _)| (index + 1).to_string(), |(_, t)| view(t))))
}

async fn create(
    State(state): State<Shared>,
    caller: Caller,
    Json(request): Json<TokenCreate>,
) -> Result<(StatusCode, Json<TokenCreated>), ApiError> {
    let letter = |c: char| c.is_alphanumeric() || "-_.@+".contains(c);
    let name = request.name.as_str();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(letter) {
        let detail = format!(
            "token name `{}` is not allowed: use 1 to {NAME_BYTES_MAX} letters, digits and -_.@+",
            find::cut(name)
        );
        return Err(ApiError::new(ProblemCode::InvalidValue, detail));
    }
    let now = Timestamp::now();
    let no_randomness = || ApiError::internal("the system gave no random bytes");
    let (secret, record) = match request.kind {
        TokenKind::Bearer => {
            let (raw, record) =
                new_token(name, request.role, &caller.name, now).ok_or_else(no_randomness)?;
            (TokenSecret::Bearer { token: raw.expose().to_owned() }, record)
        }
        TokenKind::Aws => {
            let (raw, record) =
                new_access_key(&state.keyring, name, request.role, &caller.name, now)
                    .ok_or_else(no_randomness)?;
            (TokenSecret::Aws { secret_access_key: raw.expose().to_owned() }, record)
        }
    };
    let kept = record.clone();
    let role = request.role.as_str();
    let text = format!("token {name} was made ({role})");
    state
        .store
        .write::<_, ApiError, _>(move |tx| {
            tx.insert_token(&kept)?;
            tx.append_event(NewEvent::of_server(EventKind::Token, caller.name, now, text))?;
            Ok(())
        })
        .await?;
    let created = TokenCreated { secret, view: view(record) };
    Ok((StatusCode::CREATED, Json(created)))
}

async fn revoke(
    State(state): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let now = Timestamp::now();
    state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let unknown = || {
                let detail = format!("token `{}` does not exist", find::cut(&id));
                ApiError::new(ProblemCode::TokenNotFound, detail)
                    .remedy("all tokens", "ark token list")
            };
            let token = tx.token(&id)?.ok_or_else(unknown)?;
            if token.id == caller.token {
                let detail = "a token cannot revoke itself: nobody could take its place";
                return Err(ApiError::new(ProblemCode::InvalidValue, detail));
            }
            if token.revoked_at.is_none() {
                match tx.revoke_token(&id, now) {
                    Err(StoreError::NotFound { .. }) => return Err(unknown()),
                    other => other?,
                }
                let text = format!("token {} was revoked", token.name);
                tx.append_event(NewEvent::of_server(EventKind::Token, caller.name, now, text))?;
            }
            Ok(())
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
