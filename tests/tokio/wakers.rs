//! A reader and a writer in tasks of their own, over a transport that knows one waker of each kind:
//! whatever both wait for, each is woken, and nobody is polled for nothing.

use std::any::Any;
use std::pin::Pin;
use std::sync::mpsc;

use openssl::ssl::Ssl;
use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::{suspend, AsyncPolicy};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;

use super::each::{opened_now, Peer, Stream};
use super::ends::{client, server, server_context};
use super::polled::{poll_with, Woken};
use super::wire::{wires, Act, Call, Wire};
use crate::common::executor::{yield_once, Executor, Gate};

/// Runs a test that polls by hand on each stream and under each policy.
macro_rules! on_each_stream_by_hand {
    ($test:ident) => {
        for policy in [
            AsyncPolicy::Handshake,
            AsyncPolicy::Always,
            AsyncPolicy::Never,
        ] {
            $test::<LocalSslStream<Wire>>(policy);
        }
        $test::<SslStream<Wire>>(AsyncPolicy::Never);
    };
}

/// What a peer does that is asked once, and answers.
async fn answer(mut peer: Peer) {
    peer.connects().await.unwrap();
    let mut question = [0; 5];
    peer.read_exact(&mut question).await.unwrap();
    assert_eq!(&question, b"hello");
    peer.write_all(b"answer").await.unwrap();
    peer.flush().await.unwrap();
}

async fn read(mut reader: impl AsyncRead + Unpin) {
    let mut answer = [0; 6];
    reader.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
}

async fn write(mut writer: impl AsyncWrite + Unpin) {
    writer.write_all(b"hello").await.unwrap();
    writer.flush().await.unwrap();
}

fn accepting<T: Stream<Wire>>(policy: AsyncPolicy) -> (T, Peer) {
    let ctx = server_context(|_| {});
    let (here, there) = wires();
    let mut ssl = server(&ctx);
    ssl.set_accept_state();
    (
        T::over(ssl, here, policy),
        Stream::over(client(), there, policy),
    )
}

fn both_do_the_handshake<T: Stream<Wire> + 'static>(policy: AsyncPolicy) {
    for reader_first in [true, false] {
        let (stream, peer) = accepting::<T>(policy);
        let (reader, writer) = tokio::io::split(stream);
        let mut executor = Executor::new();
        // Both wait for the client's hello before there is a client.
        let (a, b) = match reader_first {
            true => {
                let a = executor.spawn(read(reader));
                (a, executor.spawn(write(writer)))
            }
            false => {
                let a = executor.spawn(write(writer));
                (a, executor.spawn(read(reader)))
            }
        };
        executor.run();
        assert_eq!((executor.polls(a), executor.polls(b)), (1, 1), "{policy:?}");
        let peer = executor.spawn(answer(peer));
        executor.run();
        assert_eq!(
            executor.finished.len(),
            3,
            "{policy:?}: somebody was not woken"
        );
        // The hello, the client's second flight, the answer: each may wake both, and whoever has it
        // wakes the other one once more.
        for task in [a, b, peer] {
            assert!(executor.polls(task) <= 8, "{}", executor.polls(task));
        }
    }
}

#[test]
fn a_reader_and_a_writer_that_both_wait_for_the_handshake_are_both_woken() {
    on_each_stream_by_hand!(both_do_the_handshake);
}

