//! `SslStream` over sockets that block: its operations block until they are done, also while their
//! jobs are paused, and what else is in flight on the thread goes on meanwhile (H6, H12).

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::common::child::in_a_process_of_its_own;
use crate::common::executor::quiet_waker;
use crate::common::handshake::{client_context, elsewhere, server_context, sockets, Asked};
use crate::common::script::Numbers;
use crate::common::thread::{on_a_new_thread, PATIENCE};
use openssl::ssl::{self, ShutdownResult, Ssl, SslContext, SslVerifyMode};
use openssl_async_jobs::{suspend, AsyncPolicy, CurrentJob, Job, JobPool, SslStream, WaitKey};

const POLICIES: [AsyncPolicy; 3] = [
    AsyncPolicy::Handshake,
    AsyncPolicy::Always,
    AsyncPolicy::Never,
];
const DATA: usize = 300_000;

fn tcp_sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    client.set_read_timeout(PATIENCE).unwrap();
    server.set_read_timeout(PATIENCE).unwrap();
    (server, client)
}

/// A server's context whose name callback is this, and a client's whose verify callback is.
fn contexts(callback: impl Fn() + Clone + Send + Sync + 'static) -> (SslContext, SslContext) {
    let on_verify = callback.clone();
    let server = server_context(move |ctx| {
        ctx.set_servername_callback(move |_, _| {
            callback();
            Ok(())
        });
    });
    let client = client_context(move |ctx| {
        ctx.set_verify_callback(SslVerifyMode::PEER, move |_, _| {
            on_verify();
            true
        });
    });
    (server, client)
}

fn ssl(ctx: &SslContext) -> Ssl {
    let mut ssl = Ssl::new(ctx).unwrap();
    ssl.set_hostname("name.example").unwrap();
    ssl
}

/// Echoes what it gets, to the end.
fn echo<S: Read + Write>(mut peer: ssl::SslStream<S>) {
    let mut data = vec![0; DATA];
    peer.read_exact(&mut data).unwrap();
    peer.write_all(&data).unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    while peer.shutdown().unwrap() != ShutdownResult::Received {}
}

/// All that a stream is for, on this thread; the other end is on another.
fn all_operations<S: Read + Write + AsFd + Send + 'static>(
    (here, there): (S, S),
    accepts: bool,
    policy: AsyncPolicy,
) {
    let asked = Asked::new();
    let asks = asked.clone();
    let (server, client) = contexts(move || {
        let _ = asks.ask(|| ());
    });
    let peer = match accepts {
        true => Ssl::new(&client_context(|_| ())).unwrap(),
        false => Ssl::new(&server_context(|_| ())).unwrap(),
    };
    let peer = thread::spawn(move || {
        let mut peer = peer;
        peer.set_hostname("name.example").unwrap_or(());
        let mut peer = ssl::SslStream::new(peer, there).unwrap();
        match accepts {
            true => peer.connect().unwrap(),
            false => peer.accept().unwrap(),
        }
        echo(peer);
    });
    let mut stream = SslStream::new(ssl(if accepts { &server } else { &client }), here).unwrap();
    stream.set_policy(policy);
    match accepts {
        true => stream.accept().unwrap(),
        false => stream.connect().unwrap(),
    }
    assert!(asked.times() > 0);
    let data = Numbers::new(1).bytes(DATA);
    stream.write_all(&data).unwrap();
    stream.flush().unwrap();
    let mut got = vec![0; DATA];
    stream.read_exact(&mut got).unwrap();
    assert!(got == data);
    assert_eq!(stream.shutdown().unwrap(), ShutdownResult::Sent);
    assert_eq!(stream.shutdown().unwrap(), ShutdownResult::Received);
    peer.join().unwrap();
}

#[test]
fn all_operations_block_until_they_are_done() {
    for policy in POLICIES {
        for accepts in [true, false] {
            on_a_new_thread(move || {
                all_operations(sockets(), accepts, policy);
                all_operations(tcp_sockets(), accepts, policy);
                let stats = JobPool::stats();
                assert_eq!(stats.paused > 0, policy != AsyncPolicy::Never, "{stats:?}");
                assert_eq!((stats.in_flight, stats.waiting), (0, 0), "{stats:?}");
            });
        }
    }
}

static KEY: WaitKey = WaitKey::new();

/// Pauses as an engine does, until another thread has made the wait fd readable.
fn pause_as_an_engine() {
    let Some(job) = CurrentJob::get() else {
        return;
    };
    let (registered, mut device) = UnixStream::pair().unwrap();
    let context = job.wait_context().unwrap();
    context.set_wait_fd(&KEY, registered.into()).unwrap();
    thread::spawn(move || device.write_all(b"!").unwrap());
    job.pause().unwrap();
    context.clear_fd(&KEY).unwrap();
}

/// The handshake of a server here, and of a client on another thread.
fn handshakes(server: &SslContext) {
    let (here, there) = sockets();
    let client = client_context(|_| ());
    let client = thread::spawn(move || {
        let mut client = ssl::SslStream::new(ssl(&client), there).unwrap();
        client.connect().unwrap();
        client.read_exact(&mut [0]).unwrap();
    });
    let mut stream = SslStream::new(ssl(server), here).unwrap();
    stream.accept().unwrap();
    stream.write_all(b"!").unwrap();
    client.join().unwrap();
}

#[test]
fn a_pause_by_wait_fd_blocks_until_that_is_readable() {
    on_a_new_thread(|| {
        handshakes(&contexts(pause_as_an_engine).0);
        let stats = JobPool::stats();
        assert_eq!((stats.paused, stats.in_flight), (1, 0), "{stats:?}");
    });
}

