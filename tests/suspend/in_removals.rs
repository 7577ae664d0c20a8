//! The callback for removed sessions, where libssl holds the lock of the context's sessions: nothing
//! pauses there (H13), as before OpenSSL 3.0 another job of the thread would go on in the cache.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;

use crate::common::handshake::{client_context, count_pauses, server_context, sockets, tls12, End};
use openssl::ssl::{SslContext, SslContextBuilder, SslOptions, SslSessionCacheMode};
use openssl_async_jobs::{suspend, CurrentJob, Error, SuspendError};

/// What was answered in the callback.
type Answer = (Result<(), SuspendError>, Option<Error>);
type Answers = Arc<Mutex<Vec<Answer>>>;

/// Not ready at first.
fn next_poll() -> impl std::future::Future<Output = ()> {
    let mut polled = false;
    poll_fn(move |cx| match std::mem::replace(&mut polled, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
}

/// A server that keeps sessions, and pauses where one is removed.
fn server(configure: impl FnOnce(&mut SslContextBuilder)) -> (SslContext, Answers) {
    let answers = Answers::default();
    let answer = Arc::clone(&answers);
    let server = server_context(|ctx| {
        tls12(ctx);
        ctx.set_options(SslOptions::NO_TICKET);
        ctx.set_session_id_context(b"test").unwrap();
        ctx.set_session_cache_mode(SslSessionCacheMode::SERVER);
        ctx.set_remove_session_callback(move |_, _| {
            let Some(job) = CurrentJob::get() else { return };
            let answers = (suspend(next_poll()), job.pause().err());
            answer.lock().unwrap().push(answers);
        });
        configure(ctx);
    });
    (server, answers)
}

fn handshake_in_a_job(server: &SslContext) -> u64 {
    let (server, client) = (End::server(server), End::client(&client_context(tls12)));
    let (here, there) = sockets();
    let client = thread::spawn(move || {
        let mut tls = client.run(there).unwrap();
        // Else its session counts as bad.
        let _ = tls.shutdown();
    });
    let ((), paused) = count_pauses(move || {
        let mut tls = server.run(here).unwrap();
        let _ = tls.shutdown();
    });
    client.join().unwrap();
    paused
}

#[track_caller]
fn assert_blocked(answers: &Answers) {
    let answers = answers.lock().unwrap();
    assert!(!answers.is_empty(), "no session was removed");
    for (suspended, paused) in &*answers {
        assert_eq!(*suspended, Err(SuspendError::PauseBlocked));
        assert!(matches!(paused, Some(Error::PauseBlocked)), "{paused:?}");
    }
}

#[test]
fn a_session_that_makes_room_for_another_pauses_nothing() {
    let (server, answers) = server(|ctx| {
        ctx.set_session_cache_size(1);
    });
    for _ in 0..3 {
        assert_eq!(handshake_in_a_job(&server), 0);
    }
    assert_blocked(&answers);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_session_whose_callback_is_called_through_what_the_unwinder_does_not_know_pauses_nothing() {
    use crate::common::unknown;
    use std::cell::RefCell;

    thread_local! {
        static ANSWERS: RefCell<Vec<Answer>> = const { RefCell::new(Vec::new()) };
    }
    extern "C" fn pauses() {
        let answers = (
            suspend(next_poll()),
            CurrentJob::get().unwrap().pause().err(),
        );
        ANSWERS.with_borrow_mut(|all| all.push(answers));
    }
    let (server, _) = server(|ctx| {
        ctx.set_session_cache_size(1);
        ctx.set_remove_session_callback(|_, _| {
            if CurrentJob::get().is_some() {
                unknown::calls(pauses);
            }
        });
    });
    for _ in 0..3 {
        assert_eq!(handshake_in_a_job(&server), 0);
    }
    assert_blocked(&Answers::new(Mutex::new(ANSWERS.take())));
}

#[test]
fn a_session_that_goes_with_its_context_pauses_nothing() {
    let (server, answers) = server(|_| ());
    handshake_in_a_job(&server);
    let ((), paused) = count_pauses(move || drop(server));
    assert_eq!(paused, 0);
    assert_blocked(&answers);
}
