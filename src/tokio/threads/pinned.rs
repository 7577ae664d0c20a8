//! What a task waits for on another thread.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

use crate::tokio::threads::Operation;

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

pin_project! {
    /// A pinned task, and the operation that it is.
    pub(super) struct Counted<F> {
        #[pin]
        pub(super) future: F,
        // Ends after the future is dropped.
        pub(super) operation: Operation,
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
