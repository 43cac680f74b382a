//! One command in its own throw-away copy of a tree, in its own sandbox, offline.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use matrix_evidence::junit::TestReport;
use matrix_evidence::sarif::{Finding, FindingReport};
use matrix_evidence::{ArtifactRef, Kind};
use matrix_sandbox::spec::{
    Access, Ending, Mount, Network, Outcome, OutputSink, Profile, SandboxSpec, Stream,
};

use super::command::{Planned, REPORT_DIR, SCRIPT_DIR, Streams, inside_work};
use super::config::MAX_TIMEOUT;
use super::counted;
use super::error::VerifyError;
use super::outputs;
use super::project::CheckJob;
use super::read::{self, Left};
use super::result::{CheckResult, Checked, Produced, Report, Side, State, cut};
use super::run::Context;

/// Runs the planned command to its end and reads what it left behind.
pub(crate) async fn run(
    job: &CheckJob,
    side: Side,
    attempt: u32,
    planned: &Planned,
    context: &Context,
) -> Result<Checked, VerifyError> {
    let place = Place::make(planned, side, context).await?;
    let captured = Arc::new(Mutex::new(Captured::default()));
    let sink = sink(Arc::clone(&captured), planned.streams, context);
    let spec = spec(planned, &place, context);
    let outcome = context
        .executor
        .execute(spec, sink, context.cancel.clone())
        .await
        .map_err(|error| VerifyError::Sandbox {
            job: job.id.clone(),
            reason: error.reason,
        })?;
    if outcome.ending == Ending::Cancelled {
        return Err(VerifyError::Cancelled {
            job: job.id.clone(),
        });
    }
    let captured = std::mem::take(&mut *captured.lock().unwrap_or_else(PoisonError::into_inner));
    let name = format!("{}.{}.{attempt}", job.id.replace('/', "."), side.as_str());
    let job = job.clone();
    let (planned, globs) = (planned.clone(), context.artifacts.clone());
    tokio::task::spawn_blocking(move || {
        finish(
            &job, side, attempt, &name, &planned, &globs, &outcome, captured, &place,
        )
    })
    .await
    .map_err(|error| VerifyError::Sandbox {
        job: String::from("report"),
        reason: error.to_string(),
    })
}

/// The directories of one attempt on the host; they vanish with the value.
struct Place {
    root: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        // A check may have left directories that nobody may write; the scratch directory is
        // emptied at the host's next start too, so a failure here costs space only.
        if let Err(error) = matrix_worktree::copy::remove_tree_blocking(&self.root) {
            tracing::warn!(path = %self.root.display(), %error, "a throw-away copy stays");
        }
    }
}

impl Place {
    fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    fn report(&self) -> PathBuf {
        self.root.join("report")
    }

    fn scripts(&self) -> PathBuf {
        self.root.join("scripts")
    }

    async fn make(planned: &Planned, side: Side, context: &Context) -> Result<Self, VerifyError> {
        let (scratch, source) = (context.scratch.clone(), context.tree(side).path.clone());
        let planned = planned.clone();
        let made =
            tokio::task::spawn_blocking(move || Self::lay(&planned, &scratch, &source)).await;
        made.unwrap_or_else(|error| {
            Err(VerifyError::Io {
                what: "making the throw-away copy",
                path: context.scratch.clone(),
                source: std::io::Error::other(error),
            })
        })
    }

    fn lay(planned: &Planned, scratch: &Path, source: &Path) -> Result<Self, VerifyError> {
        let failed = |path: &Path| VerifyError::io("making the throw-away copy", path);
        std::fs::create_dir_all(scratch).map_err(failed(scratch))?;
        let root = tempfile::Builder::new()
            .prefix("attempt-")
            .tempdir_in(scratch)
            .map_err(failed(scratch))?
            .keep();
        let place = Self { root };
        outputs::copy_tree(source, &place.work())?;
        std::fs::create_dir(place.report()).map_err(failed(&place.report()))?;
        std::fs::create_dir(place.scripts()).map_err(failed(&place.scripts()))?;
        for (name, content) in &planned.scripts {
            let path = place.scripts().join(name);
            std::fs::write(&path, content).map_err(failed(&path))?;
            let readable = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(&path, readable).map_err(failed(&path))?;
        }
        // A mount inside the work tree needs something to lie on.
        for mount in &planned.mounts {
            if let Ok(inside) = mount.target.strip_prefix("/work") {
                let path = place.work().join(inside);
                std::fs::create_dir_all(&path).map_err(failed(&path))?;
            }
        }
        Ok(place)
    }
}

#[derive(Default)]
struct Captured {
    log: Vec<u8>,
    stdout: Vec<u8>,
}

fn sink(captured: Arc<Mutex<Captured>>, streams: Streams, context: &Context) -> OutputSink {
    let forward = context.log.clone();
    let most = usize::try_from(context.limits.output_bytes).unwrap_or(usize::MAX);
    Box::new(move |stream: Stream, bytes: &[u8]| {
        if let Some(forward) = &forward {
            forward(stream, bytes);
        }
        let mut captured = captured.lock().unwrap_or_else(PoisonError::into_inner);
        let room = most.saturating_sub(captured.log.len());
        let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        if streams == Streams::Separate && stream == Stream::Stdout {
            captured.stdout.extend_from_slice(kept);
        }
        captured.log.extend_from_slice(kept);
    })
}

