//! An engine that tells by file descriptors (H9): the runtime's reactor watches duplicates of them.

use std::pin::Pin;
use std::sync::mpsc;
use std::thread;

use openssl_async_jobs::tokio::{LocalSslStream, SslStream};

use super::ends::{client, on_one_thread, server, server_context};
use crate::common::engine::{Operation, Tells};

#[test]
fn a_handshake_goes_on_when_a_wait_fd_is_readable() {
    on_one_thread(async {
        let (begun, begins) = mpsc::channel::<Operation>();
        let ctx = server_context(|ctx| {
            ctx.set_servername_callback(move |_, _| {
                let operation = Operation::new(Tells::Fd);
                operation.run_with(|| begun.send(operation.clone()).unwrap());
                Ok(())
            })
        });
        let (here, there) = tokio::io::duplex(5000);
        let mut server = LocalSslStream::new(server(&ctx), here).unwrap();
        let mut client = SslStream::new(client(), there).unwrap();
        let device = thread::spawn(move || {
            let operation = begins.recv().unwrap();
            operation.complete();
            operation
        });
        let (accepted, connected) = tokio::join!(
            Pin::new(&mut server).accept(),
            Pin::new(&mut client).connect()
        );
        accepted.unwrap();
        connected.unwrap();
        device.join().unwrap().assert_resumed_once();
    });
}
