//! A server's session tickets: nobody waits for them, so they go with what is sent next.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslSessionCacheMode, SslVerifyMode};
use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::{block_on, AsyncPolicy};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::each::{on_each_stream, Peer, Stream};
use super::ends::{client, server, server_context};
use super::polled::poll_now;
use super::wire::{wires, Call, Wire};
use crate::common::thread::PATIENCE;

/// What TLS 1.3 adds to a record.
const OVERHEAD: usize = 22;

/// A client that counts its tickets.
struct Client {
    stream: Peer,
    tickets: Arc<AtomicUsize>,
}

impl Client {
    fn over(wire: Wire) -> Client {
        let tickets = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&tickets);
        let mut ctx = SslContext::builder(SslMethod::tls_client()).unwrap();
        ctx.set_verify(SslVerifyMode::NONE);
        ctx.set_session_cache_mode(SslSessionCacheMode::CLIENT);
        ctx.set_new_session_callback(move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let ssl = Ssl::new(&ctx.build()).unwrap();
        Client {
            stream: Stream::over(ssl, wire, AsyncPolicy::Never),
            tickets,
        }
    }

    /// Reads what there is, and says how many tickets have come.
    fn tickets(&mut self) -> usize {
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        let read = poll_now(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut buf));
        assert!(read.is_none(), "nothing but tickets");
        self.tickets.load(Ordering::SeqCst)
    }
}

/// Both handshakes are done.
async fn accepted<T: Stream<Wire>>(policy: AsyncPolicy, ctx: &SslContext) -> (T, Client) {
    let (here, there) = wires();
    let mut stream = T::over(server(ctx), here, policy);
    let mut client = Client::over(there);
    let (accepted, connected) = tokio::join!(stream.accepts(), client.stream.connects());
    accepted.unwrap();
    connected.unwrap();
    (stream, client)
}

/// Likewise, and the server's transport has been asked for nothing since.
async fn opened<T: Stream<Wire>>(policy: AsyncPolicy) -> (T, Client) {
    let (mut stream, mut client) = accepted::<T>(policy, &server_context(|_| {})).await;
    assert_eq!(client.tickets(), 0);
    stream.transport().take_calls();
    (stream, client)
}

fn writes(stream: &mut impl Stream<Wire>) -> usize {
    let calls = stream.transport().take_calls();
    calls
        .into_iter()
        .filter(|call| *call == Call::Write)
        .count()
}

async fn with_a_write<T: Stream<Wire>>(policy: AsyncPolicy) {
    for len in [1, 1000, 16 * 1024] {
        let (mut stream, mut client) = opened::<T>(policy).await;
        stream.write_all(&vec![7; len]).await.unwrap();
        assert_eq!(writes(&mut stream), 1, "{len}, {policy:?}");
        let mut got = vec![0; len];
        client.stream.read_exact(&mut got).await.unwrap();
        assert_eq!(got, vec![7; len]);
        assert_eq!(client.tickets(), 2);
    }
}

#[test]
fn they_go_with_what_a_server_writes_first() {
    on_each_stream!(with_a_write, Wire);
}

async fn with_an_answer<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut client) = opened::<T>(policy).await;
    client.stream.write_all(b"GET /").await.unwrap();
    let mut request = [0; 5];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(writes(&mut stream), 0, "{policy:?}");
    let mut more = [0];
    client.stream.write_all(b"!").await.unwrap();
    let peeked = poll_now(|cx| stream.poll_peeks(cx, &mut more));
    assert_eq!(peeked.unwrap().unwrap(), 1);
    assert_eq!(writes(&mut stream), 0, "{policy:?}");
    stream.write_all(b"200").await.unwrap();
    assert_eq!(writes(&mut stream), 1, "{policy:?}");
    let mut answer = [0; 3];
    client.stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(client.tickets(), 2);
}

#[test]
fn a_request_that_is_there_is_read_first_and_they_go_with_the_answer() {
    on_each_stream!(with_an_answer, Wire);
}

async fn when_a_read_waits<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut client) = opened::<T>(policy).await;
    let mut byte = [0];
    let mut buf = ReadBuf::new(&mut byte);
    let read = poll_now(|cx| Pin::new(&mut stream).poll_read(cx, &mut buf));
    assert!(read.is_none());
    assert_eq!(client.tickets(), 2, "{policy:?}");
}

