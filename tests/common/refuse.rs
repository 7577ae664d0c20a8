//! A thread whose system calls fail: seccomp(2), which is for the rest of its life. For processes of
//! their own.

use libc::{c_long, c_ulong, sock_filter, sock_fprog};

/// Which calls are refused, and with which error.
pub enum Refused {
    Calls(&'static [c_long], i32),
    /// `mmap` of that many bytes or more.
    Mmap(u32, i32),
}

/// New file descriptors of the kinds that wakers and duplicates are made of.
pub const DESCRIPTORS: Refused = Refused::Calls(
    &[
        libc::SYS_eventfd2,
        libc::SYS_fcntl,
        libc::SYS_dup,
        libc::SYS_dup3,
    ],
    libc::EMFILE,
);

/// What a runtime's reactor is told of: no further file descriptor.
pub const POLLERS: Refused = Refused::Calls(&[libc::SYS_epoll_ctl], libc::ENOSPC);

/// New threads.
pub const THREADS: Refused = Refused::Calls(&[libc::SYS_clone, libc::SYS_clone3], libc::EAGAIN);

const NUMBER: u32 = 0; // `seccomp_data.nr`
const LENGTH: u32 = 24; // the low half of `args[1]`, on a little-endian machine

/// On this thread, and those that it starts, from now on.
pub fn refuse(refused: &Refused) {
    let mut program = Vec::new();
    match refused {
        Refused::Calls(calls, error) => {
            program.push(load(NUMBER));
            for call in *calls {
                // To the next instruction if it is this call, else over it.
                program.push(jump(libc::BPF_JEQ, *call as u32, 0, 1));
                program.push(fails(*error));
            }
        }
        Refused::Mmap(length, error) => {
            program.extend([
                load(NUMBER),
                jump(libc::BPF_JEQ, libc::SYS_mmap as u32, 0, 3),
                load(LENGTH),
                jump(libc::BPF_JGE, *length, 0, 1),
                fails(*error),
            ]);
        }
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let filter = sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    let zero: c_ulong = 0;
    // SAFETY: numbers.
    let may = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1 as c_ulong, zero, zero, zero) };
    assert_eq!(may, 0, "{}", std::io::Error::last_os_error());
    let mode = c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: a program of that length, which the kernel copies.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &filter) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn answer(action: u32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

fn fails(error: i32) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | error as u32)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(test: u32, value: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: (libc::BPF_JMP | test | libc::BPF_K) as u16,
        jt,
        jf,
        k: value,
    }
}
