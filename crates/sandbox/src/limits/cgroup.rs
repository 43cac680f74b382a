//! Control groups, version 1 or 2, wherever this process may make one.
//!
//! A group is made below the process's own group, so that limits somebody set on us also hold for
//! our sandboxes. Version 2 allows no processes beside groups with controllers, so there the
//! groups are made beside our own group where its parent was delegated to us, or, for root, below
//! the mount's top. Nothing here moves a process that is not ours.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::spec::{Limit, Limits};

/// Where groups can be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "version")]
pub(crate) enum Place {
    /// A directory of each controller's own hierarchy.
    V1 {
        memory: PathBuf,
        pids: PathBuf,
        cpuacct: PathBuf,
    },
    /// One directory whose children have the controllers.
    V2 { base: PathBuf },
}

/// One mounted hierarchy: where, which part of it, and its options.
struct Hierarchy {
    mounted: PathBuf,
    root: PathBuf,
    unified: bool,
    options: String,
}

/// Finds a place and proves it by making and removing a group; `None` when there is none.
pub(crate) fn find(own_pid: u32) -> Option<Place> {
    let mounts = hierarchies(&fs::read_to_string("/proc/self/mountinfo").ok()?);
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let name = format!("matrix-sandbox-test-{own_pid}");
    candidates(&mounts, &own).into_iter().find(|place| {
        let made = Group::create(place, &name, &Limits::default());
        let works = made.is_ok();
        if let Ok(group) = made {
            group.remove();
        }
        works
    })
}

fn candidates(mounts: &[Hierarchy], own: &str) -> Vec<Place> {
    let controller = |wanted: &str| {
        let mount = mounts
            .iter()
            .find(|mount| !mount.unified && mount.options.split(',').any(|name| name == wanted))?;
        let path = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let names = parts.nth(1)?;
            names
                .split(',')
                .any(|name| name == wanted)
                .then(|| parts.next())?
        })?;
        Some(below(mount, path))
    };
    let mut places = Vec::new();
    if let Some(mount) = mounts.iter().find(|mount| mount.unified) {
        let path = own.lines().find_map(|line| line.strip_prefix("0::"));
        let own_group = below(mount, path.unwrap_or("/"));
        let parent = own_group.parent().map(Path::to_owned);
        for base in [Some(own_group), parent, Some(mount.mounted.clone())] {
            if let Some(base) = base.filter(|base| base.starts_with(&mount.mounted)) {
                places.push(Place::V2 { base });
            }
        }
    }
    if let (Some(memory), Some(pids), Some(cpuacct)) = (
        controller("memory"),
        controller("pids"),
        controller("cpuacct"),
    ) {
        places.push(Place::V1 {
            memory,
            pids,
            cpuacct,
        });
    }
    places
}

/// The directory of group `path`, seen through a mount that may show only a part.
fn below(mount: &Hierarchy, path: &str) -> PathBuf {
    let path = Path::new(path);
    let inner = path.strip_prefix(&mount.root).unwrap_or(path);
    mount.mounted.join(inner.strip_prefix("/").unwrap_or(inner))
}

fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (front, back) = line.split_once(" - ")?;
            let mut front = front.split(' ').skip(3);
            let (root, mounted) = (front.next()?, front.next()?);
            let mut back = back.split(' ');
            let kind = back.next()?;
            let options = back.nth(1)?;
            kind.starts_with("cgroup").then(|| Hierarchy {
                mounted: mounted.into(),
                root: root.into(),
                unified: kind == "cgroup2",
                options: options.into(),
            })
        })
        .collect()
}

/// One group, for one execution.
#[derive(Debug)]
pub(crate) struct Group {
    directories: Vec<PathBuf>,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    /// Makes a group and sets its limits; removes it again if one cannot be set.
    pub(crate) fn create(place: &Place, name: &str, limits: &Limits) -> io::Result<Self> {
        let (directories, version) = match place {
            Place::V1 {
                memory,
                pids,
                cpuacct,
            } => (
                vec![memory.join(name), pids.join(name), cpuacct.join(name)],
                Version::One,
            ),
            Place::V2 { base } => (vec![base.join(name)], Version::Two),
        };
        if let Place::V2 { base } = place {
            enable(base)?;
        }
        let group = Self {
            directories,
            version,
        };
        let made = group.set_up(limits);
        if made.is_err() {
            group.remove();
        }
        made.map(|()| group)
    }

