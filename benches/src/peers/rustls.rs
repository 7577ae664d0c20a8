//! tokio-rustls with aws-lc-rs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, Ticketer};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::Acceptor;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use crate::identity::{identity, Key};
use crate::peers::{Operation, Peer};

#[derive(Clone)]
pub struct Rustls {
    config: Arc<ServerConfig>,
    operation: Operation,
}

impl Peer for Rustls {
    type Stream = TlsStream<TcpStream>;

    fn new(key: Key, operation: Operation) -> Rustls {
        Rustls {
            config: Arc::new(config(key)),
            operation,
        }
    }

    async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        match self.operation {
            Operation::Nothing => {
                let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
                acceptor.accept(socket).await
            }
            // The one place where it can await: between the ClientHello and the configuration.
            Operation::Millisecond | Operation::Never => {
                let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
                match self.operation {
                    Operation::Never => std::future::pending().await,
                    _ => tokio::time::sleep(Duration::from_millis(1)).await,
                }
                start.into_stream(Arc::clone(&self.config)).await
            }
        }
    }
}

fn config(key: Key) -> ServerConfig {
    let identity = identity(key);
    let certificate = identity.certificate.to_der().expect("DER");
    let key = identity.key.private_key_to_pkcs8().expect("PKCS#8");
    let mut provider = default_provider();
    provider
        .cipher_suites
        .retain(|suite| *suite == cipher_suite::TLS13_AES_256_GCM_SHA384);
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.into()],
            PrivateKeyDer::try_from(key).expect("a key"),
        )
        .expect("a certificate and its key");
    // Tickets without a cache, as libssl's.
    config.ticketer = Ticketer::new().expect("a ticketer");
    config
}
