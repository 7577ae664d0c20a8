//! The engine's device: a thread that does what it was given when the time has come.

use std::collections::BTreeMap;
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::Operation;

type Action = Box<dyn FnOnce() + Send>;

/// As long as the process.
static DEVICE: OnceLock<Sender<(Instant, Action)>> = OnceLock::new();
/// Operations that do not complete before the end of a round.
static HELD: Mutex<Vec<Operation>> = Mutex::new(Vec::new());

pub fn later(after: Duration, action: impl FnOnce() + Send + 'static) {
    let device = DEVICE.get_or_init(|| {
        let (give, given) = channel::<(Instant, Action)>();
        let run = move || {
            let mut waiting = BTreeMap::<(Instant, u64), Action>::new();
            let mut number = 0;
            loop {
                let now = Instant::now();
                while let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= now) {
                    first.remove()();
                }
                let next = waiting.first_key_value().map(|((at, _), _)| *at);
                let timeout = next.map_or(Duration::from_secs(1), |at| at - now.min(at));
                match given.recv_timeout(timeout) {
                    Ok((at, action)) => {
                        number += 1;
                        waiting.insert((at, number), action);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        thread::Builder::new()
            .name("device".to_owned())
            .spawn(run)
            .expect("a thread");
        give
    });
    device
        .send((Instant::now() + after, Box::new(action)))
        .expect("it runs");
}

pub fn hold(operation: Operation) {
    HELD.lock().unwrap().push(operation);
}

/// Completes what never does; says how many those were.
pub fn release() -> usize {
    let held = std::mem::take(&mut *HELD.lock().unwrap());
    held.iter().for_each(Operation::complete);
    held.len()
}

/// What a lookup elsewhere brings, after a while.
pub async fn lookup(after: Duration) {
    let shared = Arc::new(Mutex::new((false, None::<Waker>)));
    let found = Arc::clone(&shared);
    later(after, move || {
        let mut place = found.lock().unwrap();
        place.0 = true;
        let waker = place.1.take();
        drop(place);
        waker.into_iter().for_each(Waker::wake);
    });
    std::future::poll_fn(move |cx| {
        let mut place = shared.lock().unwrap();
        if place.0 {
            return Poll::Ready(());
        }
        place.1 = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}
