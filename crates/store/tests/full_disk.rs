//! A file system without room, the real thing: a small one in memory, mounted for one process.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use matrix_core::{Caller, Digest, Principal, PrincipalKind, Scope, Timestamp};
use matrix_store::tables::audit;
use matrix_store::{Blobs, Database, OpenMode, StoreError};

/// The file whose presence says that we are on the small file system.
const MARK: &str = "this-file-system-is-small";

#[test]
fn on_a_full_file_system_every_loss_is_an_error_and_nothing_recorded_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=4m tmpfs \"$PWD\" && cd \"$PWD\" && touch {MARK} && \
         exec \"$0\" --exact inside --ignored --nocapture"
    );
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .current_dir(directory.path())
        .output();
    let refused = match &output {
        Err(error) => Some(error.to_string()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let ours = said.contains("unshare") || said.contains("mount:");
            (!output.status.success() && ours).then(|| said.into_owned())
        }
    };
    if let Some(reason) = refused {
        println!("skipped: this machine mounts no small file system for us: {reason}");
        return;
    }
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Bytes that do not get smaller.
fn noise(length: usize) -> Vec<u8> {
    let blocks = 0..length.div_ceil(32);
    let mut bytes: Vec<u8> = blocks
        .flat_map(|block| *Digest::of(block.to_le_bytes()).as_bytes())
        .collect();
    bytes.truncate(length);
    bytes
}

fn fill(place: &Path) {
    let mut filler = fs::File::create(place).unwrap();
    for size in [65_536, 512, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
}

async fn note(database: &Database, subject: &'static str, bytes: usize) -> Result<(), StoreError> {
    let caller = Caller {
        principal: Principal {
            kind: PrincipalKind::User,
            name: "ada".into(),
        },
        scope: Scope::local(),
        on_behalf_of: Vec::new(),
    };
    database
        .write::<_, StoreError, _>(move |tx| {
            let (at, detail) = (Timestamp::from_micros(1), "x".repeat(bytes));
            audit::insert(tx, &caller, at, "test", subject, &detail)
        })
        .await
}

fn noted(database: &Database) -> usize {
    let pages = matrix_store::Statement::new("test.count", "SELECT COUNT(*) FROM audit");
    let rows = database.read_now::<_, StoreError, _>(|tx| tx.query_one(&pages, &[]));
    let count: u64 = rows.unwrap().unwrap().get(0).unwrap();
    usize::try_from(count).unwrap()
}

#[tokio::test]
#[ignore = "runs on the small file system that the test above makes"]
async fn inside() {
    let here = std::env::current_dir().unwrap();
    assert!(here.join(MARK).exists(), "not on the small file system");
    let database = Database::open(&here.join("db"), OpenMode::Host).unwrap();
    let blobs = Blobs::open(here.join("blobs")).unwrap();
    let kept = blobs.put(b"kept before").unwrap();
    note(&database, "kept before", 10).await.unwrap();
    let filler = here.join("filler");
    fill(&filler);

    for length in [20, 20_000, 200_000] {
        let bytes = noise(length);
        let refused = blobs.put(&bytes);
        assert!(
            matches!(refused, Err(StoreError::Full(_))),
            "{length}: {refused:?}"
        );
        assert!(
            !blobs.contains(&Digest::of(&bytes)).unwrap(),
            "{length} bytes are half there"
        );
    }
    let refused = note(&database, "too much", 300_000).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    assert_eq!(noted(&database), 1, "a refused write left something");
    assert!(blobs.get(&kept).unwrap().is_some());

    fs::remove_file(&filler).unwrap();
    note(&database, "room again", 300_000).await.unwrap();
    assert_eq!(noted(&database), 2);
    for length in [20, 20_000, 200_000] {
        let digest = blobs.put(&noise(length)).unwrap();
        assert_eq!(blobs.get(&digest).unwrap().unwrap().len(), length);
    }
}
