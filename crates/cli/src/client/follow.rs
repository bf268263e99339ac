//! Following a stream of server-sent events over every interruption.
//!
//! The server may be restarted, may end the stream of a slow reader (`lagged`), may be gone for a
//! while: the follower connects again with the id of the last message it gave out, so that nothing
//! is missed. Whether anything comes twice is the stream's to say: ids of events are their numbers, ids of
//! log lines their times, and whoever follows those drops what it has had. It gives up when the server was away for longer than its
//! patience.

use std::collections::VecDeque;
use std::time::Duration;

use ark_model::exit::ExitCode;
use reqwest::{Method, Response};
use tokio::time::{Instant, sleep, timeout};

use super::sse::{Message, Parser};
use super::{Client, is_passing};
use crate::failure::Failure;

/// A stream says something, be it a comment, at least this often.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the head of the answer may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause before connecting again; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// A stream being followed.
#[derive(Debug)]
pub(crate) struct Follow<'a> {
    client: &'a Client,
    path: String,
    query: Vec<(String, String)>,
    patience: Duration,
    response: Option<Response>,
    parser: Parser,
    last_id: Option<String>,
    /// How often an answer has begun.
    begun: u64,
    ready: VecDeque<Message>,
    pause: Duration,
    lost_since: Option<Instant>,
}

impl<'a> Follow<'a> {
    /// Follows `path`. `patience` is how long the server may be away.
    pub(crate) fn new(
        client: &'a Client,
        path: String,
        query: Vec<(String, String)>,
        patience: Duration,
    ) -> Self {
        Self {
            client,
            path,
            query,
            patience,
            response: None,
            parser: Parser::default(),
            last_id: None,
            begun: 0,
            ready: VecDeque::new(),
            pause: PAUSE_MIN,
            lost_since: None,
        }
    }

