//! Which secrets reach a provider, and which stay where they are.

use std::collections::BTreeMap;

use matrix_models::registry::{ModelAdd, ProviderKind, add_model};
use matrix_models::secret::Secrets;
use matrix_models::sources::KeySources;

use crate::site::{Site, allowed, asking, question, spec};
use crate::transcripts::{self, Has};
use crate::upstream::{Upstream, whole};

async fn site() -> (Site, Upstream) {
    let upstream = Upstream::always(whole(&transcripts::whole("openai", Has::Words))).await;
    (Site::new().await, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_with_a_secret_of_somebody_else_is_not_added() {
    let (site, upstream) = site().await;
    for (key, add) in [
        ("env:PGPASSWORD", "`env:PGPASSWORD`"),
        ("file:/etc/shadow", "`file:/etc/`"),
        ("file:/proc/self/environ", "`file:/proc/self/`"),
    ] {
        let mut spec = spec(ProviderKind::Openai, &upstream.url());
        spec.provider.key = Some(key.parse().unwrap());
        let request = allowed(ModelAdd {
            name: "m".into(),
            version: "1".into(),
        });
        let refused = add_model(site.gateway.registry(), &request, &spec).await;
        let error = refused.unwrap_err();
        assert_eq!(error.code().text, "MODEL-0002");
        let text = error.to_string();
        assert!(text.contains(add) && text.contains("`keys_from`"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_may_not_be_read_any_more_is_not_sent() {
    let (site, upstream) = site().await;
    let mut spec = spec(ProviderKind::Openai, &upstream.url());
    spec.provider.key = Some(site.key("one", "a-key"));
    site.add("m", &spec).await;
    site.chat("m").await.unwrap();
    assert_eq!(
        upstream.asked()[0].header("authorization"),
        Some("Bearer a-key")
    );

    let environment = BTreeMap::from([("ONE".to_owned(), "a-key".to_owned())]);
    let narrower = site.reaching(|options| {
        let sources = KeySources::try_from(vec!["env:ONE".to_owned()]).unwrap();
        options.secrets = Secrets::new(environment, sources);
    });
    let error = narrower.chat(&asking("m"), question()).await.unwrap_err();
    assert_eq!(error.code().text, "MODEL-0011");
    assert!(error.to_string().contains("`keys_from`"), "{error}");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_does_not_lead_out_of_its_directory() {
    let (site, upstream) = site().await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "not-for-models").unwrap();
    let mut spec = spec(ProviderKind::Openai, &upstream.url());
    for (name, target, may) in [
        ("within", "one".into(), true),
        ("out", outside.path().join("secret"), false),
    ] {
        let key = site.key(name, "");
        let matrix_models::secret::SecretRef::File(path) = &key else {
            panic!("keys of tests are files");
        };
        site.key("one", "a-key");
        std::fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink(&target, path).unwrap();
        spec.provider.key = Some(key);
        site.add(name, &spec).await;
        let answered = site.chat(name).await;
        assert_eq!(answered.is_ok(), may, "{name}");
    }
    let sent = upstream.asked();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].header("authorization"), Some("Bearer a-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_encrypted_stays_within_ones_own_network() {
    let (site, upstream) = site().await;
    for (url, private, why) in [
        (
            "http://93.184.216.34/v1",
            true,
            "no address of your own network",
        ),
        ("http://93.184.216.34/v1", false, "is not encrypted"),
        ("http://example.org/v1", false, "is not encrypted"),
        ("https://10.0.0.7/v1", false, "private network"),
    ] {
        let mut spec = spec(ProviderKind::Openai, url);
        spec.provider.private = private;
        let error = spec.check().unwrap_err().to_string();
        assert!(error.contains(why), "{url}: {error}");
    }
    site.model("m", ProviderKind::Openai, &upstream.url()).await;
    site.chat("m").await.unwrap();
}
