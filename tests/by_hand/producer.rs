//! The producer side: what wrong use from safe code gets is an error, and nothing is lost, leaked
//! or run twice.

use std::cell::RefCell;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::job::{Job, Outcome, WaitContext};
use crate::common::thread::PATIENCE;
use crate::common::tls::{async_server_context, Pair, Step};
use openssl_async_jobs::{CurrentJob, Error, WaitContextRef, WaitKey};

static KEY: WaitKey = WaitKey::new();
static OTHER_KEY: WaitKey = WaitKey::new();

/// A file descriptor, and the other end, which sees end of file when that is closed.
fn watched_fd() -> (OwnedFd, UnixStream) {
    let (fd, watch) = UnixStream::pair().unwrap();
    watch.set_read_timeout(PATIENCE).unwrap();
    (fd.into(), watch)
}

fn is_open(watch: &UnixStream) -> bool {
    watch.set_nonblocking(true).unwrap();
    let read = { watch }.read(&mut [0]);
    watch.set_nonblocking(false).unwrap();
    matches!(read, Err(e) if e.kind() == ErrorKind::WouldBlock)
}

/// Waits, as a process that another test starts has a duplicate until it runs its program.
fn is_closed(mut watch: &UnixStream) -> bool {
    matches!(watch.read(&mut [0]), Ok(0))
}

/// Runs it in a job with a wait context of its own.
fn in_a_job(closure: impl FnOnce(&CurrentJob, &WaitContextRef<'_>) + 'static) {
    let context = WaitContext::new();
    Job::new(&context, move || {
        let job = CurrentJob::get().unwrap();
        closure(&job, &job.wait_context().unwrap());
    })
    .finish();
}

/// Leaks it, where memcheck still finds it: it is to be kept, not lost.
fn leak<T>(value: T) -> &'static T {
    static LEAKED: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let leaked: &'static T = Box::leak(Box::new(value));
    let address = std::ptr::from_ref(leaked) as usize;
    LEAKED.lock().unwrap().push(address);
    leaked
}

#[test]
fn outside_a_job_there_is_none() {
    assert!(CurrentJob::get().is_none());
}

#[test]
fn handles_kept_beyond_their_job_are_refused() {
    thread_local! {
        static KEPT: RefCell<Option<&'static WaitContextRef<'static>>> = const { RefCell::new(None) };
        static JOB: RefCell<Option<&'static CurrentJob>> = const { RefCell::new(None) };
    }
    // Leaked, so that they live as long as can be.
    fn keep() {
        let job: &'static CurrentJob = leak(CurrentJob::get().unwrap());
        JOB.set(Some(job));
        KEPT.set(Some(leak(job.wait_context().unwrap())));
    }
    fn assert_refused() {
        let (job, context) = (JOB.take().unwrap(), KEPT.take().unwrap());
        let (fd, watch) = watched_fd();
        fn refused<T: std::fmt::Debug>(result: Result<T, Error>) {
            assert!(matches!(result, Err(Error::NotInJob)), "{result:?}");
        }
        refused(job.pause());
        refused(job.wait_context());
        refused(context.set_wait_fd(&KEY, fd));
        assert!(is_closed(&watch), "leaked");
        refused(context.set_wait_fd_with(&KEY, 0, |_| panic!("was never registered")));
        refused(context.wait_fd(&KEY));
        refused(context.clear_fd(&KEY));
        refused(context.all_fds());
        refused(context.changed_fds());
        refused(context.set_status(openssl_async_jobs::AsyncStatus::Ok));
        refused(context.status());
        refused(context.notify());
        refused(context.notifier());
    }

    // After the job, whose wait context is freed.
    let context = WaitContext::new();
    Job::new(&context, keep).finish();
    drop(context);
    assert_refused();

    // While the job is paused, outside it and inside another one.
    let (first, second) = (WaitContext::new(), WaitContext::new());
    let mut job = Job::new(&first, || {
        keep();
        CurrentJob::get().unwrap().pause().unwrap();
    });
    assert_eq!(job.run(), Outcome::Paused);
    let (kept_job, kept) = (JOB.take(), KEPT.take());
    JOB.set(kept_job);
    KEPT.set(kept);
    assert_refused();
    JOB.set(kept_job);
    KEPT.set(kept);
    Job::new(&second, assert_refused).finish();
    assert_eq!(job.run(), Outcome::Finished);
}

#[test]
fn a_handle_of_the_same_job_with_another_wait_context_is_refused() {
    thread_local!(static KEPT: RefCell<Option<&'static WaitContextRef<'static>>> =
        const { RefCell::new(None) });
    let (first, second) = (WaitContext::new(), WaitContext::new());
    Job::new(&first, || {
        let job: &'static CurrentJob = leak(CurrentJob::get().unwrap());
        KEPT.set(Some(leak(job.wait_context().unwrap())));
    })
    .finish();
    // The pool gives the same ASYNC_JOB again.
    Job::new(&second, || {
        let kept = KEPT.take().unwrap();
        assert!(matches!(kept.wait_fd(&KEY), Err(Error::NotInJob)));
    })
    .finish();
}

