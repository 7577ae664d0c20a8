//! A connection, its handshake, and one request.

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::ssl::{Ssl, SslConnector, SslMethod};
use openssl_async_jobs::tokio::{JobThreads, SslStream};
use tokio::io::{stdout, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::pins::Pins;
use crate::settings::Settings;
use crate::verify::{verify, Refusal};
use crate::Result;

pub async fn fetch(settings: &Settings) -> Result<()> {
    let seconds = settings.limit.as_secs();
    timeout(settings.limit, async {
        let stream = connect(settings).await?;
        let mut response = ask(settings, stream).await?;
        eprintln!("{:?} {}", response.version(), response.status());
        let mut out = stdout();
        while let Some(frame) = response.frame().await {
            if let Some(bytes) = frame?.data_ref() {
                out.write_all(bytes).await?;
            }
        }
        out.flush().await?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("{} answers {status}", settings.url).into()),
        }
    })
    .await
    .unwrap_or_else(|_| Err(format!("it took more than {seconds} seconds").into()))
}

async fn connect(settings: &Settings) -> Result<SslStream<TcpStream>> {
    let address = &settings.address;
    let socket = TcpStream::connect(address)
        .await
        .map_err(|e| format!("cannot connect to {address}: {e}"))?;
    socket.set_nodelay(true)?;
    let (ssl, refusal) = ssl(settings)?;
    let threads = JobThreads::builder().threads(1).build()?;
    let connected = threads.connect(ssl, socket).await;
    // An engine is unloaded when the process exits, and its threads are to be done with it then.
    tokio::task::spawn_blocking(move || threads.join()).await??;
    Ok(connected.map_err(|e| refusal.take().unwrap_or(format!("no handshake: {e}")))?)
}

fn ssl(settings: &Settings) -> Result<(Ssl, Refusal)> {
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    if let Some(file) = &settings.cacert {
        connector
            .set_ca_file(file)
            .map_err(|e| format!("cannot use {}: {e}", file.display()))?;
    }
    connector.set_alpn_protos(match settings.http_11 {
        true => b"\x08http/1.1",
        false => b"\x02h2\x08http/1.1",
    })?;
    let mut ssl = connector.build().configure()?.into_ssl(&settings.host)?;
    let pins = Pins {
        file: settings.pins.clone(),
        latency: settings.lookup,
    };
    let refusal = verify(&mut ssl, &settings.host, pins);
    Ok((ssl, refusal))
}

async fn ask(settings: &Settings, stream: SslStream<TcpStream>) -> Result<Response<Incoming>> {
    let is_h2 = stream.ssl().selected_alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    let url = &settings.url;
    if is_h2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        let request = Request::get(url).body(Empty::<Bytes>::new())?;
        return Ok(sender.send_request(request).await?);
    }
    let (mut sender, connection) = http1::handshake(io).await?;
    tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(HOST, authority)
        .body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?)
}
