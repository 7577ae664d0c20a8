//! Closures, futures, outputs and wakers that do what they should not, on job threads, and threads that come
//! and go.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use openssl_async_jobs::tokio::JobThreads;
use openssl_async_jobs::{suspend, Job};

use super::ends::on_many_threads;
use super::held::begin;
use super::threads_join::on_a_thread;
use crate::common::child::in_a_process_of_its_own;
use crate::common::executor::quiet_waker;

fn threads(n: usize) -> JobThreads {
    JobThreads::builder().threads(n).build().unwrap()
}

struct JoinsInDrop(Option<JobThreads>, mpsc::Sender<bool>);
impl Drop for JoinsInDrop {
    fn drop(&mut self) {
        let joined = self.0.take().unwrap().join().is_ok();
        let _ = self.1.send(joined);
    }
}
thread_local!(static HOLDER: RefCell<Option<JoinsInDrop>> = const { RefCell::new(None) });

#[test]
fn thread_local_destructors_may_join() {
    on_a_thread(|| {
        let (tell, told) = mpsc::channel();
        let (a, b) = (threads(1), threads(2));
        let tell2 = tell.clone();
        // On a job thread's end, and on an ordinary one's.
        on_many_threads(a.run(move || HOLDER.set(Some(JoinsInDrop(Some(b), tell2)))));
        thread::spawn(move || HOLDER.set(Some(JoinsInDrop(Some(a), tell))));
        assert_eq!(told.recv(), Ok(true));
        assert_eq!(told.recv(), Ok(true));
        assert!(told.recv().is_err());
    });
}

#[test]
fn a_job_thread_may_make_run_and_join_others_in_a_destructor() {
    on_a_thread(|| {
        struct Makes(mpsc::Sender<u32>);
        impl Drop for Makes {
            fn drop(&mut self) {
                let t = threads(1);
                let n =
                    thread::scope(|s| s.spawn(|| on_many_threads(t.run(|| 42))).join().unwrap());
                t.join().unwrap();
                let _ = self.0.send(n);
            }
        }
        thread_local!(static MAKES: RefCell<Option<Makes>> = const { RefCell::new(None) });
        let (tell, told) = mpsc::channel();
        let a = threads(1);
        on_many_threads(a.run(move || MAKES.set(Some(Makes(tell)))));
        a.join().unwrap();
        assert_eq!(told.recv(), Ok(42));
    });
}

struct PanicsInDrop;
impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("a drop");
        }
    }
}

struct PanicsWaker;
impl Wake for PanicsWaker {
    fn wake(self: Arc<Self>) {
        panic!("a waker");
    }
}

#[test]
fn panics_of_all_kinds_kill_no_thread_and_are_counted() {
    on_a_thread(|| {
        let t = threads(1);
        let bad = Waker::from(Arc::new(PanicsWaker));
        let mut cx = Context::from_waker(&bad);
        // The thread is busy until all of these have begun.
        let quiet = quiet_waker();
        let mut noop = Context::from_waker(&quiet);
        let (open, opened) = mpsc::channel::<()>();
        let mut e = Box::pin(t.run(move || {
            let _ = opened.recv();
        }));
        assert!(e.as_mut().poll(&mut noop).is_pending());
        // The caller's waker.
        let mut a = Box::pin(t.run(|| 1));
        assert!(a.as_mut().poll(&mut cx).is_pending());
        let mut b = Box::pin(t.run(|| panic!("closure")));
        let _: Poll<()> = b.as_mut().poll(&mut cx);
        let mut c = Box::pin(t.stats());
        assert!(c.as_mut().poll(&mut cx).is_pending());
        // Closures, dropped before they begin.
        let held = PanicsInDrop;
        let mut d = Box::pin(t.run(move || drop(held)));
        assert!(d.as_mut().poll(&mut noop).is_pending());
        drop(d);
        drop(open);
        // Outputs that nobody takes.
        for _ in 0..100 {
            let mut f = Box::pin(t.run(|| PanicsInDrop));
            // The thread may be faster.
            let taken = std::panic::AssertUnwindSafe(|| drop(f.as_mut().poll(&mut noop)));
            let _ = std::panic::catch_unwind(taken);
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(f)));
        }
        // Futures that a job waits for: their poll, and their drop.
        let mut g = Box::pin(t.run(|| {
            let held = PanicsInDrop;
            let _ = suspend(async move {
                let _held = held;
                std::future::pending::<()>().await
            });
        }));
        assert!(g.as_mut().poll(&mut noop).is_pending());
        assert_eq!(on_this_thread(t.run(|| 7)), 7);
        drop(g);
        assert_eq!(on_this_thread(t.run(|| 7)), 7);
        while t.operations() > 0 {
            thread::yield_now();
        }
        drop((a, b, c, e));
        t.join().unwrap();
    });
}

