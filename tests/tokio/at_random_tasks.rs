//! Tasks that write, flush and read pieces of random sizes, over a transport with moods: each has to be
//! woken for it to end.

use std::pin::pin;

use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::AsyncPolicy;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::yield_now;

use super::at_random::{mood, seeds, size, tickets, Settings};
use super::each::{opened_with_tickets, Peer};
use super::ends::{in_time, on_many_threads, on_one_thread};
use super::wire::{wires, Wire};
use crate::common::script::Numbers;

/// What both ends have to say, and how they do.
struct Speeches {
    ours: Vec<u8>,
    peers: Vec<u8>,
    seed: u64,
}

impl Speeches {
    fn new(n: &mut Numbers, len: usize) -> Speeches {
        let ours = n.below(len);
        Speeches {
            ours: n.bytes(ours),
            peers: n.bytes(len - ours),
            seed: n.below(usize::MAX) as u64,
        }
    }

    fn numbers(&self) -> Numbers {
        Numbers::new(self.seed)
    }

    /// Both at once.
    async fn exchange(&self, ours: impl Ends, peer: impl Ends) {
        let (mut reader, mut writer) = tokio::io::split(ours);
        let (mut peers_reader, mut peers_writer) = tokio::io::split(peer);
        tokio::join!(
            write(&mut writer, &self.ours, self.numbers(), true),
            assert_reads(&mut reader, &self.peers, self.numbers()),
            write(&mut peers_writer, &self.peers, self.numbers(), true),
            assert_reads(&mut peers_reader, &self.ours, self.numbers()),
        );
    }

    /// Ours and then the peer's, flushed or not.
    async fn question_and_answer(&self, mut ours: impl Ends, mut peer: impl Ends, flushes: bool) {
        let asking = async {
            write(&mut ours, &self.ours, self.numbers(), flushes).await;
            assert_reads(&mut ours, &self.peers, self.numbers()).await;
        };
        let answering = async {
            assert_reads(&mut peer, &self.ours, self.numbers()).await;
            write(&mut peer, &self.peers, self.numbers(), true).await;
        };
        tokio::join!(asking, answering);
    }
}

trait Ends: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Ends for T {}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8], mut n: Numbers, flushes: bool) {
    let mut at = 0;
    while at < bytes.len() {
        let len = size(&mut n).clamp(1, bytes.len() - at);
        at += to.write(&bytes[at..at + len]).await.unwrap();
        if flushes && n.below(10) == 0 {
            to.flush().await.unwrap();
        }
        if n.below(10) == 0 {
            yield_now().await;
        }
    }
    if flushes {
        to.flush().await.unwrap();
    }
}

async fn assert_reads(from: &mut (impl AsyncRead + Unpin), bytes: &[u8], mut n: Numbers) {
    let mut at = 0;
    while at < bytes.len() {
        let mut buffer = vec![0; (1 + size(&mut n)).min(bytes.len() - at)];
        let len = from.read(&mut buffer).await.unwrap();
        assert!(len > 0, "the end after {at} bytes");
        assert!(buffer[..len] == bytes[at..at + len], "other bytes at {at}");
        at += len;
        if n.below(10) == 0 {
            yield_now().await;
        }
    }
}

async fn over_a_wire<T: Settings>(policy: AsyncPolicy, seed: u64) {
    let mut n = Numbers::new(seed);
    let (here, there) = wires();
    let here = here.with(mood(seed * 2, true));
    let there = there.with(mood(seed * 2 + 1, false));
    let (way_out, way_back) = (here.outgoing.clone(), there.outgoing.clone());
    let (mut stream, peer): (T, Peer) =
        opened_with_tickets(policy, tickets(seed), here, there).await;
    way_back.set_capacity(1 + n.below(100_000));
    let coalesces = n.below(4) == 0;
    stream.coalesce(coalesces);
    let speeches = Speeches::new(&mut n, 200_000);
    let in_turn = n.below(2) == 0;
    let mut talking = pin!(async {
        match in_turn {
            true => speeches.question_and_answer(stream, peer, coalesces).await,
            false => speeches.exchange(stream, peer).await,
        }
    });
    // The room on the way changes meanwhile.
    let mut changing = pin!(async {
        loop {
            way_out.set_capacity(match n.below(3) {
                0 => 1 + n.below(1000),
                1 => 1 + n.below(100_000),
                _ => usize::MAX,
            });
            for _ in 0..20 {
                yield_now().await;
            }
        }
    });
    tokio::select! {
        () = &mut talking => {}
        () = &mut changing => {}
    }
}

#[test]
fn split_or_in_turn_everybody_is_woken() {
    for seed in 0..seeds() {
        for policy in [AsyncPolicy::Handshake, AsyncPolicy::Always] {
            on_one_thread(over_a_wire::<LocalSslStream<Wire>>(policy, seed));
        }
        on_one_thread(over_a_wire::<SslStream<Wire>>(AsyncPolicy::Never, seed));
    }
}

async fn over_tcp(seed: u64) {
    let mut n = Numbers::new(seed);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    // Small, so that it is full at times.
    socket.set_send_buffer_size(4096).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = listener.local_addr().unwrap();
    let (there, here) = tokio::join!(socket.connect(address), listener.accept());
    let (there, (here, _)) = (there.unwrap(), here.unwrap());
    type Streams = (SslStream<TcpStream>, tokio_openssl::SslStream<TcpStream>);
    let (stream, peer): Streams =
        opened_with_tickets(AsyncPolicy::Never, tickets(seed), here, there).await;
    let speeches = Speeches::new(&mut n, 1_000_000);
    match n.below(2) {
        0 => speeches.question_and_answer(stream, peer, false).await,
        _ => speeches.exchange(stream, peer).await,
    }
}

#[test]
fn on_several_threads_over_sockets_everybody_is_woken() {
    on_many_threads(async {
        for seed in 0..seeds() / 3 {
            tokio::spawn(in_time(over_tcp(seed))).await.unwrap();
        }
    });
}
