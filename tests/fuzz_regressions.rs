//! What fuzzing has found: bytes that a panic took along, a read that left what had come, idle
//! readers that kept each other busy, and a queue that outlived its thread (H2, H10, H12).

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::poll_fn;
#[cfg(ossl111)]
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicIsize, Ordering};
#[cfg(ossl111)]
use std::task::Context;
use std::task::Poll;

use common::child::in_a_process_of_its_own;
#[cfg(ossl111)]
use common::executor::{quiet_waker, yield_once};
use common::executor::{Executor, Gate};
use common::memory::{client_context, server_context, Pair};
use common::thread::{on_a_new_thread, PATIENCE};
use openssl::ssl::SslContext;
use openssl_async_jobs::{block_on, suspend, AsyncPolicy, Connection, Job, JobPool, Progress};

/// Connected, and all that its client does is a job.
fn connected(client: &SslContext) -> Pair {
    let mut pair = Pair::new(client, &server_context(|_| ()));
    pair.client.set_policy(AsyncPolicy::Always);
    let Ok(done) = block_on(poll_fn(|cx| pair.handshake(cx)), PATIENCE) else {
        panic!("stuck");
    };
    done.unwrap();
    pair
}

/// It has plaintext to read, behind the tickets of TLS 1.3.
#[cfg(ossl111)]
fn with_a_message_for_the_client(mut pair: Pair) -> Pair {
    let waker = quiet_waker();
    let cx = &mut Context::from_waker(&waker);
    assert_eq!(
        pair.server.poll_write(cx, b"hello").unwrap(),
        Progress::Done(5)
    );
    pair.exchange();
    pair
}

#[test]
#[cfg(ossl111)]
fn what_a_read_has_brought_is_there_after_a_panic_in_its_callback() {
    use openssl::ssl::SslSessionCacheMode;
    let client = client_context(|ctx| {
        ctx.set_session_cache_mode(SslSessionCacheMode::CLIENT);
        ctx.set_new_session_callback(|_, _| {
            // Without the noise of the panic hook.
            let _ = suspend(async { resume_unwind(Box::new("a ticket")) });
        });
    });
    let mut pair = with_a_message_for_the_client(connected(&client));
    let waker = quiet_waker();
    let cx = &mut Context::from_waker(&waker);
    let mut buffer = [0; 10];
    let panic = catch_unwind(AssertUnwindSafe(|| pair.client.poll_read(cx, &mut buffer)));
    assert_eq!(
        panic.unwrap_err().downcast_ref::<&str>(),
        Some(&"a ticket"),
        "the tickets were to come with the read"
    );
    assert!(!pair.client.is_in_flight(), "its job has ended");
    assert_eq!(
        pair.client.poll_read(cx, &mut buffer).unwrap(),
        Progress::Done(5)
    );
    assert_eq!(&buffer[..5], b"hello");
}

#[test]
#[cfg(ossl111)]
fn a_read_in_a_job_goes_on_behind_a_ticket_without_the_mode_auto_retry() {
    let mut pair = connected(&client_context(|_| ()));
    clear_auto_retry(&mut pair.client);
    let mut pair = with_a_message_for_the_client(pair);
    let waker = quiet_waker();
    let cx = &mut Context::from_waker(&waker);
    assert_eq!(
        pair.client.poll_read(cx, &mut [0; 10]).unwrap(),
        Progress::Done(5)
    );
}

#[test]
#[cfg(ossl111)]
fn and_it_goes_on_with_what_has_come_while_it_was_paused() {
    use openssl::ssl::SslSessionCacheMode;
    let mut pair = connected(&client_context(|ctx| {
        ctx.set_session_cache_mode(SslSessionCacheMode::CLIENT);
        ctx.set_new_session_callback(|_, _| suspend(yield_once()).unwrap());
    }));
    clear_auto_retry(&mut pair.client);
    let waker = quiet_waker();
    let cx = &mut Context::from_waker(&waker);
    let mut buffer = [0; 5000];
    let read = pair.client.poll_read(cx, &mut buffer).unwrap();
    assert_eq!(read, Progress::Pending, "the tickets were to pause it");
    // More than what it has read meanwhile.
    assert_eq!(
        pair.server.poll_write(cx, &[7; 5000]).unwrap(),
        Progress::Done(5000)
    );
    pair.exchange();
    let mut read = Progress::Pending;
    for _ in 0..4 {
        if read == Progress::Pending {
            read = pair.client.poll_read(cx, &mut buffer).unwrap();
        }
    }
    assert_eq!(read, Progress::Done(5000));
}

