//! The pausing provider itself, with `SSL_MODE_ASYNC` by hand. It is the process's, so the tests take
//! turns with it.
#![cfg(ossl300)]

mod busy;
mod callback;
mod hold;
mod kinds;
