//! WebSockets between the protocols: what HTTP/1.1 does by `Upgrade` (RFC 6455), HTTP/2 does by an
//! extended CONNECT (RFC 8441). The frames that follow are the same.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::h1_sink::push_field;
use crate::wire::web_socket;

/// What the answer's key is made of beside the request's.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether an HTTP/1.1 request asks for one.
pub(super) fn is_asked_for(fields: &HeaderMap) -> bool {
    fields
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Adds what makes an HTTP/1.1 request ask for one. The key is the gateway's own: HTTP/2 has none.
pub(super) fn push_request(out: &mut Vec<u8>) {
    let key = base64(&rand::random::<[u8; 16]>());
    out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
    push_field(out, "sec-websocket-key", key.as_bytes());
}

/// Makes an HTTP/2 request ask for one.
pub(super) fn to_h2(request: &mut http::Request<()>) {
    *request.method_mut() = http::Method::CONNECT;
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
}

/// Removes from an HTTP/1.1 answer what HTTP/2 does not say.
pub(super) fn answer_to_h2(fields: &mut HeaderMap) {
    fields.remove(header::SEC_WEBSOCKET_ACCEPT);
    fields.remove(header::UPGRADE);
    fields.remove(header::CONNECTION);
    fields.remove(header::CONTENT_LENGTH);
}

/// What an HTTP/1.1 client must be answered to be sure that its request was understood.
pub(super) fn accept(request: &HeaderMap) -> Option<(HeaderName, HeaderValue)> {
    let key = request.get(header::SEC_WEBSOCKET_KEY)?;
    let joined = [key.as_bytes(), GUID].concat();
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &joined);
    let value = HeaderValue::try_from(base64(digest.as_ref())).ok()?;
    Some((header::SEC_WEBSOCKET_ACCEPT, value))
}

/// The close frames by which the gateway ends one: towards the client, and towards the target.
pub(super) fn close_frames() -> (Bytes, Bytes) {
    let to_client = Bytes::copy_from_slice(&web_socket::close_to_client());
    let to_target = Bytes::copy_from_slice(&web_socket::close_to_server(rand::random()));
    (to_client, to_target)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        let mut fields = HeaderMap::new();
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        fields.insert(header::SEC_WEBSOCKET_KEY, key);
        let (_, value) = accept(&fields).unwrap();
        assert_eq!(value, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
