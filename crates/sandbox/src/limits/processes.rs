//! Measuring the processes of a sandbox where no control group can be made.
//!
//! The sandbox's first process does this: its `/proc` shows the sandbox's processes and no others,
//! so one reading of it is small and complete. Memory is the sum of resident sets; because shared
//! pages count once for each process there, a sum above the limit is looked at again with the
//! kernel's proportional figures before anything is killed for it.

use std::fs;
use std::path::Path;

use crate::spec::{Limit, Limits};

/// What the processes use now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu_ticks: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) tasks: u64,
}

/// The numbers of one `/proc/PID/stat`.
fn parse_stat(text: &str) -> Option<Usage> {
    // The command's name stands in brackets and may hold anything, so fields count from the last.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    // Fields 14 to 17: own and reaped children's time; 20: threads; 24: resident pages.
    let cpu_ticks = field(11)? + field(12)? + field(13)? + field(14)?;
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    Some(Usage {
        cpu_ticks,
        resident_bytes: field(21)?.saturating_mul(page),
        tasks: field(17)?,
    })
}

/// Adds up every process but the first under this `proc`.
pub(crate) fn usage(proc: &Path) -> Usage {
    let mut total = Usage::default();
    for pid in processes(proc) {
        let Ok(text) = fs::read_to_string(proc.join(&pid).join("stat")) else {
            continue;
        };
        let Some(one) = parse_stat(&text) else {
            continue;
        };
        // The first process has the time of everything it has reaped; its own memory and
        // threads are ours.
        total.cpu_ticks += one.cpu_ticks;
        if pid != "1" {
            total.resident_bytes += one.resident_bytes;
            total.tasks += one.tasks;
        }
    }
    total
}

fn processes(proc: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(proc) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .collect()
}

/// Proportional memory of every process but the first; where a process hides its figures, its
/// resident set counts.
fn proportional_bytes(proc: &Path) -> u64 {
    processes(proc)
        .iter()
        .filter(|pid| *pid != "1")
        .map(|pid| {
            let directory = proc.join(pid);
            fs::read_to_string(directory.join("smaps_rollup"))
                .ok()
                .and_then(|text| {
                    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
                    line.split_whitespace().next()?.parse::<u64>().ok()
                })
                .map(|kib| kib * 1024)
                .or_else(|| {
                    let text = fs::read_to_string(directory.join("stat")).ok()?;
                    Some(parse_stat(&text)?.resident_bytes)
                })
                .unwrap_or(0)
        })
        .sum()
}

/// The limit that the processes under this `proc` have passed.
pub(crate) fn exceeded(proc: &Path, limits: &Limits) -> Option<Limit> {
    let now = usage(proc);
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let cpu_limit = limits.cpu.as_millis().saturating_mul(u128::from(ticks)) / 1000;
    if u128::from(now.cpu_ticks) > cpu_limit {
        return Some(Limit::Cpu);
    }
    if now.tasks >= limits.processes {
        return Some(Limit::Processes);
    }
    let over =
        now.resident_bytes > limits.memory_bytes && proportional_bytes(proc) > limits.memory_bytes;
    over.then_some(Limit::Memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let text = "42 (a ) b) (c) S 1 42 42 0 -1 4194560 9 8 7 6 100 20 3 4 20 0 5 0 77 9000 25 1";
        let usage = parse_stat(text).unwrap();
        assert_eq!((usage.cpu_ticks, usage.tasks), (127, 5));
        assert_eq!(usage.resident_bytes, 25 * rustix::param::page_size() as u64);
    }

    #[test]
    fn a_torn_line_is_not_counted() {
        assert_eq!(parse_stat("42 (x) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn each_limit_is_seen() {
        let proc = tempfile::tempdir().unwrap();
        let write = |pid: &str, ticks: u64, tasks: u64, pages: u64| {
            let directory = proc.path().join(pid);
            fs::create_dir_all(&directory).unwrap();
            let line = format!(
                "{pid} (x) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 {tasks} 0 7 9000 {pages} 1"
            );
            fs::write(directory.join("stat"), line).unwrap();
        };
        let limits = Limits {
            cpu: std::time::Duration::from_secs(2),
            processes: 10,
            memory_bytes: 1 << 20,
            ..Limits::default()
        };
        write("1", 5, 40, 1_000_000);
        write("2", 10, 3, 10);
        assert_eq!(
            exceeded(proc.path(), &limits),
            None,
            "the first process is ours"
        );
        write("3", 10, 8, 10);
        assert_eq!(exceeded(proc.path(), &limits), Some(Limit::Processes));
        write("3", 10, 1, 100_000);
        assert_eq!(exceeded(proc.path(), &limits), Some(Limit::Memory));
        write("3", 1000, 1, 1);
        assert_eq!(exceeded(proc.path(), &limits), Some(Limit::Cpu));
    }
}
