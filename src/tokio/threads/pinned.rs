//! What a task waits for on another thread.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use tokio::task::JoinHandle;

/// The output of a pinned task, which is cancelled when this is dropped.
pub(super) struct Pinned<T>(pub(super) JoinHandle<T>);

impl<T> Future for Pinned<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(output) => Poll::Ready(output),
            // Its panic is the caller's (H10).
            Err(e) => resume_unwind(e.into_panic()),
        }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
