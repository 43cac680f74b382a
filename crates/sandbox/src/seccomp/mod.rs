//! Which system calls the sandboxed program may make.
//!
//! The filter is an allow-list. A call on it passes, some only with harmless arguments; a call
//! that is known to be dangerous is answered with "operation not permitted" by the first process
//! inside, which keeps its name as a denial; anything else, such
//! as a call newer than this list, is answered with "not implemented", which programs take as a
//! sign to use the older way. Three doors of the processor are closed as a whole: another
//! architecture's entry (32-bit calls on a 64-bit kernel) kills the process, the x32 numbers are
//! "not implemented", and calls that hand over a structure the filter cannot look into
//! (`clone3`, `openat2`) are "not implemented" where the structure could hide what is refused.
//!
//! The program is classic BPF written by [`program`]; its cost per call is small because the
//! kernel remembers which numbers always pass (Linux 5.11).

mod table;

use std::collections::BTreeSet;

use seccompiler::{BpfProgram, sock_filter};

use crate::spec::Denial;

pub(crate) use table::Check;

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
/// The first process inside answers with "operation not permitted" and keeps what was asked.
const REFUSED: u32 = libc::SECCOMP_RET_USER_NOTIF;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// The bit that marks a number of the x32 interface on x86-64.
const X32_BIT: u32 = 0x4000_0000;

const fn errno(code: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | (code.cast_unsigned() & libc::SECCOMP_RET_DATA)
}

fn step(code: u16, jump_true: u8, jump_false: u8, k: u32) -> sock_filter {
    sock_filter {
        code,
        jt: jump_true,
        jf: jump_false,
        k,
    }
}

/// The low half of argument `index`; every argument looked at is 32 bits wide in the kernel.
fn load_argument(index: u32) -> sock_filter {
    let high_half_first = u32::from(cfg!(target_endian = "big")) * 4;
    step(LOAD, 0, 0, OFFSET_ARGUMENTS + index * 8 + high_half_first)
}

/// The filter for a sandboxed program.
pub(crate) fn program() -> BpfProgram {
    let mut code = vec![
        step(LOAD, 0, 0, OFFSET_ARCHITECTURE),
        step(JUMP_EQUAL, 1, 0, ARCHITECTURE),
        step(RETURN, 0, 0, KILL),
        step(LOAD, 0, 0, OFFSET_NUMBER),
    ];
    if cfg!(target_arch = "x86_64") {
        code.push(step(JUMP_AT_LEAST, 0, 1, X32_BIT));
        code.push(step(RETURN, 0, 0, errno(libc::ENOSYS)));
    }
    for (number, checks) in table::checked() {
        add_checked(&mut code, number, &checks);
    }
    add_ranges(&mut code, &table::allowed(), ALLOW);
    add_ranges(&mut code, &table::refused(), REFUSED);
    code.push(step(RETURN, 0, 0, errno(libc::ENOSYS)));
    code
}

/// For one number: each check answers or falls through to the next; the last answer is "allow".
fn add_checked(code: &mut BpfProgram, number: u32, checks: &[Check]) {
    let mut block = Vec::new();
    for check in checks {
        match *check {
            Check::RefuseBits { argument, bits } => {
                block.push(load_argument(argument));
                block.push(step(JUMP_ANY_BIT, 0, 1, bits));
                block.push(step(RETURN, 0, 0, errno(libc::EPERM)));
            }
            Check::AllowUnlessBits { argument, bits } => {
                block.push(load_argument(argument));
                block.push(step(JUMP_ANY_BIT, 1, 0, bits));
                block.push(step(RETURN, 0, 0, ALLOW));
            }
            Check::RefuseValue { argument, value } => {
                block.push(load_argument(argument));
                block.push(step(JUMP_EQUAL, 0, 1, value));
                block.push(step(RETURN, 0, 0, errno(libc::EPERM)));
            }
            Check::AllowValue { argument, value } => {
                block.push(load_argument(argument));
                block.push(step(JUMP_EQUAL, 0, 1, value));
                block.push(step(RETURN, 0, 0, ALLOW));
            }
            Check::Require {
                argument,
                value,
                otherwise,
            } => {
                block.push(load_argument(argument));
                block.push(step(JUMP_EQUAL, 1, 0, value));
                block.push(step(RETURN, 0, 0, errno(otherwise)));
            }
            Check::Refuse { with } => block.push(step(RETURN, 0, 0, errno(with))),
        }
    }
    block.push(step(RETURN, 0, 0, ALLOW));
    let skip = u8::try_from(block.len()).unwrap_or(u8::MAX);
    code.push(step(JUMP_EQUAL, 0, skip, number));
    code.append(&mut block);
}

/// Numbers as closed ranges, which are far fewer than the numbers.
fn ranges(numbers: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => found.push((number, number)),
        }
    }
    found
}

fn add_ranges(code: &mut BpfProgram, numbers: &BTreeSet<u32>, answer: u32) {
    for (first, last) in ranges(numbers) {
        code.push(step(JUMP_AT_LEAST, 0, 2, first));
        code.push(step(JUMP_GREATER, 1, 0, last));
        code.push(step(RETURN, 0, 0, answer));
    }
}

/// The denial of a refused call.
pub(crate) fn denial(number: i32) -> Denial {
    let name = u32::try_from(number).ok().and_then(table::name_of);
    Denial {
        what: "syscall".into(),
        reason: format!(
            "the system call {} is refused in a sandbox with \"operation not permitted\"; \
             work inside has no use for it, and no setting allows it",
            name.map_or_else(|| number.to_string(), |name| format!("`{name}`"))
        ),
    }
}

#[cfg(test)]
mod tests;
