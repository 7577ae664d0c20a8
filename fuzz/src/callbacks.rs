//! What callbacks do: as the input plans it, they suspend on futures that a later step completes,
//! or pause as an engine does.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io::{PipeWriter, Write};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use openssl::ssl::{SslRef, SslSession};
use openssl_async_jobs::{suspend, CurrentJob, Job, Notifier, WaitKey};

use crate::contexts::contexts;
use crate::program::Pause;

/// What a panic of the input's own is raised with: libFuzzer's hook does not see it.
pub struct Injected;

pub fn inject_panic() -> ! {
    resume_unwind(Box::new(Injected))
}

/// What this thread's callbacks shall do, and wait for.
#[derive(Default)]
struct Script {
    /// For each end: after how many callbacks, and what.
    plans: BTreeMap<usize, VecDeque<(u8, Pause)>>,
    waiting: Vec<Waiting>,
    /// The newest of a client.
    session: Option<SslSession>,
}

/// What a paused callback waits for.
enum Waiting {
    Future(Rc<Gate>),
    WaitFd(Rc<Cell<bool>>, PipeWriter),
    Notifier(Rc<Cell<bool>>, Notifier),
}

thread_local! {
    /// Never borrowed across a pause.
    static SCRIPT: RefCell<Script> = RefCell::default();
}

fn with_script<T>(f: impl FnOnce(&mut Script) -> T) -> T {
    SCRIPT.with(|script| f(&mut script.borrow_mut()))
}

pub fn plan(id: usize, after: u8, pause: Pause) {
    with_script(|script| {
        script
            .plans
            .entry(id)
            .or_default()
            .push_back((after, pause))
    });
}

/// From now on no callback pauses.
pub fn plan_nothing() {
    with_script(|script| script.plans.clear());
}

pub fn keep_session(ssl: &SslRef, session: SslSession) {
    if !ssl.is_server() {
        with_script(|script| script.session = Some(session));
    }
}

pub fn session() -> Option<SslSession> {
    with_script(|script| script.session.clone())
}

/// Lets one that waits go on; false if none waits.
pub fn complete(nth: u8) -> bool {
    let Some(waiting) = take(nth, |_| true) else {
        return false;
    };
    match waiting {
        Waiting::Future(gate) => gate.open(Opened::Passes),
        Waiting::WaitFd(done, mut writer) => {
            done.set(true);
            // Nobody reads it if the job has ended some other way.
            let _ = writer.write(b"!");
        }
        Waiting::Notifier(done, notifier) => {
            done.set(true);
            // SAFETY: its job pauses until this, so its wait context is alive (H8): `pause` below
            // asserts that nothing else resumes it.
            unsafe { notifier.notify() };
        }
    }
    true
}

pub fn panic(nth: u8) {
    let is_future = |waiting: &Waiting| matches!(waiting, Waiting::Future(_));
    if let Some(Waiting::Future(gate)) = take(nth, is_future) {
        gate.open(Opened::Panics);
    }
}

fn take(nth: u8, which: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
    with_script(|script| match script.waiting.len() {
        0 => None,
        len => {
            let nth = usize::from(nth) % len;
            which(&script.waiting[nth]).then(|| script.waiting.remove(nth))
        }
    })
}

/// In every callback: whether it shall go well.
pub fn call_back(ssl: &SslRef) -> bool {
    let Some(id) = ssl.ex_data(contexts().id).copied() else {
        return true;
    };
    let planned = with_script(|script| {
        let plan = script.plans.get_mut(&id)?;
        match plan.front_mut()? {
            (0, _) => plan.pop_front(),
            (after, _) => {
                *after -= 1;
                None
            }
        }
    });
    match planned {
        Some((_, planned)) => pause(planned),
        None => true,
    }
}

fn pause(pause: Pause) -> bool {
    match pause {
        Pause::Future => suspend(wait(false)).is_ok(),
        Pause::FutureWithPanickingDrop => suspend(wait(true)).is_ok(),
        Pause::Yield => suspend(yield_once()).is_ok(),
        Pause::Panic => suspend(async { inject_panic() }).is_ok(),
        // Without a job around it, it would have the thread wait for a later step.
        Pause::FutureInJob => match CurrentJob::get() {
            Some(_) => Job::new(|| suspend(wait(false)).is_ok())
                .block_on(None)
                .unwrap_or(false),
            None => true,
        },
        Pause::Turn | Pause::WaitFd | Pause::Notifier => match CurrentJob::get() {
            Some(job) => {
                pause_as_an_engine(&job, pause);
                true
            }
            None => true,
        },
        Pause::Refuse => false,
    }
}

fn pause_as_an_engine(job: &CurrentJob, pause: Pause) {
    static KEY: WaitKey = WaitKey::new();
    let context = job.wait_context().unwrap();
    let done = Rc::new(Cell::new(false));
    match pause {
        Pause::WaitFd => {
            let (reader, writer) = std::io::pipe().unwrap();
            context.set_wait_fd(&KEY, reader.into()).unwrap();
            with_script(|s| s.waiting.push(Waiting::WaitFd(Rc::clone(&done), writer)));
        }
        Pause::Notifier => {
            let notifier = context.notifier().unwrap().expect("a job of the crate's");
            with_script(|s| {
                s.waiting
                    .push(Waiting::Notifier(Rc::clone(&done), notifier))
            });
        }
        _ => done.set(true),
    }
    job.pause().unwrap();
    assert!(done.get(), "resumed without evidence (H6)");
    if let Pause::WaitFd = pause {
        context.clear_fd(&KEY).unwrap();
    }
}

/// A future that a later step opens.
fn wait(panics_when_dropped: bool) -> Wait {
    let gate = Rc::new(Gate::default());
    with_script(|script| script.waiting.push(Waiting::Future(Rc::clone(&gate))));
    Wait {
        gate,
        panics_when_dropped,
        polled: false,
    }
}

#[derive(Default)]
struct Gate {
    opened: Cell<Option<Opened>>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy)]
enum Opened {
    Passes,
    Panics,
}

impl Gate {
    fn open(&self, opened: Opened) {
        self.opened.set(Some(opened));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

struct Wait {
    gate: Rc<Gate>,
    panics_when_dropped: bool,
    polled: bool,
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polled = true;
        match self.gate.opened.get() {
            Some(Opened::Passes) => Poll::Ready(()),
            Some(Opened::Panics) => inject_panic(),
            None => {
                self.gate.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // Unpolled it is dropped in the callback itself, and nothing may unwind through that.
        if self.panics_when_dropped && self.polled && !std::thread::panicking() {
            inject_panic();
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| match std::mem::replace(&mut yielded, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}
