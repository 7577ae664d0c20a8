//! tokio-openssl.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::identity::Key;
use crate::peers::{openssl_server, Operation, Peer};

#[derive(Clone)]
pub struct TokioOpenssl {
    context: SslContext,
}

impl Peer for TokioOpenssl {
    type Stream = SslStream<TcpStream>;

    fn new(key: Key, operation: Operation) -> TokioOpenssl {
        let context = openssl_server(key, |ctx| match operation {
            Operation::Nothing => {}
            // Its callbacks can only block.
            Operation::Millisecond => ctx.set_servername_callback(|_, _| {
                std::thread::sleep(Duration::from_millis(1));
                Ok(())
            }),
            Operation::Never => unimplemented!("it would block for ever"),
        });
        TokioOpenssl { context }
    }

    async fn accept(&self, socket: TcpStream) -> io::Result<SslStream<TcpStream>> {
        let mut stream = SslStream::new(Ssl::new(&self.context)?, socket)?;
        let accepted = Pin::new(&mut stream).accept().await;
        accepted.map_err(io::Error::other)?;
        Ok(stream)
    }
}
