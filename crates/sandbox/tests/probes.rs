//! The self-test holds, and would not if there were nothing to hold.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::{Harness, is_root};
use matrix_sandbox::spec::{ProbeResult, ProbeSet, Profile, SelfTest};

fn assert_held(test: &SelfTest) {
    let open: Vec<_> = test.probes.iter().filter(|probe| !probe.held).collect();
    assert!(open.is_empty(), "{open:#?}");
    assert!(test.held());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fast_set_holds_in_every_profile() {
    let harness = Harness::new();
    for profile in [Profile::Check, Profile::Prepare, Profile::Service] {
        let test = harness
            .sandbox
            .self_test(profile, ProbeSet::Fast)
            .await
            .unwrap();
        assert_held(&test);
        let classes: BTreeSet<_> = test
            .probes
            .iter()
            .map(|probe| probe.class.as_str())
            .collect();
        assert_eq!(classes.len(), 5, "{classes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_full_set_holds_and_is_large() {
    let harness = Harness::new();
    for profile in [Profile::Check, Profile::Prepare] {
        let test = harness
            .sandbox
            .self_test(profile, ProbeSet::Full)
            .await
            .unwrap();
        assert_held(&test);
        assert!(test.probes.len() >= 60, "{} probes", test.probes.len());
        assert_eq!(test.mechanisms.len(), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_full_set_holds_with_measured_limits() {
    let harness = Harness::measured();
    let test = harness
        .sandbox
        .self_test(Profile::Check, ProbeSet::Full)
        .await
        .unwrap();
    assert_held(&test);
    assert_eq!(test.mechanisms["limits"], "supervisor");
}

/// Runs the probe program with nothing around it and returns the probes that did not hold.
fn unprotected() -> BTreeSet<String> {
    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("canary");
    std::fs::write(&canary, "secret").unwrap();
    let socket = outside.path().join("socket");
    let _by_path = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let name = format!("matrix-test-{}", std::process::id());
    let address = {
        use std::os::linux::net::SocketAddrExt;
        std::os::unix::net::SocketAddr::from_abstract_name(name.as_bytes()).unwrap()
    };
    let _by_name = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let by_port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let canaries = serde_json::json!({
        "file": canary, "secret": "secret", "socket": socket, "abstract_socket": name,
        "port": by_port.local_addr().unwrap().port(), "egress": null,
    });
    let output = Command::new(common::launcher())
        .args(["__probe", "outside", &canaries.to_string()])
        .env("SOME_TOKEN", "x")
        .output()
        .unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<ProbeResult>(line).unwrap())
        .filter(|probe| !probe.held)
        .map(|probe| probe.name)
        .collect()
}

#[test]
fn without_a_sandbox_the_probes_find_open_doors() {
    let open = unprotected();
    let mut expected = vec![
        "file.read_canary",
        "file.list_canary_directory",
        "file.canary_by_process_root",
        "file.canary_by_link",
        "file.list_sys",
        "file.set_user_id_bit",
        "file.create_set_user_id",
        "kernel.capabilities",
        "kernel.no_new_privileges",
        "kernel.clone3",
        "kernel.name_to_handle",
        "kernel.ptrace",
        "kernel.keyctl",
        "kernel.add_key",
        "kernel.process_vm_readv",
        "kernel.packet_socket",
        "kernel.terminal_injection",
        "kernel.console_control",
        "kernel.process_list",
        "network.host_loopback",
        "network.abstract_socket",
        "network.host_socket",
        "secret.environment",
        "secret.names_of_people",
        "secret.host_name",
    ];
    if is_root() {
        expected.extend([
            "file.read_shadow",
            "file.list_root_home",
            "file.write_root",
            "file.write_usr",
            "file.write_etc",
            "file.write_passwd",
            "file.make_device",
            "kernel.core_pattern",
            "kernel.any_setting",
            "kernel.mount",
            "kernel.clone_user_namespace",
            "kernel.open_tree",
            "kernel.io_uring",
            "kernel.bpf",
            "kernel.perf_event_open",
            "kernel.userfaultfd",
            "kernel.root_user",
            "kernel.open_by_handle",
            "kernel.negative_nice",
            "network.raw_socket",
            "secret.environment_of_others",
            "secret.memory_of_others",
        ]);
    } else {
        expected.retain(|name| *name != "kernel.packet_socket" && *name != "kernel.capabilities");
    }
    let blind: Vec<_> = expected
        .iter()
        .filter(|name| !open.contains(**name))
        .collect();
    assert!(
        blind.is_empty(),
        "these cannot see an open door: {blind:?}; open are {open:?}"
    );
}
