//! A TLS handshake with one end in a `Job` and the other on a thread of its own. The sockets block,
//! so that nothing but the callbacks pauses the job.

use std::future::{poll_fn, Future};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use openssl::ssl::{
    Error, Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode, SslVersion,
};
use openssl_async_jobs::{suspend, Job, JobPool, SuspendError};

use super::thread::PATIENCE;
use super::tls::identity;

/// One end of a connection, before its handshake.
pub struct End {
    pub ssl: Ssl,
    accepts: bool,
}

impl End {
    pub fn server(ctx: &SslContext) -> End {
        End {
            ssl: Ssl::new(ctx).unwrap(),
            accepts: true,
        }
    }

    pub fn client(ctx: &SslContext) -> End {
        let mut ssl = Ssl::new(ctx).unwrap();
        ssl.set_hostname("name.example").unwrap();
        End {
            ssl,
            accepts: false,
        }
    }

    /// The handshake, and a byte each way, so that either end knows that the other is done.
    pub fn run<S: Read + Write>(self, socket: S) -> Result<SslStream<S>, Error> {
        let mut tls = SslStream::new(self.ssl, socket).unwrap();
        if self.accepts {
            tls.accept()?;
            tls.ssl_write(b"!")?;
        } else {
            tls.connect()?;
        }
        tls.ssl_read(&mut [0])?;
        if !self.accepts {
            tls.ssl_write(b"!")?;
        }
        Ok(tls)
    }
}

pub type Outcome = Result<SslStream<UnixStream>, Error>;

/// What came of a handshake.
pub struct Ends {
    pub in_job: Outcome,
    pub other: Outcome,
    /// How often the job paused.
    pub paused: u64,
}

/// Runs one end as a job on this thread.
pub fn handshake(in_job: End, other: End) -> Ends {
    let (here, there) = sockets();
    let other = thread::spawn(move || other.run(there));
    let (in_job, paused) = count_pauses(move || in_job.run(here));
    let other = other.join().unwrap();
    Ends {
        in_job,
        other,
        paused,
    }
}

impl Ends {
    /// Both ends, if both are done, and each question paused the job.
    #[track_caller]
    pub fn done(self, asked: &Asked) -> (SslStream<UnixStream>, SslStream<UnixStream>) {
        self.assert_paused(asked);
        (self.in_job.unwrap(), self.other.unwrap())
    }

    /// Neither end is done; each question paused the job.
    #[track_caller]
    pub fn refused(self, asked: &Asked) {
        self.assert_paused(asked);
        self.in_job.map(|_| ()).unwrap_err();
        self.other.map(|_| ()).unwrap_err();
    }

    #[track_caller]
    fn assert_paused(&self, asked: &Asked) {
        let times = asked.times();
        assert!(times > 0, "the callback was not called: {:?}", self.in_job);
        assert_eq!(self.paused, times);
    }
}

/// Runs it as a job, and says how often that paused.
pub fn count_pauses<T: 'static>(closure: impl FnOnce() -> T + 'static) -> (T, u64) {
    let before = JobPool::stats();
    let output = Job::new(closure).block_on(PATIENCE).expect("stuck");
    let after = JobPool::stats();
    assert_eq!(after.started, before.started + 1);
    (output, after.paused - before.paused)
}

/// Two connected sockets that block, but not for ever.
pub fn sockets() -> (UnixStream, UnixStream) {
    let pair = UnixStream::pair().unwrap();
    pair.0.set_read_timeout(PATIENCE).unwrap();
    pair.1.set_read_timeout(PATIENCE).unwrap();
    pair
}

/// A server's context with the test's identity.
pub fn server_context(set_up: impl FnOnce(&mut SslContextBuilder)) -> SslContext {
    let (cert, key) = identity();
    let mut ctx = SslContext::builder(SslMethod::tls_server()).unwrap();
    ctx.set_certificate(cert).unwrap();
    ctx.set_private_key(key).unwrap();
    set_up(&mut ctx);
    ctx.build()
}

/// A client's context; it accepts every certificate, unless the test wants otherwise.
pub fn client_context(set_up: impl FnOnce(&mut SslContextBuilder)) -> SslContext {
    let mut ctx = SslContext::builder(SslMethod::tls_client()).unwrap();
    ctx.set_verify(SslVerifyMode::NONE);
    set_up(&mut ctx);
    ctx.build()
}

pub fn any_client() -> End {
    End::client(&client_context(|_| ()))
}

pub fn any_server() -> End {
    End::server(&server_context(|_| ()))
}

pub fn tls12(ctx: &mut SslContextBuilder) {
    ctx.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
}

/// A callback's questions, which are answered elsewhere, and counted.
#[derive(Clone, Default)]
pub struct Asked(Arc<AtomicU64>);

impl Asked {
    pub fn new() -> Asked {
        Asked::default()
    }

    /// Suspends until another thread has found the answer.
    pub fn ask<T: Send + 'static>(
        &self,
        answer: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SuspendError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        suspend(elsewhere(answer))
    }

    pub fn times(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What another thread finds, which is started by the first poll: so it is pending at first.
pub fn elsewhere<T: Send + 'static>(
    answer: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> {
    type Shared<T> = Arc<Mutex<(Option<T>, Option<Waker>)>>;
    let mut answer = Some(answer);
    let shared: Shared<T> = Arc::new(Mutex::new((None, None)));
    poll_fn(move |cx| {
        if let Some(answer) = answer.take() {
            shared.lock().unwrap().1 = Some(cx.waker().clone());
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let found = answer();
                let mut place = shared.lock().unwrap();
                place.0 = Some(found);
                let waker = place.1.take();
                drop(place);
                waker.into_iter().for_each(Waker::wake);
            });
            return Poll::Pending;
        }
        let mut place = shared.lock().unwrap();
        match place.0.take() {
            Some(found) => Poll::Ready(found),
            None => {
                place.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    })
}
