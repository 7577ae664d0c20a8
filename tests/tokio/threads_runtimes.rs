//! Job threads used from runtimes of each kind, from several, and from none; and runtimes that are shut
//! down with handshakes in flight in every state.

use std::pin::{pin, Pin};
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext};
use openssl_async_jobs::tokio::{JobThreads, SslStream};
use openssl_async_jobs::{block_on, suspend};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::ends::{client, on_many_threads, on_one_thread, server, server_context};
use super::held::{Freed, Witness};
use super::pinned::{assert_idle, hook, hooked, one_thread, until};
use crate::common::engine::{Operation, Tells};
use crate::common::thread::PATIENCE;

fn suspending_context() -> SslContext {
    server_context(|ctx| {
        ctx.set_servername_callback(|_, _| {
            suspend(tokio::time::sleep(Duration::from_millis(1))).unwrap();
            Ok(())
        })
    })
}

/// Both ends of a conversation.
async fn talk(threads: &JobThreads, ctx: &SslContext) {
    let (here, there) = tokio::io::duplex(1000);
    let serve = async {
        let mut stream = threads.accept(server(ctx), here).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'?');
        stream.write_all(b"!").await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let ask = async {
        let mut stream = threads.connect(client(), there).await.unwrap();
        stream.write_all(b"?").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"!");
    };
    tokio::join!(serve, ask);
}

#[test]
fn from_runtimes_of_each_kind_at_once_and_from_none() {
    let (threads, ctx) = (
        JobThreads::builder().threads(2).build().unwrap(),
        suspending_context(),
    );
    let users: [fn(JobThreads, SslContext); 3] = [
        |threads, ctx| on_one_thread(async move { talk(&threads, &ctx).await }),
        |threads, ctx| on_many_threads(async move { talk(&threads, &ctx).await }),
        |threads, ctx| {
            block_on(pin!(talk(&threads, &ctx)), PATIENCE)
                .ok()
                .expect("stuck")
        },
    ];
    let users: Vec<_> = users
        .into_iter()
        .cycle()
        .take(12)
        .map(|user| {
            let (threads, ctx) = (threads.clone(), ctx.clone());
            std::thread::spawn(move || user(threads, ctx))
        })
        .collect();
    users.into_iter().for_each(|user| user.join().unwrap());
    let idle = pin!(assert_idle(&threads));
    block_on(idle, PATIENCE).ok().expect("stuck");
}

/// Handshakes on a runtime that never come to their end, in each state that one can be in; and what
/// says that they are freed.
struct Stuck {
    threads: JobThreads,
    freed: Vec<Freed>,
    under_way: Vec<Operation>,
    suspended: Vec<mpsc::UnboundedReceiver<()>>,
    /// Peers, on a runtime that stays.
    peers: Vec<std::net::TcpStream>,
}

const TELLS: &[Tells] = Tells::ALL;

impl Stuck {
    /// Of the runtime that this is called on.
    async fn new() -> Stuck {
        // Jobs for the suspended one and the paused ones; the last one finds none.
        let threads = one_thread(1 + TELLS.len());
        let mut stuck = Stuck {
            threads,
            freed: Vec::new(),
            under_way: Vec::new(),
            suspended: Vec::new(),
            peers: Vec::new(),
        };
        let ctx = server_context(|_| {});
        // Waits for its peer.
        stuck.accept(&ctx, false, |_| {}).await;
        std::io::Write::write_all(&mut stuck.peers[0], &[22, 3, 1]).unwrap();
        let threads = stuck.threads.clone();
        until(&threads, |stats| stats.finished == 1).await;
        // Suspended.
        let (tell, mut told) = mpsc::unbounded_channel();
        hook(&threads, move || {
            let _ = tell.send(());
            let _ = suspend(std::future::pending::<()>());
        })
        .await;
        stuck.accept(&ctx, true, hooked).await;
        told.recv().await.unwrap();
        stuck.suspended.push(told);
        // Paused by an engine.
        let (begun, mut begins) = mpsc::unbounded_channel();
        let left = std::sync::Mutex::new(TELLS.to_vec());
        hook(&threads, move || {
            let tells = left.lock().unwrap().pop();
            if let Some(tells) = tells {
                let operation = Operation::new(tells);
                let _ = operation.run_with(|| {
                    let _ = begun.send(operation.clone());
                });
            }
        })
        .await;
        for _ in TELLS {
            stuck.accept(&ctx, true, hooked).await;
            stuck.under_way.push(begins.recv().await.unwrap());
        }
        // Waits for a job.
        stuck.accept(&ctx, true, |_| {}).await;
        until(&threads, |stats| {
            (stats.in_flight, stats.waiting) == (1 + TELLS.len(), 1)
        })
        .await;
        stuck
    }

