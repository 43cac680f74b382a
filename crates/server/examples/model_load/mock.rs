//! The provider.

use std::convert::Infallible;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::Failure;

/// How far apart a stream's chunks are: each is read, told and sent by itself.
const APART: Duration = Duration::from_millis(4);

/// Of 100 tokens or so, as is what it says of itself.
const TEXT: &str = "A journal is a record of what was decided, in the order in which it was decided, \
    that is written before anything is done. Whoever starts again after a fall reads it from its \
    beginning and comes to the same place, because what was asked of the world is in it with its \
    answer. It only grows, so that what was true once can be read for ever, and it is cut off only \
    where nobody will look again. A short record of where one stands saves the long way.";

/// How each chunk begins.
const HEAD: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\
    \"created\":1700000000,\"model\":\"mock\",\"choices\":[";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers whoever comes, until it is ended.
pub(crate) async fn stand(address: &str) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).await?;
    println!("{}", listener.local_addr()?);
    let whole = Bytes::from(whole());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let whole = whole.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, whole.clone()));
            // A client that leaves is no failure of the provider.
            drop(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

async fn answer(request: Request<Incoming>, whole: Bytes) -> Result<Response<Body>, Failure> {
    let asked = request.into_body().collect().await?.to_bytes();
    // Somebody asks which models there are, without a body; any answer does.
    let asked: Value = serde_json::from_slice(&asked).unwrap_or_default();
    let (kind, body) = if asked["stream"] == true {
        let most = ["max_tokens", "max_completion_tokens"];
        let chunks = most.iter().find_map(|name| asked[name].as_u64());
        let body = StreamBody::new(events(chunks.unwrap_or(100)));
        ("text/event-stream", BodyExt::boxed_unsync(body))
    } else {
        ("application/json", Full::new(whole).boxed_unsync())
    };
    Ok(Response::builder().header(CONTENT_TYPE, kind).body(body)?)
}

fn whole() -> String {
    serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "mock",
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": null,
            "message": { "role": "assistant", "content": TEXT, "refusal": null },
        }],
        "usage": { "prompt_tokens": 50, "completion_tokens": 100, "total_tokens": 150 },
        "system_fingerprint": "fp_1",
    })
    .to_string()
}

/// A stream of so many chunks, each with a word of its own. With the last one come what was used and
/// the end.
fn events(chunks: u64) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    stream::iter(1..=chunks).then(move |index| async move {
        if index > 1 {
            sleep(APART).await;
        }
        let finish = if index == chunks { "\"stop\"" } else { "null" };
        let mut text = format!(
            "{HEAD}{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\" word{index}\"}},\
             \"finish_reason\":{finish}}}]}}\n\n"
        );
        if index == chunks {
            let end = format!(
                "{HEAD}],\"usage\":{{\"prompt_tokens\":50,\"completion_tokens\":{chunks},\
                 \"total_tokens\":{}}}}}\n\ndata: [DONE]\n\n",
                chunks + 50
            );
            text += &end;
        }
        Ok(Frame::data(Bytes::from(text)))
    })
}
