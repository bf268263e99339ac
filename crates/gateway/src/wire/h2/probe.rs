//! Asks a target that speaks HTTP/2 how it is: `GET path` by prior knowledge, on a connection of
//! its own. Called by `health`, which sets the deadline.

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
