//! A closure as the completion callback of an `SSL` (H8): the `SSL` owns it, in its ex_data.

pub(crate) type Callback = Box<dyn Fn() + Send + Sync>;

#[cfg(not(ossl300))]
pub(crate) unsafe fn set(
    _: &mut openssl::ssl::SslRef,
    _: Callback,
) -> Result<(), crate::error::Error> {
    Err(crate::error::Error::since_300("SSL_set_async_callback"))
}

#[cfg(ossl300)]
pub(crate) use since_300::set;

#[cfg(ossl300)]
mod since_300 {
    use std::panic::{catch_unwind, AssertUnwindSafe};
    use std::sync::OnceLock;

    use foreign_types::ForeignTypeRef;
    use libc::{c_int, c_void};
    use openssl::error::ErrorStack;
    use openssl::ex_data::Index;
    use openssl::ssl::{Ssl, SslRef};
    use openssl_sys::SSL;

    use super::Callback;
    use crate::error::Error;
    use crate::ffi;
    use crate::panics::{forget_panic, quietly};
    use crate::ssl_ext::SslAsyncExt;

    /// # Safety
    ///
    /// No completion may come for an earlier callback, nor after the `SSL` is freed.
    pub(crate) unsafe fn set(ssl: &mut SslRef, callback: Callback) -> Result<(), Error> {
        // libssl hands the callback to the wait context when it makes that, with the first job.
        if !matches!(ssl.all_async_fds_into(&mut []), Err(Error::NotStarted)) {
            return Err(Error::CallbackTooLate);
        }
        let index = index()?;
        ssl.set_ex_data(index, callback);
        let callback: *const Callback = ssl.ex_data(index).ok_or_else(ErrorStack::get)?;
        // SAFETY: a live SSL. `call` reads the argument, which the SSL's ex_data keeps where it
        // is until the SSL is freed, and completions have ended by then (H8, the caller).
        let set = unsafe {
            ffi::SSL_set_async_callback(ssl.as_ptr(), Some(call)) == 1
                && ffi::SSL_set_async_callback_arg(ssl.as_ptr(), callback.cast_mut().cast()) == 1
        };
        match set {
            true => Ok(()),
            false => Err(ErrorStack::get().into()),
        }
    }

    fn index() -> Result<Index<Ssl, Callback>, ErrorStack> {
        static INDEX: OnceLock<Index<Ssl, Callback>> = OnceLock::new();
        match INDEX.get() {
            Some(index) => Ok(*index),
            // Two threads may both come here: one index is used then, and the other is not.
            None => Ssl::new_ex_index().map(|index| *INDEX.get_or_init(|| index)),
        }
    }

    unsafe extern "C" fn call(_: *mut SSL, callback: *mut c_void) -> c_int {
        // SAFETY: `set` made it of a reference to a `Sync` closure that is alive still (H8).
        let callback = unsafe { &*callback.cast::<Callback>() };
        // No unwinding through C (H10); and there is no caller here to raise it from.
        match catch_unwind(AssertUnwindSafe(callback)) {
            Ok(()) => 1,
            Err(panic) => {
                forget_panic(panic);
                quietly(|| log::error!("a completion callback panicked"));
                0
            }
        }
    }
}
