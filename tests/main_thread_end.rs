//! The main thread that ends, by returning from `main` or by `std::process::exit`, with jobs in
//! flight: the process exits with its status, and no signal comes (H3, H11).
//!
//! Without libtest, which keeps the main thread for itself: `main` runs itself once for each case.

mod common;

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll};

use common::engine::{Operation, Tells};
use common::executor::{quiet_waker, Gate};
use openssl_async_jobs::{suspend, Job};

const CASE: &str = "OPENSSL_ASYNC_JOBS_TEST_CASE";

const ENDS: [(&str, fn()); 2] = [
    ("main_returns", || ()),
    ("main_exits", || std::process::exit(0)),
];

const JOBS: [(&str, fn()); 6] = [
    (
        "with_a_job_that_a_destructor_polls_as_if_main_did",
        as_if_main_did,
    ),
    ("with_suspended_jobs_in_a_thread_local", suspended),
    ("with_an_engines_jobs_in_a_thread_local", || {
        for tells in Tells::ALL {
            let (_, job) = paused(*tells);
            keep(job);
        }
    }),
    ("with_completed_jobs_in_a_thread_local", || {
        for tells in Tells::ALL {
            let (operation, job) = paused(*tells);
            keep(job);
            operation.complete();
        }
    }),
    ("with_orphans", || {
        let orphans = Tells::ALL
            .iter()
            .flat_map(|tells| [paused(*tells), paused(*tells)]);
        let orphans: Vec<_> = orphans.map(|(operation, _dropped)| operation).collect();
        // Half of them unseen.
        orphans.iter().step_by(2).for_each(Operation::complete);
    }),
    ("while_an_engine_completes_jobs", completing),
];

/// Through a function that the unwinder does not know, as it may not know `main`, with what is found
/// outside of that on the stack: the job is not resumed.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn as_if_main_did() {
    use common::unknown;
    use std::hint::black_box;
    use std::panic::{catch_unwind, AssertUnwindSafe};

    thread_local! {
        static JOB: RefCell<Option<Job<()>>> = const { RefCell::new(None) };
        static POLLS: RefCell<Option<Polls>> = const { RefCell::new(None) };
    }
    extern "C" fn polls() {
        let mut job = JOB.take().unwrap();
        let waker = quiet_waker();
        let mut cx = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut job).poll(&mut cx)));
        // A panic here would end the process with success.
        if polled.is_ok() {
            std::process::abort();
        }
        std::mem::forget(job);
    }
    struct Polls(usize);
    impl Drop for Polls {
        fn drop(&mut self) {
            let words = black_box([self.0; 64]);
            unknown::calls(polls);
            black_box(&words);
        }
    }
    // SAFETY: looks a symbol up; the name ends with a nul.
    let caller = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_start_main".as_ptr()) };
    Job::new(|| ()).block_on(None).unwrap();
    // It is destroyed after the other.
    JOB.set(None);
    POLLS.set(Some(Polls(caller as usize + 9)));
    let mut job = Job::new(|| {
        let _ = suspend(std::future::pending::<()>());
    });
    let waker = quiet_waker();
    let polled = Pin::new(&mut job).poll(&mut Context::from_waker(&waker));
    if polled.is_pending() {
        JOB.set(Some(job));
    } else {
        POLLS.with_borrow_mut(|polls| std::mem::forget(polls.take()));
    }
}

#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
fn as_if_main_did() {}

fn main() {
    if let Ok(case) = std::env::var(CASE) {
        return run(&case);
    }
    // As cargo-nextest wants it.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let list = arguments.iter().any(|argument| argument == "--list");
    let ignored = arguments.iter().any(|argument| argument == "--ignored");
    for (end, _) in ENDS.iter().filter(|_| !ignored) {
        for (jobs, _) in JOBS {
            let case = format!("{end}_{jobs}");
            let named = |argument: &String| !argument.starts_with('-') && argument != "terse";
            let mut filters = arguments.iter().filter(|a| named(a)).peekable();
            if filters.peek().is_some() && !filters.any(|filter| case.contains(filter)) {
                continue;
            }
            if list {
                println!("{case}: test");
                continue;
            }
            let status = Command::new(std::env::current_exe().unwrap())
                .env(CASE, &case)
                .status()
                .unwrap();
            assert!(status.success(), "{case}: {status}");
            println!("test {case} ... ok");
        }
    }
}

fn run(case: &str) {
    for (end_name, end) in ENDS {
        for (name, jobs) in JOBS {
            if case == format!("{end_name}_{name}") {
                jobs();
                end();
            }
        }
    }
}

thread_local! {
    static KEPT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

fn keep(job: impl Any) {
    KEPT.with(|kept| kept.borrow_mut().push(Box::new(job)));
}

fn poll<T>(job: &mut Job<T>) -> Poll<T> {
    Pin::new(job).poll(&mut Context::from_waker(&quiet_waker()))
}

/// A job that must not go on.
fn paused(tells: Tells) -> (Operation, Job<()>) {
    let operation = Operation::new(tells);
    let job = operation.clone();
    let mut job = Job::new(move || {
        job.run();
        resumed();
    });
    assert!(poll(&mut job).is_pending());
    (operation, job)
}

fn suspended() {
    for _ in 0..3 {
        let wait = Gate::new().wait();
        let mut job = Job::new(move || {
            let _ = suspend(wait);
            resumed();
        });
        assert!(poll(&mut job).is_pending());
        keep(job);
    }
}

fn resumed() -> ! {
    eprintln!("resumed at the end of the thread");
    std::process::abort();
}

/// A device that works until the process is gone.
fn completing() {
    let operations: Vec<_> = (0..50)
        .map(|n| {
            let (operation, job) = paused(Tells::ALL[n % Tells::ALL.len()]);
            keep(job);
            operation
        })
        .collect();
    let (started, starts) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        operations.iter().for_each(Operation::write_result);
        loop {
            operations.iter().for_each(Operation::tell);
            let _ = started.send(());
            operations.iter().for_each(|operation| {
                operation.take_bytes();
            });
        }
    });
    starts.recv().unwrap();
}
