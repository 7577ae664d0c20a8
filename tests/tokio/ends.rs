//! Both ends of a connection on tokio.

#![allow(dead_code)] // Each test file uses its part.

use std::future::Future;
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslVerifyMode};

use crate::common::memory;

pub fn server_context(configure: impl FnOnce(&mut SslContextBuilder)) -> SslContext {
    memory::server_context(configure)
}

pub fn client() -> Ssl {
    let mut ctx = SslContext::builder(SslMethod::tls_client()).unwrap();
    ctx.set_verify(SslVerifyMode::NONE);
    let mut ssl = Ssl::new(&ctx.build()).unwrap();
    ssl.set_hostname("name.example").unwrap();
    ssl
}

pub fn server(ctx: &SslContext) -> Ssl {
    Ssl::new(ctx).unwrap()
}

/// Runs a test on one thread, where tasks may be local.
pub fn on_one_thread<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, in_time(test))
}

/// Runs a test on several threads.
pub fn on_many_threads<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(in_time(test))
}

/// A test that hangs fails.
pub async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(300), test)
        .await
        .expect("stuck")
}