fn spec(planned: &Planned, place: &Place, context: &Context) -> SandboxSpec {
    let mut mounts = planned.mounts.clone();
    mounts.push(Mount {
        source: place.report(),
        target: PathBuf::from(REPORT_DIR),
        access: Access::ReadWrite,
    });
    if !planned.scripts.is_empty() {
        mounts.push(Mount {
            source: place.scripts(),
            target: PathBuf::from(SCRIPT_DIR),
            access: Access::ReadOnly,
        });
    }
    let mut limits = context.limits.clone();
    limits.wall = planned.timeout.min(MAX_TIMEOUT);
    SandboxSpec {
        profile: Profile::Check,
        command: shell(planned),
        cwd: inside_work(&planned.directory),
        env: planned.env.clone(),
        work_tree: place.work(),
        mounts,
        path: planned.path.clone(),
        network: Network::None,
        limits,
    }
}

/// The command with its setup; a shell joins the streams where their order matters.
fn shell(planned: &Planned) -> Vec<OsString> {
    let joined = planned.streams == Streams::Merged;
    if planned.setup.is_none() && !joined {
        return planned.command.iter().map(OsString::from).collect();
    }
    let setup = planned.setup.as_deref().unwrap_or(":");
    let redirect = if joined { " 2>&1" } else { "" };
    let line = format!("{setup} && exec \"$@\"{redirect}");
    let front = [
        "/bin/sh".to_owned(),
        "-c".to_owned(),
        line,
        "check".to_owned(),
    ];
    front
        .iter()
        .chain(&planned.command)
        .map(OsString::from)
        .collect()
}

#[expect(
    clippy::too_many_arguments,
    reason = "everything one attempt left behind, moved into the thread that reads it"
)]
fn finish(
    job: &CheckJob,
    side: Side,
    attempt: u32,
    name: &str,
    planned: &Planned,
    globs: &[String],
    outcome: &Outcome,
    captured: Captured,
    place: &Place,
) -> Checked {
    let (report_files, file_notes) = outputs::report_files(&place.report());
    let reading = read::read(
        planned.reader,
        &Left {
            job: &job.id,
            directory: &planned.directory,
            ending: &outcome.ending,
            timeout_s: planned.timeout.as_secs(),
            log: &captured.log,
            stdout: &captured.stdout,
            reports: &report_files,
        },
    );
    let mut state = reading.state;
    // What the command said comes first: the judge quotes it.
    let mut notes = reading.notes;
    notes.extend(file_notes);
    notes.extend(planned.notes.iter().cloned());
    let mut produced = report(name, job, &reading.report);
    let report = brief(reading.report, &mut state, &mut notes);
    produced.push(Produced::new(
        format!("{name}.log"),
        "text/plain",
        captured.log,
    ));
    let files: Vec<ArtifactRef> = produced.iter().map(Produced::reference).collect();
    let mut artifacts = Vec::new();
    let built = report == Report::Build { success: true };
    state = held_to_promise(job, side, globs, state);
    if promises(job, side, globs) && built {
        match outputs::artifacts(&place.work(), globs) {
            Ok(found) => {
                artifacts = found.iter().map(Produced::reference).collect();
                produced.extend(found);
            }
            Err(reason) => state = State::Broken { reason },
        }
    }
    Checked {
        result: CheckResult {
            job: job.id.clone(),
            kind: job.kind,
            side,
            attempt,
            state,
            report,
            command: planned.command.clone(),
            files,
            artifacts,
            denials: outcome.denials.clone(),
            mechanism: outcome.mechanism.clone(),
            tools: planned.tools.clone(),
            notes,
            weakening: None,
            cached: false,
            duration_ms: outcome.duration_ms,
        },
        produced,
    }
}

/// Whether the repository says what comes of a build: a release must not lack it.
fn promises(job: &CheckJob, side: Side, globs: &[String]) -> bool {
    job.kind == Kind::BuildLog && side == Side::Head && !globs.is_empty()
}

/// A build that did not run, and of which artifacts are named, is no build to pass over.
pub(crate) fn held_to_promise(job: &CheckJob, side: Side, globs: &[String], state: State) -> State {
    match state {
        State::NotRun { reason } if promises(job, side, globs) => State::Broken {
            reason: format!("{reason}; matrix.yaml names artifacts of it"),
        },
        state => state,
    }
}

/// The report as the journal keeps it: what runners said at length stands in the file, and so do
/// the names of a very long suite.
fn brief(mut report: Report, state: &mut State, notes: &mut Vec<String>) -> Report {
    if let Report::Tests { cases, counted } = &mut report {
        match counted::fold(cases) {
            Ok(None) => {}
            Ok(Some((rest, note))) => {
                *counted = rest;
                notes.push(note);
            }
            Err(reason) => *state = State::Broken { reason },
        }
        for case in cases {
            case.message = case.message.take().map(|message| cut(&message, 300));
        }
    }
    report
}

/// The report in the format that other tools read.
fn report(name: &str, job: &CheckJob, report: &Report) -> Vec<Produced> {
    match report {
        Report::Tests { cases, .. } => {
            let whole = TestReport {
                cases: cases.clone(),
            };
            vec![Produced::new(
                format!("{name}.junit.xml"),
                "application/xml",
                whole.to_junit(&job.id).into_bytes(),
            )]
        }
        Report::Findings { findings } => sarif(name, &job.id, findings).into_iter().collect(),
        Report::Build { .. } | Report::Bill { .. } | Report::Nothing => Vec::new(),
    }
}

/// Findings as a SARIF file.
pub(crate) fn sarif(name: &str, tool: &str, findings: &[Finding]) -> Option<Produced> {
    let report = FindingReport {
        tool: tool.to_owned(),
        findings: findings.to_vec(),
        ..FindingReport::default()
    };
    let bytes = report.to_sarif().ok()?;
    Some(Produced::new(
        format!("{name}.sarif"),
        "application/sarif+json",
        bytes,
    ))
}
