//! The web console: pages rendered on the server, out of what the API answers.
//!
//! The console is a client of the API, as the command line is: a page asks the [`Host`] for the
//! answers of operations in the name of its viewer, makes a view of them, and prints that with a
//! template. Whatever a page shows can therefore be had as JSON too, and whatever a button does
//! passes the same permissions, limits and records. Called by the server, which stands behind
//! [`Host`]; must not know the store, engines or the gateway.
//!
//! **A page** is one file in `pages/` and one in `templates/`: `routes()` lists its addresses, a
//! handler takes a [`Visit`], asks with [`Visit::get`], and answers with [`Visit::page`]. Forms are
//! posted to the same file's handlers, which answer with [`see`]. `tests/pages.rs` renders pages
//! against a host that answers from a table.
//!
//! **Safety.** Templates escape everything; the few types that print markup of their own
//! ([`words::When`], [`chart`], [`graph`], [`machine`]) escape what they are given. The content security policy allows
//! neither inline script nor inline style nor anything from elsewhere. Every `POST` needs the token
//! of its session ([`visit`]). Cookies are `HttpOnly` and `SameSite=Strict`.
//!
//! **Live.** `assets/console.js` follows `GET /live` (the API's events), fetches its own page again
//! when something happened, and replaces the elements marked `data-live`. Without it the page reads
//! as it was rendered.

#![forbid(unsafe_code)]

mod address;
mod assets;
mod chart;
mod fault;
mod graph;
mod host;
mod json;
mod layout;
mod live;
mod machine;
mod pages;
mod refusal;
mod room;
mod shell;
mod sign_in;
mod svg;
mod visit;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};

pub use host::{Credential, Host, Viewer};
pub use pages::PAGES;
pub use refusal::{Asked, refusal};

/// The largest form, in bytes.
const FORM_BYTES_MAX: usize = 1 << 20;

/// What every handler is given.
pub(crate) type Shared = Arc<dyn Host>;

/// All pages. `POST /` is not among them.
pub fn router(host: Arc<dyn Host>) -> Router {
    pages::routes()
        .merge(live::routes())
        .merge(sign_in::routes_signed_in())
        .layer(from_fn_with_state(host.clone(), visit::enter))
        .merge(sign_in::routes())
        .layer(from_fn_with_state(host.clone(), address::own_host))
        .merge(assets::routes())
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn(visit::harden))
        .with_state(host)
}

/// What a browser is shown at an address where there is nothing, in the frame of every page.
pub fn nowhere(host: Arc<dyn Host>) -> Router {
    Router::new()
        .fallback(pages::fault::nowhere)
        .layer(from_fn_with_state(host.clone(), visit::enter))
        .layer(from_fn_with_state(host.clone(), address::own_host))
        .layer(from_fn(visit::harden))
        .with_state(host)
}
