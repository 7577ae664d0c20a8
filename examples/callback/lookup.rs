//! The lookup of a certificate: a future that a worker thread completes, and the servername
//! callback that waits for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::{NameType, SslContext, SslMethod, SslRef};
use openssl_async_jobs::suspend;

use crate::certificates::Store;
use crate::Result;

#[derive(Clone)]
pub struct Lookups {
    store: Arc<Store>,
    latency: Duration,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    done: usize,
    took: Duration,
    in_flight: usize,
    most_in_flight: usize,
    failure: Option<String>,
}

impl Lookups {
    pub fn new(store: Arc<Store>, latency: Duration) -> Lookups {
        Lookups {
            store,
            latency,
            seen: Arc::default(),
        }
    }

    /// How many lookups there were, and how long all of them took together.
    pub fn total(&self) -> (usize, Duration) {
        let seen = self.seen.lock().unwrap();
        (seen.done, seen.took)
    }

    /// How many there are now.
    #[allow(dead_code)] // One of the two examples says it.
    pub fn in_flight(&self) -> usize {
        self.seen.lock().unwrap().in_flight
    }

    /// How many there were at the same time.
    pub fn most_in_flight(&self) -> usize {
        self.seen.lock().unwrap().most_in_flight
    }

    /// Why the last callback that refused a handshake did; libssl only tells that one did.
    pub fn take_failure(&self) -> Option<String> {
        self.seen.lock().unwrap().failure.take()
    }

    /// The servername callback: synchronous for rust-openssl, and yet it awaits.
    pub fn servername(&self, ssl: &mut SslRef) -> Result<()> {
        let result = self.answer(ssl);
        if let Err(e) = &result {
            self.seen.lock().unwrap().failure = Some(e.to_string());
        }
        result
    }

    /// A client that sends no name gets the first.
    fn answer(&self, ssl: &mut SslRef) -> Result<()> {
        let name = ssl.servername(NameType::HOST_NAME);
        let name = name.unwrap_or(self.store.name(0)).to_owned();
        let found = suspend(self.find(name)?)??;
        Ok(ssl.set_ssl_context(&found)?)
    }

    /// Starts a lookup.
    fn find(&self, name: String) -> Result<Lookup> {
        let lookup = Lookup::default();
        let (this, answer) = (self.clone(), Arc::clone(&lookup.answer));
        let mut seen = self.seen.lock().unwrap();
        thread::Builder::new()
            .name(format!("lookup of {name}"))
            .stack_size(256 * 1024)
            .spawn(move || {
                let start = Instant::now();
                // What the network would take.
                thread::sleep(this.latency);
                let found = this.read(&name);
                {
                    let mut seen = this.seen.lock().unwrap();
                    seen.in_flight -= 1;
                    seen.done += 1;
                    seen.took += start.elapsed();
                }
                let waker = {
                    let mut answer = answer.lock().unwrap();
                    answer.found = Some(found);
                    answer.waker.take()
                };
                if let Some(waker) = waker {
                    waker.wake();
                }
            })?;
        // The thread has not counted itself down yet: that takes the lock.
        seen.in_flight += 1;
        seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
        Ok(lookup)
    }

    fn read(&self, name: &str) -> Result<SslContext> {
        let (cert, key) = self.store.read(name)?;
        let mut ctx = SslContext::builder(SslMethod::tls_server())?;
        ctx.set_certificate(&cert)?;
        ctx.set_private_key(&key)?;
        ctx.check_private_key()?;
        Ok(ctx.build())
    }
}

/// What a worker thread will have found.
#[derive(Default)]
struct Lookup {
    answer: Arc<Mutex<Answer>>,
}

#[derive(Default)]
struct Answer {
    found: Option<Result<SslContext>>,
    waker: Option<Waker>,
}

impl Future for Lookup {
    type Output = Result<SslContext>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = self.answer.lock().unwrap();
        match answer.found.take() {
            Some(found) => Poll::Ready(found),
            None => {
                answer.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
