//! `JobThreads::join` waits for the end of the threads, with all that is done then (H11).

use std::cell::RefCell;
use std::future::Future;
use std::io::ErrorKind;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::Arc;
use std::task::Context;
use std::thread;
use std::time::Duration;

use libc::{c_int, c_void};
use openssl_async_jobs::tokio::JobThreads;
use openssl_async_jobs::{suspend, Error, Job, JobPool};
use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, spawn_local};

use super::ends::on_many_threads;
use super::held::{begin, Witness};
use crate::common::child::in_a_process_of_its_own;
use crate::common::engine::{Operation, Tells, RESULT};
use crate::common::executor::quiet_waker;
use crate::common::thread::PATIENCE;

/// A test that hangs fails.
pub fn on_a_thread(test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _done = done;
        test();
    });
    let waited = is_done.recv_timeout(PATIENCE.unwrap());
    assert_eq!(waited, Err(RecvTimeoutError::Disconnected), "stuck");
    thread.join().unwrap();
}

fn job_threads(threads: usize) -> JobThreads {
    JobThreads::builder().threads(threads).build().unwrap()
}

/// The last that a thread does: destructors of keys come after Rust's thread-locals.
fn at_the_very_end(count: &'static AtomicUsize) {
    unsafe extern "C" fn ends(count: *mut c_void) {
        // Whoever does not wait for it goes ahead.
        (0..1000).for_each(|_| thread::yield_now());
        // SAFETY: as set below.
        unsafe { &*count.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
    }
    let mut key = 0;
    // SAFETY: a place for the key, and a pointer to what is never freed.
    let failed: c_int = unsafe {
        libc::pthread_key_create(&mut key, Some(ends))
            + libc::pthread_setspecific(key, std::ptr::from_ref(count).cast())
    };
    assert_eq!(failed, 0, "a key");
}

fn one_thread(drain_timeout: Duration) -> JobThreads {
    let builder = JobThreads::builder()
        .threads(1)
        .drain_timeout(drain_timeout);
    builder.build().unwrap()
}

#[test]
fn they_are_gone_when_it_returns() {
    on_a_thread(|| {
        static ENDS: AtomicUsize = AtomicUsize::new(0);
        let threads = job_threads(3);
        on_many_threads(async {
            // Each has one that waits for the others, so that they are on a thread each.
            let (all, _) = tokio::sync::broadcast::channel::<()>(1);
            let running = (0..3).map(|_| {
                let (threads, mut begun) = (threads.clone(), all.subscribe());
                tokio::spawn(async move {
                    let run = threads.run(move || {
                        at_the_very_end(&ENDS);
                        suspend(begun.recv()).unwrap().unwrap();
                    });
                    run.await
                })
            });
            let running: Vec<_> = running.collect();
            while threads.stats().await.paused < 3 {
                tokio::task::yield_now().await;
            }
            all.send(()).unwrap();
            for task in running {
                task.await.unwrap();
            }
        });
        assert_eq!(ENDS.load(Ordering::SeqCst), 0);
        threads.join().unwrap();
        assert_eq!(ENDS.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn each_that_waits_waits_for_the_last_handle_and_the_end() {
    on_a_thread(|| {
        static ENDS: AtomicUsize = AtomicUsize::new(0);
        let threads = job_threads(1);
        let dropped = Arc::new(AtomicBool::new(false));
        on_many_threads(threads.run(move || at_the_very_end(&ENDS)));
        let joining = [(); 3].map(|()| {
            let (threads, dropped) = (threads.clone(), Arc::clone(&dropped));
            thread::spawn(move || {
                threads.join().unwrap();
                assert!(dropped.load(Ordering::SeqCst));
                assert_eq!(ENDS.load(Ordering::SeqCst), 1);
            })
        });
        dropped.store(true, Ordering::SeqCst);
        drop(threads);
        joining.into_iter().for_each(|join| join.join().unwrap());
    });
}

#[test]
fn an_operation_that_is_not_done_is_waited_for() {
    on_a_thread(|| {
        let threads = job_threads(1);
        let (open, opened) = oneshot::channel::<()>();
        let done = Arc::new(AtomicBool::new(false));
        let (here, there) = (threads.clone(), Arc::clone(&done));
        let (begun, begins) = oneshot::channel();
        let operation = thread::spawn(move || {
            on_many_threads(here.run(move || {
                begun.send(()).unwrap();
                suspend(opened).unwrap().unwrap();
                there.store(true, Ordering::SeqCst);
            }))
        });
        begins.blocking_recv().unwrap();
        let join = thread::spawn(move || {
            threads.join().unwrap();
            assert!(done.load(Ordering::SeqCst));
        });
        open.send(()).unwrap();
        join.join().unwrap();
        operation.join().unwrap();
    });
}

#[test]
fn what_was_cancelled_has_ended_when_it_returns() {
    let test = "threads_join::what_was_cancelled_has_ended_when_it_returns";
    in_a_process_of_its_own(test, || {
        let threads = job_threads(1);
        let (witness, mut freed) = Witness::new();
        let (begun, begins) = std::sync::mpsc::channel();
        on_many_threads(async {
            let mut run = Box::pin(threads.run(move || {
                let _witness = witness;
                let operation = Operation::new(Tells::Fd);
                let result = operation.run_with(|| begun.send(operation.clone()).unwrap());
                assert_eq!(result, RESULT);
            }));
            begin(run.as_mut()).await;
            while threads.stats().await.paused == 0 {
                tokio::task::yield_now().await;
            }
        });
        let device = thread::spawn(move || begins.recv().unwrap().complete());
        threads.join().unwrap();
        assert!(freed.try_recv().is_ok());
        assert_eq!(JobPool::stats().leaked, 0);
        device.join().unwrap();
    });
}

#[test]
fn a_job_thread_cannot_wait_for_its_own_end() {
    on_many_threads(async {
        let threads = job_threads(2);
        let inner = threads.clone();
        let refused = threads.run(move || inner.join()).await.unwrap_err();
        assert!(matches!(&refused, Error::Io(e) if e.kind() == ErrorKind::Deadlock));
        assert_eq!(threads.run(|| 1).await, 1);
    });
}

/// Asks it of a child of this process: it uses what its C library makes usable in one, memory and threads.
fn assert_in_a_fork(holds: impl FnOnce() -> bool) {
    // SAFETY: as above.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let held = catch_unwind(AssertUnwindSafe(holds)).unwrap_or(false);
        // SAFETY: ends the child, without what the parent would do at its end.
        unsafe { libc::_exit(i32::from(!held)) }
    }
    let mut status = 0;
    // SAFETY: our child, and a place for its status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
}

#[test]
fn a_process_forked_from_theirs_has_none_to_wait_for() {
    on_a_thread(|| {
        let threads = job_threads(1);
        let theirs = threads.clone();
        assert_in_a_fork(
            move || matches!(theirs.join(), Err(Error::Io(e)) if e.kind() == ErrorKind::NotFound),
        );
        threads.join().unwrap();
    });
}

/// Its new threads have the memory of those that it has not.
#[test]
fn a_process_forked_from_theirs_keeps_its_own_threads_when_it_drops_the_handle() {
    on_a_thread(|| {
        let threads = job_threads(4);
        let mut handle = Some(threads);
        assert_in_a_fork(|| {
            let (done, wait) = std::sync::mpsc::channel::<()>();
            let wait = Arc::new(std::sync::Mutex::new(wait));
            let own = [(); 16].map(|()| {
                let wait = Arc::clone(&wait);
                thread::spawn(move || wait.lock().unwrap().recv().is_err())
            });
            drop(handle.take());
            drop(done);
            // std panics where a thread is no one's to join.
            own.into_iter().all(|own| own.join().unwrap())
        });
        handle.take().unwrap().join().unwrap();
    });
}

#[test]
fn what_a_process_forked_from_theirs_asks_of_them_is_refused() {
    on_a_thread(|| {
        let threads = job_threads(1);
        let (open, opened) = std::sync::mpsc::channel::<()>();
        let mut begun = Box::pin(threads.run(move || opened.recv()));
        on_many_threads(begin(begun.as_mut()));
        assert_in_a_fork(|| {
            let poll = |run: &mut dyn Future<Output = ()>| {
                let waker = quiet_waker();
                // SAFETY: boxed, or not moved until it is dropped.
                let run = unsafe { Pin::new_unchecked(run) };
                catch_unwind(AssertUnwindSafe(|| {
                    run.poll(&mut Context::from_waker(&waker)).is_ready()
                }))
            };
            let before = poll(&mut async {
                let _ = begun.as_mut().await;
            });
            let after = poll(&mut async { threads.run(|| ()).await });
            let stats = poll(&mut async {
                let _ = threads.stats().await;
            });
            before.is_err() && after.is_err() && matches!(stats, Ok(true))
        });
        drop(open);
        assert!(on_many_threads(begun).is_err());
        threads.join().unwrap();
    });
}

#[test]
fn threads_that_were_never_used_end() {
    on_a_thread(|| {
        let threads = JobThreads::builder()
            .threads(4)
            .drain_timeout(Duration::ZERO);
        threads.build().unwrap().join().unwrap();
    });
}

/// As an async function is told to do; here one on a job thread, whose runtime has that blocking thread, and
/// waits for it.
#[test]
fn nor_can_a_blocking_thread_of_its_runtime() {
    let (tell, told) = std::sync::mpsc::channel();
    on_a_thread(move || {
        let threads = one_thread(Duration::MAX);
        let inner = threads.clone();
        on_many_threads(threads.run(move || {
            let join = async move {
                spawn_blocking(move || tell.send(inner.join()).unwrap());
            };
            suspend(join).unwrap();
        }));
        let refused = told.recv().unwrap().unwrap_err();
        assert!(matches!(&refused, Error::Io(e) if e.kind() == ErrorKind::Deadlock));
        threads.join().unwrap();
    });
}

#[test]
fn a_blocking_call_of_what_was_cancelled_has_the_time_that_devices_have() {
    let (open, opened) = std::sync::mpsc::channel::<()>();
    on_a_thread(move || {
        let threads = one_thread(Duration::ZERO);
        let (begun, begins) = std::sync::mpsc::channel();
        on_many_threads(async {
            let mut run = Box::pin(threads.run(move || {
                let blocks = async move {
                    let call = spawn_blocking(move || opened.recv());
                    begun.send(()).unwrap();
                    let _ = call.await;
                };
                let _ = suspend(blocks);
            }));
            begin(run.as_mut()).await;
            begins.recv().unwrap();
        });
        threads.join().unwrap();
        drop(open);
    });
}

/// A device of a job on a thread, which works for so long.
async fn works(operation: Operation) {
    tokio::time::sleep(Duration::from_millis(100)).await;
    operation.complete();
}

#[test]
fn a_device_that_is_a_task_of_the_thread_goes_on_for_what_was_cancelled() {
    let test = "threads_join::a_device_that_is_a_task_of_the_thread_goes_on_for_what_was_cancelled";
    in_a_process_of_its_own(test, || {
        let threads = one_thread(PATIENCE.unwrap());
        let (begun, begins) = std::sync::mpsc::channel();
        on_many_threads(async {
            let mut run = Box::pin(threads.run(move || {
                let operation = Operation::new(Tells::Fd);
                operation.run_with(|| {
                    tokio::spawn(works(operation.clone()));
                    begun.send(()).unwrap();
                });
            }));
            begin(run.as_mut()).await;
            begins.recv().unwrap();
        });
        threads.join().unwrap();
        assert_eq!(JobPool::stats().leaked, 0);
    });
}

#[test]
fn a_job_in_a_local_task_of_a_thread_is_waited_for_too() {
    let test = "threads_join::a_job_in_a_local_task_of_a_thread_is_waited_for_too";
    in_a_process_of_its_own(test, || {
        let threads = one_thread(PATIENCE.unwrap());
        let (begun, begins) = std::sync::mpsc::channel();
        on_many_threads(threads.run(move || {
            let local = async move {
                spawn_local(Job::new(move || {
                    let operation = Operation::new(Tells::Fd);
                    operation.run_with(|| begun.send(operation.clone()).unwrap());
                }));
            };
            suspend(local).unwrap();
        }));
        let operation = begins.recv().unwrap();
        let device = thread::spawn(move || on_many_threads(works(operation)));
        threads.join().unwrap();
        assert_eq!(JobPool::stats().leaked, 0);
        device.join().unwrap();
    });
}

#[test]
fn it_waits_for_the_slowest_of_them() {
    struct Slow(u32, Arc<AtomicUsize>);
    impl Drop for Slow {
        fn drop(&mut self) {
            // Whoever does not wait for it goes ahead.
            (0..self.0).for_each(|_| thread::yield_now());
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    thread_local!(static SLOW: RefCell<Option<Slow>> = const { RefCell::new(None) });
    on_a_thread(|| {
        let threads = job_threads(3);
        let ends = Arc::new(AtomicUsize::new(0));
        on_many_threads(async {
            let all = Arc::new(tokio::sync::Barrier::new(3));
            let run = |yields| {
                let (all, ends) = (Arc::clone(&all), Arc::clone(&ends));
                threads.run(move || {
                    SLOW.set(Some(Slow(yields, ends)));
                    suspend(all.wait()).unwrap();
                })
            };
            tokio::join!(run(0), run(1000), run(10_000));
        });
        threads.join().unwrap();
        assert_eq!(ends.load(Ordering::SeqCst), 3);
    });
}