/// As libssl's default is before 1.1.1.
#[cfg(ossl111)]
fn clear_auto_retry(connection: &mut Connection) {
    use foreign_types::ForeignTypeRef;
    const SSL_CTRL_CLEAR_MODE: libc::c_int = 78;
    let ssl = connection.ssl_mut().unwrap().as_ptr();
    // SAFETY: a live connection, and a flag.
    unsafe {
        openssl_sys::SSL_ctrl(
            ssl,
            SSL_CTRL_CLEAR_MODE,
            openssl_sys::SSL_MODE_AUTO_RETRY,
            std::ptr::null_mut(),
        )
    };
}

/// What it needs other than its own job.
async fn read(mut connection: Connection) -> Progress<usize> {
    poll_fn(|cx| match connection.poll_read(cx, &mut [0; 10]).unwrap() {
        Progress::Pending => Poll::Pending,
        needs => Poll::Ready(needs),
    })
    .await
}

#[test]
fn idle_readers_that_have_waited_for_a_free_job_do_not_wait_again() {
    on_a_new_thread(|| {
        JobPool::builder().max_jobs(1).init().unwrap();
        let client = client_context(|_| ());
        let pairs = [connected(&client), connected(&client)];
        let gate = Gate::new();
        let mut executor = Executor::new();
        let wait = gate.wait();
        executor.spawn(async {
            Job::new(move || suspend(wait).unwrap()).await;
            Progress::Done(0)
        });
        let mut peers = Vec::new();
        for pair in pairs {
            executor.spawn(read(pair.client));
            peers.push(pair.server);
        }
        executor.run();
        assert_eq!(JobPool::stats().waiting, 2);
        gate.open();
        // Each is woken once for its turn; without an end to it, this goes on for ever.
        for _ in 0..100 {
            executor.step();
        }
        assert_eq!(
            executor.finished[1..],
            [
                (1, Progress::WantsCiphertext),
                (2, Progress::WantsCiphertext)
            ]
        );
    });
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is allocated, in bytes, on all threads.
static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

struct Counting;

// SAFETY: the system's allocator, and a counter.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[test]
fn a_thread_whose_jobs_have_waited_in_its_queue_leaves_no_memory() {
    const TEST: &str = "a_thread_whose_jobs_have_waited_in_its_queue_leaves_no_memory";
    in_a_process_of_its_own(TEST, || {
        // The first ones bring what the process keeps.
        (0..3).for_each(|_| wait_in_a_queue());
        let left = || {
            let before = ALLOCATED.load(Ordering::Relaxed);
            (0..20).for_each(|_| wait_in_a_queue());
            ALLOCATED.load(Ordering::Relaxed) - before
        };
        // libtest's main thread allocates when it begins to wait for this test, which may be meanwhile.
        let left = [left(), left(), left()];
        assert!(left.contains(&0), "bytes left: {left:?}");
    });
}

fn wait_in_a_queue() {
    on_a_new_thread(|| {
        JobPool::builder().max_jobs(1).init().unwrap();
        let gate = Gate::new();
        let mut executor = Executor::new();
        for _ in 0..3 {
            let wait = gate.wait();
            executor.spawn(Job::new(move || suspend(wait).unwrap()));
        }
        executor.run();
        assert_eq!(JobPool::stats().waiting, 2);
        gate.open();
        executor.run();
        assert_eq!(executor.finished.len(), 3);
    });
}
