//! Early data of TLS 1.3, both ways, over transports that are slow.

use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslSession};
use openssl::ssl::{SslSessionCacheMode, SslVerifyMode};
use openssl_async_jobs::tokio::LocalSslStream;
use openssl_async_jobs::{suspend, AsyncPolicy, Job, JobPool};
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::each::{on_each_stream, Peer, Stream};
use super::ends::{on_one_thread, server_context};
use super::polled::poll_now;
use super::wire::{wires, Act, Wire};
use crate::common::executor::Gate;
use crate::common::thread::on_a_new_thread;

fn accepts_early_data(ctx: &mut SslContextBuilder) {
    ctx.set_max_early_data(100_000).unwrap();
    ctx.set_session_id_context(b"early").unwrap();
}

/// A client's context, and a session of the server's.
async fn session(server: &SslContext) -> (SslContext, SslSession) {
    let kept: Arc<Mutex<Option<SslSession>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let mut client = SslContext::builder(SslMethod::tls_client()).unwrap();
    client.set_verify(SslVerifyMode::NONE);
    client.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    client.set_new_session_callback(move |_, session| *keep.lock().unwrap() = Some(session));
    let client = client.build();
    let (here, there) = wires();
    let mut accepts: Peer = Stream::over(Ssl::new(server).unwrap(), here, AsyncPolicy::Never);
    let mut connects: Peer = Stream::over(Ssl::new(&client).unwrap(), there, AsyncPolicy::Never);
    let (accepted, connected) = tokio::join!(accepts.accepts(), connects.connects());
    accepted.unwrap();
    connected.unwrap();
    accepts.write_u8(1).await.unwrap();
    connects.read_u8().await.unwrap();
    // Without that libssl does not resume it.
    connects.shutdown().await.unwrap();
    accepts.shutdown().await.unwrap();
    let session = kept.lock().unwrap().take().expect("a ticket");
    (client, session)
}

/// A piece at a time, and pending now and then.
fn slow(wire: Wire) -> Wire {
    let mut calls = [0; 4];
    wire.with(move |call| {
        let n = &mut calls[call as usize];
        *n += 1;
        match *n % 3 {
            0 => Act::Later,
            _ => Act::AtMost(700),
        }
    })
}

fn pieces() -> Vec<u8> {
    (0..15_000u32).map(|n| (n >> 3) as u8).collect()
}

async fn client_writes<T: Stream<Wire>, P: Stream<Wire>>(policy: AsyncPolicy, writes: bool) {
    let server = server_context(accepts_early_data);
    let (client, session) = session(&server).await;
    let (mut here, mut there) = wires();
    // Only this crate's: libssl's own answer to a slow one is an error at times.
    match writes {
        true => here = slow(here),
        false => there = slow(there),
    }
    let mut ssl = Ssl::new(&client).unwrap();
    // SAFETY: a session of a connection with this context.
    unsafe { ssl.set_session(&session).unwrap() };
    ssl.set_connect_state();
    let mut connects = T::over(ssl, here, policy);
    let mut ssl = Ssl::new(&server).unwrap();
    ssl.set_accept_state();
    let mut accepts = P::over(ssl, there, policy);

    let early = pieces();
    let connect = async {
        let mut sent = 0;
        while sent < early.len() {
            sent += poll_fn(|cx| connects.poll_writes_early(cx, &early[sent..]))
                .await
                .unwrap();
        }
        assert_eq!(
            poll_fn(|cx| connects.poll_writes_early(cx, b""))
                .await
                .unwrap(),
            0
        );
        connects.connects().await.unwrap();
        connects.write_all(b"late").await.unwrap();
        connects.flush().await.unwrap();
        let mut answer = [0; 6];
        connects.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    };
    let accept = async {
        let mut got = Vec::new();
        let mut buffer = [0; 999];
        loop {
            let len = poll_fn(|cx| accepts.poll_reads_early(cx, &mut buffer))
                .await
                .unwrap();
            if len == 0 {
                break;
            }
            got.extend_from_slice(&buffer[..len]);
        }
        assert!(got == early, "{} bytes", got.len());
        accepts.accepts().await.unwrap();
        let mut late = [0; 4];
        accepts.read_exact(&mut late).await.unwrap();
        assert_eq!(&late, b"late");
        accepts.write_all(b"answer").await.unwrap();
        accepts.flush().await.unwrap();
    };
    tokio::join!(connect, accept);
    assert!(connects.ssl_ref().session_reused());
}