/// The transport knows the one that has asked last, and that one is gone.
fn the_last_one_is_gone<T: Stream<Wire> + 'static>(policy: AsyncPolicy) {
    for reader_stays in [true, false] {
        let (stream, peer) = accepting::<T>(policy);
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut executor = Executor::<Box<dyn Any>>::new();
        let gate = Gate::new();
        let (late, late_too) = (gate.wait(), gate.wait());
        let reader = executor.spawn(async move {
            if reader_stays {
                read(&mut reader).await;
                return Box::new(reader) as Box<dyn Any>;
            }
            late.await;
            tokio::select! {
                biased;
                _ = reader.read_u8() => panic!("there is nothing"),
                () = yield_once() => {}
            }
            Box::new(reader)
        });
        let writer = executor.spawn(async move {
            if !reader_stays {
                write(&mut writer).await;
                return Box::new(writer) as Box<dyn Any>;
            }
            late_too.await;
            tokio::select! {
                biased;
                _ = writer.write_u8(1) => panic!("there is no handshake"),
                () = yield_once() => {}
            }
            Box::new(writer)
        });
        executor.run();
        gate.open();
        executor.run();
        assert_eq!(executor.finished.len(), 1, "the one that is gone");
        let stays = if reader_stays { reader } else { writer };
        assert_eq!(executor.polls(stays), 1);
        executor.spawn(async move {
            let mut peer = peer;
            peer.connects().await.unwrap();
            peer.write_all(b"answer").await.unwrap();
            Box::new(peer) as Box<dyn Any>
        });
        executor.run();
        assert_eq!(executor.finished.len(), 3, "{policy:?}: it was not woken");
    }
}

#[test]
fn who_waits_for_the_transport_is_woken_when_who_has_asked_it_last_is_gone() {
    on_each_stream_by_hand!(the_last_one_is_gone);
}

/// The transport is asked by somebody else in time, and owes nobody a wake-up.
fn somebody_else_receives<T: Stream<Wire> + 'static>(policy: AsyncPolicy) {
    for reader_waits in [true, false] {
        let (mut stream, mut peer) = accepting::<T>(policy);
        stream.transport().set_script(|call| match call {
            Call::Read => Act::Wait,
            _ => Act::All,
        });
        let ((waits, waiting), (_, other)) = (Woken::new(), Woken::new());
        let poll = |stream: &mut T, reads, waker| {
            let stream = Pin::new(stream);
            match reads {
                true => poll_with(waker, |cx| {
                    stream
                        .poll_read(cx, &mut ReadBuf::new(&mut [0; 9]))
                        .map(drop)
                }),
                false => poll_with(waker, |cx| stream.poll_write(cx, b"x").map(drop)),
            }
        };
        assert!(poll(&mut stream, reader_waits, &waiting).is_none());
        assert!(poll(&mut stream, !reader_waits, &other).is_none());
        let _ = poll_with(&other, |cx| peer.poll_connects(cx));
        assert_eq!(waits.take(), 0);
        stream.transport().set_script(|_| Act::All);
        // It has received the hello, which is not all that it waits for.
        assert!(poll(&mut stream, !reader_waits, &other).is_none());
        assert!(waits.take() > 0, "{policy:?}: not told");
    }
}

#[test]
fn who_goes_on_with_what_others_wait_for_tells_them() {
    on_each_stream_by_hand!(somebody_else_receives);
}

fn both_wait_to_write<T: Stream<Wire> + 'static>(policy: AsyncPolicy) {
    for reader_last in [true, false] {
        let (mut stream, mut peer) = opened_now::<T>(policy);
        let outgoing = stream.transport().outgoing.clone();
        outgoing.set_capacity(0);
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut executor = Executor::new();
        let gate = Gate::new();
        let opened = gate.wait();
        let writer = executor.spawn(async move {
            writer.write_all(&[7; 300_000]).await.unwrap();
            writer.flush().await.unwrap();
        });
        executor.run();
        let reader = executor.spawn(async move {
            opened.await;
            assert_eq!(reader.read_u8().await.unwrap(), 8);
        });
        gate.open();
        executor.run();
        assert_eq!(executor.finished.len(), 0);
        // The transport has the waker of who asked it last.
        match reader_last {
            true => executor.poll(reader),
            false => executor.poll(writer),
        }
        outgoing.set_capacity(20_000);
        let peer = executor.spawn(async move {
            let mut received = vec![0; 300_000];
            peer.read_exact(&mut received).await.unwrap();
            peer.write_all(&[8]).await.unwrap();
            peer.flush().await.unwrap();
        });
        executor.run();
        let finished = executor.finished.len();
        assert_eq!(finished, 3, "{policy:?}: somebody was not woken");
        // 300,000 bytes are 15 times what is taken, and each time may wake all.
        assert!(executor.polls(writer) < 100, "{}", executor.polls(writer));
        assert!(executor.polls(reader) < 100, "{}", executor.polls(reader));
        assert!(executor.polls(peer) < 100, "{}", executor.polls(peer));
    }
}

