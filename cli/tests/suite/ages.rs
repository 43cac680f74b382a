//! Data directories that an older program left behind, and those of newer ones.

use std::fs;
use std::process::Command;

use crate::site::{CHECKS, HARMLESS, Site, finish, plan, top};

/// The last migration that the older program knew.
const OLD: &str = "24";

/// Makes a database as it was after a migration, with what the present one has as far as there was
/// room for it.
const AGE: &str = "
import os, pathlib, sqlite3, sys
path, migrations, last = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
new = sqlite3.connect(path)
new.execute('PRAGMA wal_checkpoint(TRUNCATE)')
history = 'refinery_schema_history'
made, = new.execute('SELECT sql FROM sqlite_master WHERE name = ?', [history]).fetchone()
old = sqlite3.connect(path + '.old')
old.execute('PRAGMA journal_mode = WAL')
old.execute(made)
versions = new.execute('SELECT * FROM ' + history + ' ORDER BY version').fetchall()
for row in [row for row in versions if row[0] <= last]:
    file, = migrations.glob('V%d__*.sql' % row[0])
    old.executescript(file.read_text())
    old.execute('INSERT INTO ' + history + ' VALUES (?, ?, ?, ?)', row)
assert len(versions) > old.execute('SELECT count(*) FROM ' + history).fetchone()[0]
old.commit()
old.execute('ATTACH ? AS new', [path])
def columns(place, table):
    return [row[1] for row in old.execute('PRAGMA %s.table_info(%s)' % (place, table))]
for table, in old.execute(\"SELECT name FROM main.sqlite_master WHERE type = 'table'\").fetchall():
    if table != history:
        common = ', '.join(set(columns('main', table)) & set(columns('new', table)))
        old.execute('INSERT OR REPLACE INTO main.%s (%s) SELECT %s FROM new.%s'
                    % (table, common, common, table))
old.commit()
old.close()
new.close()
for end in ['', '-wal', '-shm']:
    if os.path.exists(path + end):
        os.remove(path + end)
    if os.path.exists(path + '.old' + end):
        os.rename(path + '.old' + end, path + end)
";

/// A directory with a change in it, as an older program would have left it.
fn old() -> (Site, String) {
    let site = Site::small(CHECKS);
    let run = site.change(plan(HARMLESS)).expect(0).text("run");
    let mut command = Command::new("python3");
    command
        .args(["-c", AGE])
        .arg(site.data().join("matrix.db"))
        .arg(top().join("crates/store/migrations/sqlite"))
        .arg(OLD);
    finish(command).expect(0);
    (site, run)
}

#[test]
fn whatever_looks_first_into_an_older_directory_brings_it_up() {
    for first in [
        &["run", "list", "--json"][..],
        &["event", "list", "--json"],
        &["queue", "show", "--json"],
    ] {
        let (site, run) = old();
        site.matrix(&["doctor"]).says("of an older program");
        let seen = site.matrix(first).expect(0);
        if first[0] != "queue" {
            assert!(seen.out.contains(&run), "{}", seen.out);
        }
        assert_eq!(site.runs(), [run.as_str()]);
        site.journal_holds();
        site.matrix(&["doctor"]).says("in use");
    }
}

#[test]
fn an_older_directory_that_is_hosted_is_left_alone() {
    let (site, run) = old();
    let lock = fs::File::options()
        .write(true)
        .open(site.data().join("host.lock"))
        .unwrap();
    lock.lock().unwrap();
    for look in [&["run", "list"][..], &["run", "show", &run]] {
        site.matrix(look)
            .expect(1)
            .says("HOST-0009")
            .says("hosted by an older program");
    }
    drop(lock);
    assert_eq!(site.runs(), [run]);
}

#[test]
fn a_newer_directory_is_refused_by_every_command_and_not_touched() {
    let site = Site::small(CHECKS);
    let run = site.change(plan(HARMLESS)).expect(0).text("run");
    site.tamper("INSERT INTO refinery_schema_history VALUES (1000000, 'later', '', '1')");
    let before = fs::read(site.data().join("matrix.db")).unwrap();
    for arguments in [
        &["run", "list"][..],
        &["run", "show", &run],
        &["run", "retry", &run],
        &["run", "cancel", &run],
        &["event", "list"],
        &["queue", "show"],
        &["change", "list"],
        &["deployment", "list"],
        &["artifact", "list", &run],
        &["journal", "verify"],
        &["schedule", "list"],
        &["task", "list", &run],
        &["user", "list"],
        &["signing-key", "rotate"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        let done = site.matrix(arguments);
        assert!(done.err.contains("HOST-0008"), "{arguments:?}: {done:?}");
        assert_eq!(done.code, 1, "{arguments:?}");
    }
    site.change(plan(HARMLESS)).expect(1).says("HOST-0008");
    site.matrix(&["doctor"]).says("of a newer program");
    assert_eq!(fs::read(site.data().join("matrix.db")).unwrap(), before);
}
