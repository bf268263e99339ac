//! What the pages' script follows: the API's events, passed through, and the switch of the theme.

use axum::Router;
use axum::extract::{Form, RawQuery};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;

use crate::Shared;
use crate::shell::{THEME_COOKIE, Theme};
use crate::sign_in::local;
use crate::visit::Visit;

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/live", get(live)).route("/theme", post(theme))
}

async fn live(visit: Visit, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let address = format!("/v1/events/stream?{}", query.unwrap_or_default());
    visit.pass(&address, &headers).await
}

#[derive(Deserialize)]
struct ThemeForm {
    theme: String,
    back: String,
}

async fn theme(Form(form): Form<ThemeForm>) -> Response {
    let theme = Theme::parse(&form.theme).as_str();
    let mut response = Redirect::to(local(&form.back)).into_response();
    let year = 365 * 86_400;
    let text = format!("{THEME_COOKIE}={theme}; Path=/; Max-Age={year}; HttpOnly; SameSite=Strict");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}
