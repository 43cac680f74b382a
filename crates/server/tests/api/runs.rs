//! Runs, read and steered.

use matrix_server::rest::{Entry, Page, Run};
use serde_json::{Value, json};

use crate::site::Site;

#[tokio::test]
async fn runs_come_a_page_at_a_time_newest_first() {
    let site = Site::open().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(site.settled(json!(number)).await.to_string());
    }
    made.reverse();
    let (mut seen, mut address) = (Vec::new(), "/api/v1/runs?limit=2".to_owned());
    loop {
        let answer = site.get(&address).send().await;
        let page: Page<Run> = serde_json::from_value(answer.ok(200)).unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.iter().map(|run| run.run.to_string()));
        let Some(next) = page.next else { break };
        assert!(
            answer.header("link").contains(&next),
            "{}",
            answer.header("link")
        );
        address = format!("/api/v1/runs?limit=2&cursor={next}");
    }
    assert_eq!(seen, made);
    let none = site.get("/api/v1/runs?kind=change").send().await.ok(200);
    assert_eq!(none["items"], json!([]));
    let found = site.get("/api/v1/runs?state=succeeded&since=0&limit=1");
    let found = found.send().await;
    let next = found.header("link").to_owned();
    assert!(
        next.starts_with("<?state=succeeded&since=0&limit=1&cursor=run_"),
        "{next}"
    );
    assert_eq!(found.ok(200)["items"][0]["run"], made[0]);
    for nothing in ["state=failed", "title=no+such", "since=9000000000000000"] {
        let none = site.get(&format!("/api/v1/runs?{nothing}")).send().await;
        assert_eq!(none.ok(200)["items"], json!([]), "{nothing}");
    }
    let jobs = site.get("/api/v1/jobs").send().await.ok(200);
    assert_eq!(
        jobs["items"],
        json!([]),
        "a run of another kind is listed as a job"
    );
    site.close().await;
}

#[tokio::test]
async fn questions_come_a_page_at_a_time_newest_first() {
    let site = Site::open().await;
    let mut asked = Vec::new();
    for _ in 0..5 {
        asked.push(json!(site.settled(json!("question")).await));
    }
    asked.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let address = format!("/api/v1/approvals?state=open&limit=2{cursor}");
        let answer = site.get(&address).send().await;
        let page = answer.ok(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["run"].clone()));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        assert!(answer.header("link").contains(next));
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, asked);
    for bad in [
        "nonsense",
        "1-nonsense",
        "-",
        "apr_00000000000000000000000000",
    ] {
        let address = format!("/api/v1/approvals?cursor={bad}");
        site.get(&address).send().await.problem(400, "HTTP-0008");
    }
    let address = "/api/v1/deployments?cursor=run_00000000000000000000000000";
    site.get(address).send().await.problem(400, "HTTP-0008");
    let deployments = site.get("/api/v1/deployments?limit=1").send().await.ok(200);
    assert!(deployments["next"].is_null(), "{deployments}");
    site.close().await;
}

#[tokio::test]
async fn a_run_shows_its_steps_and_its_journal() {
    let site = Site::open().await;
    let run = site.settled(json!("done")).await;
    let shown: Run = serde_json::from_value(
        site.get(&format!("/api/v1/runs/{run}"))
            .send()
            .await
            .ok(200),
    )
    .unwrap();
    assert_eq!((&*shown.state, &*shown.kind), ("succeeded", "test"));
    let steps = shown.steps.unwrap();
    assert_eq!((&*steps[0].path, &*steps[0].state), ("first#1", "done"));
    let entries = site
        .get(shown.links.get("entries").unwrap())
        .send()
        .await
        .ok(200);
    let entries: Page<Entry> = serde_json::from_value(entries).unwrap();
    let kinds: Vec<_> = entries.items.iter().map(|entry| &*entry.kind).collect();
    assert_eq!(kinds, ["run_started", "step_completed", "run_completed"]);
    assert_eq!(entries.items[2].hash, shown.head_hash);
    let rest = site
        .get(&format!("/api/v1/runs/{run}/entries?cursor=0&limit=1"))
        .send()
        .await
        .ok(200);
    assert_eq!(
        (&rest["items"][0]["seq"], &rest["next"]),
        (&json!(1), &json!("1"))
    );
    let not_a_job = site.get(&format!("/api/v1/jobs/{run}")).send().await;
    not_a_job.problem(404, "CHANGE-0001");
    site.close().await;
}

