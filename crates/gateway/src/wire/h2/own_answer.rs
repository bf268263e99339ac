//! An answer of the gateway's own to a request of either protocol: a refusal as a page, or as a
//! status for a gRPC caller. Used by `crossing` and `server`; must not decide what is refused.

use std::future::poll_fn;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use super::fields::Request;
use super::grpc;
use super::side::{Answer, Client};
use crate::wire::answer::{self, About, Refusal};
use crate::wire::head::Method;
use crate::wire::slot::Slot;
use crate::wire::wires::{Fault, check};

/// The gateway's own answer; the bytes of its body. A gRPC caller gets a status instead of a page.
pub(super) async fn refuse(
    client: &mut impl Client,
    slot: &Slot,
    request: &Request,
    refusal: Refusal,
    about: &About,
) -> Result<u64, Fault> {
    say(client, slot, request, answer::page(refusal, about, request.accepts_html)).await
}

/// As [`refuse`], with the page at hand.
pub(super) async fn say(
    client: &mut impl Client,
    slot: &Slot,
    request: &Request,
    page: answer::Page,
) -> Result<u64, Fault> {
    let mut fields = HeaderMap::with_capacity(6);
    fields.insert("x-ark-error", HeaderValue::from_static(page.code));
    if request.grpc {
        fields.extend(grpc::refusal(page.status, &page.sentence));
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let answer = Answer { status: StatusCode::OK, fields, upgraded: false };
        client.send_head(answer, true)?;
        return flushed(client, slot).await.map(|()| 0);
    }
    let status = StatusCode::from_u16(page.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let length = page.body.len() as u64;
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(page.kind));
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(retry_after_s) = page.retry_after_s {
        fields.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
    }
    let to_head = request.kind == Method::Head;
    let answer = Answer { status, fields, upgraded: false };
    client.send_head(answer, to_head)?;
    if to_head {
        return flushed(client, slot).await.map(|()| 0);
    }
    let mut body = bytes::Bytes::from(page.body);
    poll_fn(|cx| {
        check(slot)?;
        while !body.is_empty() {
            let room = std::task::ready!(client.poll_room(body.len(), cx))?.min(body.len());
            let piece = body.split_to(room);
            client.send(piece, body.is_empty())?;
        }
        client.poll_flushed(cx)
    })
    .await?;
    Ok(length)
}

/// Waits until what was sent has left, or the slot is told otherwise.
pub(super) async fn flushed(client: &mut impl Client, slot: &Slot) -> Result<(), Fault> {
    poll_fn(|cx| {
        check(slot)?;
        client.poll_flushed(cx)
    })
    .await
}