#[test]
fn an_owned_fd_is_closed_when_it_is_cleared() {
    let (fd, watch) = watched_fd();
    let raw = fd.as_raw_fd();
    in_a_job(move |job, context| {
        context.set_wait_fd(&KEY, fd).unwrap();
        assert_eq!(context.wait_fd(&KEY).unwrap(), Some(raw));
        assert_eq!(context.all_fds().unwrap(), [raw]);
        job.pause().unwrap();
        assert!(is_open(&watch));
        context.clear_fd(&KEY).unwrap();
        assert!(is_closed(&watch));
        assert_eq!(context.wait_fd(&KEY).unwrap(), None);
        assert_eq!(context.changed_fds().unwrap(), (vec![], vec![raw]));
    });
}

#[test]
fn an_owned_fd_is_closed_when_its_wait_context_is_freed_and_not_before() {
    let (fd, watch) = watched_fd();
    let context = WaitContext::new();
    Job::new(&context, move || {
        let job = CurrentJob::get().unwrap();
        job.wait_context().unwrap().set_wait_fd(&KEY, fd).unwrap();
    })
    .finish();
    // The next job on the same wait context finds it.
    Job::new(&context, || {
        let job = CurrentJob::get().unwrap();
        assert!(job.wait_context().unwrap().wait_fd(&KEY).unwrap().is_some());
    })
    .finish();
    assert!(is_open(&watch));
    drop(context);
    assert!(is_closed(&watch));
}

#[test]
fn an_ssl_closes_its_wait_fds_when_it_is_dropped() {
    thread_local!(static FD: RefCell<Option<OwnedFd>> = const { RefCell::new(None) });
    let (fd, watch) = watched_fd();
    FD.set(Some(fd));
    let ctx = async_server_context(|_| {
        let job = CurrentJob::get().unwrap();
        let fd = FD.take().unwrap();
        job.wait_context().unwrap().set_wait_fd(&KEY, fd).unwrap();
        job.pause().unwrap();
    });
    let mut pair = Pair::new(&ctx);
    assert_eq!(pair.handshake(), Step::Paused);
    pair.finish();
    assert!(is_open(&watch));
    drop(pair);
    assert!(is_closed(&watch));
}

#[test]
fn a_clean_up_runs_once_whether_cleared_or_freed() {
    for cleared in [true, false] {
        let (fd, _watch) = watched_fd();
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let raw = fd.as_raw_fd();
        let context = WaitContext::new();
        Job::new(&context, move || {
            let job = CurrentJob::get().unwrap();
            let context = job.wait_context().unwrap();
            context
                .set_wait_fd_with(&KEY, raw, move |given| {
                    assert_eq!(given, raw);
                    counter.fetch_add(1, Ordering::SeqCst);
                })
                .unwrap();
            if cleared {
                context.clear_fd(&KEY).unwrap();
            }
        })
        .finish();
        assert_eq!(calls.load(Ordering::SeqCst), usize::from(cleared));
        drop(context);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert_eq!(Arc::strong_count(&calls), 1, "the closure was leaked");
        drop(fd);
    }
}

#[test]
fn a_key_in_use_is_refused_and_the_former_fd_stays() {
    let (fd, watch) = watched_fd();
    let (second, second_watch) = watched_fd();
    in_a_job(move |_, context| {
        let raw = fd.as_raw_fd();
        context.set_wait_fd(&KEY, fd).unwrap();
        let refused = context.set_wait_fd(&KEY, second);
        assert!(matches!(refused, Err(Error::KeyInUse { fd }) if fd == raw));
        assert!(is_closed(&second_watch), "leaked");
        let dropped = Arc::new(());
        let held = Arc::clone(&dropped);
        let refused = context.set_wait_fd_with(&KEY, raw, move |_| panic!("{held:?}"));
        assert!(matches!(refused, Err(Error::KeyInUse { .. })));
        assert_eq!(Arc::strong_count(&dropped), 1, "the closure was leaked");
        assert_eq!(context.all_fds().unwrap(), [raw]);
        assert!(is_open(&watch));
    });
}

