//! The streams of this crate and tokio-openssl's behind one trait, and tests that run on each.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll};

use openssl::ssl::{self, Ssl, SslRef};
use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::AsyncPolicy;
use tokio::io::{AsyncRead, AsyncWrite};

pub trait Stream<S: AsyncRead + AsyncWrite>: AsyncRead + AsyncWrite + Unpin + Sized {
    fn over(ssl: Ssl, transport: S, policy: AsyncPolicy) -> Self;
    fn ssl_ref(&self) -> &SslRef;
    fn transport(&mut self) -> &mut S;
    fn poll_connects(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ssl::Error>>;
    fn poll_accepts(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ssl::Error>>;
    fn poll_handshakes(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ssl::Error>>;
    fn poll_peeks(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Poll<Result<usize, ssl::Error>>;
    #[cfg(ossl111)]
    fn poll_reads_early(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Poll<Result<usize, ssl::Error>>;
    #[cfg(ossl111)]
    fn poll_writes_early(
        &mut self,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<Result<usize, ssl::Error>>;

    #[allow(async_fn_in_trait)] // Nobody else's.
    async fn connects(&mut self) -> Result<(), ssl::Error> {
        std::future::poll_fn(|cx| self.poll_connects(cx)).await
    }

    #[allow(async_fn_in_trait)]
    async fn accepts(&mut self) -> Result<(), ssl::Error> {
        std::future::poll_fn(|cx| self.poll_accepts(cx)).await
    }

    #[allow(async_fn_in_trait)]
    async fn peeks(&mut self, to: &mut [u8]) -> Result<usize, ssl::Error> {
        std::future::poll_fn(|cx| self.poll_peeks(cx, to)).await
    }
}

macro_rules! implement {
    ($Stream:ty, $ssl:ident, $transport:ident, $policy:ident, $new:expr) => {
        impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> for $Stream {
            fn over($ssl: Ssl, $transport: S, $policy: AsyncPolicy) -> Self {
                $new
            }

            fn ssl_ref(&self) -> &SslRef {
                self.ssl()
            }

            fn transport(&mut self) -> &mut S {
                self.get_mut()
            }

            fn poll_connects(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ssl::Error>> {
                Pin::new(self).poll_connect(cx)
            }

            fn poll_accepts(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ssl::Error>> {
                Pin::new(self).poll_accept(cx)
            }

            fn poll_handshakes(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ssl::Error>> {
                Pin::new(self).poll_do_handshake(cx)
            }

            fn poll_peeks(
                &mut self,
                cx: &mut Context<'_>,
                to: &mut [u8],
            ) -> Poll<Result<usize, ssl::Error>> {
                Pin::new(self).poll_peek(cx, to)
            }

            #[cfg(ossl111)]
            fn poll_reads_early(
                &mut self,
                cx: &mut Context<'_>,
                to: &mut [u8],
            ) -> Poll<Result<usize, ssl::Error>> {
                Pin::new(self).poll_read_early_data(cx, to)
            }

            #[cfg(ossl111)]
            fn poll_writes_early(
                &mut self,
                cx: &mut Context<'_>,
                from: &[u8],
            ) -> Poll<Result<usize, ssl::Error>> {
                Pin::new(self).poll_write_early_data(cx, from)
            }
        }
    };
}

implement!(LocalSslStream<S>, ssl, transport, policy, {
    let mut stream = LocalSslStream::new(ssl, transport).unwrap();
    stream.set_policy(policy);
    stream
});
implement!(SslStream<S>, ssl, transport, _policy, {
    SslStream::new(ssl, transport).unwrap()
});
implement!(tokio_openssl::SslStream<S>, ssl, transport, _policy, {
    tokio_openssl::SslStream::new(ssl, transport).unwrap()
});

/// Runs a test, which is generic in the stream, on each stream and under each policy.
macro_rules! on_each_stream {
    ($test:ident, $Transport:ty) => {{
        use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
        use openssl_async_jobs::AsyncPolicy;
        for policy in [
            AsyncPolicy::Handshake,
            AsyncPolicy::Always,
            AsyncPolicy::Never,
        ] {
            $crate::ends::on_one_thread($test::<LocalSslStream<$Transport>>(policy));
        }
        $crate::ends::on_one_thread($test::<SslStream<$Transport>>(AsyncPolicy::Never));
    }};
}
pub(crate) use on_each_stream;

/// A stream and a peer, which is tokio-openssl's.
pub type Peer = tokio_openssl::SslStream<super::wire::Wire>;

/// Both handshakes; the stream is the server, and sends no tickets: the peer need not read yet.
pub async fn opened<T: Stream<super::wire::Wire>>(policy: AsyncPolicy) -> (T, Peer) {
    let (here, there) = super::wire::wires();
    opened_over(policy, here, there).await
}

/// Likewise.
pub async fn opened_over<T: Stream<S>, S: AsyncRead + AsyncWrite + Unpin>(
    policy: AsyncPolicy,
    here: S,
    there: S,
) -> (T, tokio_openssl::SslStream<S>) {
    opened_with_tickets(policy, 0, here, there).await
}

/// Likewise, with so many tickets where TLS 1.3 is spoken.
pub async fn opened_with_tickets<T: Stream<S>, S: AsyncRead + AsyncWrite + Unpin>(
    policy: AsyncPolicy,
    _tickets: usize,
    here: S,
    there: S,
) -> (T, tokio_openssl::SslStream<S>) {
    let ctx = super::ends::server_context(|_ctx| {
        #[cfg(ossl111)]
        _ctx.set_num_tickets(_tickets).unwrap();
    });
    let mut stream = T::over(super::ends::server(&ctx), here, policy);
    let mut peer: tokio_openssl::SslStream<S> = Stream::over(super::ends::client(), there, policy);
    let (accepted, connected) = tokio::join!(stream.accepts(), peer.connects());
    accepted.unwrap();
    connected.unwrap();
    (stream, peer)
}

/// As `opened`, outside a runtime.
pub fn opened_now<T: Stream<super::wire::Wire>>(policy: AsyncPolicy) -> (T, Peer) {
    now(opened::<T>(policy))
}

/// Runs it outside a runtime.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    openssl_async_jobs::block_on(Box::pin(future), crate::common::thread::PATIENCE)
        .unwrap_or_else(|_| panic!("stuck"))
}

/// What an operation answered, in the same words for all streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Done(usize),
    Io(ErrorKind),
    /// The code, and the reasons of the error stack.
    Tls(i32, Vec<String>),
    /// An `io::Error` that is made of one of TLS.
    Wrapped(ErrorKind, Box<Told>),
    /// `SSL_ERROR_SYSCALL` without an error: the end.
    End,
}

impl From<Result<usize, ssl::Error>> for Told {
    fn from(result: Result<usize, ssl::Error>) -> Told {
        let e = match result {
            Ok(len) => return Told::Done(len),
            Err(e) => e,
        };
        if let Some(io) = e.io_error() {
            assert_eq!(e.code(), ssl::ErrorCode::SYSCALL, "of the transport");
            return Told::Io(io.kind());
        }
        match (e.ssl_error(), e.code()) {
            (None, ssl::ErrorCode::SYSCALL) => Told::End,
            (stack, code) => {
                let errors = stack.into_iter().flat_map(|stack| stack.errors());
                let reasons = errors.map(|e| format!("{:?} {:?}", e.library(), e.reason()));
                Told::Tls(code.as_raw(), reasons.collect())
            }
        }
    }
}

impl From<Result<(), ssl::Error>> for Told {
    fn from(result: Result<(), ssl::Error>) -> Told {
        result.map(|()| 0).into()
    }
}

impl From<std::io::Result<usize>> for Told {
    fn from(result: std::io::Result<usize>) -> Told {
        let e = match result {
            Ok(len) => return Told::Done(len),
            Err(e) => e,
        };
        let kind = e.kind();
        match e.downcast::<ssl::Error>() {
            Ok(e) => Told::Wrapped(kind, Box::new(Told::from(Err::<usize, _>(e)))),
            Err(_) => Told::Io(kind),
        }
    }
}

impl From<std::io::Result<()>> for Told {
    fn from(result: std::io::Result<()>) -> Told {
        result.map(|()| 0).into()
    }
}