#[test]
fn a_writer_is_woken_when_a_reader_has_asked_the_transport_last() {
    on_each_stream_by_hand!(both_wait_to_write);
}

fn waits_in_peace<T: Stream<Wire> + 'static>(policy: AsyncPolicy) {
    let (mut stream, mut peer) = opened_now::<T>(policy);
    let (woken, waker) = Woken::new();
    let mut memory = [0; 10];
    let mut buf = ReadBuf::new(&mut memory);
    stream.transport().take_calls();
    for _ in 0..100 {
        let read = poll_with(&waker, |cx| Pin::new(&mut stream).poll_read(cx, &mut buf));
        assert!(read.is_none());
    }
    assert_eq!(woken.take(), 0, "a busy loop");
    // A poll is a call of the transport, no more.
    assert_eq!(stream.transport().take_calls().len(), 100);
    let sent = poll_with(&waker, |cx| Pin::new(&mut peer).poll_write(cx, b"hello"));
    sent.unwrap().unwrap();
    assert_eq!(woken.take(), 1, "one waker");
    let read = poll_with(&waker, |cx| Pin::new(&mut stream).poll_read(cx, &mut buf));
    read.unwrap().unwrap();
    assert_eq!(woken.take(), 0, "it is there already");
    assert_eq!(buf.filled(), b"hello");
}

#[test]
fn a_reader_that_waits_is_woken_once_and_only_for_something() {
    on_each_stream_by_hand!(waits_in_peace);
}

/// Both wait for one job: a callback that has suspended.
#[test]
fn a_reader_and_a_writer_that_wait_for_one_job_are_both_woken() {
    for starts in ["reader", "writer", "who is gone", "who is gone last"] {
        let gone = starts.starts_with("who is gone");
        let (ask, questions) = mpsc::channel::<oneshot::Sender<()>>();
        let ctx = server_context(|ctx| {
            ctx.set_servername_callback(move |_, _| {
                let (answer, answered) = oneshot::channel();
                ask.send(answer).unwrap();
                suspend(answered).unwrap().unwrap();
                Ok(())
            })
        });
        let (here, there) = wires();
        let mut ssl: Ssl = server(&ctx);
        ssl.set_accept_state();
        let stream = LocalSslStream::new(ssl, here).unwrap();
        let peer: Peer = Stream::over(client(), there, AsyncPolicy::Never);
        let mut executor = Executor::<Box<dyn Any>>::new();
        executor.spawn(async move {
            answer(peer).await;
            Box::new(()) as Box<dyn Any>
        });
        executor.run();
        let (reader, mut writer) = tokio::io::split(stream);
        // With an await before, the order is that of the gates.
        let gates = [Gate::new(), Gate::new()];
        let opened = gates.clone().map(|gate| gate.wait());
        let [reads, writes] = opened;
        let reader = executor.spawn(async move {
            let mut reader = reader;
            reads.await;
            if gone {
                tokio::select! {
                    biased;
                    _ = reader.read_u8() => panic!("there is nothing"),
                    () = yield_once() => {}
                }
                // Another task's from here on.
                return Box::new(reader) as Box<dyn Any>;
            }
            read(&mut reader).await;
            Box::new(reader)
        });
        let writer = executor.spawn(async move {
            writes.await;
            write(&mut writer).await;
            Box::new(writer) as Box<dyn Any>
        });
        let first = usize::from(["writer", "who is gone last"].contains(&starts));
        gates[first].open();
        executor.run();
        let question = questions.try_recv().expect("it has begun");
        gates[1 - first].open();
        executor.run();
        let before = executor.finished.len();
        assert_eq!(before, usize::from(gone));
        let polls = (executor.polls(reader), executor.polls(writer));
        executor.run();
        assert_eq!(polls, (executor.polls(reader), executor.polls(writer)));
        question.send(()).unwrap();
        executor.run();
        assert_eq!(
            executor.finished.len(),
            3,
            "{starts}: somebody was not woken"
        );
    }
}