#[test]
fn keys_tell_producers_apart() {
    let (fd, _a) = watched_fd();
    let (other, _b) = watched_fd();
    in_a_job(move |_, context| {
        let (raw, other_raw) = (fd.as_raw_fd(), other.as_raw_fd());
        context.set_wait_fd(&KEY, fd).unwrap();
        assert_eq!(context.wait_fd(&OTHER_KEY).unwrap(), None);
        assert!(matches!(
            context.clear_fd(&OTHER_KEY),
            Err(Error::KeyNotFound)
        ));
        context.set_wait_fd(&OTHER_KEY, other).unwrap();
        context.clear_fd(&KEY).unwrap();
        assert_eq!(context.wait_fd(&OTHER_KEY).unwrap(), Some(other_raw));
        assert_ne!(raw, other_raw);
        assert!(matches!(context.clear_fd(&KEY), Err(Error::KeyNotFound)));
    });
}

#[test]
fn a_negative_number_is_refused() {
    in_a_job(|_, context| {
        let refused = context.set_wait_fd_with(&KEY, -1, |_: RawFd| panic!("never registered"));
        assert!(matches!(refused, Err(Error::InvalidFd { fd: -1 })));
        assert_eq!(context.all_fds().unwrap(), []);
    });
}

#[test]
fn a_panic_in_a_clean_up_does_not_unwind_through_c() {
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("the payload's drop, on purpose");
        }
    }
    let context = WaitContext::new();
    Job::new(&context, || {
        let job = CurrentJob::get().unwrap();
        let context = job.wait_context().unwrap();
        context
            .set_wait_fd_with(&KEY, 0, |_| std::panic::panic_any(PanicsOnDrop))
            .unwrap();
    })
    .finish();
    drop(context);
}

#[test]
fn a_panic_in_a_clean_up_reaches_who_clears_it_and_the_fd_is_gone() {
    in_a_job(|_, context| {
        context
            .set_wait_fd_with(&KEY, 0, |_| panic!("on purpose"))
            .unwrap();
        let cleared =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| context.clear_fd(&KEY)));
        assert!(cleared.is_err());
        assert_eq!(context.wait_fd(&KEY).unwrap(), None);
    });
}

#[test]
fn a_job_without_a_wait_context_cannot_be_paused() {
    let none = WaitContext::null();
    Job::new(&none, || {
        let job = CurrentJob::get().unwrap();
        // OpenSSL would pause it, and crash when it is resumed.
        assert!(matches!(job.pause(), Err(Error::NoWaitContext)));
        assert!(matches!(job.wait_context(), Err(Error::NoWaitContext)));
    })
    .finish();
}

#[test]
fn a_panicking_thread_does_not_pause() {
    struct PausesOnDrop;
    impl Drop for PausesOnDrop {
        fn drop(&mut self) {
            let refused = CurrentJob::get().unwrap().pause();
            assert!(matches!(refused, Err(Error::Panicking)));
        }
    }
    in_a_job(|job, _| {
        let caught = std::panic::catch_unwind(|| {
            let _pauses = PausesOnDrop;
            panic!("on purpose");
        });
        assert_eq!(
            *caught.unwrap_err().downcast::<&str>().unwrap(),
            "on purpose"
        );
        job.pause().unwrap();
    });
}

#[test]
fn blocked_pauses_return_at_once() {
    let context = WaitContext::new();
    let mut job = Job::new(&context, || {
        let job = CurrentJob::get().unwrap();
        // SAFETY: counted by OpenSSL, in pairs.
        unsafe { openssl_async_jobs::ffi::ASYNC_block_pause() };
        job.pause().unwrap();
        // SAFETY: likewise.
        unsafe { openssl_async_jobs::ffi::ASYNC_unblock_pause() };
    });
    assert_eq!(job.run(), Outcome::Finished);
}

/// What the caller of `ASYNC_start_job` must not do (H1); in a child, which must die of it.
#[test]
fn a_job_resumed_on_another_thread_aborts_instead_of_running_on() {
    const CHILD: &str = "RESUME_ON_ANOTHER_THREAD";
    if std::env::var_os(CHILD).is_some() {
        struct Smuggled(Job<'static>);
        // SAFETY: it is not safe; that is the test.
        unsafe impl Send for Smuggled {}
        let context: &'static WaitContext = leak(WaitContext::new());
        let mut job = Job::new(context, || {
            CurrentJob::get().unwrap().pause().unwrap();
            println!("ran on");
        });
        assert_eq!(job.run(), Outcome::Paused);
        let smuggled = Smuggled(job);
        std::thread::spawn(move || {
            // A job of this thread's own first, so that OpenSSL's thread state is there.
            let own = WaitContext::new();
            Job::new(&own, || ()).finish();
            let mut smuggled = smuggled;
            let whole = &mut smuggled;
            whole.0.run();
        })
        .join()
        .unwrap();
        std::process::exit(0);
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "producer::a_job_resumed_on_another_thread_aborts_instead_of_running_on",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr),
    );
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{out}{err}");
    assert!(err.contains("resumed on another thread"), "{out}{err}");
    assert!(!out.contains("ran on"), "{out}");
}