    fn set_up(&self, limits: &Limits) -> io::Result<()> {
        for directory in &self.directories {
            match fs::create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let memory = limits.memory_bytes.to_string();
        let processes = limits.processes.to_string();
        match self.version {
            Version::One => {
                write(&self.directories, 0, "memory.limit_in_bytes", &memory)?;
                // Present only where swap is accounted; without swap it changes nothing.
                drop(write(
                    &self.directories,
                    0,
                    "memory.memsw.limit_in_bytes",
                    &memory,
                ));
                write(&self.directories, 1, "pids.max", &processes)
            }
            Version::Two => {
                write(&self.directories, 0, "memory.max", &memory)?;
                drop(write(&self.directories, 0, "memory.swap.max", "0"));
                drop(write(&self.directories, 0, "memory.oom.group", "1"));
                write(&self.directories, 0, "pids.max", &processes)
            }
        }
    }

    /// Moves the calling process, which has one thread, in.
    ///
    /// Version 1 can move a thread that moves itself without the lock that every other move
    /// waits some ten milliseconds for.
    pub(crate) fn join(&self) -> io::Result<()> {
        let file = match self.version {
            Version::One => "tasks",
            Version::Two => "cgroup.procs",
        };
        for directory in &self.directories {
            fs::write(directory.join(file), "0")?;
        }
        Ok(())
    }

    /// The limit that the kernel has refused or killed for, if any.
    pub(crate) fn exceeded(&self) -> Option<Limit> {
        let (memory_file, pids_at) = match self.version {
            Version::One => ("memory.oom_control", 1),
            Version::Two => ("memory.events", 0),
        };
        if self.counter(0, memory_file, "oom_kill") > 0 {
            return Some(Limit::Memory);
        }
        (self.counter(pids_at, "pids.events", "max") > 0).then_some(Limit::Processes)
    }

    /// Processor time used by the group so far, in microseconds.
    pub(crate) fn cpu_micros(&self) -> u64 {
        match self.version {
            Version::One => self
                .read(2, "cpuacct.usage")
                .and_then(|text| text.trim().parse::<u64>().ok())
                .map_or(0, |nanos| nanos / 1000),
            Version::Two => self.counter(0, "cpu.stat", "usage_usec"),
        }
    }

    /// What evidence calls this mechanism.
    pub(crate) fn mechanism(&self) -> &'static str {
        match self.version {
            Version::One => "cgroup-v1",
            Version::Two => "cgroup-v2",
        }
    }

    /// Removes the group. Exiting processes leave it a moment after they were reaped, so a busy
    /// group is tried again a few times.
    pub(crate) fn remove(&self) {
        for directory in &self.directories {
            for _ in 0..50 {
                match fs::remove_dir(directory) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(std::time::Duration::from_millis(2));
                    }
                    _ => break,
                }
            }
        }
    }

    fn read(&self, directory: usize, file: &str) -> Option<String> {
        fs::read_to_string(self.directories.get(directory)?.join(file)).ok()
    }

    fn counter(&self, directory: usize, file: &str, key: &str) -> u64 {
        self.read(directory, file)
            .and_then(|text| {
                text.lines()
                    .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
            })
            .unwrap_or(0)
    }
}

fn write(directories: &[PathBuf], at: usize, file: &str, text: &str) -> io::Result<()> {
    let directory = directories
        .get(at)
        .ok_or_else(|| io::Error::other("no such hierarchy"))?;
    fs::write(directory.join(file), text)
}

/// Gives the children of `base` the controllers, if they do not have them yet.
fn enable(base: &Path) -> io::Result<()> {
    let enabled = fs::read_to_string(base.join("cgroup.subtree_control"))?;
    let has = |name: &str| enabled.split_whitespace().any(|word| word == name);
    if has("memory") && has("pids") {
        return Ok(());
    }
    fs::write(base.join("cgroup.subtree_control"), "+memory +pids +cpu")
}

/// Removes groups whose launcher is gone: a launcher that was killed cannot do it itself.
pub(crate) fn sweep(place: &Place) {
    let bases = match place {
        Place::V1 {
            memory,
            pids,
            cpuacct,
        } => vec![memory, pids, cpuacct],
        Place::V2 { base } => vec![base],
    };
    for base in bases {
        let Ok(entries) = fs::read_dir(base) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let pid = name
                .to_str()
                .and_then(|name| name.strip_prefix("matrix-sandbox-"));
            let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else {
                continue;
            };
            if !Path::new("/proc").join(pid.to_string()).exists() {
                // A group with processes in it cannot be removed, which is what we want.
                drop(fs::remove_dir(entry.path()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 22 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 22 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 22 0:28 /pod7 /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
33 22 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn own_groups_are_found_through_partial_mounts() {
        let own = "5:pids:/pod7/x\n4:memory:/a/b\n3:cpu,cpuacct:/\n0::/user/leaf\n";
        let found = candidates(&hierarchies(MOUNTS), own);
        let base = |path: &str| Place::V2 { base: path.into() };
        assert_eq!(
            found,
            [
                base("/sys/fs/cgroup/unified/user/leaf"),
                base("/sys/fs/cgroup/unified/user"),
                base("/sys/fs/cgroup/unified"),
                Place::V1 {
                    memory: "/sys/fs/cgroup/memory/a/b".into(),
                    pids: "/sys/fs/cgroup/pids/x".into(),
                    cpuacct: "/sys/fs/cgroup/cpu,cpuacct".into(),
                },
            ]
        );
    }

    #[test]
    fn nonsense_gives_no_place() {
        assert!(candidates(&hierarchies("x y z - \n - cgroup\n"), "::\n:").is_empty());
    }
}
