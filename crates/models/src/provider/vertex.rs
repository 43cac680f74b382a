//! Where Vertex AI has its models: by publisher, or behind an endpoint of the project's own.

use std::borrow::Cow;

use super::place::{Ask, encoded};
use super::{ProviderError, Reason};
use crate::registry::Model;

/// Whose protocol a model is asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Google's.
    Gemini,
    /// Anthropic's, handed on by Vertex AI.
    Anthropic,
}

/// A model's place below the region, and its protocol. A name alone is one of Google's, or of
/// Anthropic's if it begins like theirs.
fn resource(name: &str) -> Result<(Cow<'_, str>, Speaks), ProviderError> {
    // A whole name repeats project and region.
    let mut words = name.split('/');
    let below = match (words.next(), words.next(), words.next(), words.next()) {
        (Some("projects"), Some(_), Some("locations"), Some(_)) => {
            words.collect::<Vec<_>>().join("/")
        }
        _ => name.to_owned(),
    };
    let words: Vec<&str> = below.split('/').collect();
    let speaks = match words.as_slice() {
        ["endpoints", _] | ["publishers", "google", "models", _] => Speaks::Gemini,
        ["publishers", "anthropic", "models", _] => Speaks::Anthropic,
        [name] if name.starts_with("claude") => {
            let place = format!("publishers/anthropic/models/{name}");
            return Ok((Cow::Owned(place), Speaks::Anthropic));
        }
        [name] => {
            let place = format!("publishers/google/models/{name}");
            return Ok((Cow::Owned(place), Speaks::Gemini));
        }
        _ => {
            let text = format!(
                "`{name}` is asked in no protocol that is known here: a model of vertex is a name, \
                 `publishers/google/models/NAME`, `publishers/anthropic/models/NAME` or \
                 `endpoints/ID`"
            );
            return Err(ProviderError::new(Reason::Unsupported, text));
        }
    };
    Ok((Cow::Borrowed(name), speaks))
}

/// Whose protocol a model is asked in.
pub(super) fn speaks(model: &Model) -> Result<Speaks, ProviderError> {
    resource(&model.spec.model).map(|(_, speaks)| speaks)
}

/// Where a model is asked; nothing for what it is not asked here.
pub(super) fn address(model: &Model, ask: Ask) -> Result<Option<String>, ProviderError> {
    let (place, speaks) = resource(&model.spec.model)?;
    let verb = match (speaks, ask) {
        (Speaks::Gemini, Ask::Chat) => "generateContent",
        (Speaks::Gemini, Ask::Stream) => "streamGenerateContent?alt=sse",
        (Speaks::Gemini, Ask::Embed) => "predict",
        (Speaks::Anthropic, Ask::Chat) => "rawPredict",
        (Speaks::Anthropic, Ask::Stream) => "streamRawPredict",
        // There is no list, but a model says that it is there.
        (_, Ask::List) => "",
        (Speaks::Anthropic, Ask::Embed) | (_, Ask::Rerank) => return Ok(None),
    };
    let provider = &model.spec.provider;
    let (Some(project), Some(region)) = (&provider.project, &provider.region) else {
        let text = "nobody said the project and the region of this model";
        return Err(ProviderError::new(Reason::Invalid, text));
    };
    let base = model.spec.base_url().unwrap_or_else(|| home(region));
    let place = encoded(&place);
    let public = ask == Ask::List && place.starts_with("publishers/");
    let mut address = if public || place.starts_with("projects/") {
        format!("{base}/{place}")
    } else {
        format!("{base}/projects/{project}/locations/{region}/{place}")
    };
    if !verb.is_empty() {
        address.push(':');
        address.push_str(verb);
    }
    Ok(Some(address))
}

/// Google's address of a region (documentation, "Deployments and endpoints").
fn home(region: &str) -> String {
    match region {
        "global" => "https://aiplatform.googleapis.com/v1".to_owned(),
        // Where data stays in one of these without a closer place.
        "us" | "eu" => format!("https://aiplatform.{region}.rep.googleapis.com/v1"),
        region => format!("https://{region}-aiplatform.googleapis.com/v1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_models_and_their_protocols() {
        use Speaks::{Anthropic, Gemini};
        for (name, place, speaks) in [
            (
                "gemini-2.5-flash",
                "publishers/google/models/gemini-2.5-flash",
                Gemini,
            ),
            (
                "text-embedding-005@001",
                "publishers/google/models/text-embedding-005@001",
                Gemini,
            ),
            (
                "claude-opus-4@20250514",
                "publishers/anthropic/models/claude-opus-4@20250514",
                Anthropic,
            ),
            (
                "publishers/google/models/x",
                "publishers/google/models/x",
                Gemini,
            ),
            (
                "publishers/anthropic/models/claude-x",
                "publishers/anthropic/models/claude-x",
                Anthropic,
            ),
            ("endpoints/123", "endpoints/123", Gemini),
            (
                "projects/7/locations/us/endpoints/1",
                "projects/7/locations/us/endpoints/1",
                Gemini,
            ),
        ] {
            assert_eq!(resource(name), Ok((Cow::Borrowed(place), speaks)), "{name}");
        }
        for name in [
            "publishers/meta/models/llama",
            "endpoints/1/2",
            "meta/llama",
            "projects/7",
        ] {
            let refused = resource(name).map_err(|error| error.reason);
            assert_eq!(refused, Err(Reason::Unsupported), "{name}");
        }
    }

    #[test]
    fn regions_have_their_own_addresses() {
        for (region, host) in [
            ("global", "aiplatform.googleapis.com"),
            ("eu", "aiplatform.eu.rep.googleapis.com"),
            ("europe-west1", "europe-west1-aiplatform.googleapis.com"),
        ] {
            assert_eq!(home(region), format!("https://{host}/v1"));
        }
    }
}
