//! The status and the callback of OpenSSL 3.0: what a producer says reaches who waits, and before
//! 3.0 both sides are told that there is no such thing.

use crate::common::job::{Job, Outcome, WaitContext};
use crate::common::tls::{async_server_context, Pair, Step};
use openssl::ssl::Ssl;
use openssl_async_jobs::{CurrentJob, Error, SslAsyncExt};

#[cfg(not(ossl300))]
#[test]
fn before_3_0_each_is_unsupported_and_says_since_when() {
    fn unsupported<T: std::fmt::Debug>(result: Result<T, Error>) {
        let refused = result.unwrap_err();
        assert!(
            matches!(refused, Error::Unsupported { since: "3.0", .. }),
            "{refused:?}"
        );
        assert!(
            refused.to_string().contains("needs OpenSSL 3.0"),
            "{refused}"
        );
    }
    let ctx = async_server_context(|_| {
        let job = CurrentJob::get().unwrap();
        let context = job.wait_context().unwrap();
        unsupported(context.set_status(openssl_async_jobs::AsyncStatus::Ok));
        unsupported(context.status());
        unsupported(context.notify());
        unsupported(context.notifier());
        job.pause().unwrap();
    });
    let mut ssl = Ssl::new(&ctx).unwrap();
    // SAFETY: no completion comes.
    unsupported(unsafe { ssl.set_async_callback(|| ()) });
    let mut pair = Pair::from_ssl(ssl);
    assert_eq!(pair.handshake(), Step::Paused);
    unsupported(pair.server.ssl().async_status());
    pair.finish();
    let context = WaitContext::new();
    let mut job = Job::new(&context, || ());
    assert_eq!(job.run(), Outcome::Finished);
}

#[cfg(ossl300)]
mod since_300 {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{mpsc, Arc};

    use foreign_types::ForeignTypeRef;
    use openssl_async_jobs::{ffi, AsyncStatus};

    const ALL: [AsyncStatus; 6] = [
        AsyncStatus::Ok,
        AsyncStatus::Eagain,
        AsyncStatus::Err,
        AsyncStatus::Unsupported,
        AsyncStatus::Other(42),
        AsyncStatus::Other(-1),
    ];

    #[test]
    fn each_status_arrives_as_c_says_it() {
        let ctx = async_server_context(|_| {
            let job = CurrentJob::get().unwrap();
            let context = job.wait_context().unwrap();
            assert_eq!(context.status().unwrap(), AsyncStatus::Unsupported);
            job.pause().unwrap();
            for status in ALL {
                context.set_status(status).unwrap();
                assert_eq!(context.status().unwrap(), status);
                job.pause().unwrap();
            }
        });
        let mut pair = Pair::new(&ctx);
        for expected in std::iter::once(AsyncStatus::Unsupported).chain(ALL) {
            assert_eq!(pair.handshake(), Step::Paused);
            let ssl = pair.server.ssl();
            assert_eq!(ssl.async_status().unwrap(), expected);
            let mut raw = -100;
            // SAFETY: a live SSL and a place for the answer.
            let answer = unsafe { ffi::SSL_get_async_status(ssl.as_ptr(), &mut raw) };
            assert_eq!(answer, 1);
            assert_eq!(raw, expected.as_raw());
        }
        pair.finish();
        assert_eq!(
            pair.server.ssl().async_status().unwrap(),
            AsyncStatus::Other(-1),
            "it stays after the last job"
        );
    }

    fn counted(ctx: &openssl::ssl::SslContext) -> (Arc<AtomicUsize>, Pair) {
        let count = Arc::new(AtomicUsize::new(0));
        let calls = Arc::clone(&count);
        let mut ssl = Ssl::new(ctx).unwrap();
        // SAFETY: the tests' completions come before the pair is dropped.
        unsafe {
            ssl.set_async_callback(move || {
                calls.fetch_add(1, Ordering::SeqCst);
            })
        }
        .unwrap();
        (count, Pair::from_ssl(ssl))
    }

    #[test]
    fn a_callback_comes_from_inside_the_job_each_time_it_is_notified() {
        let ctx = async_server_context(|_| {
            let job = CurrentJob::get().unwrap();
            let context = job.wait_context().unwrap();
            assert!(context.notify().unwrap());
            job.pause().unwrap();
            assert!(context.notify().unwrap());
            assert!(context.notify().unwrap());
            job.pause().unwrap();
        });
        let (count, mut pair) = counted(&ctx);
        assert_eq!(pair.handshake(), Step::Paused);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert_eq!(pair.handshake(), Step::Paused);
        assert_eq!(count.load(Ordering::SeqCst), 3);
        pair.finish();
        assert_eq!(count.load(Ordering::SeqCst), 3);
        assert_eq!(Arc::strong_count(&count), 2);
        drop(pair);
        assert_eq!(Arc::strong_count(&count), 1, "the closure was leaked");
    }

