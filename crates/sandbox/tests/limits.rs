//! Each limit ends what passes it, with control groups and with measuring.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::time::Duration;

use common::{Harness, Ran};
use matrix_sandbox::spec::{Ending, Limit, Limits};

async fn passes(harness: &Harness, script: &str, shape: impl FnOnce(&mut Limits)) -> Ran {
    let mut spec = harness.spec(script);
    shape(&mut spec.limits);
    harness.run(spec).await.unwrap()
}

fn assert_limit(ran: &Ran, limit: Limit) {
    assert_eq!(*ran.ending(), Ending::LimitExceeded { limit }, "{ran:?}");
}

const SPIN: &str = "while :; do :; done";
const EAT: &str = "exec tail /dev/zero";
const BOMB: &str = "bomb() { bomb | bomb & }; sleep 1000 & (bomb) & wait";

#[tokio::test]
async fn processor_time() {
    for harness in [Harness::new(), Harness::measured()] {
        let ran = passes(&harness, SPIN, |limits| {
            limits.cpu = Duration::from_millis(200);
        })
        .await;
        assert_limit(&ran, Limit::Cpu);
    }
}

#[tokio::test]
async fn processor_time_of_children_counts() {
    for harness in [Harness::new(), Harness::measured()] {
        let script = "while :; do sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'; done";
        let ran = passes(&harness, script, |limits| {
            limits.cpu = Duration::from_millis(500);
        })
        .await;
        assert_limit(&ran, Limit::Cpu);
    }
}

#[tokio::test]
async fn memory() {
    for harness in [Harness::new(), Harness::measured()] {
        let ran = passes(&harness, EAT, |limits| limits.memory_bytes = 64 << 20).await;
        assert_limit(&ran, Limit::Memory);
    }
}

#[tokio::test]
async fn a_fork_bomb() {
    let harness = Harness::new();
    let ran = passes(&harness, BOMB, |limits| {
        limits.processes = 40;
        limits.wall = Duration::from_secs(5);
    })
    .await;
    if harness.sandbox.mechanism() == "supervisor" {
        // It may burn out against the kernel's own count before it is seen.
        assert!(
            matches!(ran.ending(), Ending::LimitExceeded { .. }),
            "{ran:?}"
        );
    } else {
        assert_limit(&ran, Limit::Processes);
    }
}

#[tokio::test]
async fn too_many_processes_that_stay() {
    for harness in [Harness::new(), Harness::measured()] {
        let script = "while :; do sleep 1000 & done";
        let ran = passes(&harness, script, |limits| limits.processes = 40).await;
        assert_limit(&ran, Limit::Processes);
    }
}

#[tokio::test]
async fn a_gigabyte_of_output() {
    let harness = Harness::new();
    let ran = passes(&harness, "head -c 1073741824 /dev/zero", |limits| {
        limits.output_bytes = 1 << 20;
    })
    .await;
    assert_limit(&ran, Limit::Output);
    assert_eq!(
        ran.out.len(),
        1 << 20,
        "exactly what is allowed is passed on"
    );
}

#[tokio::test]
async fn output_up_to_the_limit_is_no_offence() {
    let harness = Harness::new();
    let ran = passes(&harness, "head -c 65536 /dev/zero", |limits| {
        limits.output_bytes = 65536;
    })
    .await;
    assert!(ran.outcome.success(), "{ran:?}");
}

#[tokio::test]
async fn disk_in_the_work_tree() {
    let harness = Harness::new();
    let script = "i=0; while :; do head -c 1000000 /dev/urandom > f$i; i=$((i+1)); done";
    let ran = passes(&harness, script, |limits| limits.disk_bytes = 8 << 20).await;
    assert_limit(&ran, Limit::Disk);
}

#[tokio::test]
async fn disk_in_the_private_places() {
    let harness = Harness::new();
    let script =
        "i=0; while :; do head -c 1000000 /dev/zero > /tmp/f$i || sleep 1000; i=$((i+1)); done";
    let ran = passes(&harness, script, |limits| limits.disk_bytes = 8 << 20).await;
    assert_limit(&ran, Limit::Disk);
}

#[tokio::test]
async fn a_tree_that_was_large_before_is_no_offence() {
    let harness = Harness::new();
    std::fs::write(harness.tree().join("large"), vec![0_u8; 4 << 20]).unwrap();
    let ran = passes(&harness, "sleep 1.2; echo x > small", |limits| {
        limits.disk_bytes = 1 << 20;
    })
    .await;
    assert!(ran.outcome.success(), "{ran:?}");
}

#[tokio::test]
async fn one_file() {
    let harness = Harness::new();
    let ran = passes(&harness, "head -c 3000000 /dev/zero > big", |limits| {
        limits.file_bytes = 1 << 20;
    })
    .await;
    assert!(!ran.outcome.success());
    assert!(std::fs::metadata(harness.tree().join("big")).unwrap().len() <= 1 << 20);
}

#[tokio::test]
async fn open_files() {
    let harness = Harness::new();
    let ran = passes(&harness, "ulimit -n; ulimit -Hn; ulimit -c", |limits| {
        limits.open_files = 64;
    })
    .await;
    assert_eq!(ran.out, "64\n64\n0\n");
}
