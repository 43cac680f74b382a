//! Models on this machine: what a build without them says, and what real ones answer.

use matrix_models::ModelError;
use matrix_models::provider::Reason;
use matrix_models::registry::{ModelSpec, PriceRule, ProviderKind};

use crate::site::{Site, spec};

/// A model in a file.
pub(crate) fn file(path: &str) -> ModelSpec {
    let mut spec = spec(ProviderKind::Local, "");
    spec.provider.base_url = None;
    spec.provider.private = false;
    spec.provider.path = Some(path.to_owned());
    spec.price = PriceRule::Catalogue;
    spec
}

fn reason(error: &ModelError) -> Reason {
    match error {
        ModelError::Provider { source, .. } => {
            assert!(!source.is_ill(), "{source}: nobody is ill");
            source.reason
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_model_says_where_its_file_is() {
    file("/srv/model.gguf").check().unwrap();
    let mut spec = file("model.gguf");
    assert_eq!(spec.check().unwrap_err().field, "path");
    spec.provider.path = None;
    assert_eq!(spec.check().unwrap_err().field, "path");
    let mut other = file("/srv/model.gguf");
    other.provider.kind = ProviderKind::Ollama;
    assert_eq!(other.check().unwrap_err().field, "path");
}

#[cfg(not(feature = "local-models"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_build_without_them_says_so_and_asks_the_next_one() {
    let upstream = crate::upstream::Upstream::start().await;
    let site = Site::new().await;
    site.add("here", &file("/srv/model.gguf")).await;
    let error = site.chat("here").await.unwrap_err();
    assert_eq!(reason(&error), Reason::Unsupported);
    let text = error.to_string();
    assert!(
        text.ends_with("build with `--features local-models`"),
        "{text}"
    );
    let error = site.stream("here").await.unwrap_err();
    assert_eq!(reason(&error), Reason::Unsupported);
    site.model("there", ProviderKind::Openai, &upstream.url())
        .await;
    site.route("r", &["here", "there"]).await;
    let text = crate::transcripts::streamed("openai", crate::transcripts::Has::Words);
    upstream.then(crate::upstream::stream(&text));
    let stream = site.stream("r").await.unwrap();
    assert_eq!(stream.model(), "there@1");
}

#[cfg(feature = "local-models")]
#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_models_are_refused_and_nobody_is_ill() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new().await;
    let broken = folder.path().join("broken.gguf");
    std::fs::write(&broken, b"GGUF\x03\x00\x00\x00no").unwrap();
    let none = folder.path().join("none.gguf");
    for (name, path) in [("broken", &broken), ("none", &none)] {
        site.add(name, &file(path.to_str().unwrap())).await;
        let error = site.chat(name).await.unwrap_err();
        assert_eq!(reason(&error), Reason::NoModel, "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("`{name}.gguf`")), "{text}");
        let place = folder.path().to_str().unwrap();
        assert!(!text.contains(place), "{text}: where it is is not said");
    }
    assert_eq!(site.charged().await.2, 2);
}
