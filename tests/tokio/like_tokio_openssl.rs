//! What a program for tokio-openssl does, it does with these streams; and where something goes
//! wrong, it is told the same.

use std::io::ErrorKind;

use openssl_async_jobs::AsyncPolicy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::each::{on_each_stream, opened, Peer, Stream, Told};
use super::ends::{client, on_one_thread, server, server_context};
use super::polled::poll_now;
use super::wire::{wires, Act, Call, Wire};

/// tokio-openssl's own test, `server`.
async fn asks_and_answers<T: Stream<TcpStream>>(policy: AsyncPolicy) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = async {
        let ctx = server_context(|_| {});
        let socket = listener.accept().await.unwrap().0;
        let mut stream = T::over(server(&ctx), socket, policy);
        stream.accepts().await.unwrap();
        let mut question = [0; 4];
        stream.read_exact(&mut question).await.unwrap();
        assert_eq!(&question, b"asdf");
        stream.write_all(b"jkl;").await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let ask = async {
        let socket = TcpStream::connect(addr).await.unwrap();
        let mut stream = T::over(client(), socket, policy);
        stream.connects().await.unwrap();
        assert!(stream.ssl_ref().peer_certificate().is_some());
        stream.write_all(b"asdf").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"jkl;");
    };
    tokio::join!(serve, ask);
}

#[test]
fn a_client_asks_and_a_server_answers_over_tcp() {
    on_each_stream!(asks_and_answers, TcpStream);
}

async fn ends<T: Stream<Wire>>(policy: AsyncPolicy) {
    // With a close_notify: the end, however often it is read.
    let (mut stream, mut peer) = opened::<T>(policy).await;
    peer.write_all(b"last").await.unwrap();
    peer.shutdown().await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"last");
    assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0);
    let peeked = stream.peeks(&mut [0; 9]).await;
    let zero_return = openssl::ssl::ErrorCode::ZERO_RETURN.as_raw();
    assert_eq!(Told::from(peeked), Told::Tls(zero_return, Vec::new()));
    // Its own direction is open still.
    stream.write_all(b"later").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut read = Vec::new();
    peer.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"later");
}

#[test]
fn after_a_close_notify_there_is_the_end_and_one_may_write_still() {
    on_each_stream!(ends, Wire);
}

async fn peeks<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut peer) = opened::<T>(policy).await;
    peer.write_all(b"hello").await.unwrap();
    let mut buffer = [0; 9];
    for len in [1, 2, 9, 0, 9] {
        let peeked = stream.peeks(&mut buffer[..len]).await.unwrap();
        // A peek that a job does asks for no more than its caller has room for.
        assert!(peeked == len.min(5) || (peeked > 0 && peeked < len.min(5)));
        assert_eq!(buffer[..peeked], b"hello"[..peeked]);
    }
    assert_eq!(stream.read(&mut buffer[..0]).await.unwrap(), 0);
    stream.read_exact(&mut buffer[..5]).await.unwrap();
    assert_eq!(&buffer[..5], b"hello");
}

#[test]
fn what_is_peeked_at_is_there_for_the_next_read() {
    on_each_stream!(peeks, Wire);
}

async fn shuts_down<T: Stream<Wire>>(policy: AsyncPolicy) {
    // It waits for nobody, and the transport is shut down after the close_notify.
    let (mut stream, mut peer) = opened::<T>(policy).await;
    stream.write_all(b"last").await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(stream.transport().outgoing.has_ended());
    stream.shutdown().await.unwrap();
    let mut read = Vec::new();
    peer.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"last");
    // After a shutdown one reads on, but does not write.
    stream.write_all(b"too late").await.unwrap_err();
    peer.write_all(b"an answer").await.unwrap();
    peer.shutdown().await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"an answer");
    stream.shutdown().await.unwrap();
}

#[test]
fn a_shutdown_closes_one_direction_and_waits_for_nobody() {
    on_each_stream!(shuts_down, Wire);
}

async fn handshakes_by_role<T: Stream<Wire>>(policy: AsyncPolicy) {
    let ctx = server_context(|_| {});
    let (here, there) = wires();
    let (mut accepts, mut connects) = (server(&ctx), client());
    accepts.set_accept_state();
    connects.set_connect_state();
    let mut stream = T::over(accepts, here, policy);
    let mut other = T::over(connects, there, policy);
    // Reading and writing do the handshake, too.
    let read = async { stream.read_u8().await.unwrap() };
    let write = async {
        std::future::poll_fn(|cx| other.poll_handshakes(cx))
            .await
            .unwrap();
        other.write_u8(7).await.unwrap();
        other.flush().await.unwrap();
    };
    assert_eq!(tokio::join!(read, write).0, 7);
}

#[test]
fn a_handshake_is_done_as_what_the_ssl_was_set_to_be() {
    on_each_stream!(handshakes_by_role, Wire);
}

/// What is wrong with the transport of the stream, a server's.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    ReadFails(ErrorKind),
    WriteFails(ErrorKind),
    FlushFails(ErrorKind),
    Ends,
    Garbage,
    /// The peer's last record.
    Flipped,
}

