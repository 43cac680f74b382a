//! Who may do what: every endpoint by every sort of caller.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::site::Site;

/// An endpoint and what each caller is answered, asking about things that do not exist: whoever
/// may ask learns that (or gets the empty list), whoever may not learns nothing else.
struct Row {
    method: &'static str,
    path: &'static str,
    body: Value,
    service: u16,
    user: u16,
}

fn row(method: &'static str, path: &'static str, service: u16, user: u16) -> Row {
    let body = Value::Null;
    Row {
        method,
        path,
        body,
        service,
        user,
    }
}

fn with(method: &'static str, path: &'static str, body: Value, service: u16, user: u16) -> Row {
    Row {
        method,
        path,
        body,
        service,
        user,
    }
}

const OPEN: [&str; 3] = ["/livez", "/readyz", "/health"];

fn table() -> Vec<Row> {
    let mut rows: Vec<Row> = OPEN
        .into_iter()
        .map(|path| row("GET", path, 200, 200))
        .collect();
    let plan = json!({ "plan": "nonsense" });
    let change = json!({ "repository": "/missing", "plan": "nonsense" });
    let user = json!({ "name": "x", "roles": ["approver"] });
    let hold = json!({ "reason": "x" });
    rows.extend([
        row("GET", "/health/detailed", 200, 200),
        row("GET", "/metrics", 200, 200),
        row("GET", "/api/v1/queue", 200, 200),
        row("GET", "/api/v1/runs", 200, 200),
        with(
            "POST",
            "/api/v1/runs/bulk",
            json!({ "action": "cancel", "filter": {} }),
            200,
            200,
        ),
        row("GET", "/api/v1/runs/prune", 403, 403),
        row("POST", "/api/v1/runs/prune", 403, 403),
        with("POST", "/api/v1/runs/{run}/hold", hold, 403, 403),
        row("DELETE", "/api/v1/runs/{run}/hold", 403, 403),
        row("GET", "/api/v1/runs/{run}", 404, 404),
        row("GET", "/api/v1/runs/{run}/why", 404, 404),
        row("GET", "/api/v1/runs/{run}/tasks", 404, 404),
        row("GET", "/api/v1/runs/{run}/logs", 404, 404),
        row("GET", "/api/v1/runs/{run}/entries", 404, 404),
        row("GET", "/api/v1/runs/{run}/events", 404, 404),
        with("POST", "/api/v1/plan", plan, 422, 422),
        with("POST", "/api/v1/execute", change, 422, 422),
        row("GET", "/api/v1/jobs", 200, 200),
        row("GET", "/api/v1/jobs/{job}", 404, 404),
        row("GET", "/api/v1/artifacts/{job}", 404, 404),
        row("GET", "/api/v1/artifacts/{job}/{name}", 404, 404),
        with(
            "POST",
            "/api/v1/artifacts/prune",
            json!({ "dry_run": true }),
            403,
            403,
        ),
        row("GET", "/api/v1/approvals", 200, 200),
        row("POST", "/api/v1/approvals/{approval}/approve", 403, 404),
        row("POST", "/api/v1/approvals/{approval}/reject", 403, 404),
        row("GET", "/api/v1/deployments", 200, 200),
        row(
            "POST",
            "/api/v1/deployments/{deployment}/rollback",
            403,
            403,
        ),
        row("POST", "/api/v1/deployments/{deployment}/stop", 403, 403),
        row("GET", "/api/v1/users", 200, 200),
        with("POST", "/api/v1/users", user, 403, 403),
        row("GET", "/api/v1/signing-keys", 200, 200),
        row("POST", "/api/v1/signing-keys/rotate", 403, 403),
    ]);
    rows.extend(steering());
    rows.extend(events());
    rows.extend(workers());
    rows.extend(schedules());
    rows.extend(agents());
    rows.extend(models());
    rows
}

