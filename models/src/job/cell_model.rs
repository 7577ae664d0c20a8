//! The completion cell: a callback on one thread, the job's owner on another (H8).

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;

use crate::counted::Counted;
use crate::job::cell::Cell;

/// What the operation has written before its callback comes.
struct Shared {
    cell: Cell,
    result: UnsafeCell<u32>,
}

// SAFETY: the models read the result after the flag only; loom checks that.
unsafe impl Sync for Shared {}
// SAFETY: likewise.
unsafe impl Send for Shared {}

/// Where the owner yields, as bits. loom goes on with a thread that has yielded once the others are
/// done or blocked, and does not see by itself that a thread might have begun later: some orders come up
/// with a yield only, others without one only.
#[derive(Clone, Copy)]
struct Yields(u32);

impl Yields {
    fn at(self, place: u32) {
        if self.0 & 1 << place != 0 {
            thread::yield_now();
        }
    }
}

/// The model with each choice of yields at so many places.
fn in_all_orders(places: u32, model: impl Fn(Yields) + Copy + Sync + Send + 'static) {
    for choice in 0..1 << places {
        loom::model(move || model(Yields(choice)));
    }
}

fn shared() -> Arc<Shared> {
    Arc::new(Shared {
        cell: Cell::new(),
        result: UnsafeCell::new(0),
    })
}

/// A device that writes its result, and then calls back.
fn device(shared: &Arc<Shared>, generation: u64) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        // SAFETY: the owner reads it once it has seen the flag.
        shared.result.with_mut(|result| unsafe { *result = 7 });
        shared.cell.complete(|other| other == generation);
    })
}

fn assert_result_is_there(shared: &Shared) {
    // SAFETY: the flag was seen.
    assert_eq!(shared.result.with(|result| unsafe { *result }), 7);
}

#[test]
fn a_callback_is_seen_or_wakes_and_what_it_tells_of_is_there() {
    in_all_orders(2, |yields| {
        let shared = shared();
        let generation = shared.cell.next();
        let device = device(&shared, generation);
        let (woken, waker) = Counted::new();
        // As the owner does: registered first, and asked then.
        yields.at(0);
        shared.cell.register(&waker);
        yields.at(1);
        let mut seen = shared.cell.take();
        if !seen {
            device.join().unwrap();
            assert_eq!(woken.get(), 1, "neither seen nor woken");
            seen = shared.cell.take();
        } else {
            device.join().unwrap();
        }
        assert!(seen);
        assert_result_is_there(&shared);
        assert!(!shared.cell.take(), "once");
    });
}

#[test]
fn the_flag_alone_makes_the_result_visible() {
    in_all_orders(1, |yields| {
        let shared = shared();
        let generation = shared.cell.next();
        let device = device(&shared, generation);
        yields.at(0);
        if shared.cell.take() {
            assert_result_is_there(&shared);
        }
        device.join().unwrap();
    });
}

#[test]
fn a_callback_of_the_former_job_never_sets_the_next_ones_flag() {
    in_all_orders(2, |yields| {
        let shared = shared();
        let former = shared.cell.next();
        let late = Arc::clone(&shared);
        let late = thread::spawn(move || late.cell.complete(|other| other == former));
        yields.at(0);
        shared.cell.next();
        yields.at(1);
        let (_, waker) = Counted::new();
        shared.cell.register(&waker);
        assert!(!shared.cell.take());
        late.join().unwrap();
        assert!(!shared.cell.take());
        shared.cell.unregister();
    });
}

/// As one callback beside the thread that watches wait fds.
#[test]
fn of_two_that_tell_at_once_one_wakes_and_the_flag_is_set() {
    loom::model(|| {
        let shared = shared();
        let generation = shared.cell.next();
        let (woken, waker) = Counted::new();
        shared.cell.register(&waker);
        let told = [true, false].map(|completes| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || match completes {
                true => shared.cell.complete(|other| other == generation),
                false => shared.cell.wake(|other| other == generation),
            })
        });
        told.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(woken.get(), 1);
        assert!(shared.cell.take());
    });
}

/// A waker runs its task at once, on its own thread or for it: the cell is not locked then.
#[test]
fn a_waker_may_register_again_while_it_is_called() {
    use std::task::{Wake, Waker};

    struct Registers(Arc<Shared>);
    impl Wake for Registers {
        fn wake(self: Arc<Self>) {
            let (_, waker) = Counted::new();
            self.0.cell.register(&waker);
        }
    }
    loom::model(|| {
        let shared = shared();
        let generation = shared.cell.next();
        let waker = Waker::from(Arc::new(Registers(Arc::clone(&shared))));
        shared.cell.register(&waker);
        drop(waker);
        shared.cell.complete(|other| other == generation);
        assert!(shared.cell.take());
        shared.cell.unregister();
    });
}
