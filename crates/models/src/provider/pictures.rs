//! Pictures at addresses, for providers that fetch none themselves: where the operator allows it they are
//! fetched here, and sent as bytes.
//!
//! Askers say the addresses, so that this process goes where they say: only over HTTPS and to public
//! addresses unless the operator says otherwise, looked at where they are connected to and with each
//! redirect; for a while, up to a size, and only what is a picture by its bytes. What was wrong is said
//! in few words, which tell nothing of what is at an address.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::header::{ACCEPT, LOCATION};
use reqwest::{Response, Url};
use serde::{Deserialize, Serialize};

use super::client::{Clients, read};
use super::vertex::{self, Speaks};
use super::{ProviderError, Reason};
use crate::chat::{ChatRequest, Part, Source};
use crate::registry::{Model, ProviderKind};
use crate::wire::gemini;

/// The most bytes of one picture, as most providers take it.
const PICTURE_MAX: usize = 10 * 1024 * 1024;

/// The most bytes of all pictures of a request.
const ALL_MAX: usize = 32 * 1024 * 1024;

/// The most addresses of a request.
const COUNT_MAX: usize = 16;

/// How many are fetched at once.
const AT_ONCE: usize = 4;

/// How long one may take, with its redirects.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many redirects are followed.
const REDIRECTS: usize = 3;

/// Whether pictures are fetched, and from where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PictureRules {
    /// Whether they are fetched at all.
    pub fetch: bool,
    /// Whether also without encryption.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub http: bool,
    /// Whether also from this machine and private networks.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
}

/// A picture that was fetched.
struct Picture {
    media_type: &'static str,
    bytes: Vec<u8>,
}

impl PictureRules {
    /// A request as its provider can read it: with pictures in place of addresses, where they are to be
    /// fetched for it.
    pub(super) async fn inlined<'a>(
        &self,
        clients: &Clients,
        model: &Model,
        request: &'a ChatRequest,
    ) -> Result<Cow<'a, ChatRequest>, ProviderError> {
        let urls: BTreeSet<String> = if self.fetch {
            addresses(model, request)?
        } else {
            BTreeSet::new()
        };
        if urls.is_empty() {
            return Ok(Cow::Borrowed(request));
        }
        if urls.len() > COUNT_MAX {
            let text = format!("more than {COUNT_MAX} pictures are at addresses");
            return Err(ProviderError::new(Reason::Unsupported, text));
        }
        let fetched = urls.iter().map(|url| async move {
            let picture = tokio::time::timeout(PATIENCE, self.fetched(clients, url)).await;
            let picture = picture.map_err(|_| "it took too long")?;
            Ok::<_, &str>((url.clone(), picture?))
        });
        let fetched: Vec<_> = fetched.collect();
        let pictures: HashMap<String, Picture> = stream::iter(fetched)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
            .map_err(refused)?;
        if pictures.values().map(|it| it.bytes.len()).sum::<usize>() > ALL_MAX {
            return Err(refused("together they are too large"));
        }
        let mut request = request.clone();
        each(&mut request, &mut |source| {
            if let Source::Url(url) = source
                && let Some(picture) = pictures.get(url)
            {
                *source = Source::Data {
                    media_type: picture.media_type.to_owned(),
                    data: STANDARD.encode(&picture.bytes),
                };
            }
        });
        Ok(Cow::Owned(request))
    }

    async fn fetched(&self, clients: &Clients, url: &str) -> Result<Picture, &'static str> {
        let mut url = Url::parse(url).map_err(|_| "one is no address")?;
        for _ in 0..=REDIRECTS {
            let response = self.asked(clients, &url).await?;
            let status = response.status();
            if status.is_redirection() {
                let place = response.headers().get(LOCATION);
                let place = place.and_then(|place| place.to_str().ok());
                let place = place.and_then(|place| url.join(place).ok());
                url = place.ok_or("it is not there")?;
                continue;
            }
            if !status.is_success() {
                return Err("it is not there");
            }
            let read = read(response, PICTURE_MAX, PATIENCE).await;
            let bytes = read.map_err(|_| "it is too large, or broke off")?;
            let media_type = kind(&bytes).ok_or("it is no PNG, JPEG, GIF or WebP")?;
            return Ok(Picture { media_type, bytes });
        }
        Err("it is somewhere else again and again")
    }

    /// Asks for what is at an address, if there may be one.
    async fn asked(&self, clients: &Clients, url: &Url) -> Result<Response, &'static str> {
        let scheme = match url.scheme() {
            "https" => true,
            "http" => self.http,
            _ => false,
        };
        let named = url.password().is_some() || !url.username().is_empty();
        if !scheme || named {
            return Err("such an address is not asked");
        }
        let client = clients.to(url, self.private);
        let client = client.map_err(|_| "such an address is not asked")?;
        let sent = client.get(url.clone()).header(ACCEPT, "image/*").send();
        sent.await.map_err(|_| "it cannot be reached")
    }
}

fn refused(why: &str) -> ProviderError {
    // Another model may have a provider that fetches by itself.
    let text = format!("a picture was not fetched: {why}; send it as bytes");
    ProviderError::new(Reason::Unsupported, text)
}

/// The addresses of pictures that a model's provider does not fetch.
fn addresses(model: &Model, request: &ChatRequest) -> Result<BTreeSet<String>, ProviderError> {
    let google = match model.spec.provider.kind {
        ProviderKind::Gemini => true,
        ProviderKind::Vertex if vertex::speaks(model)? == Speaks::Gemini => true,
        ProviderKind::Ollama | ProviderKind::Bedrock => false,
        _ => return Ok(BTreeSet::new()),
    };
    let mut urls = BTreeSet::new();
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let inside = parts.flat_map(|part| match part {
        Part::ToolResult { parts, .. } => parts.as_slice(),
        part => std::slice::from_ref(part),
    });
    for part in inside {
        if let Part::Image {
            source: Source::Url(url),
            ..
        } = part
            && url.starts_with("http")
            && !(google && gemini::fetches(url))
        {
            urls.insert(url.clone());
        }
    }
    Ok(urls)
}

/// Every picture of a request.
fn each(request: &mut ChatRequest, change: &mut dyn FnMut(&mut Source)) {
    let parts = request.messages.iter_mut();
    for part in parts.flat_map(|message| &mut message.parts) {
        let inside = match part {
            Part::ToolResult { parts, .. } => parts.as_mut_slice(),
            part => std::slice::from_mut(part),
        };
        for part in inside {
            if let Part::Image { source, .. } = part {
                change(source);
            }
        }
    }
}

/// What bytes are, by how they begin.
fn kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => None,
    }
}
