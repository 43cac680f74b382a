//! The file system the sandboxed program sees: an allow-list on an otherwise empty, read-only root.
//!
//! Everything to be shown is first opened as a detached copy of its mount ([`open_tree`]), while
//! the host's paths are still in view and, when we are root, with root's rights: a toolchain in a
//! home of mode 700 can be shown although the sandbox's user could never reach it. Only then is a
//! memory file system laid over `/usr` of the private mount namespace (the one directory that
//! must exist) and the copies are attached to it. Targets are walked component by component
//! without following links, so a link planted in a work tree cannot lead a mount elsewhere.
//!
//! The program's writable places (`/tmp`, the home, `/dev/shm`) are directories of the same
//! memory file system, so one size and one inode count bound them together.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags};

use crate::spec::{Access, SandboxSpec};
use crate::sys;
use crate::wire::Failure;

/// Where the new root is mounted before it becomes the root.
pub(crate) const STAGING: &str = "/usr";
/// The user and group id inside.
pub(crate) const INSIDE_ID: u32 = 1000;
/// The home inside.
pub(crate) const HOME: &str = "/home/sandbox";

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const WRITABLE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const DEVICE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;

/// The system's programs and libraries.
const SYSTEM: &[&str] = &["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The only parts of `/etc` that are shown; none names a person, a host or a secret.
const ETC: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "os-release",
    "pki/ca-trust",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];

const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// One thing to attach.
struct Piece {
    tree: OwnedFd,
    target: PathBuf,
    directory: bool,
}

/// The plan of a root: mounts to attach and links to make.
struct Plan {
    pieces: Vec<Piece>,
    links: Vec<(PathBuf, PathBuf)>,
}

/// Sizes and owner of the memory file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// The user who owns the writable places, as this process names it.
    pub(crate) owner: u32,
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

/// Builds the new root at [`STAGING`] of this private mount namespace.
pub(crate) fn build(spec: &SandboxSpec, shape: Shape) -> Result<(), Failure> {
    let plan = Plan::open(spec)?;
    let options = format!("mode=0755,size={},nr_inodes={}", shape.bytes, shape.inodes);
    let options = std::ffi::CString::new(options)
        .map_err(|error| Failure::isolation("describe the root", error))?;
    rustix::mount::mount(
        "tmpfs",
        STAGING,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        options.as_c_str(),
    )
    .map_err(|error| Failure::isolation("mount a memory file system as the root", error))?;
    let root = open_directory(CWD, STAGING)
        .map_err(|error| Failure::isolation("open the new root", error))?;
    furnish(&root, &plan, shape)
        .map_err(|error| Failure::isolation("furnish the new root", error))?;
    for piece in &plan.pieces {
        attach(&root, piece).map_err(|error| {
            Failure::isolation(&format!("show `{}`", piece.target.display()), error)
        })?;
    }
    own_places(&root).map_err(|error| Failure::isolation("make the writable places", error))?;
    rustix::mount::mount_remount(
        STAGING,
        MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV,
        c"",
    )
    .map_err(|error| Failure::isolation("make the new root read-only", error))
}

impl Plan {
    fn open(spec: &SandboxSpec) -> Result<Self, Failure> {
        let mut plan = Self {
            pieces: Vec::new(),
            links: Vec::new(),
        };
        for name in SYSTEM {
            plan.system(Path::new("/").join(name))?;
        }
        for name in ETC {
            plan.system(Path::new("/etc").join(name))?;
        }
        for name in DEVICES {
            plan.device(name)?;
        }
        plan.work_tree(&spec.work_tree)?;
        for mount in &spec.mounts {
            let attributes = match mount.access {
                Access::ReadOnly => READ_ONLY,
                Access::ReadWrite => WRITABLE,
            };
            plan.piece(&mount.source, &mount.target, attributes)?;
        }
        Ok(plan)
    }

    /// A path of the system, shown at the same place; a link is made again, a missing one skipped.
    fn system(&mut self, path: PathBuf) -> Result<(), Failure> {
        let Ok(kind) = std::fs::symlink_metadata(&path) else {
            return Ok(());
        };
        if kind.is_symlink() {
            if let Ok(to) = std::fs::read_link(&path) {
                self.links.push((path, to));
            }
            return Ok(());
        }
        self.piece(&path, &path, READ_ONLY)
    }

