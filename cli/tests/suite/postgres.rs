//! State in PostgreSQL instead of the data directory: everything that people do, and what is
//! refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::postgresql::{LOGIN, Server};
use crate::site::{CHECKS, HARMLESS, Site, plan, raised, text};

/// A small repository whose state is in a new database.
pub(crate) fn site(server: &Server, checks: &str) -> Site {
    let name = server.database();
    Site::small(checks).with("MATRIX_DATABASE", server.url(LOGIN, &name))
}

#[test]
fn a_change_goes_from_start_to_release() {
    let server = Server::start();
    let site = site(&server, CHECKS);
    site.matrix(&["run", "list"]).expect(6).says("HOST-0001");
    let done = site.change(plan(HARMLESS)).expect(0);
    let run = done.text("run");
    assert!(!site.data().join("matrix.db").exists());
    assert_eq!(site.runs(), std::slice::from_ref(&run));
    assert_eq!(text(&site.show(&run), "state"), "succeeded");
    site.journal_holds();
    site.matrix(&["run", "show", &run, "--journal"])
        .expect(0)
        .says("run_completed");
    site.matrix(&["run", "replay", &run]).expect(0);
    site.matrix(&["artifact", "list", &run])
        .expect(0)
        .says("bundle.intoto.jsonl");
    site.matrix(&["deployment", "list"])
        .expect(0)
        .says("active");
    site.matrix(&["user", "add", "ada"]).expect(0);
    site.matrix(&["user", "list"]).expect(0).says("ada");
    site.matrix(&["verify", &done.text("bundle")]).expect(0);
    site.matrix(&["artifact", "prune", "--dry-run"]).expect(0);
    let doctor = site.matrix(&["doctor", "--json"]).expect(0).json();
    assert_eq!(doctor["database"]["good"], true, "{doctor}");
    let shown = site.matrix(&["database", "show"]).expect(0);
    shown.says("its data directory is this one");

    let proof = site.path("proof");
    let file = proof.to_str().unwrap();
    site.matrix(&["journal", "prove", &run, "-o", file])
        .expect(0);
    site.matrix(&["journal", "check", file])
        .expect(0)
        .says("run_completed");
    let exported = site.path("run.json");
    let file = exported.to_str().unwrap();
    site.matrix(&["run", "export", &run, "-o", file]).expect(0);
    site.matrix(&["run", "open", file]).expect(0);
}

#[test]
fn people_decide_about_a_change_of_another_process() {
    let server = Server::start();
    let site = site(&server, CHECKS);
    let asked = site.change(raised("medium")).expect(8);
    let run = asked.text("run");
    site.matrix(&["run", "why", &run])
        .expect(0)
        .says("approval");
    let done = site
        .matrix(&["change", "approve", &run, "--json"])
        .expect(0);
    assert_eq!(done.text("state"), "succeeded");
    let detached = site.change_command(raised("medium"));
    let mut detached = detached;
    detached.arg("--detach");
    let other = crate::site::finish(detached).expect(0).text("run");
    site.matrix(&["run", "watch", &other]).expect(8);
    site.matrix(&["change", "reject", &other, "--json"])
        .expect(5);
}

#[test]
fn a_database_that_is_not_fit_is_refused_with_what_makes_it_fit() {
    let server = Server::start();
    server.admin("postgres", "CREATE DATABASE bare");
    let site = Site::small(CHECKS);
    let owner = server.url("admin", "bare");
    let database = server.url("program", "bare");
    let bare = |arguments: &[&str]| {
        let mut command = site.command(arguments);
        command.arg("--database").arg(&database);
        crate::site::finish(command)
    };
    server.admin("postgres", "CREATE ROLE program LOGIN");
    bare(&["run", "list"])
        .expect(1)
        .says("STORE-0006")
        .says("matrix database migrate");
    bare(&["database", "migrate"]).expect(2).says("--owner");
    bare(&["database", "migrate", "--owner", &owner, "--login", "admin"]).expect(2);
    for _ in 0..2 {
        bare(&["database", "migrate", "--owner", &owner])
            .expect(0)
            .says("`program` may use it");
    }
    bare(&["run", "list"]).expect(6).says("HOST-0001");
    bare(&["database", "show"])
        .expect(0)
        .says("no data directory belongs to it yet");
    // A login that is missing is made.
    let other = ["--owner", &owner, "--login", "another"];
    bare(&[&["database", "migrate"], &other[..]].concat()).expect(0);

    let mut superuser = site.command(&["run", "list", "--database"]);
    superuser.arg(&owner);
    let refused = crate::site::finish(superuser).expect(1);
    refused.says("STORE-0006").says("is a superuser");
    server.admin(
        "bare",
        "INSERT INTO matrix.refinery_schema_history VALUES (999, 'later', '', '')",
    );
    let plan = site.plan_file(plan(HARMLESS));
    let repository = site.repository();
    let change = [
        "change",
        "run",
        "--repo",
        repository.to_str().unwrap(),
        "--plan",
    ];
    let change = [&change[..], &[plan.to_str().unwrap()]].concat();
    bare(&change)
        .expect(1)
        .says("STORE-0006")
        .says("newer Matrix");
    bare(&["doctor"]).expect(1).says("newer Matrix");
}