fn models() -> Vec<Row> {
    let budget = json!({ "subject": "workspace", "period": "day", "tokens": 1 });
    let removal = json!({ "subject": "workspace", "period": "day" });
    let model = json!({ "name": "x", "route": { "targets": [{ "model": "y" }] } });
    let named = json!({ "name": "x" });
    let asked = json!({
        "model": "x", "max_tokens": 1, "messages": [{ "role": "user", "content": "a" }],
    });
    vec![
        row("GET", "/api/v1/models", 200, 200),
        with("POST", "/api/v1/models", model, 403, 403),
        with("POST", "/api/v1/models/remove", named.clone(), 403, 403),
        with("POST", "/api/v1/models/test", named, 404, 404),
        with(
            "POST",
            "/api/v1/models/ask",
            json!({ "name": "x", "text": "a" }),
            404,
            404,
        ),
        row("GET", "/api/v1/budgets", 200, 200),
        with("POST", "/api/v1/budgets", budget, 403, 403),
        with("POST", "/api/v1/budgets/remove", removal, 403, 403),
        row("GET", "/api/v1/model-usage", 200, 200),
        with("POST", "/v1/chat/completions", asked.clone(), 404, 404),
        with("POST", "/v1/messages", asked.clone(), 404, 404),
        with("POST", "/v1/messages/count_tokens", asked, 200, 200),
        with(
            "POST",
            "/v1/responses",
            json!({ "model": "x", "input": "a" }),
            404,
            404,
        ),
        with(
            "POST",
            "/v1/embeddings",
            json!({ "model": "x", "input": "a" }),
            404,
            404,
        ),
        with(
            "POST",
            "/v1/rerank",
            json!({ "model": "x", "query": "a", "documents": ["b"] }),
            404,
            404,
        ),
        row("GET", "/v1/models", 200, 200),
        row("GET", "/v1/models/{model}", 404, 404),
        // What is no form is nobody's file.
        with("POST", "/v1/files", json!({}), 400, 400),
        row("GET", "/v1/files", 200, 200),
        row("GET", "/v1/files/{file}", 404, 404),
        row("GET", "/v1/files/{file}/content", 404, 404),
        row("DELETE", "/v1/files/{file}", 404, 404),
        with(
            "POST",
            "/v1/batches",
            json!({ "input_file_id": "file-x", "endpoint": "/v1/embeddings",
                    "completion_window": "24h" }),
            404,
            404,
        ),
        row("GET", "/v1/batches", 200, 200),
        row("GET", "/v1/batches/{batch}", 404, 404),
        row("POST", "/v1/batches/{batch}/cancel", 404, 404),
    ]
}

fn steering() -> Vec<Row> {
    vec![
        with(
            "POST",
            "/api/v1/queue/pause",
            json!({ "key": "api" }),
            403,
            403,
        ),
        with(
            "POST",
            "/api/v1/queue/resume",
            json!({ "key": "api" }),
            403,
            403,
        ),
        row("POST", "/api/v1/runs/{run}/cancel", 403, 403),
        row("POST", "/api/v1/runs/{run}/pause", 403, 403),
        row("POST", "/api/v1/runs/{run}/resume", 403, 403),
        row("POST", "/api/v1/runs/{run}/retry", 403, 403),
        row("POST", "/api/v1/runs/{run}/fork", 403, 403),
        with(
            "POST",
            "/api/v1/runs/{run}/signal",
            json!({ "name": "go" }),
            403,
            403,
        ),
    ]
}

fn workers() -> Vec<Row> {
    let none = "tsk_00000000000000000000000000";
    let lines = json!({ "task": none, "lease": "", "lines": [] });
    vec![
        with("POST", "/api/v1/worker/log", lines, 403, 403),
        with("POST", "/api/v1/tasks", json!({ "steps": [] }), 422, 422),
        with(
            "POST",
            "/api/v1/worker/lease",
            json!({ "worker": "w" }),
            403,
            403,
        ),
        with(
            "POST",
            "/api/v1/worker/heartbeat",
            json!({ "tasks": [] }),
            403,
            403,
        ),
        with(
            "POST",
            "/api/v1/worker/report",
            json!({ "reports": [] }),
            403,
            403,
        ),
    ]
}

