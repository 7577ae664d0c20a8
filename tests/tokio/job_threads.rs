//! Handshakes on threads of their own, and where their streams go afterwards.

use openssl_async_jobs::suspend;
use openssl_async_jobs::tokio::{JobThreads, SslStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::ends::{client, on_many_threads, server, server_context};

#[test]
fn two_thousand_handshakes_at_once_whose_callbacks_are_suspended() {
    const MANY: usize = 2000;
    on_many_threads(async {
        let ctx = server_context(|ctx| {
            ctx.set_servername_callback(|_, _| {
                suspend(tokio::time::sleep(std::time::Duration::from_millis(20))).unwrap();
                Ok(())
            })
        });
        let threads = JobThreads::builder().threads(2).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..MANY {
            let clients = threads.clone();
            tasks.spawn(async move {
                let socket = TcpStream::connect(addr).await.unwrap();
                let mut stream = clients.connect(client(), socket).await.unwrap();
                stream.write_all(b"?").await.unwrap();
                assert_eq!(stream.read_u8().await.unwrap(), b'!');
                stream.shutdown().await.unwrap();
            });
            let (socket, _) = listener.accept().await.unwrap();
            let (threads, ssl) = (threads.clone(), server(&ctx));
            tasks.spawn(async move {
                let mut stream = threads.accept(ssl, socket).await.unwrap();
                assert_eq!(stream.read_u8().await.unwrap(), b'?');
                stream.write_all(b"!").await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_eq!(threads.operations(), 0);
        let stats = threads.stats().await;
        assert_eq!((stats.in_flight, stats.waiting), (0, 0));
        assert!(stats.paused >= MANY as u64, "{stats:?}");
        assert_eq!(stats.paused, stats.resumed);
    });
}

#[test]
fn streams_go_from_task_to_task_and_from_thread_to_thread_afterwards() {
    const MANY: usize = 300;
    const LONG: usize = 40_000;
    on_many_threads(async {
        let ctx = server_context(|ctx| {
            ctx.set_servername_callback(|_, _| {
                suspend(tokio::task::yield_now()).unwrap();
                Ok(())
            })
        });
        let threads = JobThreads::builder().threads(2).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (accepted, mut accepts) = mpsc::unbounded_channel::<SslStream<TcpStream>>();
        let (connected, mut connects) = mpsc::unbounded_channel::<(usize, SslStream<TcpStream>)>();
        let mut tasks = JoinSet::new();
        for n in 0..MANY {
            let (connected, threads) = (connected.clone(), threads.clone());
            tasks.spawn(async move {
                let socket = TcpStream::connect(addr).await.unwrap();
                let stream = threads.connect(client(), socket).await.unwrap();
                connected.send((n, stream)).unwrap();
            });
        }
        for _ in 0..MANY {
            let (socket, _) = listener.accept().await.unwrap();
            let (accepted, threads) = (accepted.clone(), threads.clone());
            let ssl = server(&ctx);
            tasks.spawn(async move {
                let stream = threads.accept(ssl, socket).await.unwrap();
                accepted.send(stream).unwrap();
            });
        }
        drop((accepted, connected));
        // They are echoed on a thread of another runtime, and that one is gone in the end.
        let echoes = std::thread::spawn(move || {
            on_many_threads(async move {
                let mut echoes = JoinSet::new();
                while let Some(stream) = accepts.recv().await {
                    echoes.spawn(async move {
                        let (mut reader, mut writer) = tokio::io::split(stream);
                        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                        writer.shutdown().await.unwrap();
                    });
                }
                while let Some(done) = echoes.join_next().await {
                    done.unwrap();
                }
            })
        });
        while let Some((n, stream)) = connects.recv().await {
            let said: Vec<u8> = (0..LONG).map(|at| (at * 31 + n) as u8).collect();
            let (mut reader, mut writer) = tokio::io::split(stream);
            let says = said.clone();
            tasks.spawn(async move {
                writer.write_all(&says).await.unwrap();
                writer.shutdown().await.unwrap();
            });
            tasks.spawn(async move {
                let mut heard = Vec::new();
                reader.read_to_end(&mut heard).await.unwrap();
                assert!(
                    heard == said,
                    "what was said on another stream, or part of it"
                );
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        echoes.join().unwrap();
        assert_eq!(threads.operations(), 0);
        assert_eq!(threads.stats().await.in_flight, 0);
    });
}
