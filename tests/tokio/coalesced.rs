//! Small writes that are kept, to be records together, over a transport that panics (H10).

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::ends::{client, on_one_thread, server, server_context};
use super::polled::poll_now;
use super::wire::{wires, Act, Call};

const TAKES: usize = 0;
const IS_FULL: usize = 1;
const PANICS_ONCE: usize = 2;

#[test]
fn what_was_kept_when_a_transport_panicked_is_sent_in_its_order() {
    on_one_thread(async {
        let mode = Arc::new(AtomicUsize::new(TAKES));
        let does = Arc::clone(&mode);
        let (here, there) = wires();
        let here = here.with(move |call| match (call, does.load(Ordering::SeqCst)) {
            (Call::Write, IS_FULL) => Act::Wait,
            (Call::Write, PANICS_ONCE) => {
                does.store(TAKES, Ordering::SeqCst);
                panic!("a transport, on purpose")
            }
            _ => Act::All,
        });
        let mut ours = LocalSslStream::new(server(&server_context(|_| {})), here).unwrap();
        let mut peer = SslStream::new(client(), there).unwrap();
        let (accepted, connected) =
            tokio::join!(Pin::new(&mut ours).accept(), Pin::new(&mut peer).connect());
        accepted.and(connected).unwrap();

        // A record that is not taken comes first.
        mode.store(IS_FULL, Ordering::SeqCst);
        ours.write_all(b"first ").await.unwrap();
        ours.set_write_coalescing(true);
        ours.write_all(b"second ").await.unwrap();
        mode.store(PANICS_ONCE, Ordering::SeqCst);
        let flush = || poll_now(|cx| Pin::new(&mut ours).poll_flush(cx));
        assert!(catch_unwind(AssertUnwindSafe(flush)).is_err());
        ours.write_all(b"third").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut got = String::new();
        peer.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "first second third");
    });
}
