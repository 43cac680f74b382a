//! A run as a file: it opens elsewhere, and any change is found.

use std::sync::Arc;

use matrix_core::RunId;
use matrix_engine::Step;
use matrix_engine::runfile::{self, Exported, RunFile, RunFileError};
use matrix_engine::runs::RunRead;
use proptest::prelude::*;
use serde_json::json;

use super::host::{Body, Host, Place, World, may, with};

/// Two steps, of which the second's result is too large to stand in its row.
fn large(world: &Arc<World>) -> Body {
    with(world, |run, _, _| {
        Box::pin(async move {
            let step = Step::read("login");
            let word = run.step(step, |_| async { Ok("hunter2 \u{2713}".to_owned()) });
            let word = word.await?;
            let step = Step::read("report");
            let report: String = run.step(step, |_| async { Ok("x".repeat(20_000)) }).await?;
            Ok(json!([word.len(), report.len(), 0.1, 1e300]))
        })
    })
}

fn export(host: &Host, run: RunId, secret: &str) -> (String, Exported) {
    let (database, blobs) = (host.engine.database(), host.engine.blobs());
    let secrets = |text: &str| {
        let found = text.contains(secret);
        found.then(|| "password".to_owned()).into_iter().collect()
    };
    let mut file = Vec::new();
    let request = may(RunRead { run });
    let exported = runfile::export(database, blobs, &request, secrets, &mut file).unwrap();
    (String::from_utf8(file).unwrap(), exported)
}

fn open(text: &str) -> Result<RunFile, RunFileError> {
    runfile::open(text.as_bytes())
}

#[tokio::test]
async fn a_run_opens_elsewhere_as_it_was_without_what_must_stay() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &large(&world));
    let run = host.create(json!({ "n": 1 })).await;
    assert_eq!(host.settled(run).await.state, "succeeded");

    let (file, exported) = export(&host, run, "no such word");
    assert_eq!((exported.entries, exported.redacted), (4, 0));
    let opened = open(&file).unwrap();
    let mut expected = json!(host.view(run));
    // The row may have changed a moment after the last entry was made.
    expected["updated_at"] = json!(opened.view.updated_at);
    assert_eq!(json!(opened.view), expected);
    let recorded = host.engine.journal().read(run, -1).unwrap();
    let payloads = |entries: &[matrix_engine::Entry]| {
        let payloads = entries.iter().map(|entry| entry.payload.clone());
        payloads.collect::<Vec<_>>()
    };
    assert_eq!(payloads(&opened.entries), payloads(&recorded));
    assert_eq!(opened.redacted, []);

    let (file, exported) = export(&host, run, "hunter2");
    assert_eq!((exported.entries, exported.redacted), (4, 1));
    assert!(!file.contains("hunter2"), "a secret left the house");
    let opened = open(&file).unwrap();
    assert_eq!(opened.redacted, [(1, vec!["password".to_owned()])]);
    assert_eq!(opened.view.head_hash, host.view(run).head_hash);
}

#[tokio::test]
async fn any_change_of_the_file_is_found() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &large(&world));
    let run = host.create(json!({})).await;
    assert_eq!(host.settled(run).await.state, "succeeded");
    let (file, _) = export(&host, run, "no such word");
    let lines: Vec<&str> = file.split_inclusive('\n').collect();
    for missing in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(missing);
        assert!(open(&fewer.concat()).is_err(), "line {missing} is missing");
        let mut twice = lines.clone();
        twice.insert(missing, lines[missing]);
        assert!(open(&twice.concat()).is_err(), "line {missing} is twice");
    }
    for (what, text) in [
        ("nothing", String::new()),
        ("one line", "{}\n".into()),
        ("no text", "\u{0}\n".into()),
        (
            "a later form",
            file.replacen("\"matrix_run\":1", "\"matrix_run\":2", 1),
        ),
        ("more", format!("{file}{{}}\n")),
        (
            "another head",
            file.replacen("{\"matrix_run\"", "{\"title\":\"x\",\"matrix_run\"", 1),
        ),
        ("another payload", file.replacen("hunter2", "hunter3", 1)),
        ("another actor", file.replacen("worker:a", "worker:b", 1)),
        ("another tenant", file.replacen("default", "elsewhere", 1)),
    ] {
        assert!(text != file && open(&text).is_err(), "{what}");
    }
    assert!(runfile::open(&b"\xff\xfe\n"[..]).is_err());
}

#[tokio::test]
async fn whoever_takes_a_payload_out_cannot_say_another_thing_in_its_place() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &large(&world));
    let run = host.create(json!({})).await;
    assert_eq!(host.settled(run).await.state, "succeeded");
    let (file, exported) = export(&host, run, "a test");
    assert_eq!(exported.redacted, 1);
    let opened = open(&file).unwrap();
    assert_eq!(opened.view.title, "(left out)");
    assert_eq!(opened.view.kind, "(left out)");
    assert_eq!(opened.view.state, "succeeded");
    assert_eq!(opened.view.created_at, host.view(run).created_at);
    let excuse = file.replacen("\"password\"", "\"\\u001b[2Jall is well\"", 1);
    assert!(excuse != file && open(&excuse).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(lines in proptest::collection::vec(".{0,60}", 0..6)) {
        prop_assert!(open(&lines.join("\n")).is_err());
    }
}
