//! Streams for tokio, and threads for their handshakes. Feature `tokio`.
//!
//! # Which one
//!
//! | where a task runs | use |
//! |---|---|
//! | on any thread (the multi-thread runtime) | [`JobThreads`]: its `accept` and `connect` run handshakes as jobs on a few threads of their own, and give an [`SslStream`] |
//! | on one thread (a current-thread runtime with a `LocalSet`, thread-per-core servers) | [`LocalSslStream`]: any operation may be a job |
//! | anywhere, and nothing asynchronous happens inside OpenSSL | [`SslStream::new`], as tokio-openssl's |
//!
//! The one surprising rule: a job stays on its thread, so a stream that may have one is not `Send`.
//!
//! ```
//! use openssl::ssl::{Ssl, SslContext};
//! use openssl_async_jobs::tokio::{JobThreads, SslStream};
//! use tokio::io::AsyncWriteExt;
//! use tokio::net::{TcpListener, TcpStream};
//!
//! async fn serve(listener: TcpListener, context: SslContext) -> Result<(), openssl_async_jobs::Error> {
//!     let threads = JobThreads::builder().build()?;
//!     loop {
//!         let (socket, _) = listener.accept().await?;
//!         let (threads, ssl) = (threads.clone(), Ssl::new(&context)?);
//!         tokio::spawn(async move {
//!             // Callbacks of the context may `suspend`, and engines may pause.
//!             let mut stream: SslStream<TcpStream> = threads.accept(ssl, socket).await?;
//!             stream.write_all(b"hello").await?;
//!             stream.shutdown().await?;
//!             Ok::<_, openssl_async_jobs::Error>(())
//!         });
//!     }
//! }
//! ```
//!
//! # Waiting for engines
//!
//! With OpenSSL 3.0 and later an engine's completion callback wakes the task, without a system call of
//! this crate. Engines without, and older OpenSSLs, have wait fds, of which the runtime's reactor
//! watches duplicates. A runtime without I/O has none (tokio's panic about that is caught; the panic
//! hook hears of it once), and with `panic = "abort"` there is no asking: then one thread of this
//! crate's watches for all.
//!
//! # What differs from tokio-openssl
//!
//! [`SslStream`] and [`LocalSslStream`] have each method of `tokio_openssl::SslStream`, with its name
//! and signature but for these:
//!
//! | `tokio_openssl::SslStream` | here | why |
//! |---|---|---|
//! | `new(ssl, stream) -> Result<_, ErrorStack>` | `Result<_, Error>` | DTLS and QUIC are refused, with a sentence |
//! | `ssl()` | [`LocalSslStream::ssl`] panics while an operation is in flight, [`LocalSslStream::try_ssl`] is there | a callback that has paused may hold a `&mut` to what the `Ssl` keeps for it |
//! | is `Send`, and runs callbacks anywhere | [`SslStream`] is `Send`, and `suspend` answers `NotInJob` in its callbacks; [`LocalSslStream`] is not `Send` | H1: a job is resumed on its thread |
//! | a read takes as much from the transport as a record | as much as there is | one system call in place of three |
//! | a write is one record, and is on its way when it returns | as many records as are accepted, sent at once; what the transport does not take is kept, and the next operation sends it | likewise; `poll_flush` says when it is sent |
//! | two tasks that read and write with `tokio::io::split` may take each other's wake-ups | each is woken | |
//! | an error in sending is an error of the write | of the next write, flush or shutdown | what was accepted cannot be refused any more |
//! | a TLS 1.3 server's handshake ends when its session tickets are sent | they go with what it sends first, and when a read waits | one call of the transport less; no client waits for them |
//! | a server whose client has gone before its session tickets were sent fails its handshake | it has done it | the client may have sent what it wanted to say |
//! | `poll_shutdown` does not flush the transport | it does, and its error is told | our `close_notify` is to arrive |
//! | a transport that is pending at times fails early data with `SYSCALL` | it waits | |
//! | `poll_shutdown` called again waits for the peer | only for the transport | it is done when our `close_notify` is sent, as [`AsyncWrite`](tokio::io::AsyncWrite) has it |

mod channel;
mod local_stream;
mod methods;
mod reactor;
mod ssl_error;
mod stream;
mod task_transport;
mod threads;

pub use local_stream::LocalSslStream;
pub use stream::SslStream;
pub use threads::{JobThreads, JobThreadsBuilder};
