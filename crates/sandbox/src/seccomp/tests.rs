//! The filter is interpreted here as the kernel would, so its answers can be asked for.

use super::*;

/// Runs the program on one call.
fn answer(number: libc::c_long, arguments: [u64; 6], architecture: u32) -> u32 {
    let code = program();
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    loop {
        let now = &code[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { now.jt } else { now.jf });
        match now.code {
            LOAD => {
                accumulator = match now.k {
                    OFFSET_NUMBER => u32::try_from(number).unwrap(),
                    OFFSET_ARCHITECTURE => architecture,
                    offset => {
                        let index = (offset - OFFSET_ARGUMENTS) / 8;
                        u32::try_from(arguments[index as usize] & 0xFFFF_FFFF).unwrap()
                    }
                }
            }
            JUMP_EQUAL => at += jump(accumulator == now.k),
            JUMP_GREATER => at += jump(accumulator > now.k),
            JUMP_AT_LEAST => at += jump(accumulator >= now.k),
            JUMP_ANY_BIT => at += jump(accumulator & now.k != 0),
            RETURN => return now.k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn ask(number: libc::c_long, arguments: [u64; 6]) -> u32 {
    answer(number, arguments, ARCHITECTURE)
}

#[test]
fn ordinary_work_passes() {
    for call in [
        libc::SYS_read,
        libc::SYS_execve,
        libc::SYS_mmap,
        libc::SYS_futex,
        libc::SYS_connect,
        libc::SYS_getrandom,
    ] {
        assert_eq!(ask(call, [0; 6]), ALLOW, "call {call}");
    }
}

#[test]
fn dangerous_calls_are_refused() {
    for call in table::refused() {
        assert_eq!(ask(call.into(), [0; 6]), REFUSED, "call {call}");
    }
}

#[test]
fn no_number_stands_in_two_lists() {
    let (allowed, refused) = (table::allowed(), table::refused());
    assert_eq!(allowed.intersection(&refused).count(), 0);
    for (number, _) in table::checked() {
        assert!(
            !allowed.contains(&number) && !refused.contains(&number),
            "call {number}"
        );
    }
}

#[test]
fn unknown_numbers_and_hidden_arguments_are_not_implemented() {
    for call in [libc::SYS_clone3, libc::SYS_openat2, 5000, 0x3FFF_FFFF] {
        assert_eq!(ask(call, [0; 6]), errno(libc::ENOSYS), "call {call}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn other_entries_of_the_kernel_are_closed() {
    assert_eq!(answer(libc::SYS_getpid, [0; 6], 0x4000_0003), KILL);
    let x32 = libc::SYS_getpid | libc::c_long::from(X32_BIT);
    assert_eq!(ask(x32, [0; 6]), errno(libc::ENOSYS));
}

#[test]
fn threads_pass_and_namespaces_do_not() {
    let thread = 0x3D_0F00;
    assert_eq!(ask(libc::SYS_clone, [thread, 0, 0, 0, 0, 0]), ALLOW);
    for flag in [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ] {
        let flag = u64::from(flag.unsigned_abs());
        for call in [libc::SYS_clone, libc::SYS_unshare] {
            assert_eq!(
                ask(call, [flag, 0, 0, 0, 0, 0]),
                errno(libc::EPERM),
                "{flag:#x}"
            );
        }
    }
    assert_eq!(ask(libc::SYS_unshare, [0x400, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn only_harmless_socket_families_pass() {
    let socket = |family: i32, protocol: u64| {
        ask(
            libc::SYS_socket,
            [u64::from(family.unsigned_abs()), 1, protocol, 0, 0, 0],
        )
    };
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
        assert_eq!(socket(family, 6), ALLOW);
    }
    assert_eq!(socket(libc::AF_NETLINK, 0), ALLOW);
    assert_eq!(socket(libc::AF_NETLINK, 12), errno(libc::EPERM));
    for family in [
        libc::AF_VSOCK,
        libc::AF_PACKET,
        libc::AF_ALG,
        libc::AF_BLUETOOTH,
    ] {
        assert_eq!(
            socket(family, 0),
            errno(libc::EAFNOSUPPORT),
            "family {family}"
        );
    }
}

#[test]
fn terminal_injection_is_refused_whatever_the_upper_half_says() {
    for command in [0x5412, 0x541C, 0x1_0000_5412, 0xFFFF_FFFF_0000_541C] {
        assert_eq!(
            ask(libc::SYS_ioctl, [0, command, 0, 0, 0, 0]),
            errno(libc::EPERM)
        );
    }
    assert_eq!(ask(libc::SYS_ioctl, [0, 0x5401, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn set_id_bits_are_refused_only_where_a_mode_is_meant() {
    let refused = errno(libc::EPERM);
    assert_eq!(ask(libc::SYS_fchmod, [3, 0o4755, 0, 0, 0, 0]), refused);
    assert_eq!(ask(libc::SYS_fchmod, [3, 0o755, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask(libc::SYS_openat, [0, 0, 0x41, 0o4755, 0, 0]), refused);
    assert_eq!(ask(libc::SYS_openat, [0, 0, 0, 0o4755, 0, 0]), ALLOW);
    assert_eq!(ask(libc::SYS_mknodat, [0, 0, 0o020_666, 0, 0, 0]), refused);
    assert_eq!(
        ask(libc::SYS_mknodat, [0, 0, 0o010_666, 0, 0, 0]),
        ALLOW,
        "a pipe is allowed"
    );
}

#[test]
fn personality_keeps_to_three_values() {
    assert_eq!(
        ask(libc::SYS_personality, [0xFFFF_FFFF, 0, 0, 0, 0, 0]),
        ALLOW
    );
    assert_eq!(
        ask(libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0, 0]),
        errno(libc::EPERM)
    );
}
