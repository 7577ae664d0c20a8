//! What is written on one stream is read on the other, whatever pauses.

use std::pin::Pin;

use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::{suspend, AsyncPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ends::{client, on_one_thread, server, server_context};

#[test]
fn a_handshake_with_a_suspended_callback_and_a_megabyte_each_way() {
    on_one_thread(async {
        let ctx = server_context(|ctx| {
            ctx.set_servername_callback(|_, _| {
                suspend(tokio::time::sleep(std::time::Duration::from_millis(1))).unwrap();
                Ok(())
            })
        });
        let (here, there) = tokio::io::duplex(5000);
        let mut server = LocalSslStream::new(server(&ctx), here).unwrap();
        let mut client = SslStream::new(client(), there).unwrap();
        server.set_policy(AsyncPolicy::Always);
        let (accepted, connected) = tokio::join!(
            Pin::new(&mut server).accept(),
            Pin::new(&mut client).connect()
        );
        accepted.unwrap();
        connected.unwrap();

        let sent: Vec<u8> = (0..1 << 20).map(|n: u32| ((n * 7) >> 3) as u8).collect();
        let echo = async {
            let (mut reader, mut writer) = tokio::io::split(&mut server);
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let (mut reader, mut writer) = tokio::io::split(&mut client);
        let write = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let ((), (), read) = tokio::join!(echo, write, reader.read_to_end(&mut received));
        read.unwrap();
        assert!(received == sent);
    });
}

#[test]
fn an_open_stream_becomes_one_for_any_thread() {
    on_one_thread(async {
        let ctx = server_context(|_| {});
        let (here, there) = tokio::io::duplex(5000);
        let local = LocalSslStream::new(server(&ctx), here).unwrap();
        let mut local = local.into_send().unwrap_err();
        let mut client = SslStream::new(client(), there).unwrap();
        let (accepted, connected) = tokio::join!(
            Pin::new(&mut local).accept(),
            Pin::new(&mut client).connect()
        );
        accepted.unwrap();
        connected.unwrap();
        let mut sent = local.into_send().unwrap();
        let written = std::thread::spawn(move || {
            on_one_thread(async move {
                sent.write_all(b"from there").await.unwrap();
                sent.shutdown().await.unwrap();
            })
        });
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        written.join().unwrap();
        assert_eq!(received, "from there");
    });
}
