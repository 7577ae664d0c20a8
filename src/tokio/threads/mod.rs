//! Threads that run handshakes and closures as jobs, for tasks that may go from thread to thread.

mod builder;
mod ended;
mod pinned;
mod worker;

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use openssl::ssl::Ssl;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use crate::error::Error;
use crate::job::{Job, JobPool, JobStats, Watcher};
use crate::tls::{Caller, Link, Role};
use crate::tokio::task_transport::TaskTransport;
use crate::tokio::{reactor, LocalSslStream, SslStream};
use crate::trace;

pub use builder::JobThreadsBuilder;
use ended::Ended;
use pinned::{pin, Pinned};
use worker::Worker;

/// A few threads of their own for handshakes and other jobs. A handle: clones are of the same threads.
///
/// [`accept`](Self::accept) and [`connect`](Self::connect) run a handshake there and give back a
/// stream that is [`Send`]; [`run`](Self::run) runs any closure over OpenSSL. Callbacks may
/// [`suspend`](crate::suspend) and engines may pause, and the thread goes on with others. What is
/// expensive in a handshake stays off the runtime's workers, be there an engine or not.
///
/// Each thread runs as many at once as come, of which so many may have a job in flight as
/// [`max_jobs`](JobThreadsBuilder::max_jobs) says; the others wait for one in order. A handshake that
/// waits for its peer has none. There is no time limit: see
/// [`tokio::time::timeout`](https://docs.rs/tokio/latest/tokio/time/fn.timeout.html).
///
/// Dropping the future of any of them cancels it, on its thread. Dropping the last handle ends the
/// threads once they are done with what was cancelled: see
/// [`drain_timeout`](JobThreadsBuilder::drain_timeout), and [`join`](Self::join) to wait for that.
///
/// Futures that a callback suspends on are polled on the job thread, in a tokio runtime of its own
/// with time and I/O.
///
/// See [`ASYNC_start_job(3)`](https://docs.openssl.org/master/man3/ASYNC_start_job/). OpenSSL 1.1.0 and
/// later.
///
/// ```
/// use openssl_async_jobs::tokio::JobThreads;
///
/// fn for_any_task<T: Clone + Send + Sync + 'static>() {}
/// for_any_task::<JobThreads>();
/// ```
#[derive(Clone)]
pub struct JobThreads {
    shared: Arc<Shared>,
}

/// What handles and operations have together: with the last of them it goes, and the threads end.
struct Shared {
    workers: Vec<Worker>,
    ended: Arc<Ended>,
}

/// From its call to when nothing of it is left on its thread, be it done or cancelled. The threads are
/// there until then.
struct Operation {
    shared: Arc<Shared>,
    /// Of which thread.
    worker: usize,
}

impl Operation {
    /// On the thread that has least to do.
    fn begin(threads: &JobThreads) -> Operation {
        let shared = Arc::clone(&threads.shared);
        let all = shared.workers.iter().enumerate();
        let idlest = all.min_by_key(|(_, worker)| (!worker.is_alive(), worker.operations()));
        let worker = idlest.map_or(0, |(worker, _)| worker);
        let operation = Operation { shared, worker };
        operation.counted(|operations| operations.fetch_add(1, Ordering::Relaxed));
        operation
    }

    fn counted(&self, count: impl FnOnce(&AtomicUsize) -> usize) {
        count(&self.shared.workers[self.worker].operations);
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.counted(|operations| operations.fetch_sub(1, Ordering::Relaxed));
    }
}