impl Wrong {
    fn happen(self, wire: &mut Wire) {
        let fail = |which: Call, kind| {
            move |call| match call == which {
                true => Act::Fail(kind),
                false => Act::All,
            }
        };
        match self {
            Wrong::ReadFails(kind) => wire.set_script(fail(Call::Read, kind)),
            Wrong::WriteFails(kind) => wire.set_script(fail(Call::Write, kind)),
            Wrong::FlushFails(kind) => wire.set_script(fail(Call::Flush, kind)),
            Wrong::Ends => wire.incoming.end(),
            Wrong::Garbage => wire.incoming.tamper(|bytes| {
                bytes.clear();
                bytes.extend(b"GET / HTTP/1.1\r\n\r\n");
            }),
            Wrong::Flipped => wire.incoming.tamper(|bytes| {
                if let Some(last) = bytes.back_mut() {
                    *last ^= 1;
                }
            }),
        }
    }
}

const WRONG: &[Wrong] = &[
    Wrong::ReadFails(ErrorKind::ConnectionReset),
    Wrong::ReadFails(ErrorKind::TimedOut),
    Wrong::WriteFails(ErrorKind::BrokenPipe),
    Wrong::WriteFails(ErrorKind::PermissionDenied),
    Wrong::FlushFails(ErrorKind::Other),
    Wrong::Ends,
    Wrong::Garbage,
    Wrong::Flipped,
];

/// The handshake of a server, with something wrong from the client's n-th flight on.
async fn fails_to_open<T: Stream<Wire>>(policy: AsyncPolicy, wrong: Wrong, flight: usize) -> Told {
    let ctx = server_context(|_| {});
    let (here, there) = wires();
    let mut stream = T::over(server(&ctx), here, policy);
    let mut peer: Peer = Stream::over(client(), there, policy);
    for n in 0.. {
        let _ = poll_now(|cx| peer.poll_connects(cx));
        if n == flight {
            wrong.happen(stream.transport());
        }
        if let Some(told) = poll_now(|cx| stream.poll_accepts(cx)) {
            return told.into();
        }
        assert!(n < 20, "stuck");
    }
    unreachable!()
}

#[test]
fn a_handshake_that_fails_says_what_tokio_openssl_says() {
    for &wrong in WRONG {
        for flight in 0..2 {
            let mut theirs =
                on_one_thread(fails_to_open::<Peer>(AsyncPolicy::Never, wrong, flight));
            let cannot_send = matches!(wrong, Wrong::WriteFails(_) | Wrong::FlushFails(_));
            let is_gone = theirs == Told::Io(ErrorKind::BrokenPipe);
            if flight == 1 && cannot_send && (is_gone || cfg!(ossl111)) {
                // Only tickets do not reach the client, and they are not sent yet.
                theirs = Told::Done(0);
            }
            macro_rules! same {
                ($policy:expr, $Stream:ident) => {
                    let ours = on_one_thread(fails_to_open::<
                        openssl_async_jobs::tokio::$Stream<Wire>,
                    >($policy, wrong, flight));
                    assert_eq!(ours, theirs, "{wrong:?}, flight {flight}: ours left");
                };
            }
            same!(AsyncPolicy::Handshake, LocalSslStream);
            same!(AsyncPolicy::Never, LocalSslStream);
            same!(AsyncPolicy::Never, SslStream);
        }
    }
}

/// Which one it is of `fails_open`.
const SHUTDOWN: usize = 2;

/// What reads, writes and a shutdown say, with something wrong after the handshake.
async fn fails_open<T: Stream<Wire>>(policy: AsyncPolicy, wrong: Wrong) -> Vec<Told> {
    let mut all = Vec::new();
    for operation in 0..4 {
        let (mut stream, mut peer) = opened::<T>(policy).await;
        let _ = poll_now(|cx| stream.poll_peeks(cx, &mut [0; 9]));
        peer.write_all(b"hello").await.unwrap();
        wrong.happen(stream.transport());
        let mut buffer = [0; 9];
        all.push(match operation {
            0 => stream.read(&mut buffer).await.into(),
            1 => stream.peeks(&mut buffer).await.into(),
            SHUTDOWN => stream.shutdown().await.into(),
            // A write is accepted before it is sent: who flushes is told.
            _ => match stream.write(b"hello").await {
                Ok(5) => stream.flush().await.into(),
                told => told.into(),
            },
        });
    }
    all
}

#[test]
fn an_open_stream_that_fails_says_what_tokio_openssl_says() {
    for &wrong in WRONG {
        let theirs = on_one_thread(fails_open::<Peer>(AsyncPolicy::Never, wrong));
        macro_rules! same {
            ($policy:expr, $Stream:ident) => {
                let mut ours = on_one_thread(
                    fails_open::<openssl_async_jobs::tokio::$Stream<Wire>>($policy, wrong),
                );
                if let (Wrong::FlushFails(kind), Told::Done(0)) = (wrong, &theirs[SHUTDOWN]) {
                    // libssl flushes its alerts, from 1.1.1 on, and does not look whether it fails.
                    assert!([Told::Io(kind), Told::Done(0)].contains(&ours[SHUTDOWN]));
                    ours[SHUTDOWN] = Told::Done(0);
                }
                if let Wrong::WriteFails(kind) = wrong {
                    // libssl 3.2 and later may call a write that failed an error of TLS.
                    for (ours, theirs) in ours.iter_mut().zip(&theirs) {
                        if cfg!(ossl320) && matches!(theirs, Told::Wrapped(..) | Told::Tls(..)) {
                            assert_eq!(*ours, Told::Io(kind));
                            *ours = theirs.clone();
                        }
                    }
                }
                assert_eq!(ours, theirs, "{wrong:?}: ours left, tokio-openssl's right");
            };
        }
        same!(AsyncPolicy::Handshake, LocalSslStream);
        same!(AsyncPolicy::Always, LocalSslStream);
        same!(AsyncPolicy::Never, SslStream);
    }
}