fn on_this_thread<T>(f: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(f)
}

/// The future of a run, which its own closure drops, or polls.
type Slot = Arc<Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>>;

#[test]
fn a_closure_may_drop_and_poll_what_waits_for_it() {
    on_a_thread(|| {
        for way in 0..3 {
            let t = threads(1);
            let slot: Slot = Arc::default();
            let (inner, slot2) = (t.clone(), Arc::clone(&slot));
            let (go, goes) = mpsc::channel::<()>();
            let run: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
                let own = inner.clone();
                inner
                    .run(move || {
                        goes.recv().unwrap();
                        match way {
                            0 => drop(slot2.lock().unwrap().take()),
                            1 => {
                                let mut f = slot2.lock().unwrap().take().unwrap();
                                let quiet = quiet_waker();
                                let mut cx = Context::from_waker(&quiet);
                                assert!(f.as_mut().poll(&mut cx).is_pending());
                                let _ = suspend(async move {
                                    tokio::task::yield_now().await;
                                    drop(f);
                                    std::future::pending::<()>().await
                                });
                            }
                            _ => {
                                // Waits for its own end.
                                let f = slot2.lock().unwrap().take().unwrap();
                                let _ = suspend(async move {
                                    tokio::select! {
                                        () = f => {}
                                        () = tokio::time::sleep(Duration::from_millis(20)) => {}
                                    }
                                });
                            }
                        }
                        assert!(own.join().is_err());
                    })
                    .await
            });
            *slot.lock().unwrap() = Some(run);
            let quiet = quiet_waker();
            let mut cx = Context::from_waker(&quiet);
            assert!(slot
                .lock()
                .unwrap()
                .as_mut()
                .unwrap()
                .as_mut()
                .poll(&mut cx)
                .is_pending());
            go.send(()).unwrap();
            while t.operations() > 0 {
                thread::yield_now();
            }
            t.join().unwrap();
        }
    });
}

/// As many as may be, from threads, with joins: all comes to its end.
#[test]
fn handles_operations_and_joins_in_any_order() {
    static LIVE: AtomicUsize = AtomicUsize::new(0);
    struct Live;
    impl Live {
        fn new() -> Live {
            LIVE.fetch_add(1, Ordering::SeqCst);
            Live
        }
    }
    impl Drop for Live {
        fn drop(&mut self) {
            LIVE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    on_a_thread(|| {
        for round in 0..60_u64 {
            let t = threads(2);
            let workers: Vec<_> = (0..4_u64)
                .map(|k| {
                    let t = t.clone();
                    thread::spawn(move || {
                        let mut seed = round * 31 + k * 7 + 1;
                        let mut held = Vec::new();
                        for _ in 0..40 {
                            seed = seed
                                .wrapping_mul(6364136223846793005)
                                .wrapping_add(1442695040888963407);
                            let how = seed >> 60;
                            let (live, inner) = (Live::new(), t.clone());
                            let mut f = Box::pin(async move {
                                let keep = inner.clone();
                                inner
                                    .run(move || {
                                        let _live = live;
                                        if how & 1 == 1 {
                                            let _ = suspend(tokio::task::yield_now());
                                        }
                                        if how & 2 == 2 {
                                            let _ = suspend(std::future::pending::<()>());
                                        }
                                        (Live::new(), keep)
                                    })
                                    .await
                            });
                            let quiet = quiet_waker();
                            let mut cx = Context::from_waker(&quiet);
                            if how & 4 == 4 {
                                for _ in 0..(how & 3) + 1 {
                                    if f.as_mut().poll(&mut cx).is_ready() {
                                        break;
                                    }
                                }
                            }
                            if how & 8 == 8 {
                                held.push(f);
                            }
                        }
                        match k % 2 {
                            0 => {
                                drop(held);
                                t.join().unwrap();
                            }
                            _ => {
                                drop(t);
                                drop(held);
                            }
                        }
                    })
                })
                .collect();
            t.join().unwrap();
            for w in workers {
                w.join().unwrap();
            }
            assert_eq!(LIVE.load(Ordering::SeqCst), 0);
        }
    });
}

/// A busy future that is always ready to go on, on a thread with others: they are served, and it is
/// cancelled.
#[test]
fn a_busy_operation_starves_nobody_and_is_cancelled() {
    on_a_thread(|| {
        let t = threads(1);
        let (wit, dropped) = mpsc::channel::<()>();
        let mut busy = Box::pin(t.run(move || {
            let _wit = wit;
            loop {
                let busy = async {
                    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
                    for n in 0.. {
                        tx.send(n).unwrap();
                        rx.recv().await.unwrap();
                    }
                };
                if suspend(busy).is_err() {
                    break;
                }
            }
        }));
        let quiet = quiet_waker();
        let mut cx = Context::from_waker(&quiet);
        assert!(busy.as_mut().poll(&mut cx).is_pending());
        for _ in 0..50 {
            assert_eq!(on_this_thread(t.run(|| 7)), 7);
            on_this_thread(t.run(|| suspend(tokio::time::sleep(Duration::from_millis(1)))))
                .unwrap();
        }
        // And one that yields from its job, with nothing to wait for.
        let mut yields = Box::pin(t.run(|| loop {
            openssl_async_jobs::CurrentJob::get()
                .unwrap()
                .pause()
                .unwrap();
            if suspend(async {}).is_err() {
                break;
            }
        }));
        assert!(yields.as_mut().poll(&mut cx).is_pending());
        for _ in 0..50 {
            assert_eq!(on_this_thread(t.run(|| 7)), 7);
        }
        drop((busy, yields));
        while t.operations() > 0 {
            thread::yield_now();
        }
        assert!(dropped.recv().is_err());
        t.join().unwrap();
    });
}

#[test]
fn a_local_job_inside_is_no_trouble() {
    on_a_thread(|| {
        let t = threads(1);
        let n =
            on_this_thread(t.run(|| {
                suspend(async { Job::new(|| suspend(async { 5 }).unwrap()).await }).unwrap()
            }));
        assert_eq!(n, 5);
        t.join().unwrap();
    });
}

/// In a process of its own, for its descriptors and threads.
#[test]
fn threads_that_come_and_go_leave_nothing() {
    let test = "threads_hostile::threads_that_come_and_go_leave_nothing";
    in_a_process_of_its_own(test, || {
        let count = |what: &str| {
            std::fs::read_dir(format!("/proc/self/{what}"))
                .unwrap()
                .count()
        };
        let resident = || {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
        };
        let once = || {
            let t = threads(2);
            on_this_thread(async {
                let (a, b) = (
                    t.run(|| suspend(tokio::task::yield_now())),
                    t.run(|| [0; 1000]),
                );
                let (a, _) = tokio::join!(a, b);
                a.unwrap();
                let mut cancelled = Box::pin(t.run(|| suspend(std::future::pending::<()>())));
                begin(cancelled.as_mut()).await;
                t.stats().await;
            });
            t.join().unwrap();
        };
        (0..50).for_each(|_| once());
        let before = (count("fd"), count("task"));
        let memory = resident();
        (0..400).for_each(|_| once());
        assert_eq!((count("fd"), count("task")), before);
        let more = resident().saturating_sub(memory);
        assert!(more < 500, "{more} pages");
    });
}

/// So often a panic's payload panics when it is dropped.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            std::panic::panic_any(Bomb(self.0 - 1));
        }
    }
}

