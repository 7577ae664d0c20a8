//! A server on a thread of its own: one current-thread runtime with a `LocalSet`, for each peer.

use std::io;
use std::net::SocketAddr;
use std::ops::AsyncFnOnce;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::LocalSet;

use crate::cpu;
use crate::identity::Key;
use crate::peers::{Operation, Peer};

pub struct Server<T> {
    pub address: SocketAddr,
    thread: JoinHandle<io::Result<T>>,
}

#[derive(Clone, Copy)]
pub struct Configuration {
    pub key: Key,
    pub operation: Operation,
    /// The core it stays on.
    pub core: Option<usize>,
}

impl Default for Configuration {
    fn default() -> Configuration {
        Configuration {
            key: Key::EcdsaP256,
            operation: Operation::Nothing,
            core: Some(0),
        }
    }
}

impl<T: Send + 'static> Server<T> {
    pub fn start<P: Peer>(
        configuration: Configuration,
        body: impl AsyncFnOnce(P, TcpListener) -> io::Result<T> + Send + 'static,
    ) -> Server<T> {
        let (listens, listening) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            run(
                configuration,
                move |address| listens.send(address).expect("a caller"),
                body,
            )
        });
        Server {
            address: listening.recv().expect("a server listens"),
            thread,
        }
    }

    /// What it comes to, once it has done all that it was to do.
    pub fn finish(self) -> T {
        let done = self.thread.join().expect("a server does not panic");
        done.expect("a server does not fail")
    }
}

/// Runs a server on this thread.
pub fn run<P: Peer, T>(
    configuration: Configuration,
    listening: impl FnOnce(SocketAddr),
    body: impl AsyncFnOnce(P, TcpListener) -> io::Result<T>,
) -> io::Result<T> {
    cpu::pin(configuration.core);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let peer = P::new(configuration.key, configuration.operation);
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listener = socket.listen(4096)?;
        listening(listener.local_addr()?);
        body(peer, listener).await
    })
}

/// The next connection's socket, with the options that all have.
pub async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (socket, _) = listener.accept().await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}