impl JobThreads {
    /// The sizes of it. All have defaults.
    ///
    /// ```
    /// use openssl_async_jobs::tokio::JobThreads;
    ///
    /// let threads = JobThreads::builder().threads(2).max_jobs(256).build()?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn builder() -> JobThreadsBuilder {
        JobThreadsBuilder::new()
    }

    /// A handshake as a server (`SSL_accept`).
    ///
    /// # Errors
    ///
    /// Of the transport, [`Error::Io`]; of libssl, [`Error::Ssl`]; and those of
    /// [`Connection::new`](crate::Connection::new).
    ///
    /// # Panics
    ///
    /// With what a future panicked that a callback had suspended on.
    ///
    /// ```
    /// # use openssl_async_jobs::{tokio::{JobThreads, SslStream}, Error};
    /// # use tokio::net::TcpStream;
    /// use openssl::ssl::{Ssl, SslContext};
    ///
    /// async fn accept(
    ///     threads: &JobThreads,
    ///     context: &SslContext,
    ///     socket: TcpStream,
    /// ) -> Result<SslStream<TcpStream>, Error> {
    ///     threads.accept(Ssl::new(context)?, socket).await
    /// }
    /// ```
    pub async fn accept<S>(&self, ssl: Ssl, stream: S) -> Result<SslStream<S>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.handshake(ssl, stream, Role::Server).await
    }

    /// A handshake as a client (`SSL_connect`).
    ///
    /// # Errors
    ///
    /// As for [`accept`](Self::accept).
    ///
    /// # Panics
    ///
    /// Likewise.
    ///
    /// ```
    /// # use openssl_async_jobs::{tokio::{JobThreads, SslStream}, Error};
    /// # use tokio::net::TcpStream;
    /// use openssl::ssl::SslConnector;
    ///
    /// async fn connect(
    ///     threads: &JobThreads,
    ///     connector: &SslConnector,
    ///     host: &str,
    /// ) -> Result<SslStream<TcpStream>, Error> {
    ///     let ssl = connector.configure()?.into_ssl(host)?;
    ///     threads.connect(ssl, TcpStream::connect((host, 443)).await?).await
    /// }
    /// ```
    pub async fn connect<S>(&self, ssl: Ssl, stream: S) -> Result<SslStream<S>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.handshake(ssl, stream, Role::Client).await
    }

    async fn handshake<S>(&self, ssl: Ssl, stream: S, role: Role) -> Result<SslStream<S>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.spawn(move || async move {
            let mut stream = LocalSslStream::new(ssl, stream)?;
            let shake = |link: &mut Link, transport: &mut TaskTransport<'_, '_, S>| match role {
                Role::Client => link.connect(transport),
                Role::Server => link.accept(transport),
            };
            poll_fn(|cx| Pin::new(&mut stream.channel).poll(cx, Caller::Handshake, shake)).await?;
            let done = stream.into_send();
            Ok(done.unwrap_or_else(|_| unreachable!("its handshake is done")))
        })
        .await
    }

    /// Runs a closure as a [`Job`], and returns what it does.
    ///
    /// A future it suspends on that runs a job of the same thread needs a second one: see
    /// [`max_jobs`](crate::JobPoolBuilder::max_jobs).
    ///
    /// # Panics
    ///
    /// With what it panics.
    ///
    /// ```
    /// # use openssl_async_jobs::tokio::JobThreads;
    /// use openssl::{error::ErrorStack, hash::MessageDigest, pkey::{PKey, Private}, sign::Signer};
    ///
    /// async fn sign(threads: &JobThreads, key: PKey<Private>) -> Result<Vec<u8>, ErrorStack> {
    ///     let sign = move || {
    ///         let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    ///         signer.update(b"data")?;
    ///         signer.sign_to_vec()
    ///     };
    ///     threads.run(sign).await
    /// }
    /// ```
    pub async fn run<F, T>(&self, closure: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn(move || {
            let job = Job::new(closure);
            job.set_watcher(Watcher::Reactor(reactor::register));
            job
        })
        .await
    }

    /// How many operations there are: begun and not ended. One that was cancelled is until its thread
    /// has dropped it.
    ///
    /// ```
    /// # use openssl_async_jobs::tokio::JobThreads;
    /// let threads = JobThreads::builder().threads(1).build()?;
    /// assert_eq!(threads.operations(), 0);
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn operations(&self) -> usize {
        self.shared.workers.iter().map(Worker::operations).sum()
    }

    /// What the jobs of these threads have done so far, all together. (`leaked` is of the whole
    /// process, as in [`JobStats`]. A thread that is gone is left out.)
    ///
    /// ```
    /// # use openssl_async_jobs::{tokio::JobThreads, Error};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let threads = JobThreads::builder().threads(2).build()?;
    /// threads.run(|| ()).await;
    /// assert_eq!(threads.stats().await.finished, 1);
    /// # Ok::<(), Error>(())
    /// # })?;
    /// # Ok::<(), Error>(())
    /// ```
    pub async fn stats(&self) -> JobStats {
        let mut all = JobStats::default();
        for worker in 0..self.shared.workers.len() {
            let (tell, told) = oneshot::channel();
            self.call(worker, move || {
                // It may have been given up meanwhile.
                let _ = tell.send(JobPool::stats());
            });
            if let Ok(stats) = told.await {
                all.add(&stats);
            }
        }
        all
    }

    /// Gives this handle up, and waits until the threads have ended: until all other handles are gone,
    /// too, operations are done, and what was cancelled is, for which there is a
    /// [`drain_timeout`](JobThreadsBuilder::drain_timeout).
    ///
    /// For the end of a program: with an engine or a provider that is a library of its own, a thread
    /// that is still about when the process exits may find it unloaded. (OpenSSL unloads it as the
    /// process exits, and does not wait for threads.)
    ///
    /// It blocks. Blocking threads of two sets that join each other wait until one set's
    /// [`drain_timeout`](JobThreadsBuilder::drain_timeout) is over. In an async function, move it to
    /// [`spawn_blocking`](https://docs.rs/tokio/latest/tokio/task/fn.spawn_blocking.html): operations
    /// that are not done may need this thread.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] on one of the threads themselves, and on one that their runtimes have for
    /// `spawn_blocking` ([`Deadlock`](std::io::ErrorKind::Deadlock)), and in
    /// the child of a fork, which has none of them ([`NotFound`](std::io::ErrorKind::NotFound)). The
    /// handle is given up all the same.
    ///
    /// ```
    /// use openssl_async_jobs::{tokio::JobThreads, Error};
    ///
    /// fn main() -> Result<(), Error> {
    ///     let threads = JobThreads::builder().build()?;
    ///     let runtime = tokio::runtime::Runtime::new()?;
    ///     let answer = runtime.block_on(threads.run(|| 42));
    ///     assert_eq!(answer, 42);
    ///     drop(runtime); // and with it tasks that have handles
    ///     threads.join()
    /// }
    /// ```
    pub fn join(self) -> Result<(), Error> {
        let ended = Arc::clone(&self.shared.ended);
        drop(self);
        Ok(ended.wait()?)
    }

    /// Has a thread, the one that has least to do, make a future and poll it.
    fn spawn<F, Fut>(&self, make: F) -> Pinned<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: std::future::Future + 'static,
        Fut::Output: Send + 'static,
    {
        let operation = Operation::begin(self);
        let worker = operation.worker;
        let caller = trace::Caller::current();
        let (begin, pinned) = pin(move || caller.instrument(make()), operation);
        self.call(worker, || {
            if let Some(task) = begin() {
                spawn_local(task);
            }
        });
        pinned
    }

    /// Has it called on a thread, if that is there.
    fn call(&self, worker: usize, task: impl FnOnce() + Send + 'static) {
        if self.shared.ended.are_here() {
            self.shared.workers[worker].call(task);
        }
    }
}

impl fmt::Debug for JobThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobThreads")
            .field("threads", &self.shared.workers.len())
            .field("operations", &self.operations())
            .finish()
    }
}
