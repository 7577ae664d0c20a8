//! TLS 1.2, renegotiated at the server's wish: who writes has to read first.

use foreign_types::ForeignTypeRef;
use openssl::ssl::{Ssl, SslVersion};
use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::{block_on, AsyncPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::each::{Peer, Stream};
use super::ends::server_context;
use super::polled::poll_now;
use super::wire::{wires, Wire};
use crate::common::executor::Executor;
use crate::common::handshake::client_context;
use crate::common::thread::PATIENCE;

pub mod c {
    extern "C" {
        pub fn SSL_renegotiate(ssl: *mut openssl_sys::SSL) -> std::os::raw::c_int;
    }
}

pub fn opened<T: Stream<Wire>>(policy: AsyncPolicy) -> (T, Peer) {
    let server = server_context(|ctx| {
        ctx.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    });
    let client = client_context(|_| {});
    let (here, there) = wires();
    let mut stream = T::over(Ssl::new(&client).unwrap(), here, policy);
    let mut peer: Peer = Stream::over(Ssl::new(&server).unwrap(), there, policy);
    let open = Box::pin(async {
        let (connected, accepted) = tokio::join!(stream.connects(), peer.accepts());
        connected.unwrap();
        accepted.unwrap();
    });
    block_on(open, PATIENCE).ok().expect("stuck");
    (stream, peer)
}

fn renegotiates<T: Stream<Wire> + 'static>(policy: AsyncPolicy) {
    for reader_last in [true, false] {
        let (stream, mut peer) = opened::<T>(policy);
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut executor = Executor::new();
        let reader = executor.spawn(async move {
            let mut answer = [0; 6];
            reader.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"answer");
        });
        executor.run();
        // SAFETY: a live SSL that nobody uses at the moment.
        assert_eq!(unsafe { c::SSL_renegotiate(peer.ssl().as_ptr()) }, 1);
        let _ = poll_now(|cx| peer.poll_handshakes(cx));
        executor.run();
        assert_eq!(executor.polls(reader), 2, "it has got the request");
        let writer = executor.spawn(async move {
            writer.write_all(b"hello").await.unwrap();
            writer.flush().await.unwrap();
        });
        executor.run();
        assert_eq!(executor.finished.len(), 0, "both wait for the server");
        match reader_last {
            true => executor.poll(reader),
            false => executor.poll(writer),
        }
        let peer = executor.spawn(async move {
            let mut question = [0; 5];
            peer.read_exact(&mut question).await.unwrap();
            assert_eq!(&question, b"hello");
            peer.write_all(b"answer").await.unwrap();
            peer.flush().await.unwrap();
        });
        executor.run();
        let finished = executor.finished.len();
        assert_eq!(finished, 3, "{policy:?}: somebody was not woken");
        for task in [reader, writer, peer] {
            assert!(executor.polls(task) <= 10, "{}", executor.polls(task));
        }
    }
}

#[test]
fn a_reader_and_a_writer_that_both_wait_for_a_renegotiation_are_both_woken() {
    for policy in [
        AsyncPolicy::Handshake,
        AsyncPolicy::Always,
        AsyncPolicy::Never,
    ] {
        renegotiates::<LocalSslStream<Wire>>(policy);
    }
    renegotiates::<SslStream<Wire>>(AsyncPolicy::Never);
}
