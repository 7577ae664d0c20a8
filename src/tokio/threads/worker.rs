//! A job thread: a runtime with a queue of tasks that are made, polled and dropped here, and who looks
//! after what was cancelled (H1, H3, H11).

use std::cell::OnceCell;
use std::future::{poll_fn, Future};
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{sync_channel, SyncSender};
use std::task::{ready, Poll};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::job::{JobPool, JobPoolBuilder};
use crate::panics::{forget_panic, quietly, Payload};
use crate::tokio::threads::ended::is_waited_for_by;

/// What a thread is given to do: it makes a future there.
type Task = Box<dyn FnOnce() + Send>;

/// How a job thread has ended.
pub(super) enum End {
    Good,
    /// Somebody's code has panicked where tokio does not catch it.
    Panicked,
}

impl End {
    pub(super) fn from_panic(payload: Payload) -> End {
        forget_panic(payload);
        End::Panicked
    }
}

/// A job thread, as its handles have it: it ends when this is dropped.
pub(super) struct Worker {
    tasks: UnboundedSender<Task>,
    /// Begun and not ended.
    pub(super) operations: AtomicUsize,
}

impl Worker {
    /// Starts it: returns once it runs.
    pub(super) fn start(
        jobs: JobPoolBuilder,
        drain_timeout: Duration,
    ) -> io::Result<(Worker, JoinHandle<End>)> {
        let (tasks, queue) = unbounded_channel();
        let (tell, told) = sync_channel(1);
        let thread = Builder::new()
            .name("openssl-async-jobs".to_owned())
            .spawn(move || match make_runtime(&tell) {
                Some(runtime) => run(runtime, queue, jobs, drain_timeout),
                None => End::Good,
            })?;
        let started = told.recv().unwrap_or_else(|_| {
            let died = "a job thread ended before it began";
            Err(io::Error::other(died))
        });
        started.map(|()| {
            let operations = AtomicUsize::new(0);
            (Worker { tasks, operations }, thread)
        })
    }

    pub(super) fn operations(&self) -> usize {
        self.operations.load(Ordering::Relaxed)
    }

    /// Not if its runtime has panicked.
    pub(super) fn is_alive(&self) -> bool {
        !self.tasks.is_closed()
    }

    /// Has it called on the thread, if that is alive.
    pub(super) fn call(&self, task: impl FnOnce() + Send + 'static) {
        if self.tasks.send(Box::new(task)).is_err() {
            quietly(|| log::error!("a job thread has panicked"));
        }
    }
}

/// On its thread, which drops it, too: that blocks, so a task of another runtime may not.
fn make_runtime(tell: &SyncSender<io::Result<()>>) -> Option<Runtime> {
    let here = thread::current().id();
    let made = runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(move || is_waited_for_by(here))
        .build();
    let (runtime, result) = match made {
        Ok(runtime) => (Some(runtime), Ok(())),
        Err(e) => (None, Err(e)),
    };
    // Whoever starts it waits.
    let _ = tell.send(result);
    runtime
}

/// Until the last handle is gone, and then until what was cancelled has ended, or its time has.
fn run(
    runtime: Runtime,
    queue: UnboundedReceiver<Task>,
    jobs: JobPoolBuilder,
    drain_timeout: Duration,
) -> End {
    let local = LocalSet::new();
    let begun = OnceCell::new();
    // It owns the queue: should this panic, nothing is put into that any more.
    let work = async {
        let mut queue = queue;
        // Its sizes were checked; should OpenSSL have no memory for it, it makes one with the first job.
        if let Err(e) = jobs.init() {
            quietly(|| log::warn!("a job thread has a pool without a limit: {e}"));
        }
        let mut reap = pin!(JobPool::reap());
        poll_fn(|cx| {
            let Poll::Pending = reap.as_mut().poll(cx);
            while let Some(task) = ready!(queue.poll_recv(cx)) {
                quietly(task);
            }
            Poll::Ready(())
        })
        .await;
        let left = begun.get_or_init(|| Left::new(drain_timeout));
        // Devices may be tasks of this thread.
        let _ = timeout(left.now(), JobPool::reap_all()).await;
    };
    let worked = catch_unwind(AssertUnwindSafe(|| local.block_on(&runtime, work)));
    let left = begun.get_or_init(|| Left::new(drain_timeout));
    {
        // What is dropped, and jobs that go on to their end, may look for their runtime.
        let _entered = runtime.enter();
        // With its tasks, which may have jobs.
        quietly(|| drop(local));
        // What is not done then is leaked and said so when the thread ends.
        if let Err(e) = JobPool::drain(left.now()) {
            quietly(|| log::warn!("the jobs of a thread that ends cannot be waited for: {e}"));
        }
    }
    // What it does on blocking threads has no end that is known.
    quietly(|| runtime.shutdown_timeout(left.now()));
    match worked {
        Ok(()) => End::Good,
        Err(payload) => End::from_panic(payload),
    }
}

/// What is left of a time.
struct Left {
    since: Instant,
    all: Duration,
}

impl Left {
    fn new(all: Duration) -> Left {
        let since = Instant::now();
        Left { since, all }
    }

    fn now(&self) -> Duration {
        self.all.saturating_sub(self.since.elapsed())
    }
}
