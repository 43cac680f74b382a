//! The chain: one canonical form, and no change goes unnoticed.

use std::sync::Arc;

use matrix_core::{Digest, RunId, canonical};
use matrix_engine::entry::{Canonical, FORMAT};
use matrix_engine::{Step, journal};
use matrix_store::{Statement, StoreError};
use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::host::{Place, World, body, two_steps, with};

/// Fields in the order in which they stand here.
struct Ordered(Vec<(&'static str, Value)>);

impl Serialize for Ordered {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Fields {
    run: [u8; 16],
    seq: i64,
    kind: String,
    path: String,
    fingerprint: String,
    actor: String,
    epoch: i64,
    time: i64,
    payload: Vec<u8>,
}

prop_compose! {
    fn fields()(
        run: [u8; 16],
        seq in 0..1_i64 << 53,
        epoch in 0..1_i64 << 53,
        time in 0..1_i64 << 53,
        text in proptest::collection::vec(".{0,12}", 4),
        payload: Vec<u8>,
    ) -> Fields {
        let [kind, path, fingerprint, actor] = text.try_into().unwrap();
        Fields { run, seq, kind, path, fingerprint, actor, epoch, time, payload }
    }
}

impl Fields {
    fn canonical(&self) -> Canonical<'_> {
        Canonical {
            format: FORMAT,
            run: RunId::from_bytes(self.run),
            seq: self.seq,
            kind: &self.kind,
            path: &self.path,
            fingerprint: &self.fingerprint,
            actor: &self.actor,
            epoch: self.epoch,
            time: self.time,
            payload_digest: Digest::of(&self.payload),
        }
    }

    fn chain(&self, previous: &Digest) -> Digest {
        self.canonical().chain(previous).unwrap()
    }
}

proptest! {
    #[test]
    fn the_canonical_form_does_not_depend_on_the_order_of_fields(
        fields in fields(),
        order in Just((0..10_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let named = [
            ("format", json!(FORMAT)),
            ("run", json!(RunId::from_bytes(fields.run))),
            ("seq", json!(fields.seq)),
            ("kind", json!(fields.kind)),
            ("path", json!(fields.path)),
            ("fingerprint", json!(fields.fingerprint)),
            ("actor", json!(fields.actor)),
            ("epoch", json!(fields.epoch)),
            ("time", json!(fields.time)),
            ("payload_digest", json!(Digest::of(&fields.payload))),
        ];
        let ordered = Ordered(order.into_iter().map(|index| named[index].clone()).collect());
        let bytes = canonical::to_vec(&ordered).unwrap();
        let previous = Digest::of("before");
        prop_assert_eq!(&bytes, &canonical::to_vec(&fields.canonical()).unwrap());
        let chained = Digest::of_parts(&[previous.as_bytes(), &bytes]);
        prop_assert_eq!(chained, fields.chain(&previous));
    }

    #[test]
    fn any_other_field_or_predecessor_gives_another_hash(
        one in fields(),
        other in fields(),
        which in 0..9_u8,
    ) {
        let mut changed = one.clone();
        match which {
            0 => changed.run = other.run,
            1 => changed.seq = other.seq,
            2 => changed.kind = other.kind,
            3 => changed.path = other.path,
            4 => changed.fingerprint = other.fingerprint,
            5 => changed.actor = other.actor,
            6 => changed.epoch = other.epoch,
            7 => changed.time = other.time,
            _ => changed.payload = other.payload,
        }
        prop_assume!(changed != one);
        let previous = Digest::of("before");
        prop_assert_ne!(changed.chain(&previous), one.chain(&previous));
        prop_assert_ne!(one.chain(&Digest::of("another")), one.chain(&previous));
    }
}

/// Changes to one row that no honest program makes.
const CHANGES: &[Statement] = &[
    Statement::new(
        "test.seq",
        "UPDATE journal SET seq = seq + 1000 WHERE seq = $1",
    ),
    Statement::new(
        "test.kind",
        "UPDATE journal SET kind = 'signal_received' WHERE seq = $1",
    ),
    Statement::new(
        "test.path",
        "UPDATE journal SET path = path || 'x' WHERE seq = $1",
    ),
    Statement::new(
        "test.print",
        "UPDATE journal SET fingerprint = 'x' WHERE seq = $1",
    ),
    Statement::new(
        "test.actor",
        "UPDATE journal SET actor = 'user:eve' WHERE seq = $1",
    ),
    Statement::new(
        "test.epoch",
        "UPDATE journal SET epoch = epoch + 1 WHERE seq = $1",
    ),
    Statement::new("test.at", "UPDATE journal SET at = at + 1 WHERE seq = $1"),
    Statement::new(
        "test.digest",
        "UPDATE journal SET payload_digest = zeroblob(32) WHERE seq = $1",
    ),
    Statement::new(
        "test.hash",
        "UPDATE journal SET hash = zeroblob(32) WHERE seq = $1",
    ),
    Statement::new(
        "test.salt",
        "UPDATE journal SET salt = zeroblob(32) WHERE seq = $1",
    ),
    Statement::new(
        "test.no_salt",
        "UPDATE journal SET salt = NULL WHERE seq = $1",
    ),
    Statement::new(
        "test.unsalted",
        "UPDATE journal SET salt = NULL, payload = CAST('1' AS BLOB) WHERE seq = $1",
    ),
    Statement::new(
        "test.payload",
        "UPDATE journal SET payload = CAST('1' AS BLOB) WHERE seq = $1",
    ),
    Statement::new(
        "test.no_payload",
        "UPDATE journal SET payload = NULL, payload_blob = NULL WHERE seq = $1",
    ),
    Statement::new(
        "test.blob",
        "UPDATE journal SET payload = NULL, payload_blob = zeroblob(32) WHERE seq = $1",
    ),
    Statement::new("test.gone", "DELETE FROM journal WHERE seq = $1"),
];
const SAVE: Statement = Statement::new("test.save", "CREATE TABLE saved AS SELECT * FROM journal");
const CLEAR: Statement = Statement::new("test.clear", "DELETE FROM journal");
const RESTORE: Statement =
    Statement::new("test.restore", "INSERT INTO journal SELECT * FROM saved");

#[tokio::test]
async fn no_single_change_of_a_stored_entry_goes_unnoticed() {
    let place = Place::new();
    let function = body(|run, _| async move {
        let large: String = run
            .step(Step::external("large"), |_| async {
                Ok("x".repeat(50_000))
            })
            .await?;
        Ok(json!(large.len()))
    });
    let host = place.host("a", &function);
    let run = host.create(json!({ "number": 1 })).await;
    host.reaches(run, "succeeded").await;
    let database = host.engine.database().clone();
    let verify = || journal::verify(&database, host.engine.blobs(), run);
    let whole = verify().unwrap();
    database
        .write::<_, StoreError, _>(|tx| tx.execute(&SAVE, &[]))
        .await
        .unwrap();
    for seq in 0..i64::try_from(whole.entries).unwrap() {
        for change in CHANGES {
            let changed = database
                .write::<_, StoreError, _>(move |tx| tx.execute(change, &[seq.into()]))
                .await
                .unwrap();
            assert_eq!(changed, 1, "{} changed nothing", change.name);
            assert!(
                verify().is_err(),
                "{} of entry {seq} went unnoticed",
                change.name
            );
            database
                .write::<_, StoreError, _>(|tx| {
                    tx.execute(&CLEAR, &[])?;
                    tx.execute(&RESTORE, &[])
                })
                .await
                .unwrap();
        }
    }
    assert_eq!(verify().unwrap(), whole);
}

#[tokio::test]
async fn anyone_can_recompute_the_chain_with_a_stock_sha256_also_after_an_erasure() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &with(&world, two_steps));
    let run = host.create(json!({ "big": "x".repeat(100_000) })).await;
    world.open.notify_one();
    assert_eq!(host.settled(run).await.state, "succeeded");
    let recompute = || {
        let scope = r#"{"organisation":"local","workspace":"default"}"#;
        let mut hash = sha256(format!("matrix-journal-v1{run}{scope}").as_bytes());
        for entry in host.engine.journal().read(run, -1).unwrap() {
            let canonical = format!(
                concat!(
                    r#"{{"actor":"{}","epoch":{},"fingerprint":"{}","format":1,"kind":"{}","#,
                    r#""path":"{}","payload_digest":"{}","run":"{}","seq":{},"time":{}}}"#
                ),
                entry.actor,
                entry.epoch,
                entry.fingerprint,
                entry.kind.as_str(),
                entry.path,
                entry.payload_digest,
                entry.run,
                entry.seq,
                entry.at.as_micros()
            );
            hash = sha256(&[&hash[..], canonical.as_bytes()].concat());
            assert_eq!(Digest::from_bytes(hash), entry.hash, "entry {}", entry.seq);
        }
    };
    recompute();
    assert!(
        journal::erase(host.engine.database(), run, 0)
            .await
            .unwrap()
    );
    assert!(
        host.engine.journal().read(run, -1).unwrap()[0]
            .payload
            .is_none()
    );
    recompute();
    let check = journal::verify(host.engine.database(), host.engine.blobs(), run).unwrap();
    assert_eq!(check.erased, 1);
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}
