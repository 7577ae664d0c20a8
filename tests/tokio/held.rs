//! What tests of drops have: futures that are polled so many times and no more, witnesses of what is
//! freed and where, and an engine and its device.

use std::cell::RefCell;
use std::future::{poll_fn, Future};
use std::pin::{pin, Pin};
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::Poll;
use std::thread::{self, ThreadId};

use openssl::ex_data::Index;
use openssl::ssl::{Ssl, SslRef};
use openssl_async_jobs::{suspend, CurrentJob};
use tokio::sync::{mpsc, oneshot};

use crate::common::engine::{Operation, Tells};
use crate::common::records::on_each_record;

/// Polls it so many times, each time that it is woken, and drops it then; what it came to, if it did.
pub async fn polled_times<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Pending if left > 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
            Poll::Ready(output) => Poll::Ready(Some(output)),
        }
    })
    .await
}

/// Polls it once, as a task that goes on to other things.
pub async fn begin<F: Future>(future: Pin<&mut F>) {
    assert!(poll_once(future).await.is_pending());
}

pub async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Says on which thread it is dropped.
pub struct Witness(Option<oneshot::Sender<ThreadId>>);

pub type Freed = oneshot::Receiver<ThreadId>;

impl Witness {
    pub fn new() -> (Witness, Freed) {
        let (tell, told) = oneshot::channel();
        (Witness(Some(tell)), told)
    }

    /// Of an `Ssl`.
    pub fn of(ssl: &mut SslRef) -> Freed {
        static INDEX: OnceLock<Index<Ssl, Witness>> = OnceLock::new();
        let index = *INDEX.get_or_init(|| Ssl::new_ex_index().unwrap());
        let (witness, freed) = Witness::new();
        ssl.set_ex_data(index, witness);
        freed
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            // The test may be over.
            let _ = tell.send(thread::current().id());
        }
    }
}

/// How the operations of a connection pause, at each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pauses {
    Suspended,
    By(Tells),
}

impl Pauses {
    pub fn all() -> impl Iterator<Item = Pauses> {
        // The first two: by a file descriptor, and where there are any by a callback.
        let engines = Tells::ALL.iter().take(2).copied().map(Pauses::By);
        std::iter::once(Pauses::Suspended).chain(engines)
    }

    /// Has each record of it pause, on this thread, until the [`Device`] is dropped.
    pub fn at_each_record(self, ssl: &mut SslRef) -> Device {
        on_each_record(ssl, pause);
        let (begun, begins) = mpsc::unbounded_channel();
        PAUSES.set(Some((self, begun)));
        Device::new(begins)
    }
}

thread_local! {
    static PAUSES: RefCell<Option<(Pauses, mpsc::UnboundedSender<Operation>)>> =
        const { RefCell::new(None) };
}

/// In a callback of C: does not panic.
fn pause() {
    if CurrentJob::get().is_none() {
        return;
    }
    match PAUSES.with_borrow(Clone::clone) {
        None => {}
        Some((Pauses::Suspended, _)) => {
            let _ = suspend(tokio::task::yield_now());
        }
        Some((Pauses::By(tells), begun)) => {
            let operation = Operation::new(tells);
            operation.run_with(|| {
                let _ = begun.send(operation.clone());
            });
        }
    }
}

/// Completes what has begun, as a local task.
pub struct Device {
    task: tokio::task::JoinHandle<()>,
    completed: Rc<RefCell<Vec<Operation>>>,
}

impl Device {
    fn new(mut begins: mpsc::UnboundedReceiver<Operation>) -> Device {
        let completed = Rc::new(RefCell::new(Vec::new()));
        let note = Rc::clone(&completed);
        let task = tokio::task::spawn_local(async move {
            while let Some(operation) = begins.recv().await {
                // It takes its time.
                tokio::task::yield_now().await;
                operation.complete();
                note.borrow_mut().push(operation);
            }
        });
        Device { task, completed }
    }

    /// How many there were; each went on once, and for its completion.
    pub fn assert_each_resumed_once(&self) -> usize {
        let completed = self.completed.borrow();
        completed.iter().for_each(Operation::assert_resumed_once);
        completed.len()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.task.abort();
        PAUSES.set(None);
    }
}