#[test]
fn a_database_and_a_data_directory_that_do_not_belong_together_are_refused() {
    let server = Server::start();
    let site = site(&server, CHECKS);
    site.change(plan(HARMLESS)).expect(0);
    // Another directory with the same database, as a process on another machine would be.
    let elsewhere = site.path("elsewhere");
    let place = elsewhere.to_str().unwrap();
    for arguments in [
        &["run", "list"][..],
        &["change", "approve", "run_00000000000000000000000000"],
        &["serve", "--listen", "127.0.0.1:0"],
        &["worker"],
    ] {
        let mut command = site.command_elsewhere(arguments);
        command.args(["--data-dir", place]);
        crate::site::finish(command).expect(1).says("HOST-0006");
    }
    // The directory with another database, and without any.
    let other = server.url(LOGIN, &server.database());
    for arguments in [&["run", "list"][..], &["user", "add", "ada"]] {
        let arguments = [arguments, &["--database", &other]].concat();
        site.matrix(&arguments).expect(1).says("HOST-0006");
        let mut without = site.command(&arguments[..arguments.len() - 2]);
        without.env_remove("MATRIX_DATABASE");
        crate::site::finish(without).expect(1).says("HOST-0005");
    }
    // A directory that keeps its state itself, with a database.
    let own = Site::small(CHECKS);
    own.change(plan(HARMLESS)).expect(0);
    for arguments in [&["run", "list"][..], &["user", "add", "ada"]] {
        let arguments = [arguments, &["--database", &other]].concat();
        own.matrix(&arguments).expect(1).says("HOST-0005");
    }
    own.matrix(&["worker"]).expect(2).says("--database");
}

#[test]
fn a_password_stands_only_where_nobody_else_reads_it() {
    let site = Site::bare();
    let address = "postgres://ada:hunter2@127.0.0.1:1/matrix";
    let hidden = |done: crate::site::Done| {
        assert!(
            !done.out.contains("hunter2") && !done.err.contains("hunter2"),
            "{done:?}"
        );
        done
    };
    let flag = site.matrix(&["config", "show", "--database", address]);
    hidden(flag)
        .expect(2)
        .says("CONFIG-0002")
        .says("PGPASSWORD");
    let owner = ["database", "migrate", "--login", "ada", "--owner", address];
    hidden(site.matrix(&owner)).expect(2).says("CONFIG-0002");

    let mut variable = site.command(&["config", "show", "--origin"]);
    variable.env("MATRIX_DATABASE", address);
    let shown = hidden(crate::site::finish(variable)).expect(0);
    shown
        .says("postgres://ada@127.0.0.1:1/matrix")
        .says("MATRIX_DATABASE");
    let mut down = site.command(&["run", "list", "--json", "--log", "debug"]);
    down.env("MATRIX_DATABASE", address);
    hidden(crate::site::finish(down))
        .expect(1)
        .says("STORE-0002");
    let mut nonsense = site.command(&["run", "list"]);
    nonsense.env("MATRIX_DATABASE", "postgres://ada:hunter2@h:port/x");
    hidden(crate::site::finish(nonsense))
        .expect(2)
        .says("CONFIG-0001");

    let file = site.path("config.toml");
    fs::write(&file, format!("database = \"{address}\"\n")).unwrap();
    let shown = ["config", "show", "--config", file.to_str().unwrap()];
    for (mode, code) in [(0o644, 2), (0o600, 0)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        hidden(site.matrix(&shown)).expect(code);
    }
}
