//! Speaks to the process that hosts a data directory, through its socket, for commands of the same
//! user. One request is one connection: a command makes few, and a host that was replaced in
//! between is simply the next one's answer.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use futures::Stream;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use matrix_core::{Problem, RunId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::events::{Event, Lines};
use crate::problem::UNREACHABLE;
use crate::rest::ProblemBody;

/// How long a host may take to answer. Its own limits are shorter, so that its reason arrives.
const ANSWER: Duration = Duration::from_secs(45);

/// The same for what ends processes of a deployment.
const ACT: Duration = Duration::from_mins(11);

/// The most bytes of an answer that is read whole.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Why a host did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket, so there is no host.
    #[error("no process answers at {}", path.display())]
    NoHost {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke, or what came back is not an answer.
    #[error("the host at {} did not answer properly: {what}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        what: String,
    },
    /// The host refused, and said why.
    #[error("{} [{}]", .0.detail, .0.code)]
    Refused(Box<ProblemBody>),
}

impl ClientError {
    /// What the command line exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoHost { .. } | Self::Broken { .. } => UNREACHABLE.exit,
            Self::Refused(problem) => problem.exit_code,
        }
    }

    /// What to do next, where something is known.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::NoHost { .. } => Some("start one with `matrix serve`"),
            Self::Broken { .. } => Some("look into the log in the data directory"),
            Self::Refused(problem) => problem.help.as_deref(),
        }
    }

    /// The problem of a host that cannot be reached; none when it answered.
    pub fn unreachable(&self) -> Option<Problem> {
        match self {
            Self::Refused(_) => None,
            _ => Some(
                Problem::new(UNREACHABLE, self.to_string()).help(self.help().unwrap_or_default()),
            ),
        }
    }
}

/// A host's address. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// Finds out whether a host listens at this socket.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let client = Self {
            path: path.to_owned(),
        };
        client.open().await?;
        Ok(client)
    }

    /// `GET`, with a JSON answer.
    pub async fn get<T: DeserializeOwned>(&self, address: &str) -> Result<T, ClientError> {
        self.json(Method::GET, address, None, Bytes::new()).await
    }

    /// `POST` of a JSON body, with a JSON answer.
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        address: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = self.written(body)?;
        self.json(Method::POST, address, None, body).await
    }

    /// `POST` with an idempotency key: made again with the same key, it is carried out once.
    pub async fn post_once<B: Serialize, T: DeserializeOwned>(
        &self,
        address: &str,
        key: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = self.written(body)?;
        self.json(Method::POST, address, Some(key), body).await
    }

    /// `DELETE`, with a JSON answer.
    pub async fn delete<T: DeserializeOwned>(&self, address: &str) -> Result<T, ClientError> {
        self.json(Method::DELETE, address, None, Bytes::new()).await
    }

    /// `GET`, with the bytes of the answer, such as an artifact's.
    pub async fn bytes(&self, address: &str) -> Result<Bytes, ClientError> {
        let request = self.request(Method::GET, address, None, Bytes::new())?;
        self.timely(ANSWER, self.whole(request)).await
    }

    /// A run's entries after a position (`-1` for all), as they are written, until the run has
    /// ended. An error ends the stream; it can be taken up again behind the last event's position.
    pub async fn events(
        &self,
        run: RunId,
        after: i64,
    ) -> Result<impl Stream<Item = Result<Event, ClientError>> + Send + use<>, ClientError> {
        let address = format!("/api/v1/runs/{run}/events?after={after}");
        let request = self.request(Method::GET, &address, None, Bytes::new())?;
        let (response, connection) = self.timely(ANSWER, self.send(request)).await?;
        let feed = Feed {
            client: self.clone(),
            ended: response.status() == StatusCode::NO_CONTENT,
            body: response.into_body(),
            lines: Lines::default(),
            _connection: connection,
        };
        Ok(futures::stream::unfold(feed, |mut feed| async move {
            let event = feed.next().await?;
            Some((event, feed))
        }))
    }

    fn broken(&self, what: &dyn Display) -> ClientError {
        ClientError::Broken {
            path: self.path.clone(),
            what: what.to_string(),
        }
    }

    fn written<B: Serialize>(&self, body: &B) -> Result<Bytes, ClientError> {
        let bytes = serde_json::to_vec(body).map_err(|error| self.broken(&error))?;
        Ok(bytes.into())
    }

    fn request(
        &self,
        method: Method,
        address: &str,
        key: Option<&str>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(address)
            .header(header::HOST, "localhost");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request
            .body(Full::new(body))
            .map_err(|error| self.broken(&error))
    }

    async fn open(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.path)
            .await
            .map_err(|source| ClientError::NoHost {
                path: self.path.clone(),
                source,
            })
    }

    async fn timely<T>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(time, work).await {
            Ok(done) => done,
            Err(_) => Err(self.broken(&format_args!("no answer in {} s", time.as_secs()))),
        }
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        address: &str,
        key: Option<&str>,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let request = self.request(method.clone(), address, key, body)?;
        let acts = address.starts_with("/api/v1/deployments/") && method == Method::POST;
        let time = if acts { ACT } else { ANSWER };
        let bytes = self.timely(time, self.whole(request)).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.broken(&error))
    }

    async fn whole(&self, request: Request<Full<Bytes>>) -> Result<Bytes, ClientError> {
        let (response, _connection) = self.send(request).await?;
        self.collect(response).await
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let collected = body.collect().await.map_err(|error| self.broken(&error))?;
        Ok(collected.to_bytes())
    }

    /// Sends a request; an answer that is a failure becomes the error.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), ClientError> {
        let stream = TokioIo::new(self.open().await?);
        let (mut sender, connection) = http1::handshake(stream)
            .await
            .map_err(|error| self.broken(&error))?;
        let connection = Connection(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the host ended");
            }
        }));
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| self.broken(&error))?;
        if response.status().is_success() {
            return Ok((response, connection));
        }
        let status = response.status();
        let body = self.collect(response).await?;
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            Err(_) => Err(self.broken(&format_args!("it said {status} without a reason"))),
        }
    }
}

/// The task that moves a connection's bytes; it ends with its owner.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Feed {
    client: Client,
    body: Incoming,
    lines: Lines,
    ended: bool,
    _connection: Connection,
}

impl Feed {
    async fn next(&mut self) -> Option<Result<Event, ClientError>> {
        loop {
            if let Some(event) = self.lines.next() {
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            match self.body.frame().await {
                None => return None,
                Some(Ok(frame)) => {
                    let taken = frame
                        .data_ref()
                        .map_or(Ok(()), |data| self.lines.take(data));
                    if let Err(error) = taken {
                        self.ended = true;
                        return Some(Err(self.client.broken(&error)));
                    }
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(self.client.broken(&error)));
                }
            }
        }
    }
}
