//! Checkpoints and proofs of the journal, and what they do not let pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::{CHECKS, Done, HARMLESS, Site, finish, plan};

/// A journal that is not there.
const NO_RUN: &str = "run_01m7ytny0fftdsep6vdqmsf35m";

/// A site with one released change.
fn released() -> (Site, String) {
    let site = Site::small(CHECKS);
    let run = site.change(plan(HARMLESS)).expect(0).text("run");
    (site, run)
}

/// Writes the newest head beside the data directory.
fn checkpoint(site: &Site, name: &str) -> PathBuf {
    let path = site.path(name);
    let head = site.matrix(&["journal", "checkpoint"]).expect(0);
    fs::write(&path, head.out).unwrap();
    path
}

fn prove(site: &Site, run: &str, seq: &str) -> PathBuf {
    let path = site.path(&format!("proof-{seq}"));
    let mut command = site.command(&["journal", "prove", run, seq, "--output"]);
    command.arg(&path);
    finish(command).expect(0).says(path.to_str().unwrap());
    path
}

fn check(site: &Site, proof: &Path, key: Option<&Path>) -> Done {
    let mut command = site.command(&["journal", "check", "--json"]);
    command.arg(proof);
    if let Some(key) = key {
        command.arg("--key").arg(key);
    }
    finish(command)
}

fn against(site: &Site, checkpoint: &Path) -> Done {
    let mut command = site.command(&["journal", "verify", "--checkpoint"]);
    command.arg(checkpoint);
    finish(command)
}

/// The only public key of a data directory.
fn public_key(data: &Path) -> PathBuf {
    let keys = fs::read_dir(data.join("keys")).unwrap().flatten();
    let mut keys = keys.map(|entry| entry.path());
    let public = keys.find(|path| path.to_str().unwrap().ends_with(".pub.pem"));
    public.unwrap()
}

/// Changes lines of a file.
fn rewrite(path: &Path, change: impl Fn(usize, &str) -> String) -> PathBuf {
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<String> = text
        .split('\n')
        .enumerate()
        .map(|(number, line)| change(number, line))
        .collect();
    let changed = path.with_extension("changed");
    fs::write(&changed, lines.join("\n")).unwrap();
    changed
}

#[test]
fn an_entry_is_proven_to_somebody_who_has_only_a_key() {
    let (site, run) = released();
    let (proof, head) = (prove(&site, &run, "0"), checkpoint(&site, "head"));
    let proven = check(&site, &proof, None).expect(0).json();
    assert_eq!(proven["proven"], true);
    let mut told = site.command(&["journal", "check"]);
    told.arg(&proof);
    finish(told)
        .expect(0)
        .says(&format!("proven: entry 0 of {run}: run_started"))
        .says("it is number 1 of ");
    against(&site, &head)
        .expect(0)
        .says("1 run,")
        .says("every hash matches")
        .says("the checkpoint over the first ");
    // More may come behind a head that was kept; it goes on to hold.
    site.change(plan(HARMLESS)).expect(0);
    against(&site, &head).expect(0).says("2 runs,");
    let key = site.path("key.pem");
    fs::copy(public_key(&site.data()), &key).unwrap();
    fs::remove_dir_all(site.data()).unwrap();
    check(&site, &proof, Some(&key)).expect(0);
    // Without a key nobody is trusted.
    check(&site, &proof, None).expect(1).says("PROOF-0002");
    site.matrix(&["journal", "checkpoint"]).expect(6);
}

#[test]
fn a_journal_that_was_edited_is_found_out() {
    let (site, run) = released();
    let (proof, head) = (prove(&site, &run, "1"), checkpoint(&site, "head"));
    site.tamper("UPDATE journal SET actor = 'user:mallory' WHERE seq = 1");
    site.matrix(&["journal", "verify"])
        .expect(1)
        .says("RUN-0005")
        .says(&format!("the journal of run {run} is broken at entry 1"));
    against(&site, &head).expect(1).says("RUN-0005");
    // What was proven before stays proven; what is there now cannot be.
    check(&site, &proof, None).expect(0);
    let forged = prove(&site, &run, "1");
    check(&site, &forged, None).expect(1).says("PROOF-0003");
}

#[test]
fn a_journal_that_forgot_its_end_is_found_out() {
    let (site, _) = released();
    let backup = site.path("backup");
    let mut copy = Command::new("cp");
    copy.arg("-R").arg(site.data()).arg(&backup);
    finish(copy).expect(0);
    site.change(plan(HARMLESS)).expect(0);
    let head = checkpoint(&site, "head");
    fs::remove_dir_all(site.data()).unwrap();
    fs::rename(&backup, site.data()).unwrap();
    // By itself the older state is whole; the head that was kept elsewhere tells.
    site.journal_holds();
    against(&site, &head)
        .expect(1)
        .says("PROOF-0005")
        .says("the checkpoint is over ");
}

#[test]
fn a_wrong_key_proves_nothing() {
    let (site, run) = released();
    let (proof, head) = (prove(&site, &run, "0"), checkpoint(&site, "head"));
    let (stranger, _) = released();
    let key = public_key(&stranger.data());
    check(&site, &proof, Some(&key))
        .expect(1)
        .says("PROOF-0002")
        .says("no trusted key has signed the checkpoint");
    against(&stranger, &head).expect(1).says("PROOF-0002");
    let nothing = site.path("nothing.pem");
    fs::write(&nothing, "not a key\n").unwrap();
    check(&site, &proof, Some(&nothing))
        .expect(1)
        .says("KEY-0001");
    check(&site, &proof, Some(&site.path("nowhere.pem")))
        .expect(1)
        .says("CLI-0001");
}

#[test]
fn a_proof_of_another_entry_is_none_of_this() {
    let (site, run) = released();
    let (this, other) = (prove(&site, &run, "0"), prove(&site, &run, "1"));
    let other = fs::read_to_string(other).unwrap();
    let about_other = other
        .lines()
        .find(|line| line.starts_with("extra "))
        .unwrap();
    let mixed = rewrite(&this, |_, line| {
        let is_about = line.starts_with("extra ");
        if is_about { about_other } else { line }.to_owned()
    });
    check(&site, &mixed, None).expect(1).says("PROOF-0003");
    let moved = rewrite(&this, |_, line| line.replace("index 0", "index 1"));
    check(&site, &moved, None).expect(1).says("PROOF-0003");
    let undescribed = rewrite(&this, |number, line| {
        if number == 1 { "" } else { line }.to_owned()
    });
    check(&site, &undescribed, None)
        .expect(1)
        .says("PROOF-0001");
    // A proof is no checkpoint, and a checkpoint no proof.
    against(&site, &this).expect(1).says("PROOF-0001");
    let head = checkpoint(&site, "head");
    check(&site, &head, None).expect(1).says("PROOF-0001");
}

#[test]
fn what_is_not_in_the_journal_is_not_proven() {
    let (site, run) = released();
    site.matrix(&["journal", "prove", &run, "9999"])
        .expect(6)
        .says("PROOF-0006")
        .says("has no entry 9999");
    site.matrix(&["journal", "prove", NO_RUN]).expect(6);
    site.matrix(&["journal", "prove", &run, "-1"]).expect(2);
    let newest = site.matrix(&["journal", "prove", &run, "--json"]).expect(0);
    let proof = site.path("newest");
    fs::write(&proof, newest.text("proof")).unwrap();
    let proven = check(&site, &proof, None).expect(0).json();
    assert_eq!(
        proven["proof"]["entry"]["kind"], "run_completed",
        "{proven}"
    );
}