    fn device(&mut self, name: &str) -> Result<(), Failure> {
        let path = Path::new("/dev").join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(kind) if kind.file_type().is_char_device() => self.piece(&path, &path, DEVICE),
            _ => Ok(()),
        }
    }

    /// The work tree, and over it its `.git` without the right to write.
    fn work_tree(&mut self, path: &Path) -> Result<(), Failure> {
        let target = Path::new("/work");
        self.piece(path, target, WRITABLE)?;
        let git = path.join(".git");
        match std::fs::symlink_metadata(&git) {
            Ok(kind) if kind.is_symlink() => Err(Failure::spec(format!(
                "`{}` is a symbolic link; a work tree's .git must be a directory or a file",
                git.display()
            ))),
            Ok(_) => self.piece(&git, &target.join(".git"), READ_ONLY),
            Err(_) => Ok(()),
        }
    }

    fn piece(&mut self, source: &Path, target: &Path, attributes: u64) -> Result<(), Failure> {
        let kind = std::fs::metadata(source).map_err(|error| {
            Failure::spec(format!("cannot show `{}`: {error}", source.display()))
        })?;
        let plain = kind.is_dir() || kind.is_file() || attributes == DEVICE;
        if !plain {
            return Err(Failure::spec(format!(
                "`{}` is neither a directory nor a regular file",
                source.display()
            )));
        }
        let tree = clone_tree(CWD, source).map_err(|error| {
            Failure::isolation(&format!("open `{}` as a mount", source.display()), error)
        })?;
        sys::mount_restrict(tree.as_fd(), attributes).map_err(|error| {
            Failure::isolation(
                &format!("restrict the mount of `{}`", source.display()),
                error,
            )
        })?;
        self.pieces.push(Piece {
            tree,
            target: target.to_owned(),
            directory: kind.is_dir(),
        });
        Ok(())
    }
}

/// A detached copy of the mount at `path` and of everything below it.
pub(crate) fn clone_tree(directory: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::mount::open_tree(
        directory,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE,
    )
}

/// Attaches a detached mount at an open directory or file.
pub(crate) fn attach_at(tree: impl AsFd, place: impl AsFd) -> rustix::io::Result<()> {
    rustix::mount::move_mount(
        tree,
        "",
        place,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

fn open_directory(at: impl AsFd, path: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(
        at,
        path,
        OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY,
        Mode::empty(),
    )
}

/// Opens the directory at `path` below `root`, making what is missing and following no link.
fn walk(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let mut here = rustix::io::fcntl_dupfd_cloexec(root, 3)?;
    for component in path.components() {
        let Component::Normal(name) = component else {
            continue;
        };
        match rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS) => {}
            Err(error) => return Err(error),
        }
        here = open_directory(&here, name)?;
    }
    Ok(here)
}

fn split(path: &Path) -> (&Path, &OsStr) {
    (
        path.parent().unwrap_or(Path::new("/")),
        path.file_name().unwrap_or_default(),
    )
}

fn attach(root: &OwnedFd, piece: &Piece) -> rustix::io::Result<()> {
    if piece.directory {
        return attach_at(&piece.tree, walk(root, &piece.target)?);
    }
    let (directory, name) = split(&piece.target);
    let directory = walk(root, directory)?;
    let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    match rustix::fs::openat(
        &directory,
        name,
        flags | OFlags::EXCL,
        Mode::from_raw_mode(0o644),
    ) {
        Ok(_) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS) => {}
        Err(error) => return Err(error),
    }
    let place = rustix::fs::openat(
        &directory,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    attach_at(&piece.tree, place)
}

/// Directories, links and the few files of `/etc` that are ours.
fn furnish(root: &OwnedFd, plan: &Plan, shape: Shape) -> rustix::io::Result<()> {
    for path in ["proc", "run", "var", "etc", "dev/pts", "opt"] {
        walk(root, Path::new(path))?;
    }
    for (path, mode) in [
        ("tmp", 0o1777),
        ("home/sandbox", 0o755),
        ("dev/shm", 0o1777),
    ] {
        let place = walk(root, Path::new(path))?;
        rustix::fs::fchmod(&place, Mode::from_raw_mode(mode))?;
        rustix::fs::fchown(
            &place,
            Some(Uid::from_raw(shape.owner)),
            Some(Gid::from_raw(shape.owner)),
        )?;
    }
    // `.git` keeps the host's owner, which git would else refuse to read.
    let home = walk(root, Path::new(HOME))?;
    write_file(&home, ".gitconfig", "[safe]\n\tdirectory = *\n")?;
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
        ("/var/tmp", "/tmp"),
        ("/etc/mtab", "/proc/mounts"),
    ];
    let links = links
        .iter()
        .map(|(path, to)| (Path::new(path), Path::new(to)))
        .chain(
            plan.links
                .iter()
                .map(|(path, to)| (path.as_path(), to.as_path())),
        );
    for (path, to) in links {
        let (directory, name) = split(path);
        rustix::fs::symlinkat(to, walk(root, directory)?, name)?;
    }
    let etc = walk(root, Path::new("etc"))?;
    for (name, text) in files_of_etc() {
        write_file(&etc, name, &text)?;
    }
    Ok(())
}