#[test]
fn whatever_a_waker_panics_with_the_thread_goes_on() {
    struct Bad(u32);
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            std::panic::panic_any(Bomb(self.0));
        }
    }
    for bombs in [0, 1, 2, 3, 20] {
        on_a_thread(move || {
            let t = threads(1);
            let (open, opened) = mpsc::channel::<()>();
            let mut run = Box::pin(t.run(move || opened.recv().is_ok()));
            let waker = Waker::from(Arc::new(Bad(bombs)));
            let polled = run.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            open.send(()).unwrap();
            assert_eq!(on_many_threads(t.run(|| 7)), 7);
            assert!(on_many_threads(run));
            t.join().unwrap();
        });
    }
}

#[test]
fn where_a_thread_dies_of_a_task_of_somebodys_the_others_have_its_work() {
    on_a_thread(|| {
        let t = threads(2);
        // tokio drops what the task panicked with, and nobody catches that.
        thread_local!(static ALIVE: RefCell<Option<mpsc::Sender<()>>> = const { RefCell::new(None) });
        let (alive, is_alive) = mpsc::channel();
        on_many_threads(t.run(move || {
            ALIVE.set(Some(alive));
            drop(tokio::task::spawn_local(async {
                std::panic::panic_any(Bomb(3))
            }));
        }));
        assert!(is_alive.recv().is_err());
        for n in 0..4 {
            assert_eq!(on_many_threads(t.run(move || n)), n);
        }
        on_many_threads(t.stats());
        assert!(t.join().is_err());
    });
}

/// What guards it has left out of order, its runtime panics over.
#[test]
fn a_thread_whose_runtime_panics_at_the_end_waits_for_no_blocking_call() {
    on_a_thread(|| {
        let t = JobThreads::builder()
            .threads(1)
            .drain_timeout(Duration::ZERO)
            .build()
            .unwrap();
        let (open, opened) = mpsc::channel::<()>();
        on_many_threads(t.run(move || {
            tokio::task::spawn_blocking(move || opened.recv());
            std::mem::forget(tokio::runtime::Handle::current().enter());
        }));
        assert!(t.join().is_err());
        drop(open);
    });
}
