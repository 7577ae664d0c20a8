//! The methods that both streams have: those of `tokio_openssl::SslStream`.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use openssl::ssl;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::Caller;
use crate::tokio::ssl_error::ssl_error;
use crate::tokio::{LocalSslStream, SslStream};

/// An example in which `stream` is a stream of this type, pinned.
macro_rules! example {
    ($Stream:ident, $code:literal) => {
        concat!(
            "```\n# use openssl_async_jobs::tokio::",
            stringify!($Stream),
            ";\n# use std::pin::Pin;\n# async fn f(mut stream: Pin<&mut ",
            stringify!($Stream),
            "<tokio::net::TcpStream>>) -> Result<(), openssl::ssl::Error> {\n",
            $code,
            "\n# Ok(())\n# }\n```"
        )
    };
}

macro_rules! stream_methods {
    ($Stream:ident) => {
        impl<S: AsyncRead + AsyncWrite> $Stream<S> {
            /// The handshake as a client (`SSL_connect`).
            ///
            /// # Errors
            ///
            /// Those of libssl and of the transport, as rust-openssl's.
            ///
            #[doc = example!($Stream, "std::future::poll_fn(|cx| stream.as_mut().poll_connect(cx)).await?;")]
            pub fn poll_connect(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Result<(), ssl::Error>> {
                let channel = self.project().channel;
                channel
                    .poll(cx, Caller::Handshake, |link, transport| link.connect(transport))
                    .map_err(ssl_error)
            }

            /// The handshake as a client (`SSL_connect`).
            ///
            /// # Errors
            ///
            /// As for [`poll_connect`](Self::poll_connect).
            ///
            #[doc = example!($Stream, "stream.as_mut().connect().await?;")]
            pub async fn connect(mut self: Pin<&mut Self>) -> Result<(), ssl::Error> {
                poll_fn(|cx| self.as_mut().poll_connect(cx)).await
            }

            /// The handshake as a server (`SSL_accept`).
            ///
            /// With TLS 1.3 the session tickets, which no client waits for, go with what is written
            /// first, with a flush or a shutdown, or when a read waits. A stream that is dropped before
            /// any of that sends none.
            ///
            /// # Errors
            ///
            /// As for [`poll_connect`](Self::poll_connect).
            ///
            #[doc = example!($Stream, "std::future::poll_fn(|cx| stream.as_mut().poll_accept(cx)).await?;")]
            pub fn poll_accept(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Result<(), ssl::Error>> {
                let channel = self.project().channel;
                channel
                    .poll(cx, Caller::Handshake, |link, transport| link.accept(transport))
                    .map_err(ssl_error)
            }

            /// The handshake as a server (`SSL_accept`), as [`poll_accept`](Self::poll_accept).
            ///
            /// # Errors
            ///
            /// As for [`poll_connect`](Self::poll_connect).
            ///
            #[doc = example!($Stream, "stream.as_mut().accept().await?;")]
            pub async fn accept(mut self: Pin<&mut Self>) -> Result<(), ssl::Error> {
                poll_fn(|cx| self.as_mut().poll_accept(cx)).await
            }

            /// The handshake, as what the `Ssl` was set to be (`SSL_do_handshake`).
            ///
            /// # Errors
            ///
            /// As for [`poll_connect`](Self::poll_connect).
            ///
            #[doc = example!($Stream, "std::future::poll_fn(|cx| stream.as_mut().poll_do_handshake(cx)).await?;")]
            pub fn poll_do_handshake(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Result<(), ssl::Error>> {
                let channel = self.project().channel;
                channel
                    .poll(cx, Caller::Handshake, |link, transport| link.handshake(transport))
                    .map_err(ssl_error)
            }

            /// The handshake, as what the `Ssl` was set to be (`SSL_do_handshake`).
            ///
            /// # Errors
            ///
            /// As for [`poll_connect`](Self::poll_connect).
            ///
            #[doc = example!($Stream, "stream.as_mut().do_handshake().await?;")]
            pub async fn do_handshake(mut self: Pin<&mut Self>) -> Result<(), ssl::Error> {
                poll_fn(|cx| self.as_mut().poll_do_handshake(cx)).await
            }

            /// Reads plaintext and leaves it for the next read (`SSL_peek`).
            ///
            /// # Errors
            ///
            /// As for [`poll_connect`](Self::poll_connect), and
            /// [`ZERO_RETURN`](ssl::ErrorCode::ZERO_RETURN) when the peer has closed the connection.
            ///
            #[doc = example!($Stream, "let mut first = [0];\nstd::future::poll_fn(|cx| stream.as_mut().poll_peek(cx, &mut first)).await?;")]
            pub fn poll_peek(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<Result<usize, ssl::Error>> {
                let channel = self.project().channel;
                channel
                    .poll(cx, Caller::Reader, |link, transport| link.peek(transport, buf))
                    .map_err(ssl_error)
            }

            /// Reads plaintext and leaves it for the next read (`SSL_peek`).
            ///
            /// # Errors
            ///
            /// As for [`poll_peek`](Self::poll_peek).
            ///
            #[doc = example!($Stream, "let mut first = [0];\nstream.as_mut().peek(&mut first).await?;")]
            pub async fn peek(mut self: Pin<&mut Self>, buf: &mut [u8]) -> Result<usize, ssl::Error> {
                poll_fn(|cx| self.as_mut().poll_peek(cx, buf)).await
            }

            /// Reads early data, on a server before its handshake; 0 when there is no more
            /// (`SSL_read_early_data`, OpenSSL 1.1.1).
            ///
            /// # Errors
            ///
            /// As for [`poll_connect`](Self::poll_connect).
            ///
            #[doc = example!($Stream, "let mut early = [0; 1024];\nstd::future::poll_fn(|cx| stream.as_mut().poll_read_early_data(cx, &mut early)).await?;")]
            #[cfg(ossl111)]
            pub fn poll_read_early_data(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<Result<usize, ssl::Error>> {
                let channel = self.project().channel;
                channel
                    .poll(cx, Caller::Reader, |link, transport| {
                        link.read_early_data(transport, buf)
                    })
                    .map_err(ssl_error)
            }

            /// Reads early data, on a server before its handshake; 0 when there is no more
            /// (`SSL_read_early_data`, OpenSSL 1.1.1).
            ///
            /// # Errors
            ///
            /// As for [`poll_connect`](Self::poll_connect).
            ///
            #[doc = example!($Stream, "let mut early = [0; 1024];\nstream.as_mut().read_early_data(&mut early).await?;")]
            #[cfg(ossl111)]
            pub async fn read_early_data(
                mut self: Pin<&mut Self>,
                buf: &mut [u8],
            ) -> Result<usize, ssl::Error> {
                poll_fn(|cx| self.as_mut().poll_read_early_data(cx, buf)).await
            }

            /// Writes early data: on a client with a session that allows it, before its handshake; on
            /// a server before the client's handshake is done (`SSL_write_early_data`, OpenSSL
            /// 1.1.1).
            ///
            /// # Errors
            ///
            /// As for [`poll_connect`](Self::poll_connect).
            ///
            #[doc = example!($Stream, "std::future::poll_fn(|cx| stream.as_mut().poll_write_early_data(cx, b\"GET /\")).await?;")]
            #[cfg(ossl111)]
            pub fn poll_write_early_data(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<Result<usize, ssl::Error>> {
                let channel = self.project().channel;
                channel
                    .poll(cx, Caller::Writer, |link, transport| {
                        link.write_early_data(transport, buf)
                    })
                    .map_err(ssl_error)
            }

            /// Writes early data (`SSL_write_early_data`, OpenSSL 1.1.1).
            ///
            /// # Errors
            ///
            /// As for [`poll_connect`](Self::poll_connect).
            ///
            #[doc = example!($Stream, "stream.as_mut().write_early_data(b\"GET /\").await?;")]
            #[cfg(ossl111)]
            pub async fn write_early_data(
                mut self: Pin<&mut Self>,
                buf: &[u8],
            ) -> Result<usize, ssl::Error> {
                poll_fn(|cx| self.as_mut().poll_write_early_data(cx, buf)).await
            }
        }

        impl<S> $Stream<S> {
            /// Whether small writes are kept, up to 64 KiB, and become records together: not unless
            /// this says so. They are sent by a flush or shutdown, by further writes, and when a
            /// read has to wait.
            ///
            /// Without it that is done only with those that cannot be sent anyway, as the transport
            /// takes nothing at the moment; what is called next sends them.
            ///
            #[doc = example!($Stream, "stream.set_write_coalescing(true);")]
            pub fn set_write_coalescing(&mut self, on: bool) {
                self.channel.set_coalescing(on);
            }

            /// The transport.
            ///
            #[doc = example!($Stream, "let peer = stream.get_ref().peer_addr();")]
            pub fn get_ref(&self) -> &S {
                self.channel.transport()
            }

            /// The transport, to change. What is read from it or written to it is missed by TLS.
            ///
            #[doc = example!($Stream, "let socket = stream.get_mut();")]
            pub fn get_mut(&mut self) -> &mut S {
                self.channel.transport_mut()
            }

            /// The transport, pinned, to change.
            ///
            #[doc = example!($Stream, "let socket = stream.as_mut().get_pin_mut();")]
            pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut S> {
                self.project().channel.transport_pin()
            }
        }

        impl<S: AsyncRead + AsyncWrite> AsyncRead for $Stream<S> {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.project().channel.poll_read(cx, buf)
            }
        }

        impl<S: AsyncRead + AsyncWrite> AsyncWrite for $Stream<S> {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.project().channel.poll_write(cx, buf)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.project().channel.poll_flush(cx)
            }

            /// Sends our `close_notify`, and shuts the transport down. It does not wait for the
            /// peer's; a read does.
            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.project().channel.poll_shutdown(cx)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.project().channel.poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }
        }
    };
}

stream_methods!(LocalSslStream);
stream_methods!(SslStream);
