//! What a handshake costs, where that is exact.

use std::pin::Pin;

use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::JobPool;

use super::ends::{client, on_one_thread, server, server_context};

#[test]
fn a_server_starts_a_job_for_each_flight_of_its_client_and_none_to_wait() {
    on_one_thread(async {
        let ctx = server_context(|_| {});
        let (here, there) = tokio::io::duplex(5000);
        let mut server = LocalSslStream::new(server(&ctx), here).unwrap();
        let mut client = SslStream::new(client(), there).unwrap();
        let before = JobPool::stats().started;
        let (accepted, connected) = tokio::join!(
            Pin::new(&mut server).accept(),
            Pin::new(&mut client).connect()
        );
        accepted.unwrap();
        connected.unwrap();
        assert_eq!(JobPool::stats().started - before, 2);
    });
}
