//! A job that was started in the destructor of a pthread key, as crates have that keep thread-locals
//! there, and is polled in that of another one: OpenSSL, whose thread's state is a key's, too, may have
//! freed what the job needs in between, so it is not resumed (H11).
//!
//! Without libtest, as keys are destroyed in the order in which they were made.

mod common;

use std::cell::Cell;
use std::future::Future;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use common::executor::quiet_waker;
use libc::{c_void, pthread_key_t};
use openssl_async_jobs::{suspend, Job};

static WENT_ON: AtomicBool = AtomicBool::new(false);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Without a destructor: it is there as long as the thread. A `Box<Job<()>>` that is leaked.
    static JOB: Cell<Option<&'static mut Job<()>>> = const { Cell::new(None) };
}

fn poll(job: &mut Job<()>) -> Poll<()> {
    Pin::new(job).poll(&mut Context::from_waker(&quiet_waker()))
}

/// Is pending once.
fn once() -> impl Future<Output = ()> {
    let mut polled = false;
    std::future::poll_fn(move |_| match std::mem::replace(&mut polled, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
}

unsafe extern "C" fn starts_a_job(_: *mut c_void) {
    let job = Box::leak(Box::new(Job::new(|| {
        let _ = suspend(once());
        WENT_ON.store(true, Ordering::SeqCst);
    })));
    assert!(poll(job).is_pending());
    JOB.set(Some(job));
}

unsafe extern "C" fn polls_it(_: *mut c_void) {
    let job = JOB.take().expect("the other key's destructor comes first");
    if catch_unwind(AssertUnwindSafe(|| poll(job))).is_err() {
        REFUSED.fetch_add(1, Ordering::SeqCst);
    }
}

fn key(destructor: unsafe extern "C" fn(*mut c_void)) -> pthread_key_t {
    let mut key = 0;
    // SAFETY: a place for the key. The destructors do nothing with their argument.
    let made = unsafe { libc::pthread_key_create(&mut key, Some(destructor)) };
    assert_eq!(made, 0, "too many keys");
    key
}

fn main() {
    let first = key(starts_a_job);
    // OpenSSL makes its own between the two.
    openssl::init();
    openssl::rand::rand_bytes(&mut [0; 4]).expect("random bytes");
    let _ = Job::new(|| ()).block_on(None);
    let last = key(polls_it);
    let thread = std::thread::spawn(move || {
        for key in [first, last] {
            // SAFETY: keys of ours; the value is for the destructors to be called.
            let set = unsafe { libc::pthread_setspecific(key, std::ptr::dangling_mut::<c_void>()) };
            assert_eq!(set, 0, "memory for it");
        }
    });
    thread.join().expect("it ends");
    if openssl_async_jobs::is_capable() {
        assert_eq!(REFUSED.load(Ordering::SeqCst), 1, "it was resumed");
        assert!(!WENT_ON.load(Ordering::SeqCst));
    }
    println!("test a_job_of_a_keys_destructor_is_not_resumed_in_another ... ok");
}
