//! Streams in the combinators of tokio that read and write by turns.

use openssl_async_jobs::AsyncPolicy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::each::{on_each_stream, opened_over, Peer, Stream};
use super::wire::{wires, Wire};
use crate::common::script::Numbers;

/// A peer, a proxy that is one task with two of the streams, and another peer.
async fn passes_on<T: Stream<Wire>>(policy: AsyncPolicy) {
    for capacity in [3000, usize::MAX] {
        let open = || async move {
            let (here, there) = wires();
            here.outgoing.set_capacity(capacity);
            here.incoming.set_capacity(capacity);
            opened_over::<T, _>(policy, here, there).await
        };
        let ((mut left, one), (mut right, other)) = (open().await, open().await);
        let proxy = async {
            tokio::io::copy_bidirectional(&mut left, &mut right)
                .await
                .unwrap()
        };
        async fn end(stream: Peer, sends: &[u8]) -> Vec<u8> {
            let (mut reader, mut writer) = tokio::io::split(stream);
            let mut received = Vec::new();
            let write = async {
                writer.write_all(sends).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let ((), read) = tokio::join!(write, reader.read_to_end(&mut received));
            read.unwrap();
            received
        }
        let mut numbers = Numbers::new(7);
        let (up, down) = (numbers.bytes(100_000), numbers.bytes(60_000));
        let (lens, at_one, at_other) = tokio::join!(proxy, end(one, &up), end(other, &down));
        assert_eq!(lens, (100_000, 60_000));
        assert!(at_one == down && at_other == up);
    }
}

#[test]
fn a_proxy_copies_both_ways_until_both_have_closed() {
    on_each_stream!(passes_on, Wire);
}

/// A read that loses a race, again and again, loses no bytes.
async fn races<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (here, there) = wires();
    // A record comes in many pieces.
    here.incoming.set_capacity(700);
    let (mut stream, mut peer) = opened_over::<T, _>(policy, here, there).await;
    let sent = Numbers::new(3).bytes(100_000);
    let write = async {
        peer.write_all(&sent).await.unwrap();
        peer.shutdown().await.unwrap();
    };
    let read = async {
        let mut received = Vec::new();
        let mut lost = 0;
        loop {
            let mut buffer = [0; 999];
            tokio::select! {
                biased;
                read = stream.read(&mut buffer) => match read.unwrap() {
                    0 => break,
                    len => received.extend_from_slice(&buffer[..len]),
                },
                () = tokio::task::yield_now() => lost += 1,
            }
        }
        assert!(lost > 0, "no read was cancelled");
        received
    };
    let (received, ()) = tokio::join!(read, write);
    assert!(received == sent);
}

#[test]
fn reads_that_are_cancelled_lose_nothing() {
    on_each_stream!(races, Wire);
}