    /// The next message. Cancelling the wait loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Message, Failure> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                if message.event == "lagged" {
                    self.response = None;
                    continue;
                }
                if !message.id.is_empty() {
                    self.last_id = Some(message.id.clone());
                }
                return Ok(message);
            }
            if self.response.is_none() {
                self.connect().await?;
            }
            self.read().await;
        }
    }

    /// How often the stream was broken off and taken up again, as of the last message that was given out.
    pub(crate) fn resumed(&self) -> u64 {
        self.begun.saturating_sub(1)
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        loop {
            // Kept outside of the request, so that a cancelled wait does not shorten the pause.
            if self.lost_since.is_some() {
                sleep(self.pause).await;
                self.client.rediscover();
            }
            let failure = match timeout(HEAD_TIMEOUT, self.open()).await {
                Ok(Ok(response)) => {
                    self.response = Some(response);
                    self.begun += 1;
                    self.parser = Parser::after(self.last_id.clone().unwrap_or_default());
                    return Ok(());
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::new(
                    ExitCode::TimedOut,
                    "server-timeout",
                    format!("the server at {} did not answer in time", self.client.base()),
                ),
            };
            if !is_passing(&failure) || self.lost().elapsed() >= self.patience {
                return Err(failure);
            }
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }

    fn lost(&mut self) -> Instant {
        *self.lost_since.get_or_insert_with(Instant::now)
    }

    async fn open(&self) -> Result<Response, Failure> {
        self.client
            .send(|| {
                let request = self
                    .client
                    .request(Method::GET, &self.path)
                    .query(&self.query)
                    .header("accept", "text/event-stream");
                match &self.last_id {
                    Some(id) => request.header("last-event-id", id),
                    None => request,
                }
            })
            .await
    }

    /// Reads once; an end of any kind leads to connecting again.
    async fn read(&mut self) {
        let Some(response) = &mut self.response else { return };
        let chunk = timeout(SILENCE_MAX, response.chunk()).await;
        if let Ok(Ok(Some(bytes))) = chunk {
            self.lost_since = None;
            self.pause = PAUSE_MIN;
            let ready = &mut self.ready;
            if self.parser.feed(&bytes, |message| ready.push_back(message)).is_ok() {
                let id = self.parser.last_id();
                // Messages bring their own when they are given out.
                if ready.is_empty() && !id.is_empty() {
                    self.last_id = Some(id.to_owned());
                }
                return;
            }
        }
        self.response = None;
        self.lost();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

    /// Accepts one connection after another, keeps the request's head, sends what is written.
    async fn serve(listener: TcpListener, answers: Vec<String>) -> Vec<String> {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            heads.push(head(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        heads
    }

    async fn head(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(bytes).unwrap().to_ascii_lowercase()
    }

    async fn listener() -> (TcpListener, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = Client::of(&format!("http://{address}"), "t".into(), None).unwrap();
        (listener, client)
    }

    #[tokio::test]
    async fn an_interrupted_stream_goes_on_after_the_last_message() {
        let (listener, client) = listener().await;
        let server = tokio::spawn(serve(
            listener,
            vec![
                // Ends in the middle of a message.
                format!("{HEAD}id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata: lost"),
                "HTTP/1.1 503 x\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\r\n\
                 {\"type\":\"t\",\"title\":\"t\",\"status\":503,\"detail\":\"d\",\"code\":\"shutting-down\",\"exit_code\":1}"
                    .to_owned(),
                // A slow reader is told so and connects again.
                format!("{HEAD}id: 3\ndata: c\n\nevent: lagged\ndata: {{\"after\":3}}\n\n"),
                format!("{HEAD}id: 4\ndata: d\n\n"),
            ],
        ));
        let mut follow = Follow::new(
            &client,
            "/v1/events".into(),
            vec![("app".into(), "web".into())],
            Duration::from_secs(30),
        );
        let mut seen = Vec::new();
        while seen.len() < 4 {
            seen.push(follow.next().await.unwrap().data);
        }
        assert_eq!(seen, ["a", "b", "c", "d"]);
        let heads = server.await.unwrap();
        assert!(heads[0].starts_with("get /v1/events?app=web http/1.1"), "{}", heads[0]);
        assert!(heads[0].contains("authorization: bearer t"), "{}", heads[0]);
        let resumed = |head: &String| {
            head.lines().find_map(|line| line.strip_prefix("last-event-id: ").map(str::to_owned))
        };
        let resumes: Vec<_> = heads.iter().map(resumed).collect();
        let expect = [None, Some("2"), Some("2"), Some("3")];
        assert_eq!(resumes, expect.map(|id| id.map(str::to_owned)));
    }

    #[tokio::test]
    async fn a_stream_that_said_only_where_it_begins_goes_on_from_there() {
        let (listener, client) = listener().await;
        let answers = [
            format!("{HEAD}id: from 1\n\n: still here\n\nid: not to the end"),
            format!("{HEAD}data: a\n\n"),
        ];
        let server = tokio::spawn(serve(listener, answers.to_vec()));
        let mut follow =
            Follow::new(&client, "/v1/logs".into(), Vec::new(), Duration::from_secs(30));
        assert_eq!(follow.resumed(), 0);
        assert_eq!(follow.next().await.unwrap().data, "a");
        assert_eq!(follow.resumed(), 1);
        let heads = server.await.unwrap();
        assert!(!heads[0].contains("last-event-id"), "{}", heads[0]);
        assert!(heads[1].contains("last-event-id: from 1\r\n"), "{}", heads[1]);
    }

    #[tokio::test]
    async fn patience_ends_and_a_refusal_is_final() {
        let (listener, client) = listener().await;
        drop(listener);
        let mut follow =
            Follow::new(&client, "/v1/events".into(), Vec::new(), Duration::from_millis(300));
        assert_eq!(follow.next().await.unwrap_err().code, super::super::UNREACHABLE);

        let (listener, client) = self::listener().await;
        let refusal = "HTTP/1.1 401 x\r\nconnection: close\r\n\r\n\
             {\"type\":\"t\",\"title\":\"t\",\"status\":401,\"detail\":\"d\",\"code\":\"unauthorized\",\"exit_code\":7}";
        let server = tokio::spawn(serve(listener, vec![refusal.to_owned()]));
        let mut follow =
            Follow::new(&client, "/v1/events".into(), Vec::new(), Duration::from_secs(300));
        assert_eq!(follow.next().await.unwrap_err().exit.0, 7);
        assert_eq!(server.await.unwrap().len(), 1);
    }
}
