//! Where Amazon Bedrock is asked.

use super::place::{Ask, percent};
use crate::registry::Model;

/// The name under which requests to it are signed.
pub(super) const SERVICE: &str = "bedrock";

/// Where a model is asked; nothing without a region.
pub(super) fn address(model: &Model, ask: Ask) -> Option<String> {
    let region = model.spec.provider.region.as_deref()?;
    // One host knows which models there are, another one asks them.
    let host = if ask == Ask::List {
        "bedrock"
    } else {
        "bedrock-runtime"
    };
    let base = model.spec.base_url();
    let base = base.unwrap_or_else(|| format!("https://{host}.{region}.{}", domain(region)));
    let verb = match ask {
        Ask::Chat => "converse",
        Ask::Stream => "converse-stream",
        Ask::Embed | Ask::Rerank => "invoke",
        Ask::List => return Some(format!("{base}/foundation-models")),
    };
    Some(format!(
        "{base}/model/{}/{verb}",
        escaped(&model.spec.model)
    ))
}

fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    }
}

/// A name as one piece of a path. Names may be whole resource names, with colons and slashes.
fn escaped(name: &str) -> String {
    percent(name, b"-._~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_piece_of_a_path() {
        assert_eq!(
            escaped("anthropic.claude-opus-4-20250514-v1:0"),
            "anthropic.claude-opus-4-20250514-v1%3A0"
        );
        assert_eq!(
            escaped("arn:aws:bedrock:us-east-1:1:inference-profile/x"),
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx"
        );
        assert_eq!(domain("cn-north-1"), "amazonaws.com.cn");
    }
}