fn agents() -> Vec<Row> {
    let order = json!({ "definition": "name: a" });
    let goal = json!({ "goal": "x" });
    vec![
        row("GET", "/api/v1/tools", 200, 200),
        row("GET", "/api/v1/agents", 200, 200),
        with("POST", "/api/v1/agents", order, 403, 403),
        row("GET", "/api/v1/agents/{agent}", 404, 404),
        row("DELETE", "/api/v1/agents/{agent}", 403, 403),
        row("POST", "/api/v1/agents/{agent}/start", 403, 403),
        row("POST", "/api/v1/agents/{agent}/stop", 403, 403),
        with("POST", "/api/v1/agents/{agent}/runs", goal, 404, 404),
    ]
}

fn schedules() -> Vec<Row> {
    let new = json!({ "name": "a b", "cron": "0 3 * * *", "request": null });
    vec![
        row("GET", "/api/v1/schedules", 200, 200),
        with("POST", "/api/v1/schedules", new, 422, 422),
        row("GET", "/api/v1/schedules/preview", 400, 400),
        row("GET", "/api/v1/schedules/{name}", 404, 404),
        row("DELETE", "/api/v1/schedules/{name}", 404, 404),
        row("POST", "/api/v1/schedules/{name}/fire", 404, 404),
    ]
}

fn events() -> Vec<Row> {
    vec![
        row("GET", "/api/v1/events", 200, 200),
        row("GET", "/api/v1/events/subscriptions", 200, 200),
        with(
            "POST",
            "/api/v1/events/subscriptions",
            json!({ "name": "x", "topics": ["*"], "to": "nats://localhost/x" }),
            403,
            403,
        ),
        row(
            "GET",
            "/api/v1/events/subscriptions/{subscription}",
            404,
            404,
        ),
        row(
            "POST",
            "/api/v1/events/subscriptions/{subscription}/remove",
            403,
            403,
        ),
        with(
            "POST",
            "/api/v1/events/subscriptions/{subscription}/reset",
            json!({ "after": "now" }),
            403,
            403,
        ),
    ]
}

fn address(path: &str) -> String {
    let none = "00000000000000000000000000";
    path.replace("{run}", &format!("run_{none}"))
        .replace("{job}", &format!("run_{none}"))
        .replace("{approval}", &format!("apr_{none}"))
        .replace("{deployment}", &format!("dep_{none}"))
        .replace("{subscription}", "none")
        .replace("{agent}", "none")
        .replace("{name}", "outputs/app")
}

#[tokio::test]
async fn every_endpoint_answers_every_caller_as_the_policy_says() {
    let site = Site::open().await;
    for row in table() {
        let ask = || {
            let ask = site.ask(row.method, &address(row.path));
            let ask = ask.header("matrix-worker-protocol", "1");
            if row.body.is_null() {
                ask
            } else {
                ask.json(&row.body)
            }
        };
        let stranger = if OPEN.contains(&row.path) { 200 } else { 401 };
        let answers = [
            ("nobody", stranger, ask().send().await),
            (
                "a wrong token",
                stranger,
                ask().token(&wrong(&site.user)).send().await,
            ),
            (
                "the service account",
                row.service,
                ask().token(&site.service).send().await,
            ),
            ("a user", row.user, ask().token(&site.user).send().await),
        ];
        for (who, expected, answer) in answers {
            let (method, path) = (row.method, row.path);
            assert_eq!(
                answer.status,
                expected,
                "{method} {path} by {who}: {}",
                answer.text()
            );
        }
    }
    site.close().await;
}

/// A token of the right form that was never given out.
fn wrong(token: &str) -> String {
    let last = if token.ends_with('a') { "b" } else { "a" };
    format!("{}{last}", &token[..token.len() - 1])
}

#[test]
fn the_table_has_every_endpoint_and_no_other() {
    let rows = table();
    let rows: BTreeSet<_> = rows
        .iter()
        .map(|row| (row.method.to_owned(), row.path.to_owned()))
        .collect();
    let api = matrix_server::openapi();
    let served: BTreeSet<_> = api["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let missing: Vec<_> = served.difference(&rows).collect();
    let gone: Vec<_> = rows.difference(&served).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
    assert!(gone.is_empty(), "not served: {gone:?}");
}
