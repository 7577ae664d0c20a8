//! A task of a job thread, and what waits for it on another one.

use std::future::Future;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use std::thread;

use pin_project_lite::pin_project;
use tokio::sync::oneshot;

use crate::job::count_forks;
use crate::panics::{forget_panic, quietly};

/// The output of a pinned task, which is cancelled when this is dropped.
pub(super) struct Pinned<T> {
    told: oneshot::Receiver<thread::Result<T>>,
    /// Of its process: in the child of a fork nobody tells anything.
    forks: u64,
}

impl<T> Future for Pinned<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let told = match Pin::new(&mut self.told).poll(cx) {
            Poll::Pending if self.forks == count_forks() => return Poll::Pending,
            Poll::Pending => None,
            Poll::Ready(told) => told.ok(),
        };
        match told {
            Some(Ok(output)) => Poll::Ready(output),
            // Its panic is the caller's (H10).
            Some(Err(payload)) => resume_unwind(payload),
            None => panic!(
                "a job thread is gone: it has panicked, or is of the process that this one is forked from"
            ),
        }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // No output comes any more. One that has come is dropped as by a task: its panic is nobody's.
        self.told.close();
        match self.told.try_recv() {
            Ok(Ok(output)) => quietly(|| drop(output)),
            Ok(Err(payload)) => forget_panic(payload),
            Err(_) => {}
        }
    }
}

pin_project! {
    /// Where it is made, polled and dropped.
    pub(super) struct Task<F: Future, H> {
        // None when it is done.
        #[pin]
        future: Option<F>,
        tell: Option<oneshot::Sender<thread::Result<F::Output>>>,
        // Dropped after the future, and before its output is told.
        holds: Option<H>,
    }
}

/// What is to be called on the thread that shall have the task, and what waits for it here.
pub(super) fn pin<F, Fut, H>(
    make: F,
    holds: H,
) -> (impl FnOnce() -> Option<Task<Fut, H>>, Pinned<Fut::Output>)
where
    F: FnOnce() -> Fut,
    Fut: Future,
{
    let (tell, told) = oneshot::channel();
    let begin = move || {
        if tell.is_closed() {
            quietly(|| drop(make));
            return None;
        }
        match catch_unwind(AssertUnwindSafe(make)) {
            Ok(future) => Some(Task {
                future: Some(future),
                tell: Some(tell),
                holds: Some(holds),
            }),
            Err(payload) => {
                drop(holds);
                give(tell, Err(payload));
                None
            }
        }
    };
    let forks = count_forks();
    (begin, Pinned { told, forks })
}

impl<F: Future, H> Future for Task<F, H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(tell) = this.tell.as_mut() else {
            return Poll::Ready(());
        };
        let output = match (tell.poll_closed(cx), this.future.as_mut().as_pin_mut()) {
            (Poll::Pending, Some(future)) => {
                let polled = catch_unwind(AssertUnwindSafe(|| future.poll(cx)));
                Some(ready!(polled.map_or_else(
                    |payload| Poll::Ready(Err(payload)),
                    |polled| polled.map(Ok)
                )))
            }
            // Nobody waits for it any more.
            _ => None,
        };
        let dropped = catch_unwind(AssertUnwindSafe(|| this.future.set(None)));
        drop(this.holds.take());
        match (output, dropped, this.tell.take()) {
            (Some(Ok(_)), Err(payload), Some(tell)) => give(tell, Err(payload)),
            (Some(output), dropped, Some(tell)) => {
                give(tell, output);
                dropped.unwrap_or_else(forget_panic);
            }
            (_, dropped, _) => dropped.unwrap_or_else(forget_panic),
        }
        Poll::Ready(())
    }
}

/// If nobody is there to take it, it is dropped here. Whoever is has a waker, which is somebody's code.
fn give<T>(tell: oneshot::Sender<thread::Result<T>>, output: thread::Result<T>) {
    quietly(|| match tell.send(output) {
        Ok(()) => {}
        Err(Ok(output)) => drop(output),
        Err(Err(payload)) => forget_panic(payload),
    });
}