    #[test]
    fn a_callback_comes_from_another_thread_while_the_job_is_paused() {
        let (notifiers, work) = mpsc::channel::<openssl_async_jobs::Notifier>();
        let (paused, may_notify) = mpsc::channel::<()>();
        let (notified, woken) = mpsc::channel::<()>();
        let device = std::thread::spawn(move || {
            for notifier in work {
                may_notify.recv().unwrap();
                // SAFETY: the test resumes and drops the connection after this only.
                unsafe { notifier.notify() };
                notified.send(()).unwrap();
            }
        });
        let ctx = async_server_context(move |_| {
            let job = CurrentJob::get().unwrap();
            for _ in 0..3 {
                let notifier = job.wait_context().unwrap().notifier().unwrap().unwrap();
                notifiers.send(notifier).unwrap();
                job.pause().unwrap();
            }
        });
        let (count, mut pair) = counted(&ctx);
        drop(ctx);
        for n in 1..=3 {
            assert_eq!(pair.handshake(), Step::Paused);
            assert_eq!(count.load(Ordering::SeqCst), n - 1);
            paused.send(()).unwrap();
            woken.recv().unwrap();
            assert_eq!(count.load(Ordering::SeqCst), n);
        }
        pair.finish();
        drop(pair); // and with it the servername closure, which ends the device
        device.join().unwrap();
    }

    #[test]
    fn without_a_callback_nobody_is_notified() {
        let ctx = async_server_context(|_| {
            let job = CurrentJob::get().unwrap();
            let context = job.wait_context().unwrap();
            assert!(!context.notify().unwrap());
            assert!(context.notifier().unwrap().is_none());
            job.pause().unwrap();
        });
        let mut pair = Pair::new(&ctx);
        assert_eq!(pair.handshake(), Step::Paused);
        pair.finish();
    }

    #[test]
    fn a_callback_after_the_first_job_is_refused_as_libssl_would_ignore_it() {
        let ctx = async_server_context(|_| ());
        let mut pair = Pair::new(&ctx);
        pair.finish();
        let ssl = pair.server.ssl();
        // SAFETY: nobody else uses this connection.
        let ssl = unsafe { openssl::ssl::SslRef::from_ptr_mut(ssl.as_ptr()) };
        // SAFETY: no completion comes.
        let refused = unsafe { ssl.set_async_callback(|| ()) };
        assert!(matches!(refused, Err(Error::CallbackTooLate)));
    }

    #[test]
    fn a_callback_set_twice_before_the_first_job_is_the_second_one() {
        let ctx = async_server_context(|_| {
            let job = CurrentJob::get().unwrap();
            assert!(job.wait_context().unwrap().notify().unwrap());
        });
        let first = Arc::new(AtomicUsize::new(0));
        let second = Arc::new(AtomicUsize::new(0));
        let mut ssl = Ssl::new(&ctx).unwrap();
        for count in [&first, &second] {
            let count = Arc::clone(count);
            // SAFETY: completions come inside the job only.
            unsafe {
                ssl.set_async_callback(move || {
                    count.fetch_add(1, Ordering::SeqCst);
                })
            }
            .unwrap();
        }
        assert_eq!(Arc::strong_count(&first), 1, "the replaced one was leaked");
        Pair::from_ssl(ssl).finish();
        assert_eq!(first.load(Ordering::SeqCst), 0);
        assert_eq!(second.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_panic_in_a_callback_does_not_unwind_through_c() {
        let ctx = async_server_context(|_| {
            let job = CurrentJob::get().unwrap();
            assert!(job.wait_context().unwrap().notify().unwrap());
            job.pause().unwrap();
        });
        let mut ssl = Ssl::new(&ctx).unwrap();
        // SAFETY: completions come inside the job only.
        unsafe { ssl.set_async_callback(|| panic!("on purpose")) }.unwrap();
        let mut pair = Pair::from_ssl(ssl);
        assert_eq!(pair.handshake(), Step::Paused);
        pair.finish();
    }

    #[test]
    fn a_job_outside_libssl_has_status_and_callback_too() {
        unsafe extern "C" fn count(arg: *mut libc::c_void) -> libc::c_int {
            // SAFETY: the test passes a counter that outlives the job.
            unsafe { &*arg.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
            1
        }
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let context = WaitContext::new();
        // SAFETY: a live wait context and a static counter.
        unsafe {
            let arg = std::ptr::from_ref(&CALLS).cast_mut().cast();
            assert_eq!(
                ffi::ASYNC_WAIT_CTX_set_callback(context.as_ptr(), Some(count), arg),
                1
            );
        }
        let mut job = Job::new(&context, || {
            let job = CurrentJob::get().unwrap();
            let context = job.wait_context().unwrap();
            context.set_status(AsyncStatus::Eagain).unwrap();
            assert!(context.notify().unwrap());
            job.pause().unwrap();
        });
        assert_eq!(job.run(), Outcome::Paused);
        assert_eq!(CALLS.load(Ordering::SeqCst), 1);
        // SAFETY: a live wait context.
        let status = unsafe { ffi::ASYNC_WAIT_CTX_get_status(context.as_ptr()) };
        assert_eq!(AsyncStatus::from_raw(status), AsyncStatus::Eagain);
        assert_eq!(job.run(), Outcome::Finished);
    }
}
