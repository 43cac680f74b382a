//! Whether a request may be made at all, before any process is started.

use std::path::{Component, Path};

use crate::error::SandboxError;
use crate::spec::SandboxSpec;

/// Targets that are the sandbox's own and nothing may be laid over.
const RESERVED: &[&str] = &[
    "/",
    "/dev",
    "/etc",
    "/home",
    "/home/sandbox",
    "/proc",
    "/run",
    "/sys",
    "/tmp",
    "/var",
    "/work",
];
/// Trees that nothing may be laid into.
const RESERVED_BELOW: &[&str] = &["/dev", "/proc", "/sys"];
/// Directories of the host that are never shown as a whole.
const NEVER: &[&str] = &[
    "/", "/boot", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/var",
];
/// Trees of the host of which nothing is shown.
const NEVER_BELOW: &[&str] = &["/boot", "/dev", "/etc", "/proc", "/run", "/sys", "/var/run"];

const ARGUMENTS: usize = 4096;
const MOUNTS: usize = 256;

fn refused<T>(detail: String) -> Result<T, SandboxError> {
    Err(SandboxError::Spec { detail })
}

/// Refuses what must not be shown, with the reason.
pub(crate) fn check(spec: &SandboxSpec, forbidden: &[&Path]) -> Result<(), SandboxError> {
    if spec.command.is_empty() || spec.command.len() > ARGUMENTS {
        return refused(format!(
            "a command has 1 to {ARGUMENTS} words, not {}",
            spec.command.len()
        ));
    }
    if spec.mounts.len() > MOUNTS {
        return refused(format!(
            "at most {MOUNTS} mounts are shown, not {}",
            spec.mounts.len()
        ));
    }
    plain(&spec.cwd)?;
    for directory in &spec.path {
        plain(directory)?;
    }
    if spec
        .env
        .iter()
        .any(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0'))
    {
        return refused(
            "a variable's name is empty or holds `=`, or a value holds a zero byte".into(),
        );
    }
    source(&spec.work_tree, forbidden)?;
    for mount in &spec.mounts {
        source(&mount.source, forbidden)?;
        target(&mount.target)?;
    }
    Ok(())
}

/// An absolute path without `..`, so that its text says where it is.
fn plain(path: &Path) -> Result<(), SandboxError> {
    let normal = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && normal {
        Ok(())
    } else {
        refused(format!(
            "`{}` is not an absolute path without `..`",
            path.display()
        ))
    }
}

fn target(path: &Path) -> Result<(), SandboxError> {
    plain(path)?;
    let taken = RESERVED.iter().any(|one| path == Path::new(one))
        || RESERVED_BELOW.iter().any(|one| path.starts_with(one))
        || path.starts_with("/work/.git");
    if taken {
        return refused(format!("nothing may be shown at `{}`", path.display()));
    }
    Ok(())
}

fn source(path: &Path, forbidden: &[&Path]) -> Result<(), SandboxError> {
    plain(path)?;
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) => return refused(format!("cannot show `{}`: {error}", path.display())),
    };
    let never = NEVER.iter().any(|one| real == Path::new(one))
        || NEVER_BELOW.iter().any(|one| real.starts_with(one));
    if never || is_home(&real) {
        return refused(format!(
            "`{}` is a part of the host that is never shown; name a directory below it",
            path.display()
        ));
    }
    for one in forbidden {
        let one = one.canonicalize().unwrap_or_else(|_| one.to_path_buf());
        if one.starts_with(&real) {
            return refused(format!(
                "`{}` holds `{}`, which no sandbox may see",
                path.display(),
                one.display()
            ));
        }
    }
    Ok(())
}

/// Whether this is somebody's home, by the host's list of users.
fn is_home(path: &Path) -> bool {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    users.lines().any(|line| {
        let home = line.split(':').nth(5).unwrap_or_default();
        home.starts_with('/') && Path::new(home) == path
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Access, Limits, Mount, Network, Profile};

    fn spec(tree: &Path) -> SandboxSpec {
        SandboxSpec {
            profile: Profile::Check,
            command: vec!["true".into()],
            cwd: "/work".into(),
            env: std::collections::BTreeMap::new(),
            work_tree: tree.into(),
            mounts: Vec::new(),
            path: Vec::new(),
            network: Network::None,
            limits: Limits::default(),
        }
    }

    fn refusal(spec: &SandboxSpec, forbidden: &[&Path]) -> String {
        check(spec, forbidden)
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn host_directories_are_never_a_work_tree() {
        for path in ["/", "/etc", "/root", "/proc/self", "/dev", "/home"] {
            assert!(
                check(&spec(Path::new(path)), &[]).is_err(),
                "{path} was accepted"
            );
        }
    }

    #[test]
    fn what_holds_a_forbidden_directory_is_refused_and_what_lies_in_it_is_not() {
        let data = tempfile::tempdir().unwrap();
        let keys = data.path().join("keys");
        let work = data.path().join("work");
        std::fs::create_dir(&keys).unwrap();
        std::fs::create_dir(&work).unwrap();
        assert!(refusal(&spec(data.path()), &[&keys]).contains("no sandbox may see"));
        assert!(check(&spec(&work), &[&keys]).is_ok());
        std::os::unix::fs::symlink(data.path(), work.join("up")).unwrap();
        let through = work.join("up");
        assert!(
            refusal(&spec(&through), &[&keys]).contains("no sandbox may see"),
            "a link led out"
        );
    }

    #[test]
    fn targets_keep_clear_of_the_sandboxs_own_places() {
        let tree = tempfile::tempdir().unwrap();
        for path in [
            "/proc/x",
            "/work",
            "/work/.git/hooks",
            "/etc",
            "relative",
            "/a/../work",
        ] {
            let mut wanted = spec(tree.path());
            wanted.mounts.push(Mount {
                source: tree.path().into(),
                target: path.into(),
                access: Access::ReadOnly,
            });
            assert!(check(&wanted, &[]).is_err(), "{path} was accepted");
        }
    }

    #[test]
    fn an_empty_command_is_refused() {
        let tree = tempfile::tempdir().unwrap();
        let mut wanted = spec(tree.path());
        wanted.command.clear();
        assert!(refusal(&wanted, &[]).contains("words"));
    }
}
