//! Commands as they are planned.

use super::*;
use crate::verify::prepare::Ready;

fn crates_of(host: &Path, project: &str, source: &str) -> Provision {
    let config = host.join(format!("{project}.toml"));
    let directory = format!("/deps/cargo-{project}/vendor");
    let text = format!(
        "[source.{source}]\nreplace-with = 'vendored-sources'\n\
         [source.vendored-sources]\ndirectory = '{directory}'\n"
    );
    std::fs::write(&config, text).unwrap();
    Provision::Ready(Ready {
        crates: Some(Crates {
            config,
            directory: directory.into(),
        }),
        ..Ready::default()
    })
}

fn custom(prepared: &Prepared) -> Planned {
    let invocation = Invocation {
        recipe: Recipe::Custom {
            run: "make".into(),
            timeout_ms: 1_000,
        },
        directory: String::new(),
    };
    let tree = tempfile::tempdir().unwrap();
    let toolchains = Toolchains::default();
    plan(
        Kind::TestResults,
        &invocation,
        tree.path(),
        &toolchains,
        prepared,
    )
    .unwrap()
}

/// What the setup leaves in cargo's home when a shell executes it.
fn configured(setup: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let ran = std::process::Command::new("/bin/sh")
        .args(["-c", setup])
        .env("CARGO_HOME", home.path())
        .status();
    assert!(ran.unwrap().success(), "{setup}");
    std::fs::read_to_string(home.path().join("config.toml")).unwrap()
}

#[test]
fn a_check_over_two_cargo_projects_sees_the_crates_of_both() {
    let host = tempfile::tempdir().unwrap();
    let mut prepared = Prepared::default();
    let one = crates_of(host.path(), "a", "first");
    prepared.insert(Ecosystem::Cargo, "a", one);
    let alone = custom(&prepared).setup.unwrap();
    assert!(
        configured(&alone).contains("/deps/cargo-a/vendor"),
        "{alone}"
    );

    let two = crates_of(host.path(), "b", "\"it's second\"");
    prepared.insert(Ecosystem::Cargo, "b", two);
    let both = custom(&prepared).setup.unwrap();
    for project in ["a", "b"] {
        let link = format!("ln -sfn '/deps/cargo-{project}/vendor'/* {CRATES}/");
        assert!(both.contains(&link), "{both}");
    }
    let config: toml::Table = configured(&both).parse().unwrap();
    let sources = config["source"].as_table().unwrap();
    assert!(sources.contains_key("first") && sources.contains_key("it's second"));
    assert_eq!(
        sources["vendored-sources"]["directory"].as_str(),
        Some(CRATES)
    );
}
