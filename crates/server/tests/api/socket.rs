//! The socket: the owner's door, and the host's own routes.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use matrix_server::rest::{Draining, HostView, Page, UserWithToken};
use matrix_server::{Client, ClientError};
use serde_json::{Value, json};

use crate::site::Site;

#[tokio::test]
async fn the_socket_is_the_owners_and_knows_its_host() {
    let site = Site::open().await;
    let metadata = std::fs::metadata(&site.socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let client = site.client().await;
    let host: HostView = client.get("/host").await.unwrap();
    assert_eq!((host.pid, &*host.worker), (std::process::id(), "host-1"));
    let page: Page<Value> = client.get("/api/v1/users").await.unwrap();
    assert_eq!(page.items.len(), 3, "{:?}", page.items);
    assert!(!json!(page.items).to_string().contains("mtx_"));
    for hidden in ["/host", "/host/drain"] {
        site.get(hidden).send().await.problem(404, "HTTP-0004");
    }
    site.close().await;
}

#[tokio::test]
async fn a_user_who_is_added_can_sign_in_at_once() {
    let site = Site::open().await;
    let body = json!({ "name": "adam", "roles": ["approver"] });
    let added: UserWithToken = site
        .client()
        .await
        .post("/api/v1/users", &body)
        .await
        .unwrap();
    assert_eq!(added.user.roles, ["approver"]);
    let ask = site.ask("GET", "/api/v1/runs").token(&added.token);
    ask.send().await.ok(200);
    site.close().await;
}

#[tokio::test]
async fn a_drained_host_lets_go() {
    let site = Site::open().await;
    let draining: Draining = site
        .client()
        .await
        .post("/host/drain", &json!({}))
        .await
        .unwrap();
    assert_eq!(draining.pid, std::process::id());
    let stopped = site.engine.stopped();
    tokio::time::timeout(std::time::Duration::from_secs(20), stopped)
        .await
        .expect("the engine drives on");
    site.close().await;
}

#[tokio::test]
async fn nobody_at_the_socket_is_said_as_such_and_what_is_left_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("matrix.sock");
    let nobody = |outcome: Result<Client, ClientError>| {
        assert!(
            matches!(outcome, Err(ClientError::NoHost { .. })),
            "{outcome:?}"
        );
    };
    nobody(Client::connect(&path).await);
    let listener = matrix_server::bind_socket(&path).unwrap();
    drop(listener);
    nobody(Client::connect(&path).await);
    let _listener = matrix_server::bind_socket(&path).unwrap();
    Client::connect(&path).await.unwrap();
}
