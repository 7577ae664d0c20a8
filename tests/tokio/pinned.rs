//! What tests of job threads have.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use openssl::ssl::SslRef;
use openssl_async_jobs::tokio::JobThreads;
use openssl_async_jobs::JobStats;

use crate::common::records::on_each_record;

type Hook = Arc<dyn Fn() + Send + Sync>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// A thread, with so many jobs.
pub fn one_thread(max_jobs: usize) -> JobThreads {
    let builder = JobThreads::builder().threads(1).max_jobs(max_jobs);
    builder.build().unwrap()
}

pub async fn thread_of(threads: &JobThreads) -> ThreadId {
    threads.run(|| thread::current().id()).await
}

/// Has it called at each record of the connections that `hooked` has seen, on this thread.
pub async fn hook(threads: &JobThreads, call: impl Fn() + Send + Sync + 'static) {
    threads.run(move || HOOK.set(Some(Arc::new(call)))).await
}

pub fn hooked(ssl: &mut SslRef) {
    on_each_record(ssl, || {
        if let Some(call) = HOOK.with_borrow(Clone::clone) {
            call();
        }
    });
}

/// Asks until it is so.
pub async fn until(threads: &JobThreads, is_so: impl Fn(&JobStats) -> bool) {
    while !is_so(&threads.stats().await) {
        tokio::task::yield_now().await;
    }
}

/// Nothing is in flight, nor waits.
pub async fn assert_idle(threads: &JobThreads) {
    while threads.operations() > 0 {
        tokio::task::yield_now().await;
    }
    let stats = threads.stats().await;
    assert_eq!((stats.in_flight, stats.waiting), (0, 0), "{stats:?}");
    assert_eq!(stats.finished, stats.started);
}
