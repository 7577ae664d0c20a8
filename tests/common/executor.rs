//! An executor that a test steps: it polls what was woken and nothing else, counts, and never
//! waits. So what is not woken shows as unfinished instead of as a test that hangs.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

pub struct Executor<T> {
    tasks: Vec<Task<T>>,
    woken: Arc<Mutex<VecDeque<usize>>>,
    /// In the order in which they finished.
    pub finished: Vec<(usize, T)>,
}

struct Task<T> {
    future: Option<Pin<Box<dyn Future<Output = T>>>>,
    polls: usize,
}

struct TaskWaker {
    id: usize,
    woken: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap().push_back(self.id);
    }
}

impl<T> Executor<T> {
    pub fn new() -> Executor<T> {
        Executor {
            tasks: Vec::new(),
            woken: Arc::default(),
            finished: Vec::new(),
        }
    }

    /// A task, to be polled with the next step.
    pub fn spawn(&mut self, future: impl Future<Output = T> + 'static) -> usize {
        self.tasks.push(Task {
            future: Some(Box::pin(future)),
            polls: 0,
        });
        self.woken.lock().unwrap().push_back(self.tasks.len() - 1);
        self.tasks.len() - 1
    }

    /// Polls the task that was woken first: once for each time it was woken.
    pub fn step(&mut self) -> Option<usize> {
        let id = self.woken.lock().unwrap().pop_front()?;
        self.poll(id);
        Some(id)
    }

    /// Polls a task, woken or not.
    pub fn poll(&mut self, id: usize) {
        let waker = Waker::from(Arc::new(TaskWaker {
            id,
            woken: Arc::clone(&self.woken),
        }));
        let task = &mut self.tasks[id];
        let Some(future) = &mut task.future else {
            return;
        };
        task.polls += 1;
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            task.future = None;
            self.finished.push((id, output));
        }
    }

    /// Steps until nobody is woken.
    pub fn run(&mut self) {
        while self.step().is_some() {}
    }

    pub fn drop_task(&mut self, id: usize) {
        self.tasks[id].future = None;
    }

    /// Who was woken and not polled since, in order.
    pub fn woken(&self) -> Vec<usize> {
        self.woken.lock().unwrap().iter().copied().collect()
    }

    pub fn polls(&self, id: usize) -> usize {
        self.tasks[id].polls
    }

    pub fn all_polls(&self) -> usize {
        self.tasks.iter().map(|task| task.polls).sum()
    }
}

/// Something to wait for until the test opens it; `Rc`, so that its futures are not `Send`.
#[derive(Clone, Default)]
pub struct Gate(Rc<(Cell<bool>, RefCell<Vec<Waker>>)>);

impl Gate {
    pub fn new() -> Gate {
        Gate::default()
    }

    pub fn open(&self) {
        self.0 .0.set(true);
        self.0 .1.take().into_iter().for_each(Waker::wake);
    }

    pub fn wait(&self) -> impl Future<Output = ()> {
        let gate = self.clone();
        poll_fn(move |cx| {
            if gate.0 .0.get() {
                return Poll::Ready(());
            }
            gate.0 .1.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
    }
}

/// Is pending once, and wakes its task at once.
pub fn yield_once() -> impl Future<Output = ()> {
    let mut yielded = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// A waker that wakes nobody, for polls of the test's own.
pub fn quiet_waker() -> Waker {
    struct Quiet;
    impl Wake for Quiet {
        fn wake(self: Arc<Self>) {}
    }
    Waker::from(Arc::new(Quiet))
}
