//! What a run published, by name and by bytes.

use matrix_core::Timestamp;
use matrix_store::StoreError;
use matrix_store::tables::releases::{self, ArtifactRow};
use serde_json::json;

use crate::site::Site;

#[tokio::test]
async fn an_artifact_is_found_by_its_link_and_named_by_its_digest() {
    let site = Site::open().await;
    let run = site.settled(json!("done")).await;
    let bytes = b"<script>alert(1)</script>";
    let digest = site.engine.blobs().put(bytes).unwrap();
    let row = ArtifactRow {
        run,
        name: "outputs/a page.html".into(),
        digest,
        media_type: "text/html".into(),
        size: bytes.len() as u64,
        created_at: Timestamp::from_micros(1),
    };
    site.engine
        .database()
        .write::<_, StoreError, _>(move |tx| releases::put_artifact(tx, &row))
        .await
        .unwrap();
    let list = site.get(&format!("/api/v1/artifacts/{run}")).send().await;
    let list = list.ok(200);
    assert_eq!(list["items"][0]["name"], "outputs/a page.html");
    let link = list["items"][0]["links"]["self"].as_str().unwrap();
    let got = site.get(link).send().await;
    assert_eq!((got.status, &got.body[..]), (200, &bytes[..]));
    assert_eq!(got.header("content-type"), "text/html");
    assert_eq!(got.header("content-disposition"), "attachment");
    assert!(got.header("content-security-policy").contains("sandbox"));
    let tag = format!("\"{digest}\"");
    assert_eq!(got.header("etag"), tag);
    let known = site.get(link).header("if-none-match", &tag).send().await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    let other = site.get(link).header("if-none-match", "\"x\"").send().await;
    assert_eq!(other.status, 200);
    let missing = format!("/api/v1/artifacts/{run}/outputs/other");
    site.get(&missing).send().await.problem(404, "CHANGE-0004");
    site.close().await;
}