fn files_of_etc() -> [(&'static str, String); 6] {
    [
        (
            "passwd",
            format!(
                "root:x:0:0:root:/:/usr/sbin/nologin\n\
                 sandbox:x:{INSIDE_ID}:{INSIDE_ID}:sandbox:{HOME}:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
            ),
        ),
        (
            "group",
            format!("root:x:0:\nsandbox:x:{INSIDE_ID}:\nnogroup:x:65534:\n"),
        ),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n".into(),
        ),
        (
            "hosts",
            "127.0.0.1 localhost sandbox\n::1 localhost\n".into(),
        ),
        ("hostname", "sandbox\n".into()),
        ("resolv.conf", String::new()),
    ]
}

fn write_file(directory: &OwnedFd, name: &str, text: &str) -> rustix::io::Result<()> {
    let file = rustix::fs::openat(
        directory,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o644),
    )?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Mounts the writable places over themselves, so that they stay writable when the root is not.
fn own_places(root: &OwnedFd) -> rustix::io::Result<()> {
    for path in ["tmp", "home/sandbox", "dev/shm"] {
        let tree = clone_tree(root, Path::new(path))?;
        sys::mount_restrict(tree.as_fd(), WRITABLE)?;
        attach_at(tree, walk(root, Path::new(path))?)?;
    }
    // A kernel without pseudo-terminals only means that programs inside have none.
    let _ = rustix::mount::mount(
        "devpts",
        "/usr/dev/pts",
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        c"newinstance,ptmxmode=0666,mode=0620",
    );
    Ok(())
}

/// Parts of `/proc` that speak of the host and are replaced by nothing.
const HIDDEN: &[&str] = &[
    "acpi",
    "asound",
    "bus",
    "config.gz",
    "driver",
    "dynamic_debug",
    "fs",
    "iomem",
    "ioports",
    "irq",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "modules",
    "mtrr",
    "sched_debug",
    "schedstat",
    "scsi",
    "slabinfo",
    "sysrq-trigger",
    "sysvipc",
    "timer_list",
    "tty",
    "vmallocinfo",
];

/// Mounts `/proc` for this process namespace, masks it, and makes [`STAGING`] the root.
///
/// `locked` says that the new root was mounted by a more privileged namespace; the kernel then
/// lets it become the root only through a copy made here.
pub(crate) fn enter(locked: bool) -> Result<(), Failure> {
    let isolation = |doing: &'static str| move |error| Failure::isolation(doing, error);
    if locked {
        let copy = clone_tree(CWD, Path::new(STAGING)).map_err(isolation("copy the new root"))?;
        let place = open_directory(CWD, STAGING).map_err(isolation("open the new root"))?;
        attach_at(copy, place).map_err(isolation("attach the copy of the new root"))?;
    }
    rustix::mount::mount(
        "proc",
        "/usr/proc",
        "proc",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    )
    .map_err(isolation("mount the process file system"))?;
    mask(READ_ONLY).map_err(isolation("mask the process file system"))?;
    rustix::process::chdir(STAGING).map_err(isolation("enter the new root"))?;
    rustix::process::pivot_root(".", ".").map_err(isolation("make the new root the root"))?;
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)
        .map_err(isolation("let the host's root go"))?;
    rustix::process::chdir("/").map_err(isolation("enter the root"))
}

fn mask(attributes: u64) -> rustix::io::Result<()> {
    let proc = open_directory(CWD, "/usr/proc")?;
    let settings = clone_tree(&proc, Path::new("sys"))?;
    sys::mount_restrict(settings.as_fd(), attributes)?;
    attach_at(settings, open_path(&proc, "sys")?)?;
    for name in HIDDEN {
        let Ok(kind) = rustix::fs::statat(&proc, *name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let is_directory =
            rustix::fs::FileType::from_raw_mode(kind.st_mode) == rustix::fs::FileType::Directory;
        let cover = if is_directory {
            "/usr/run"
        } else {
            "/usr/dev/null"
        };
        let tree = clone_tree(CWD, Path::new(cover))?;
        // The null device keeps working for whoever opens a masked file.
        sys::mount_restrict(
            tree.as_fd(),
            if is_directory {
                attributes
            } else {
                DEVICE | libc::MOUNT_ATTR_RDONLY
            },
        )?;
        attach_at(tree, open_path(&proc, name)?)?;
    }
    Ok(())
}

fn open_path(at: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(
        at,
        OsStr::from_bytes(name.as_bytes()),
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}
