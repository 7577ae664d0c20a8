//! Two ways to run a future to its end, for what must hold on each.

use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use openssl_async_jobs::block_on;

use super::thread::PATIENCE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// The crate's own, which polls wait fds.
    BlockOn,
    /// One that knows nothing of jobs, and sleeps until the future's waker is called.
    WakerOnly,
}

impl Runner {
    pub const BOTH: [Runner; 2] = [Runner::BlockOn, Runner::WakerOnly];

    /// Runs it to its end. Each time that it is pending, `pending` is told how often it was so
    /// far: the waker is registered then.
    pub fn run<F>(self, mut future: F, mut pending: impl FnMut(usize)) -> F::Output
    where
        F: Future + Unpin,
    {
        let mut times = 0;
        let mut told = Box::pin(poll_fn(move |cx| {
            let polled = Pin::new(&mut future).poll(cx);
            if polled.is_pending() {
                times += 1;
                pending(times);
            }
            polled
        }));
        match self {
            Runner::BlockOn => block_on(told, PATIENCE).expect("stuck"),
            Runner::WakerOnly => {
                let (waker, woken) = channel_waker();
                loop {
                    let polled = told.as_mut().poll(&mut Context::from_waker(&waker));
                    if let Poll::Ready(output) = polled {
                        return output;
                    }
                    woken.recv_timeout(PATIENCE.unwrap()).expect("not woken");
                    while woken.try_recv().is_ok() {}
                }
            }
        }
    }
}

/// A waker whose calls can be waited for.
pub fn channel_waker() -> (Waker, Receiver<()>) {
    struct Tells(Mutex<Sender<()>>);
    impl Wake for Tells {
        fn wake(self: Arc<Self>) {
            // The test may be over.
            let _ = self.0.lock().unwrap().send(());
        }
    }
    let (tell, told) = channel();
    (Waker::from(Arc::new(Tells(Mutex::new(tell)))), told)
}
