//! The stacks beside each other: one trait, the same certificate, suite, runtime and socket
//! options for each.

mod ours;
mod plain;
mod rustls;
mod tokio_openssl;

use std::fmt;
use std::future::Future;
use std::io;
use std::str::FromStr;

use ::openssl::ssl::{
    SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVersion,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::identity::{identity, Key};

pub use ours::{Coalescing, Ours, OursOnThreads};
pub use plain::Plain;
pub use rustls::Rustls;
pub use tokio_openssl::TokioOpenssl;

/// What a server waits for in the middle of each handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Nothing,
    /// Something that takes a millisecond, elsewhere.
    Millisecond,
    /// Something that never comes.
    Never,
}

/// The server's side of a stack.
pub trait Peer: Clone + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    fn new(key: Key, operation: Operation) -> Self;

    fn accept(&self, socket: TcpStream) -> impl Future<Output = io::Result<Self::Stream>>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    Ours,
    /// With small writes put together until a flush.
    OursCoalescing,
    /// `JobThreads`: handshakes on a thread of their own.
    OursOnThreads,
    TokioOpenssl,
    Rustls,
    Plain,
}

impl Stack {
    /// Those that are compared everywhere.
    pub const TLS: [Stack; 3] = [Stack::Ours, Stack::TokioOpenssl, Stack::Rustls];
    /// Likewise, and the limit.
    pub const ALL: [Stack; 4] = [
        Stack::Ours,
        Stack::TokioOpenssl,
        Stack::Rustls,
        Stack::Plain,
    ];

    pub fn is_tls(self) -> bool {
        self != Stack::Plain
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stack::Ours => "openssl-async-jobs",
            Stack::OursCoalescing => "openssl-async-jobs, coalescing",
            Stack::OursOnThreads => "openssl-async-jobs, JobThreads",
            Stack::TokioOpenssl => "tokio-openssl",
            Stack::Rustls => "tokio-rustls",
            Stack::Plain => "plain TCP",
        })
    }
}

impl FromStr for Stack {
    type Err = String;

    fn from_str(name: &str) -> Result<Stack, String> {
        let all = [
            Stack::Ours,
            Stack::OursCoalescing,
            Stack::OursOnThreads,
            Stack::TokioOpenssl,
            Stack::Rustls,
            Stack::Plain,
        ];
        let found = all.into_iter().find(|stack| stack.to_string() == name);
        found.ok_or_else(|| format!("no stack is called {name}"))
    }
}

/// Evaluates an expression in which the stack's peer is a type.
#[macro_export]
macro_rules! with_peer {
    ($stack:expr, $Peer:ident => $body:expr) => {
        match $stack {
            $crate::peers::Stack::Ours => {
                type $Peer = $crate::peers::Ours;
                $body
            }
            $crate::peers::Stack::OursCoalescing => {
                type $Peer = $crate::peers::Coalescing;
                $body
            }
            $crate::peers::Stack::OursOnThreads => {
                type $Peer = $crate::peers::OursOnThreads;
                $body
            }
            $crate::peers::Stack::TokioOpenssl => {
                type $Peer = $crate::peers::TokioOpenssl;
                $body
            }
            $crate::peers::Stack::Rustls => {
                type $Peer = $crate::peers::Rustls;
                $body
            }
            $crate::peers::Stack::Plain => {
                type $Peer = $crate::peers::Plain;
                $body
            }
        }
    };
}

/// The suite that all have.
pub const SUITE: &str = "TLS_AES_256_GCM_SHA384";

/// What the two stacks on OpenSSL have in common: TLS 1.3 with one suite, tickets and no cache.
pub fn openssl_server(key: Key, configure: impl FnOnce(&mut SslContextBuilder)) -> SslContext {
    let identity = identity(key);
    let build = || {
        let mut ctx = SslContext::builder(SslMethod::tls_server())?;
        ctx.set_min_proto_version(Some(SslVersion::TLS1_3))?;
        ctx.set_ciphersuites(SUITE)?;
        ctx.set_certificate(&identity.certificate)?;
        ctx.set_private_key(&identity.key)?;
        ctx.set_session_cache_mode(SslSessionCacheMode::OFF);
        ctx.set_options(SslOptions::NO_COMPRESSION);
        // As rust-openssl's `SslAcceptor` has it.
        ctx.set_mode(SslMode::RELEASE_BUFFERS);
        configure(&mut ctx);
        Ok::<_, ::openssl::error::ErrorStack>(ctx.build())
    };
    build().expect("a server's context")
}