#[test]
fn many_streams_one_after_the_other_leave_no_descriptors() {
    in_a_process_of_its_own(
        "blocking::many_streams_one_after_the_other_leave_no_descriptors",
        || {
            let (server, _) = contexts(|| {
                suspend(elsewhere(|| ())).unwrap();
                pause_as_an_engine();
            });
            // What a thread keeps for its next job is there after the first ones.
            (0..5).for_each(|_| handshakes(&server));
            let before = open_descriptors();
            (0..200).for_each(|_| handshakes(&server));
            // A device's thread may have its end a moment longer.
            while open_descriptors() > before {
                thread::yield_now();
            }
            let stats = JobPool::stats();
            assert_eq!(stats.paused, 2 * 205, "{stats:?}");
            assert_eq!((stats.in_flight, stats.leaked), (0, 0), "{stats:?}");
        },
    );
}

fn open_descriptors() -> usize {
    let is_open = |fd: &libc::c_int| {
        // SAFETY: asks only.
        unsafe { libc::fcntl(*fd, libc::F_GETFD) != -1 }
    };
    (0..1024).filter(is_open).count()
}

/// A job that an engine has paused, and whose owner is gone; the device, and what tells its end.
fn orphan() -> (UnixStream, mpsc::Receiver<()>) {
    let (registered, device) = UnixStream::pair().unwrap();
    let (end, ended) = mpsc::channel();
    let mut job = Job::new(move || {
        let job = CurrentJob::get().unwrap();
        let context = job.wait_context().unwrap();
        context.set_wait_fd(&KEY, registered.into()).unwrap();
        job.pause().unwrap();
        context.clear_fd(&KEY).unwrap();
        end.send(()).unwrap();
    });
    let waker = quiet_waker();
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(std::future::Future::poll(std::pin::Pin::new(&mut job), &mut cx).is_pending());
    drop(job);
    assert_eq!(JobPool::stats().in_flight, 1);
    (device, ended)
}

/// For what would else wait for ever.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_stream_that_blocks_in_a_pause_lets_the_threads_orphans_finish() {
    on_a_new_thread(|| {
        let orphan = std::sync::Mutex::new(Some(orphan()));
        let server = server_context(|ctx| {
            ctx.set_servername_callback(move |_, _| {
                let (mut device, ended) = orphan.lock().unwrap().take().unwrap();
                let found = suspend(elsewhere(move || {
                    device.write_all(b"!").unwrap();
                    ended.recv_timeout(LONG)
                }));
                assert_eq!(found, Ok(Ok(())), "nobody looked after the orphan");
                Ok(())
            });
        });
        handshakes(&server);
        let stats = JobPool::stats();
        assert_eq!((stats.reaped, stats.in_flight), (1, 0), "{stats:?}");
    });
}

#[test]
fn a_stream_waits_for_the_only_job_until_an_orphan_has_ended() {
    on_a_new_thread(|| {
        JobPool::builder().max_jobs(1).init().unwrap();
        let (mut device, _ended) = orphan();
        let (here, there) = sockets();
        let client = client_context(|_| ());
        let client = thread::spawn(move || {
            let mut client = ssl::SslStream::new(ssl(&client), there).unwrap();
            // The server's handshake blocks, with nothing to read: until it has a job.
            client.get_ref().set_nonblocking(true).unwrap();
            client.connect().unwrap_err();
            client.get_ref().set_nonblocking(false).unwrap();
            device.write_all(b"!").unwrap();
            client.connect().unwrap();
            client.read_exact(&mut [0]).unwrap();
        });
        let mut stream = SslStream::new(ssl(&server_context(|_| ())), here).unwrap();
        stream.accept().unwrap();
        stream.write_all(b"!").unwrap();
        client.join().unwrap();
        let stats = JobPool::stats();
        assert_eq!((stats.reaped, stats.in_flight), (1, 0), "{stats:?}");
    });
}

/// A socket that blocks, but not for ever, answers `WouldBlock` too.
#[test]
fn a_write_that_a_time_out_ends_may_be_repeated_and_no_byte_comes_twice() {
    for policy in POLICIES {
        on_a_new_thread(move || {
            let (here, there) = sockets();
            let client = client_context(|_| ());
            let (read_on, may_read) = mpsc::channel::<()>();
            let client = thread::spawn(move || {
                let mut client = ssl::SslStream::new(ssl(&client), there).unwrap();
                client.connect().unwrap();
                may_read.recv().unwrap();
                let mut got = Vec::new();
                client.read_to_end(&mut got).unwrap();
                got
            });
            let mut stream = SslStream::new(ssl(&server_context(|_| ())), here).unwrap();
            stream.set_policy(policy);
            stream.accept().unwrap();
            let socket = stream.get_ref();
            let soon = Some(Duration::from_millis(20));
            socket.set_write_timeout(soon).unwrap();
            let data = Numbers::new(1).bytes(3_000_000);
            let mut time_outs = 0;
            // From the first one on it is read.
            let mut timed_out = |e: std::io::Error| {
                assert_eq!(e.kind(), ErrorKind::WouldBlock);
                time_outs += 1;
                let _ = read_on.send(());
            };
            let mut sent = 0;
            while sent < data.len() {
                match stream.write(&data[sent..]) {
                    Ok(len) => sent += len,
                    Err(e) => timed_out(e),
                }
            }
            while let Err(e) = stream.flush() {
                timed_out(e);
            }
            while let Err(e) = stream.shutdown() {
                assert!(e.is_would_block());
            }
            drop(stream);
            let got = client.join().unwrap();
            assert!(time_outs > 0);
            assert_eq!(got.len(), data.len(), "{policy:?}");
            assert!(got == data, "{policy:?}");
        });
    }
}
