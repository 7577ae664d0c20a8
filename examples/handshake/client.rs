//! An ordinary client on a thread of its own: blocking, not asynchronous.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use openssl::ssl::{ShutdownResult, SslConnector, SslMethod};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::X509;

use crate::Result;

/// What each client sends, and wants back: several TLS records.
pub const MESSAGE_LEN: usize = 40_000;

/// Generous: what takes so long is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// What all clients share: it reads the system's authorities, which takes a while.
pub fn connector(authority: X509) -> Result<SslConnector> {
    let mut trusted = X509StoreBuilder::new()?;
    trusted.add_cert(authority)?;
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_cert_store(trusted.build());
    Ok(connector.build())
}

pub fn run(server: SocketAddr, name: &str, connector: &SslConnector) -> Result<()> {
    let socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Fails unless the server looked up the certificate of this very name.
    let mut tls = connector.connect(name, socket)?;

    let message: Vec<u8> = name.bytes().cycle().take(MESSAGE_LEN).collect();
    tls.write_all(&message)?;
    let mut echo = vec![0; MESSAGE_LEN];
    tls.read_exact(&mut echo)?;
    if echo != message {
        return Err("the server sent other data back".into());
    }
    if tls.shutdown()? == ShutdownResult::Sent {
        tls.shutdown()?;
    }
    Ok(())
}
