//! A TLS echo server: `before.rs` is on tokio-openssl, `after.rs` is the same on this crate. README
//! shows what differs.

use std::error::Error;

use openssl::ssl::{Ssl, SslAcceptor, SslFiletype, SslMethod};
use openssl_async_jobs::tokio::{JobThreads, SslStream};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(cert), Some(key), Some(address)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: CERTIFICATE.pem KEY.pem ADDRESS:PORT".into());
    };
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
    acceptor.set_certificate_chain_file(cert)?;
    acceptor.set_private_key_file(key, SslFiletype::PEM)?;
    let context = acceptor.build().into_context();

    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let threads = JobThreads::builder().build()?;
    loop {
        let (socket, _) = listener.accept().await?;
        let ssl = Ssl::new(&context)?;
        let threads = threads.clone();
        tokio::spawn(async move {
            let stream = threads.accept(ssl, socket).await?;
            echo(stream).await
        });
    }
}

async fn echo(mut stream: SslStream<TcpStream>) -> Result<()> {
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    tokio::io::copy(&mut reader, &mut writer).await?;
    Ok(stream.shutdown().await?)
}