    /// A task that accepts a peer, which says hello or nothing.
    async fn accept(
        &mut self,
        ctx: &SslContext,
        says_hello: bool,
        prepare: fn(&mut openssl::ssl::SslRef),
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        if says_hello {
            std::io::Write::write_all(&mut peer, &super::hostile_peers::client_hello()).unwrap();
        }
        self.peers.push(peer);
        let mut ssl: Ssl = server(ctx);
        prepare(&mut ssl);
        self.freed.push(Witness::of(&mut ssl));
        let threads = self.threads.clone();
        tokio::spawn(async move { drop(threads.accept(ssl, socket).await) });
    }

    /// After its runtime was shut down.
    async fn assert_all_end(self) {
        let Stuck {
            threads,
            freed,
            under_way,
            peers,
            ..
        } = self;
        while threads.operations() > 0 {
            tokio::task::yield_now().await;
        }
        let stats = threads.stats().await;
        assert_eq!((stats.in_flight, stats.waiting), (under_way.len(), 0));
        for operation in &under_way {
            operation.assert_not_resumed();
            operation.complete();
        }
        for freed in freed {
            freed.await.unwrap();
        }
        under_way.iter().for_each(Operation::assert_resumed_once);
        assert_idle(&threads).await;
        // The threads are of use still, for who is on another runtime.
        talk(&threads, &suspending_context()).await;
        drop(peers);
    }
}

#[test]
fn a_runtime_that_is_shut_down_with_handshakes_in_every_state_leaves_none() {
    type Ends = fn(Runtime);
    let ends: [Ends; 3] = [
        |runtime| drop(runtime),
        |runtime| runtime.shutdown_background(),
        |runtime| runtime.shutdown_timeout(PATIENCE.unwrap()),
    ];
    let kinds: [fn() -> Runtime; 2] = [
        || {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(2).enable_all().build().unwrap()
        },
        || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().unwrap()
        },
    ];
    for end in ends {
        for kind in kinds {
            let runtime = kind();
            let stuck = runtime.block_on(Stuck::new());
            end(runtime);
            on_many_threads(stuck.assert_all_end());
        }
    }
}

#[test]
fn a_transport_whose_runtime_is_shut_down_fails_the_handshake_that_waits_for_it() {
    on_many_threads(async {
        let threads = one_thread(1);
        let its = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // The beginning of a record.
        std::io::Write::write_all(&mut peer, &[22, 3, 1]).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = {
            let _in = its.enter();
            TcpStream::from_std(socket).unwrap()
        };
        let mut ssl = server(&server_context(|_| {}));
        let freed = Witness::of(&mut ssl);
        let waiting = threads.clone();
        let waits = tokio::spawn(async move { waiting.accept(ssl, socket).await });
        until(&threads, |stats| stats.finished == 1).await;
        its.shutdown_background();
        assert!(waits.await.unwrap().is_err());
        freed.await.unwrap();
        assert_idle(&threads).await;
    });
}

#[test]
fn a_stream_outlives_its_threads_and_its_runtime() {
    let ctx = suspending_context();
    let open = || -> (SslStream<DuplexStream>, SslStream<DuplexStream>) {
        on_many_threads(async {
            let threads = JobThreads::builder().threads(1).build().unwrap();
            let (here, there) = tokio::io::duplex(1000);
            let (accepted, connected) = tokio::join!(
                threads.accept(server(&ctx), here),
                threads.connect(client(), there)
            );
            (accepted.unwrap(), connected.unwrap())
        })
    };
    let (mut accepted, mut connected) = open();
    let talk = async {
        accepted.write_all(b"still here").await.unwrap();
        Pin::new(&mut accepted).shutdown().await.unwrap();
        let mut heard = String::new();
        connected.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "still here");
    };
    block_on(pin!(talk), PATIENCE).ok().expect("stuck");
}
