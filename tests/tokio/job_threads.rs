//! Handshakes on threads of their own.

use openssl_async_jobs::suspend;
use openssl_async_jobs::tokio::JobThreads;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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
        let mut tasks = tokio::task::JoinSet::new();
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
