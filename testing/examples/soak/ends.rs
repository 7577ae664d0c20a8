//! One end of a connection on tokio: its handshake, what it says, and how it gives up.

use std::future::Future;
use std::io;
use std::time::Duration;

use openssl_async_jobs::tokio::{JobThreads, LocalSslStream, SslStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::certificate::ssl;
use crate::plan::{Plan, Side};
use crate::round::COUNTS;
use crate::session::talk;

/// What takes so long is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two connected sockets.
pub async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.expect("connected"), far.expect("accepted").0)
}

/// Runs an end until it is done or gives up: then all that it has is dropped where it is.
pub async fn run(plan: &Plan, side: Side, end: impl Future<Output = io::Result<()>>) {
    match plan.patience(side) {
        Some(patience) => match timeout(patience, end).await {
            Ok(_) => COUNTS.finished.add(1),
            Err(_) => COUNTS.given_up.add(1),
        },
        None => {
            let done = timeout(PATIENCE, end).await;
            let done = done.unwrap_or_else(|_| panic!("stuck: {side:?} of {plan:?}"));
            match done {
                Ok(()) => COUNTS.finished.add(1),
                Err(e) if plan.is_clean() => panic!("{e}: {side:?} of {plan:?}"),
                Err(_) => COUNTS.failed.add(1),
            }
        }
    }
}

/// If it is dropped before its time, the peer gets a reset.
fn prepare(plan: &Plan, side: Side, socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    if plan.resets && plan.patience(side).is_some() {
        socket.set_zero_linger().expect("a socket");
        COUNTS.resets.add(1);
    }
}

/// On this thread; if it can, it goes on as a stream that could leave it.
pub async fn local(plan: &Plan, side: Side, socket: TcpStream) -> io::Result<()> {
    prepare(plan, side, &socket);
    let mut stream = LocalSslStream::new(ssl(plan, side), socket)?;
    stream.set_policy(plan.policy(side));
    stream.set_write_coalescing(matches!(plan.kind(side) % 5, 0));
    let pinned = std::pin::Pin::new(&mut stream);
    let shaken = match side {
        Side::Server => pinned.accept().await,
        Side::Client => pinned.connect().await,
    };
    shaken.map_err(io::Error::other)?;
    if !matches!(plan.kind(side) % 3, 0) {
        return talk(plan, side, &mut stream).await;
    }
    match stream.into_send() {
        Ok(mut stream) => talk(plan, side, &mut stream).await,
        Err(mut stream) => talk(plan, side, &mut stream).await,
    }
}

/// Its handshake on job threads, the rest wherever its task is.
pub async fn pooled(
    threads: &JobThreads,
    plan: &Plan,
    side: Side,
    socket: TcpStream,
) -> io::Result<()> {
    prepare(plan, side, &socket);
    let ssl = ssl(plan, side);
    let mut stream = match side {
        Side::Server => threads.accept(ssl, socket).await?,
        Side::Client => threads.connect(ssl, socket).await?,
    };
    talk(plan, side, &mut stream).await
}

/// Without jobs.
pub async fn plain(plan: &Plan, side: Side, socket: TcpStream) -> io::Result<()> {
    prepare(plan, side, &socket);
    let mut stream = SslStream::new(ssl(plan, side), socket)?;
    let pinned = std::pin::Pin::new(&mut stream);
    let shaken = match side {
        Side::Server => pinned.accept().await,
        Side::Client => pinned.connect().await,
    };
    shaken.map_err(io::Error::other)?;
    talk(plan, side, &mut stream).await
}
