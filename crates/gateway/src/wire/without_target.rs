//! Answers over HTTP/1.1 to requests that no target hears of: refusals, maintenance, the way to TLS, and
//! proofs for an authority. Called by `exchange`; counts nothing but what its callers count.

use ark_model::traffic::Maintenance;

use super::answer::{self, About, Manner, Refusal};
use super::conn::{After, Conn};
use super::head::{Method, RequestBody, RequestHead, SayConnection, Version};

/// Answers a request that reached no target. Its body, should it have one, is not read.
pub(super) async fn refuse(
    conn: &mut Conn,
    head: &RequestHead,
    refusal: Refusal,
    about: &About,
) -> After {
    let keep = keeps(conn, head);
    conn.out.clear();
    answer::write(refusal, about, manner(head, keep), &mut conn.out);
    sent(conn, keep).await
}

/// Answers a request of a route under maintenance.
pub(super) async fn maintain(conn: &mut Conn, head: &RequestHead, page: &Maintenance) -> After {
    let keep = keeps(conn, head);
    conn.out.clear();
    answer::write_maintenance(page, manner(head, keep), &mut conn.out);
    sent(conn, keep).await
}

/// Where a request would be served over TLS: the same host and target, on `port`. `None` when it
/// names no host.
pub(super) fn location(host: &str, head: &[u8], target_at: usize, port: u16) -> Option<String> {
    let rest = head.get(target_at..)?;
    let target = &rest[..memchr::memchr(b' ', rest)?];
    let target = std::str::from_utf8(target).ok().filter(|target| target.starts_with('/'));
    (!host.is_empty()).then(|| secure_address(host, target.unwrap_or("/"), port))
}

/// Where `host`, with or without a port, serves `target` over TLS.
pub(super) fn secure_address(host: &str, target: &str, port: u16) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    format!("https://{name}{port}{target}")
}

/// Sends a request to where it is served over TLS. 308: the method stays.
pub(super) async fn redirect(conn: &mut Conn, head: &RequestHead, to: Option<String>) -> After {
    let Some(to) = to else {
        return refuse(conn, head, Refusal::BadRequest("no host"), &About::Request).await;
    };
    let keep = keeps(conn, head);
    let connection = match say(head, keep) {
        SayConnection::Close => "Connection: close\r\n",
        SayConnection::KeepAlive => "Connection: keep-alive\r\n",
        SayConnection::Nothing | SayConnection::Upgrade => "",
    };
    conn.out.clear();
    conn.out.extend_from_slice(
        format!(
            "HTTP/1.1 308 Permanent Redirect\r\nLocation: {to}\r\nContent-Length: 0\r\n\
             {connection}\r\n"
        )
        .as_bytes(),
    );
    sent(conn, keep).await
}

/// Answers the authority that asks whether this host is served here.
pub(super) async fn prove(conn: &mut Conn, head: &RequestHead, proof: &str) -> After {
    conn.out.clear();
    conn.out.extend_from_slice(
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            proof.len()
        )
        .as_bytes(),
    );
    if head.method != Method::Head {
        conn.out.extend_from_slice(proof.as_bytes());
    }
    match conn.send_out().await {
        Ok(()) => After::Linger,
        Err(_) => After::Close,
    }
}

pub(super) fn manner(head: &RequestHead, keep: bool) -> Manner {
    Manner {
        html: head.accepts_html,
        to_head: head.method == Method::Head,
        connection: say(head, keep),
    }
}

pub(super) fn say(head: &RequestHead, keep: bool) -> SayConnection {
    match (keep, head.version) {
        (false, _) => SayConnection::Close,
        (true, Version::Http10) => SayConnection::KeepAlive,
        (true, Version::Http11) => SayConnection::Nothing,
    }
}

/// Whether the connection is kept after an answer of the gateway's own: a body is not read.
fn keeps(conn: &Conn, head: &RequestHead) -> bool {
    head.keep_alive && head.body == RequestBody::None && !conn.worker.is_stopping()
}

async fn sent(conn: &mut Conn, keep: bool) -> After {
    match (conn.send_out().await, keep) {
        (Ok(()), true) => After::Next,
        (Ok(()), false) => After::Linger,
        (Err(_), _) => After::Close,
    }
}
