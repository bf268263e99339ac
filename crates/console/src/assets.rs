//! The one stylesheet, the one script and the icon: part of the program. Their address holds the
//! digest of their content, so a browser may keep them.

use std::sync::LazyLock;

use ark_model::Sha256;
use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};

use crate::Shared;

const STYLE: &str = include_str!("../assets/console.css");
const SCRIPT: &str = include_str!("../assets/console.js");
const ICON: &str = include_str!("../assets/icon.svg");

/// Addresses of the assets, for templates.
pub(crate) struct Addresses {
    pub(crate) style: String,
    pub(crate) script: String,
    pub(crate) icon: String,
}

pub(crate) static ADDRESSES: LazyLock<Addresses> = LazyLock::new(|| Addresses {
    style: address("console.css", STYLE),
    script: address("console.js", SCRIPT),
    icon: address("icon.svg", ICON),
});

fn address(name: &str, content: &str) -> String {
    let digest = Sha256::of(content.as_bytes()).to_string();
    format!("/assets/{}/{name}", &digest[..16])
}

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/assets/{digest}/{name}", get(asset))
        .route("/favicon.ico", get(async || asset(Path((String::new(), "icon.svg".into()))).await))
}

async fn asset(Path((_, name)): Path<(String, String)>) -> Response {
    let (kind, content) = match name.as_str() {
        "console.css" => ("text/css; charset=utf-8", STYLE),
        "console.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let keep = HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(header::CACHE_CONTROL, keep);
    response
}
