//! What a panic came with, once it has been caught (H10).

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

pub(crate) type Payload = Box<dyn Any + Send>;

/// Gives a panic up. Its drop may panic in turn, and so on: there is an end to that.
pub(crate) fn forget_panic(mut payload: Payload) {
    for _ in 0..8 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(worse) => payload = worse,
        }
    }
    std::mem::forget(payload);
}

/// Calls somebody's code where its panic would be nobody's: a logger's, a waker's, a drop's.
pub(crate) fn quietly(call: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        forget_panic(payload);
    }
}