#[tokio::test]
async fn a_run_is_shown_when_it_has_ended_or_patience_has() {
    let site = Site::open().await;
    let run = site.settled(json!("signal")).await;
    let address = |wait: u64| format!("/api/v1/runs/{run}?wait_ms={wait}");
    let still = site.get(&address(1)).send().await.ok(200);
    assert_eq!(still["state"], "waiting");
    let client = site.client().await;
    let asked = site.get(&address(30_000));
    let signal = async {
        let path = format!("/api/v1/runs/{run}/signal");
        let body = json!({ "name": "go", "value": 7 });
        client.post::<_, Value>(&path, &body).await.unwrap()
    };
    let (ended, _) = tokio::join!(asked.send(), signal);
    let ended = ended.ok(200);
    assert_eq!(
        (&ended["state"], &ended["result"]),
        (&json!("succeeded"), &json!(7))
    );
    let again = site.get(&address(30_000)).send().await.ok(200);
    assert_eq!(again["state"], "succeeded");
    let none = matrix_core::RunId::from_bytes([7; 16]);
    let none = site.get(&format!("/api/v1/runs/{none}?wait_ms=30000"));
    none.send().await.problem(404, "RUN-0001");
    site.close().await;
}

#[tokio::test]
async fn the_owner_steers_runs_through_the_socket() {
    let site = Site::open().await;
    let client = site.client().await;
    let run = site.settled(json!("signal")).await;
    let verb = |verb: &str| format!("/api/v1/runs/{run}/{verb}");
    let _: Value = client
        .post(&verb("signal"), &json!({ "name": "go", "value": [1, 2] }))
        .await
        .unwrap();
    let mut row = site.engine.settled(run).await.unwrap();
    while row.state == "waiting" {
        tokio::task::yield_now().await;
        row = site.engine.settled(run).await.unwrap();
    }
    assert_eq!(row.state, "succeeded");
    let ended = client
        .post::<_, Value>(&verb("cancel"), &json!({}))
        .await
        .unwrap_err();
    assert!(ended.to_string().contains("RUN-0002"), "{ended}");
    assert_eq!(ended.exit_code(), 1);
    let cancelled = site.settled(json!("signal")).await;
    let address = format!("/api/v1/runs/{cancelled}/cancel");
    let _: Value = client
        .post(&address, &json!({ "reason": "not needed" }))
        .await
        .unwrap();
    let mut row = site.engine.settled(cancelled).await.unwrap();
    while row.state == "waiting" {
        tokio::task::yield_now().await;
        row = site.engine.settled(cancelled).await.unwrap();
    }
    assert_eq!(row.state, "cancelled");
    site.close().await;
}

#[tokio::test]
async fn a_person_answers_a_question_and_a_program_does_not() {
    let site = Site::open().await;
    let run = site.settled(json!("question")).await;
    let open = site
        .get("/api/v1/approvals?state=open")
        .send()
        .await
        .ok(200);
    let question = &open["items"][0];
    assert_eq!(
        (&question["run"], &question["subject"]["diff"]),
        (&json!(run), &json!("abc"))
    );
    let address = question["links"]["reject"].as_str().unwrap();
    let body = json!({ "reason": "it breaks the ledger" });
    let program = site.ask("POST", address).token(&site.service).json(&body);
    program.send().await.problem(403, "AUTH-0001");
    let person = site.ask("POST", address).token(&site.user).json(&body);
    assert_eq!(person.send().await.ok(202)["run"], run.to_string());
    let mut row = site.engine.settled(run).await.unwrap();
    while row.state == "waiting" {
        tokio::task::yield_now().await;
        row = site.engine.settled(run).await.unwrap();
    }
    let entries = site
        .get(&format!("/api/v1/runs/{run}/entries"))
        .send()
        .await
        .ok(200);
    let items = entries["items"].as_array().unwrap();
    let decided = items
        .iter()
        .find(|entry| entry["kind"] == "approval_decided")
        .unwrap();
    assert_eq!(decided["actor"], "user:ursula");
    assert_eq!(decided["payload"]["reason"], "it breaks the ledger");
    site.close().await;
}