#[test]
fn a_read_that_waits_sends_them() {
    on_each_stream!(when_a_read_waits, Wire);
}

async fn with_a_flush<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut client) = opened::<T>(policy).await;
    stream.flush().await.unwrap();
    assert_eq!(client.tickets(), 2, "{policy:?}");
}

#[test]
fn a_flush_sends_them() {
    on_each_stream!(with_a_flush, Wire);
}

async fn with_the_end<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut client) = opened::<T>(policy).await;
    stream.shutdown().await.unwrap();
    assert_eq!(writes(&mut stream), 1, "{policy:?}");
    assert_eq!(client.stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(client.tickets.load(Ordering::SeqCst), 2);
}

#[test]
fn a_shutdown_sends_them_with_its_close_notify() {
    on_each_stream!(with_the_end, Wire);
}

async fn with_an_alert<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut client) = opened::<T>(policy).await;
    client.stream.write_all(b"x").await.unwrap();
    let incoming = stream.transport().incoming.clone();
    incoming.tamper(|bytes| *bytes.back_mut().unwrap() ^= 1);
    stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(writes(&mut stream), 1, "{policy:?}");
    let told = client.stream.read(&mut [0]).await.unwrap_err();
    assert!(told.to_string().contains("alert"), "{told}");
    assert_eq!(client.tickets.load(Ordering::SeqCst), 2);
}

#[test]
fn an_alert_that_a_read_brings_is_sent_with_them() {
    on_each_stream!(with_an_alert, Wire);
}

async fn as_long_as_they_were<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut client) = opened::<T>(policy).await;
    let outgoing = stream.transport().outgoing.clone();
    stream.flush().await.unwrap();
    let len = outgoing.len();
    assert_eq!(client.tickets(), 2);
    // A record of that length, which is not sent at once.
    outgoing.set_capacity(0);
    stream.write_all(&vec![7; len - OVERHEAD]).await.unwrap();
    outgoing.set_capacity(usize::MAX);
    client.stream.write_all(b"x").await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    assert_eq!(outgoing.len(), len, "{policy:?}");
}

#[test]
fn what_is_as_long_as_they_were_is_sent_after_a_read() {
    on_each_stream!(as_long_as_they_were, Wire);
}

async fn many<T: Stream<Wire>>(policy: AsyncPolicy) {
    let ctx = server_context(|ctx| ctx.set_num_tickets(1000).unwrap());
    let (mut stream, mut client) = accepted::<T>(policy, &ctx).await;
    assert_eq!(client.tickets(), 1000, "{policy:?}");
    client.stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

/// Nor are they memory that is held for as long as the server has nothing to say.
#[test]
fn many_are_sent_at_once() {
    on_each_stream!(many, Wire);
}

/// It may be handed over, and what it has is sent from there.
#[test]
fn a_stream_takes_them_to_another_thread() {
    let (stream, mut client) = super::ends::on_one_thread(async {
        let (stream, client) = opened::<LocalSslStream<Wire>>(AsyncPolicy::Handshake).await;
        (stream.into_send().expect("nothing is in flight"), client)
    });
    let sent = std::thread::spawn(move || {
        let mut stream: SslStream<Wire> = stream;
        block_on(Box::pin(async { stream.write_all(b"x").await }), PATIENCE)
            .unwrap_or_else(|_| panic!("stuck"))
            .unwrap();
        stream
    });
    let _stream = sent.join().unwrap();
    let mut byte = [0];
    let mut buf = ReadBuf::new(&mut byte);
    let read = poll_now(|cx| Pin::new(&mut client.stream).poll_read(cx, &mut buf));
    read.unwrap().unwrap();
    assert_eq!(client.tickets(), 2);
}

/// With TLS 1.2 a server's last flight is what its client waits for.
#[test]
fn an_older_handshake_ends_with_what_its_client_waits_for() {
    super::ends::on_one_thread(async {
        let ctx = server_context(|ctx| {
            let newest = Some(openssl::ssl::SslVersion::TLS1_2);
            ctx.set_max_proto_version(newest).unwrap();
        });
        let (here, there) = wires();
        let mut stream = LocalSslStream::new(server(&ctx), here).unwrap();
        let mut peer: Peer = Stream::over(client(), there, AsyncPolicy::Never);
        let (accepted, connected) = tokio::join!(stream.accepts(), peer.connects());
        accepted.unwrap();
        connected.unwrap();
    });
}
