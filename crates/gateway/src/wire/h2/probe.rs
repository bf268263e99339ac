//! Single requests of the gateway's own to a target that speaks HTTP/2, by prior knowledge, each on a
//! connection of its own: how it is, for `health`, and copies of requests, for `mirror`. Both set
//! the deadline.

use http::Request;
use tokio::net::TcpStream;

use crate::health::first_line;

/// The most of a failed answer's body that is read, in bytes.
const BODY_BYTES_MAX: usize = 4 << 10;

/// The status, and of a bad one the first line of the body; else what went wrong.
pub(crate) async fn probe(
    stream: TcpStream,
    host: &str,
    path: &str,
) -> Result<(u16, String), String> {
    let words = |error: h2::Error| match error.is_io() {
        true => "the connection was closed without an answer".to_owned(),
        false => format!("the answer is not HTTP/2 ({error})"),
    };
    let (requests, connection) = h2::client::handshake(stream).await.map_err(words)?;
    let ask = async {
        let mut requests = requests.ready().await.map_err(words)?;
        let request = Request::get(format!("http://{host}{path}"))
            .header("user-agent", "ark-gateway")
            .body(())
            .map_err(|error| error.to_string())?;
        let (response, _) = requests.send_request(request, true).map_err(words)?;
        let (parts, mut body) = response.await.map_err(words)?.into_parts();
        let mut read = Vec::new();
        while !parts.status.is_success() && read.len() < BODY_BYTES_MAX {
            let Some(Ok(data)) = body.data().await else { break };
            read.extend_from_slice(&data);
        }
        Ok((parts.status.as_u16(), first_line(&read)))
    };
    drive(connection, ask, words).await
}

/// Sends a request without a body, and reads up to `bytes_max` of the answer's, which nobody sees.
pub(crate) async fn send_copy(
    stream: TcpStream,
    request: Request<()>,
    bytes_max: usize,
) -> Result<(), h2::Error> {
    let (requests, connection) = h2::client::handshake(stream).await?;
    let ask = async {
        let (response, _) = requests.ready().await?.send_request(request, true)?;
        let mut body = response.await?.into_body();
        let mut read = 0;
        while read < bytes_max
            && let Some(data) = body.data().await
        {
            let piece = data?.len();
            body.flow_control().release_capacity(piece)?;
            read += piece;
        }
        Ok(())
    };
    drive(connection, ask, |error| error).await
}

/// Carries a connection for as long as something is asked on it.
async fn drive<T, E>(
    connection: h2::client::Connection<TcpStream>,
    ask: impl Future<Output = Result<T, E>>,
    words: impl Fn(h2::Error) -> E,
) -> Result<T, E> {
    let mut asking = std::pin::pin!(ask);
    let mut driving = std::pin::pin!(connection);
    tokio::select! {
        biased;
        answer = &mut asking => answer,
        ended = &mut driving => match ended {
            // The answer may have come with the end.
            Ok(()) => asking.await,
            Err(error) => Err(words(error)),
        },
    }
}
