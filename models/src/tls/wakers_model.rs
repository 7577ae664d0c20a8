//! The waker of an operation that several tasks wait for.

use std::sync::Arc;
use std::task::Waker;

use loom::thread;

use crate::counted::Counted;
use crate::tls::wakers::{Caller, Wakers};

#[test]
fn however_many_threads_call_it_each_task_is_woken_once() {
    loom::model(|| {
        let (reader, reads): (Arc<Counted>, Waker) = Counted::new();
        let (writer, writes) = Counted::new();
        let mut wakers = Wakers::default();
        wakers.wait(Caller::Reader, &reads);
        let both = wakers.waker(Caller::Writer, &writes).expect("two tasks");
        let calls = [(); 2].map(|()| {
            let both = both.clone();
            thread::spawn(move || both.wake())
        });
        calls.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((reader.get(), writer.get()), (1, 1));
    });
}