async fn writes_early<T: Stream<Wire>>(policy: AsyncPolicy) {
    client_writes::<T, Peer>(policy, true).await;
}

async fn reads_early<T: Stream<Wire>>(policy: AsyncPolicy) {
    client_writes::<Peer, T>(policy, false).await;
}

#[test]
fn a_client_writes_early_data_to_tokio_openssls_server() {
    on_each_stream!(writes_early, Wire);
}

#[test]
fn a_server_reads_early_data_of_tokio_openssls_client() {
    on_each_stream!(reads_early, Wire);
}

/// A server that has read a question which came as early data, and its client.
async fn asked<T: Stream<Wire>>(policy: AsyncPolicy) -> (T, Peer) {
    let server = server_context(accepts_early_data);
    let (client, session) = session(&server).await;
    let (here, there) = wires();
    let mut ssl = Ssl::new(&server).unwrap();
    ssl.set_accept_state();
    let mut accepts = T::over(ssl, here, policy);
    let mut ssl = Ssl::new(&client).unwrap();
    // SAFETY: a session of a connection with this context.
    unsafe { ssl.set_session(&session).unwrap() };
    ssl.set_connect_state();
    let mut connects: Peer = Stream::over(ssl, there, policy);
    poll_fn(|cx| connects.poll_writes_early(cx, b"question"))
        .await
        .unwrap();
    let mut question = [0; 100];
    let read = poll_fn(|cx| accepts.poll_reads_early(cx, &mut question))
        .await
        .unwrap();
    assert_eq!(&question[..read], b"question");
    (accepts, connects)
}

async fn answers_early(accepts: &mut impl Stream<Wire>) {
    let written = poll_fn(|cx| accepts.poll_writes_early(cx, b"answer"))
        .await
        .unwrap();
    assert_eq!(written, 6);
}

async fn reads_the_rest(accepts: &mut impl Stream<Wire>) {
    while poll_fn(|cx| accepts.poll_reads_early(cx, &mut [0; 9]))
        .await
        .unwrap()
        > 0
    {}
}

async fn reads_the_answer(connects: &mut Peer) {
    let mut answer = [0; 6];
    connects.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
}

/// A server that does not wait for the client's Finished: it answers early data early.
async fn server_writes<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut accepts, mut connects) = asked::<T>(policy).await;
    answers_early(&mut accepts).await;
    let connect = async {
        connects.connects().await.unwrap();
        reads_the_answer(&mut connects).await;
    };
    let accept = async {
        reads_the_rest(&mut accepts).await;
        accepts.accepts().await.unwrap();
        accepts.flush().await.unwrap();
    };
    tokio::join!(connect, accept);
}

#[test]
fn a_server_answers_early_data_before_the_clients_handshake_is_done() {
    on_each_stream!(server_writes, Wire);
}

async fn is_held_up<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut accepts, mut connects) = asked::<T>(policy).await;
    // Its flight goes, its answer does not.
    accepts.flush().await.unwrap();
    let outgoing = accepts.transport().outgoing.clone();
    outgoing.set_capacity(0);
    answers_early(&mut accepts).await;
    connects.connects().await.unwrap();
    reads_the_rest(&mut accepts).await;
    assert!(poll_now(|cx| accepts.poll_accepts(cx)).is_none());
    outgoing.set_capacity(usize::MAX);
    accepts.accepts().await.unwrap();
    reads_the_answer(&mut connects).await;
}

#[test]
fn an_answer_to_early_data_is_not_kept_with_tickets() {
    on_each_stream!(is_held_up, Wire);
}

/// Its job is still to come when it is accepted, and comes in the handshake.
#[test]
fn an_answer_that_has_waited_for_a_free_job_is_not_kept_with_tickets() {
    on_a_new_thread(|| {
        JobPool::builder().max_jobs(1).init().unwrap();
        on_one_thread(async {
            let (mut accepts, mut connects) =
                asked::<LocalSslStream<Wire>>(AsyncPolicy::Handshake).await;
            accepts.flush().await.unwrap();
            connects.connects().await.unwrap();
            reads_the_rest(&mut accepts).await;
            let gate = Gate::new();
            let wait = gate.wait();
            let mut other = Job::new(move || suspend(wait));
            assert!(poll_now(|cx| Pin::new(&mut other).poll(cx)).is_none());
            answers_early(&mut accepts).await;
            gate.open();
            other.await.unwrap();
            accepts.accepts().await.unwrap();
            reads_the_answer(&mut connects).await;
        });
    });
}
