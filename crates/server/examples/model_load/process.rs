//! What the system tells of a process and its children.

use std::fs;
use std::time::Duration;

use crate::Failure;

/// The processor's time that a process and its living descendants have used, and the memory that
/// they hold.
pub(crate) fn used(pid: u32) -> Result<(Duration, u64), Failure> {
    let mut family = vec![pid];
    let all = processes()?;
    // Parents may come after their children.
    loop {
        let grown: Vec<u32> = all
            .iter()
            .filter(|(child, parent)| family.contains(parent) && !family.contains(child))
            .map(|(child, _)| *child)
            .collect();
        if grown.is_empty() {
            break;
        }
        family.extend(grown);
    }
    let (mut processor, mut resident) = (Duration::ZERO, 0);
    for member in family {
        let fields = stat(member)?;
        // Fields 14 and 15 of `proc_pid_stat(5)`, in hundredths of a second.
        let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
        let ticks = number(11).zip(number(12)).ok_or("no times in stat")?;
        processor += Duration::from_millis((ticks.0 + ticks.1) * 10);
        resident += memory(member)?;
    }
    Ok((processor, resident))
}

/// The bytes that a process holds in memory.
fn memory(pid: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().split(' ').next());
    Ok(number.ok_or("no memory in status")?.parse::<u64>()? * 1024)
}

/// Every process with its parent.
fn processes() -> Result<Vec<(u32, u32)>, Failure> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that has just ended is nobody's child any more.
        let Ok(fields) = stat(pid) else { continue };
        let parent = fields.get(1).and_then(|text| text.parse().ok());
        all.push((pid, parent.unwrap_or_default()));
    }
    Ok(all)
}

/// What stands after a process's name, which may itself have blanks: from field 3 on.
fn stat(pid: u32) -> Result<Vec<String>, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}