#[tokio::test]
async fn many_runs_are_asked_a_page_at_a_time() {
    let site = Site::open().await;
    let done = site.settled(json!("done")).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(site.settled(json!("question")).await.to_string());
    }
    waiting.reverse();
    let ask = |order: Value| {
        let ask = site.ask("POST", "/api/v1/runs/bulk").token(&site.service);
        ask.json(&order).send()
    };
    let filter = json!({ "kind": "test", "state": "waiting" });
    let order = json!({ "action": "cancel", "filter": filter, "dry_run": true });
    let told = ask(order).await.ok(200);
    let refusals = told["runs"].as_array().unwrap().iter();
    assert!(
        refusals.into_iter().all(|item| item["code"] == "AUTH-0001"),
        "the service account may not steer what is not its own: {told}"
    );
    let client = site.client().await;
    let own = async |order: Value| {
        let asked = client.post::<_, Value>("/api/v1/runs/bulk", &order);
        asked.await.unwrap()
    };
    let first = own(json!({ "action": "cancel", "filter": filter, "limit": 2 })).await;
    let runs: Vec<_> = first["runs"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&runs[0]["run"], &runs[1]["run"]),
        (&json!(waiting[0]), &json!(waiting[1]))
    );
    assert!(runs.iter().all(|run| run["outcome"] == "done"), "{first}");
    let rest = json!({ "action": "cancel", "filter": filter, "limit": 2, "cursor": first["next"] });
    let second = own(rest).await;
    assert_eq!(second["runs"][0]["run"], json!(waiting[2]));
    assert!(second["next"].is_null(), "{second}");
    let ended = json!({ "action": "pause", "filter": { "title": "", "state": "succeeded" } });
    let ended = own(ended).await;
    assert_eq!(ended["runs"][0]["run"], json!(done));
    assert_eq!(ended["runs"][0]["code"], "RUN-0002");
    for bad in [
        json!({ "action": "cancel" }),
        json!({ "action": "erase", "filter": {} }),
        json!({ "action": "cancel", "filter": { "cause": "tired" } }),
        json!({ "action": "cancel", "filter": { "colour": "red" } }),
    ] {
        let ask = site.ask("POST", "/api/v1/runs/bulk").token(&site.user);
        ask.json(&bad).send().await.problem(400, "HTTP-0008");
    }
    let dead = site.get("/api/v1/runs?dead=true").send().await.ok(200);
    assert_eq!(dead["items"], json!([]));
    site.close().await;
}

#[tokio::test]
async fn a_run_says_why_it_waits_in_the_words_of_the_command() {
    let site = Site::open().await;
    let run = site.settled(json!("question")).await;
    let why = site.get(&format!("/api/v1/runs/{run}/why")).send().await;
    let why = why.ok(200);
    assert_eq!(
        (&why["state"], &why["waiting"]["for"]),
        (&json!("waiting"), &json!("approval"))
    );
    let first = why["lines"][0].as_str().unwrap();
    assert!(first.starts_with("waiting for approval "), "{why}");
    assert!(why["queue"].is_null() && why["tasks"] == json!([]), "{why}");
    let done = site.settled(json!("done")).await;
    let why = site.get(&format!("/api/v1/runs/{done}/why")).send().await;
    let first = why.ok(200)["lines"][0].as_str().unwrap().to_owned();
    assert!(
        first.starts_with("it does not wait: succeeded since "),
        "{first}"
    );
    site.close().await;
}

#[tokio::test]
async fn the_owner_pauses_a_key_and_resumes_it() {
    let site = Site::open().await;
    let client = site.client().await;
    let say = async |verb: &str, body: Value| {
        let address = format!("/api/v1/queue/{verb}");
        client.post::<_, Value>(&address, &body).await
    };
    let paused = say("pause", json!({ "key": "api", "reason": "their night" }))
        .await
        .unwrap();
    assert_eq!(paused["key"], "api");
    let queue = site.get("/api/v1/queue").send().await.ok(200);
    assert_eq!(queue["paused"][0]["key"], "api");
    let because = queue["paused"][0]["because"].as_str().unwrap();
    assert!(because.contains("their night"), "{because}");
    let resumed = say("resume", json!({ "key": "api" })).await.unwrap();
    assert!(resumed["until"].is_null(), "{resumed}");
    let queue = site.get("/api/v1/queue").send().await.ok(200);
    assert_eq!(queue["paused"], json!([]));
    let refused = say("pause", json!({ "key": "" })).await.unwrap_err();
    assert!(refused.to_string().contains("QUEUE-0001"), "{refused}");
    site.close().await;
}
