//! Peers that never finish a handshake, and a time-out around it: neither jobs, nor files, nor memory
//! accumulate.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use openssl::ssl::SslContext;
use openssl_async_jobs::tokio::{JobThreads, LocalSslStream};
use openssl_async_jobs::{Connection, JobPool, Progress, Role};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{spawn_local, JoinSet};
use tokio::time::timeout;

use super::ends::{client, on_many_threads, on_one_thread, server, server_context};
use super::pinned::assert_idle;
use crate::common::child::in_a_process_of_its_own;
use crate::common::executor::quiet_waker;
use crate::common::tls::identity;

const MANY: usize = 500;
/// What a server gives a peer.
const TIME: Duration = Duration::from_millis(200);

/// What a client says first.
pub fn client_hello() -> Vec<u8> {
    let mut connection = Connection::new(client(), Role::Client).unwrap();
    let waker = quiet_waker();
    let progress = connection.poll_handshake(&mut Context::from_waker(&waker));
    assert_eq!(progress.unwrap(), Progress::HasCiphertext);
    let mut hello = Vec::new();
    connection.send_to(&mut hello).unwrap();
    hello
}

/// What the peers say, one after the other, and then no more; nor do they read.
fn sayings() -> Vec<Vec<u8>> {
    let hello = client_hello();
    vec![
        Vec::new(),
        hello[..3].to_vec(),
        hello[..hello.len() / 2].to_vec(),
        hello.clone(),
        [&hello[..], &[0x16, 3, 3, 0x40, 0]].concat(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 20_000],
        vec![0x16; 20_000],
    ]
}

/// So many certificates that the buffers of sockets do not take them.
fn long_winded_context() -> SslContext {
    server_context(|ctx| {
        for _ in 0..150 {
            ctx.add_extra_chain_cert(identity().0.clone()).unwrap();
        }
    })
}

async fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(64).unwrap()
}

async fn connect(listener: &TcpListener, says: &[u8]) -> (TcpStream, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let peer = socket.connect(listener.local_addr().unwrap());
    let (accepted, peer) = tokio::join!(listener.accept(), peer);
    let mut peer = peer.unwrap();
    // As far as it is taken.
    let _ = timeout(TIME, peer.write_all(says)).await;
    (accepted.unwrap().0, peer)
}

/// What a process has more and more of if it leaks.
#[derive(Debug, PartialEq)]
struct Has {
    files: usize,
    /// Stacks and their guards, and whatever else is mapped, roughly.
    mappings: usize,
}

fn has() -> Has {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    Has {
        files: std::fs::read_dir("/proc/self/fd").unwrap().count(),
        mappings: maps.lines().count(),
    }
}

/// Twice as much as was there after the first round would be a leak; what the allocator maps is less.
fn assert_same(rounds: &[Has]) {
    for round in &rounds[1..] {
        assert_eq!(round.files, rounds[0].files, "files stay open: {rounds:?}");
        assert!(round.mappings < rounds[0].mappings + 100, "{rounds:?}");
    }
}

#[test]
fn on_job_threads_they_leave_nothing() {
    let test = "hostile_peers::on_job_threads_they_leave_nothing";
    in_a_process_of_its_own(test, || {
        on_many_threads(async {
            let builder = JobThreads::builder().threads(2).max_jobs(4);
            let (threads, ctx) = (builder.build().unwrap(), long_winded_context());
            let (listener, sayings) = (listen().await, sayings());
            let mut rounds = Vec::new();
            for _round in 0..3 {
                let (mut tasks, mut peers) = (JoinSet::new(), Vec::new());
                for n in 0..MANY {
                    let (socket, peer) = connect(&listener, &sayings[n % sayings.len()]).await;
                    peers.push(peer);
                    let (threads, ssl) = (threads.clone(), server(&ctx));
                    tasks.spawn(async move {
                        // It fails, or its time is over.
                        let accepted = timeout(TIME, threads.accept(ssl, socket)).await;
                        assert!(!matches!(accepted, Ok(Ok(_))));
                        accepted.is_err()
                    });
                }
                let mut late = 0;
                while let Some(done) = tasks.join_next().await {
                    late += usize::from(done.unwrap());
                }
                assert!(late >= MANY / 2, "{late} never finished");
                while threads.operations() > 0 {
                    tokio::task::yield_now().await;
                }
                assert_idle(&threads).await;
                drop(peers);
                rounds.push(has());
            }
            assert_eq!(threads.run(|| 1).await, 1);
            assert_same(&rounds);
        })
    });
}

#[test]
fn on_local_streams_they_leave_nothing() {
    let test = "hostile_peers::on_local_streams_they_leave_nothing";
    in_a_process_of_its_own(test, || {
        on_one_thread(async {
            let (ctx, listener, sayings) = (long_winded_context(), listen().await, sayings());
            let mut rounds = Vec::new();
            for _round in 0..3 {
                let (mut tasks, mut peers) = (Vec::new(), Vec::new());
                for n in 0..MANY {
                    let (socket, peer) = connect(&listener, &sayings[n % sayings.len()]).await;
                    peers.push(peer);
                    let mut stream = LocalSslStream::new(server(&ctx), socket).unwrap();
                    tasks.push(spawn_local(async move {
                        let accepted = timeout(TIME, Pin::new(&mut stream).accept()).await;
                        assert!(!matches!(accepted, Ok(Ok(()))));
                    }));
                }
                for task in tasks {
                    task.await.unwrap();
                }
                let stats = JobPool::stats();
                assert_eq!((stats.in_flight, stats.waiting, stats.leaked), (0, 0, 0));
                assert_eq!(stats.finished, stats.started);
                drop(peers);
                rounds.push(has());
            }
            assert_same(&rounds);
        })
    });
}
