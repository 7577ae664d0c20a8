//! `suspend` in what libssl calls for the stream itself, its transport and its drop; and how a
//! handshake ends whose callback is cancelled, or waits for a future that panics (H3, H7, H10).

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::thread;

use crate::common::executor::quiet_waker;
use crate::common::handshake::{
    any_client, any_server, count_pauses, server_context, sockets, Asked, End,
};
use crate::common::thread::{on_a_new_thread, PATIENCE};
use openssl::ssl::{SniError, Ssl};
use openssl_async_jobs::{suspend, Job, JobPool, SuspendError};

/// A socket that asks before each call, and when it is closed.
struct Asking {
    socket: UnixStream,
    reads: Asked,
    writes: Asked,
    flushes: Asked,
    drops: Asked,
}

impl Read for Asking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads.ask(|| ()).map_err(io::Error::other)?;
        self.socket.read(buffer)
    }
}

impl Write for Asking {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writes.ask(|| ()).map_err(io::Error::other)?;
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushes.ask(|| ()).map_err(io::Error::other)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.drops.ask(|| ());
    }
}

#[test]
fn a_transport_suspends_in_its_reads_writes_flushes_and_drop() {
    for server_in_job in [true, false] {
        let (in_job, other) = match server_in_job {
            true => (any_server(), any_client()),
            false => (any_client(), any_server()),
        };
        let (here, there) = sockets();
        let asked: [Asked; 4] = Default::default();
        let [reads, writes, flushes, drops] = asked.clone();
        let other = thread::spawn(move || other.run(there));
        let (run, paused) = count_pauses(move || {
            let tls = in_job.run(Asking {
                socket: here,
                reads,
                writes,
                flushes,
                drops,
            });
            tls.map(drop)
        });
        run.unwrap();
        other.join().unwrap().unwrap();
        let times = asked.map(|asked| asked.times());
        assert!(times.iter().all(|times| *times > 0), "{times:?}");
        assert_eq!(times[3], 1);
        assert_eq!(paused, times.iter().sum());
    }
}

#[test]
fn what_a_stream_carries_suspends_in_its_drop() {
    struct AsksOnDrop(Asked);
    impl Drop for AsksOnDrop {
        fn drop(&mut self) {
            let _ = self.0.ask(|| ());
        }
    }
    let asked = Asked::new();
    let (mut server, client) = (any_server(), any_client());
    let index = Ssl::new_ex_index().unwrap();
    server.ssl.set_ex_data(index, AsksOnDrop(asked.clone()));
    let (here, there) = sockets();
    let client = thread::spawn(move || client.run(there));
    let (run, paused) = count_pauses(move || server.run(here).map(drop));
    run.unwrap();
    client.join().unwrap().unwrap();
    assert_eq!((asked.times(), paused), (1, 1));
}

/// A socket, and a witness of its end.
struct Witnessed(UnixStream, #[allow(dead_code)] Arc<()>);

impl Read for Witnessed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Witnessed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server whose servername callback waits for this and fails if that fails.
fn server_waiting_for<F: Future<Output = ()>>(
    future: impl Fn() -> F + Send + Sync + 'static,
) -> End {
    End::server(&server_context(|ctx| {
        ctx.set_servername_callback(move |_, _| {
            suspend(future()).map_err(|_| SniError::ALERT_FATAL)
        });
    }))
}

#[test]
fn a_handshake_dropped_in_a_callback_is_cancelled_and_its_stream_is_freed() {
    on_a_new_thread(|| {
        let server = server_waiting_for(std::future::pending);
        let (here, there) = sockets();
        let witness = Arc::new(());
        let socket = Witnessed(here, Arc::clone(&witness));
        let client = thread::spawn(move || any_client().run(there).map(|_| ()));
        let ended = Rc::new(RefCell::new(None));
        let end = Rc::clone(&ended);
        let mut job = Job::new(move || {
            let run = server.run(socket).map(|_| ());
            // It stays cancelled.
            let again = suspend(std::future::pending::<()>());
            *end.borrow_mut() = Some((run, again));
        });
        // Reads the client's hello, and stops in the callback.
        let waker = quiet_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut job).poll(&mut cx).is_pending());
        let stats = JobPool::stats();
        assert_eq!((stats.paused, stats.in_flight), (1, 1));
        assert!(ended.borrow().is_none());
        assert_eq!(Arc::strong_count(&witness), 2);

        drop(job);
        let (run, again) = ended.take().expect("the job has not ended");
        assert!(run.unwrap_err().ssl_error().is_some(), "not the callback's");
        assert_eq!(again, Err(SuspendError::Cancelled));
        assert_eq!(Arc::strong_count(&witness), 1, "the stream is still there");
        let stats = JobPool::stats();
        assert_eq!((stats.finished, stats.in_flight), (1, 0));
        // It was told, and does not wait.
        let told = client.join().unwrap().unwrap_err();
        assert!(told.ssl_error().is_some(), "no alert came: {told}");
    });
}

#[test]
fn a_future_that_panics_in_a_callback_fails_the_handshake_and_is_raised_after_it() {
    on_a_new_thread(|| {
        let server = server_waiting_for(|| async { panic!("on purpose") });
        let (here, there) = sockets();
        let witness = Arc::new(());
        let socket = Witnessed(here, Arc::clone(&witness));
        let client = thread::spawn(move || any_client().run(there).map(|_| ()));
        let ended = Rc::new(RefCell::new(None));
        let end = Rc::clone(&ended);
        let job = Job::new(move || {
            *end.borrow_mut() = Some(server.run(socket).map(|_| ()));
        });
        let raised = catch_unwind(AssertUnwindSafe(|| job.block_on(PATIENCE).is_ok()));
        let payload = raised.unwrap_err().downcast::<&str>().unwrap();
        assert_eq!(*payload, "on purpose");
        assert!(ended.take().expect("the job has not ended").is_err());
        assert_eq!(Arc::strong_count(&witness), 1, "the stream is still there");
        assert_eq!(JobPool::stats().in_flight, 0);
        assert!(client.join().unwrap().unwrap_err().ssl_error().is_some());
    });
}
