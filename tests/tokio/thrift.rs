//! What a handshake and a message cost, where that is exact.

use std::pin::Pin;

use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::JobPool;

use openssl_async_jobs::AsyncPolicy;
use tokio::io::{AsyncWrite, ReadBuf};

use super::each::{opened_now, Stream};
use super::ends::{client, on_one_thread, server, server_context};
use super::polled::{poll_with, Woken};
use super::wire::{Call, Wire};

#[test]
fn a_server_starts_a_job_for_each_flight_of_its_client_and_none_to_wait() {
    on_one_thread(async {
        let ctx = server_context(|_| {});
        let (here, there) = tokio::io::duplex(5000);
        let mut server = LocalSslStream::new(server(&ctx), here).unwrap();
        let mut client = SslStream::new(client(), there).unwrap();
        let before = JobPool::stats().started;
        let (accepted, connected) = tokio::join!(
            Pin::new(&mut server).accept(),
            Pin::new(&mut client).connect()
        );
        accepted.unwrap();
        connected.unwrap();
        assert_eq!(JobPool::stats().started - before, 2);
    });
}

fn answers_in_few_calls<T: Stream<Wire> + 'static>(policy: AsyncPolicy) {
    let (mut stream, mut peer) = opened_now::<T>(policy);
    let (_, waker) = Woken::new();
    for message in [&b"x"[..], &[1; 1024]] {
        stream.transport().take_calls();
        let sent = poll_with(&waker, |cx| Pin::new(&mut peer).poll_write(cx, message));
        assert_eq!(sent.unwrap().unwrap(), message.len());
        let mut memory = [0; 2048];
        let mut buf = ReadBuf::new(&mut memory);
        let read = poll_with(&waker, |cx| Pin::new(&mut stream).poll_read(cx, &mut buf));
        read.unwrap().unwrap();
        assert_eq!(buf.filled(), message);
        let sent = poll_with(&waker, |cx| Pin::new(&mut stream).poll_write(cx, message));
        assert_eq!(sent.unwrap().unwrap(), message.len());
        let calls = stream.transport().take_calls();
        let calls: Vec<_> = calls
            .into_iter()
            .filter(|call| *call != Call::Flush)
            .collect();
        assert_eq!(calls, [Call::Read, Call::Write], "{policy:?}");
    }
}

#[test]
fn a_message_and_its_answer_are_one_read_and_one_write_of_the_transport() {
    for policy in [
        AsyncPolicy::Handshake,
        AsyncPolicy::Always,
        AsyncPolicy::Never,
    ] {
        answers_in_few_calls::<LocalSslStream<Wire>>(policy);
    }
    answers_in_few_calls::<SslStream<Wire>>(AsyncPolicy::Never);
}

fn reads_whole_records<T: Stream<Wire> + 'static>() {
    const RECORD: usize = 16 * 1024;
    let (mut stream, mut peer) = opened_now::<T>(AsyncPolicy::Handshake);
    let (_, waker) = Woken::new();
    let message: Vec<u8> = (0..2 * RECORD).map(|n| (n / 251 + n) as u8).collect();
    let mut memory = vec![0; 4096 + 2 * RECORD];
    for offset in (0..4096).step_by(8) {
        for record in message.chunks(RECORD) {
            let sent = poll_with(&waker, |cx| Pin::new(&mut peer).poll_write(cx, record));
            assert_eq!(sent.unwrap().unwrap(), RECORD);
        }
        let mut buf = ReadBuf::new(&mut memory[offset..][..2 * RECORD]);
        let read = poll_with(&waker, |cx| Pin::new(&mut stream).poll_read(cx, &mut buf));
        read.unwrap().unwrap();
        assert!(buf.filled() == message, "{offset}: {}", buf.filled().len());
    }
}

/// Where libssl would copy them slowly, it is asked for pieces of them.
#[test]
fn a_read_brings_whole_records_wherever_its_buffer_is() {
    reads_whole_records::<LocalSslStream<Wire>>();
    reads_whole_records::<SslStream<Wire>>();
}
