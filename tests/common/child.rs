//! Tests whose process ends in a way that no other test survives: the test binary is run again for
//! that test alone.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Output};

const ARGUMENT: &str = "OPENSSL_ASYNC_JOBS_TEST_CHILD";

/// In the process that [`run`] started: the argument.
pub fn argument() -> Option<String> {
    env::var(ARGUMENT).ok()
}

/// Runs the test of this name in a process of its own, on that process's main thread.
pub fn run(test: &str, argument: &str) -> Output {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ARGUMENT, argument)
        .output()
        .unwrap()
}

/// Runs the test as `child` in a process of its own, which must succeed.
#[track_caller]
pub fn in_a_process_of_its_own(test: &str, child: impl FnOnce()) {
    if argument().is_some() {
        child();
        return;
    }
    let output = run(test, "");
    assert!(output.status.success(), "{}", told(&output));
    // A name that no test has runs nothing, and succeeds.
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("1 passed"), "{}", told(&output));
}

/// Whether it was ended by the system, as for a wild access.
pub fn crashed(status: ExitStatus) -> bool {
    matches!(
        status.signal(),
        Some(libc::SIGSEGV | libc::SIGBUS | libc::SIGABRT)
    )
}

pub fn told(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// No core file of what crashes on purpose.
pub fn no_core_file() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a limit of this process.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
}
