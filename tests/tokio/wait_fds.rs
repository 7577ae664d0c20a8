//! An engine that tells by file descriptors (H9): the runtime's reactor watches duplicates of them.

use std::ffi::c_void;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{mpsc, Mutex};
use std::thread;

use openssl_async_jobs::{ffi, JobPool};

use super::each::Stream;
use super::ends::{on_one_thread, server_context};
use super::evidence::{asked, paused_by};
use super::polled::poll_now;
use crate::common::engine::{clear_fd, pause, set_fd, wait_context, Key, Tells};
use crate::common::thread::PATIENCE;

#[test]
fn a_handshake_goes_on_when_a_wait_fd_is_readable() {
    on_one_thread(async {
        let (ctx, begins) = paused_by(Tells::Fd);
        let (mut stream, mut peer) = asked(&ctx);
        let device = thread::spawn(move || {
            let operation = begins.recv().unwrap();
            operation.complete();
            operation
        });
        let (accepted, connected) = tokio::join!(
            Pin::new(&mut stream).accept(),
            Pin::new(&mut peer).connect()
        );
        accepted.unwrap();
        connected.unwrap();
        device.join().unwrap().assert_resumed_once();
    });
}

fn pair() -> (UnixStream, UnixStream) {
    let pair = UnixStream::pair().unwrap();
    pair.0.set_nonblocking(true).unwrap();
    pair.1.set_nonblocking(true).unwrap();
    pair
}

/// Makes the number of one that of the other.
fn put_in_place(new: OwnedFd, old: &UnixStream) {
    // SAFETY: two that are open, and the caller's.
    let put = unsafe { libc::dup2(new.as_raw_fd(), old.as_raw_fd()) };
    assert_eq!(put, old.as_raw_fd());
}

#[test]
fn another_wait_fd_with_the_number_of_one_that_is_gone_is_watched_in_its_place() {
    static KEY: Key = Key::new();
    on_one_thread(async {
        let (first, mut first_device) = pair();
        let (second, mut second_device) = pair();
        let number = first.as_raw_fd();
        let (paused, pauses) = mpsc::channel();
        let engine = Mutex::new(Some((first, second)));
        let ctx = server_context(|ctx| {
            ctx.set_servername_callback(move |_, _| {
                let (first, second) = engine.lock().unwrap().take().unwrap();
                set_fd(&KEY, &first);
                paused.send(1).unwrap();
                pause();
                clear_fd(&KEY);
                put_in_place(second.into(), &first);
                set_fd(&KEY, &first);
                paused.send(2).unwrap();
                pause();
                clear_fd(&KEY);
                paused.send(3).unwrap();
                Ok(())
            })
        });
        let (mut stream, mut peer) = asked(&ctx);
        assert!(poll_now(|cx| stream.poll_accepts(cx)).is_none());
        assert_eq!(pauses.try_recv(), Ok(1));
        assert!(number > 0);
        first_device.write_all(&[1]).unwrap();
        let mut accept = std::pin::pin!(stream.accepts());
        while pauses.try_recv() != Ok(2) {
            assert!(poll_now(|cx| std::future::Future::poll(accept.as_mut(), cx)).is_none());
            tokio::task::yield_now().await;
        }
        // The reactor has let go of the first one: nobody else has it.
        let gone = first_device.write(&[1]).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::BrokenPipe);
        let device = thread::spawn(move || second_device.write_all(&[1]).map(|()| second_device));
        let (accepted, connected) = tokio::join!(accept, peer.connects());
        accepted.unwrap();
        connected.unwrap();
        assert_eq!(pauses.try_recv(), Ok(3));
        drop(device.join().unwrap().unwrap());
    });
}

/// What an engine leaves in a wait context, with a clean-up.
struct Left {
    device: UnixStream,
    cleaned: mpsc::Sender<bool>,
}

/// Registers a wait fd under this key, which the wait context closes in the end.
fn leave(key: *const c_void, fd: UnixStream, left: Left) {
    // SAFETY: the running job's wait context, and a function with its argument.
    let set = unsafe {
        ffi::ASYNC_WAIT_CTX_set_wait_fd(
            wait_context(),
            key,
            fd.into_raw_fd(),
            Box::into_raw(Box::new(left)).cast(),
            Some(clean_up),
        )
    };
    assert_eq!(set, 1);
}

unsafe extern "C" fn clean_up(
    _: *mut ffi::ASYNC_WAIT_CTX,
    _: *const c_void,
    fd: RawFd,
    left: *mut c_void,
) {
    // SAFETY: `leave` gave both away.
    let (fd, left) = unsafe {
        (
            UnixStream::from_raw_fd(fd),
            Box::from_raw(left.cast::<Left>()),
        )
    };
    drop(fd);
    // The end, or a reset for what nobody has read, has come only if nobody has a duplicate.
    let waits = |e: std::io::Error| e.kind() == ErrorKind::WouldBlock;
    let ended = !(&left.device).read(&mut [0]).is_err_and(waits);
    left.cleaned.send(ended).unwrap();
}

#[test]
fn no_duplicate_is_left_in_the_reactor_when_a_wait_context_is_cleaned_up() {
    static KEY: Key = Key::new();
    for how in [
        "dropped",
        "sent",
        "readable still",
        "dropped while it is paused",
    ] {
        on_one_thread(async {
            let (cleaned, cleanings) = mpsc::channel();
            let (fd, device) = pair();
            let mut tell = device.try_clone().unwrap();
            let left = Mutex::new(Some((fd, Left { device, cleaned })));
            let ctx = server_context(|ctx| {
                ctx.set_servername_callback(move |_, _| {
                    let (fd, left) = left.lock().unwrap().take().unwrap();
                    let mut own = fd.try_clone().unwrap();
                    leave(KEY.as_ptr(), fd, left);
                    pause();
                    if how != "readable still" {
                        own.read_exact(&mut [0]).unwrap();
                    }
                    Ok(())
                })
            });
            let (mut stream, mut peer) = asked(&ctx);
            assert!(poll_now(|cx| stream.poll_accepts(cx)).is_none());
            assert!(stream.is_in_flight());
            if how == "dropped while it is paused" {
                drop(stream);
                assert!(cleanings.try_recv().is_err(), "its engine is not done");
                tell.write_all(&[1]).unwrap();
                assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
            } else {
                tell.write_all(&[1]).unwrap();
                let (accepted, connected) = tokio::join!(stream.accepts(), peer.connects());
                accepted.unwrap();
                connected.unwrap();
                // It is kept for the next operation, if it is of use.
                if how != "readable still" {
                    assert!(cleanings.try_recv().is_err());
                }
                match how {
                    "sent" => drop(stream.into_send().unwrap()),
                    _ => drop(stream),
                }
            }
            let ended = cleanings.try_recv().expect("it was cleaned up");
            // The crate's own thread may still be in poll(2) with what it had of one that was dropped.
            assert!(ended || how == "dropped while it is paused", "{how}");
        });
    }
}
