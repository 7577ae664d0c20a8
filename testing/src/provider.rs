//! The provider `pausing` (OpenSSL 3.0 and later): the default provider, with a pause before
//! signatures, key exchanges and AES-GCM. The pause is that of a real device: the operation is
//! handed to another thread, which signals the wait context's fd or calls its callback.
//!
//! The counters and the settings belong to the process. As a module ([`module_path()`]) the
//! provider has its own of both, set by `kinds` and `flags` (numbers, see `c/device.h`) in its
//! section of the OpenSSL configuration; `report = 1` there prints the counters at the end.

use std::path::Path;

/// The provider as a loadable module; `None` where the OpenSSL linked has no providers, or cannot
/// load any because it is linked statically.
pub fn module_path() -> Option<&'static Path> {
    #[cfg(ossl300)]
    return crate::linked::dynamically().then(|| Path::new(env!("PAUSING_PATH")));
    #[cfg(not(ossl300))]
    None
}

/// The same for an example of this crate: those can load it however they are linked.
pub fn module_object() -> Option<&'static Path> {
    #[cfg(ossl300)]
    return Some(Path::new(env!("PAUSING_PATH")));
    #[cfg(not(ossl300))]
    None
}

#[cfg(ossl300)]
pub use builtin::*;

#[cfg(ossl300)]
mod builtin {
    use std::ffi::{c_char, c_int, c_uint, c_void};
    use std::ptr;

    use foreign_types::ForeignTypeRef;
    use openssl::error::ErrorStack;
    use openssl::lib_ctx::LibCtxRef;
    use openssl::provider::Provider;
    use openssl_sys as ffi;

    /// RSA and ECDSA signatures, a bit of [`Settings::kinds`].
    pub const SIGNATURES: u32 = 1;
    /// X25519, EC(DH) and the hybrid X25519MLKEM768.
    pub const KEY_EXCHANGES: u32 = 2;
    /// AES-128-GCM and AES-256-GCM: records, therefore.
    pub const CIPHERS: u32 = 4;
    /// All of them.
    pub const ALL: u32 = SIGNATURES | KEY_EXCHANGES | CIPHERS;

    /// How a completion is told.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub enum Notify {
        /// By the wait context's callback if it has one (and then no fd is there), else by the fd.
        #[default]
        CallbackElseFd,
        /// By the fd and, if there is one, by the callback too.
        Both,
        /// By the fd, whether there is a callback or not: an engine from before callbacks.
        Fd,
    }

    /// What pauses, and how the device behaves.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Settings {
        /// The kinds of operations that pause.
        pub kinds: u32,
        /// How their completion is told.
        pub notify: Notify,
        /// Complete, and tell so, on the job's thread before the pause, as `dasync` does.
        pub complete_first: bool,
        /// Set the wait context's status, as some engines do.
        pub set_status: bool,
        /// First pause once with the status "try again" (`ASYNC_STATUS_EAGAIN`) and nothing
        /// signalled: the device's queue is full.
        pub busy_first: bool,
    }

    impl Default for Settings {
        fn default() -> Self {
            Settings {
                kinds: ALL,
                notify: Notify::default(),
                complete_first: false,
                set_status: false,
                busy_first: false,
            }
        }
    }

    /// What has happened in this process so far.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    #[repr(C)]
    pub struct Counters {
        /// Signatures that paused.
        pub signatures: u64,
        /// Key exchanges that paused.
        pub key_exchanges: u64,
        /// Calls of a cipher that paused.
        pub ciphers: u64,
        /// Operations the device has completed.
        pub completed: u64,
        /// Resumes that came before the completion.
        pub spurious: u64,
    }

    impl Counters {
        /// Operations of any kind that paused.
        pub fn paused(&self) -> u64 {
            self.signatures + self.key_exchanges + self.ciphers
        }

        /// What has happened since these were read.
        pub fn since(&self, before: &Counters) -> Counters {
            Counters {
                signatures: self.signatures - before.signatures,
                key_exchanges: self.key_exchanges - before.key_exchanges,
                ciphers: self.ciphers - before.ciphers,
                completed: self.completed - before.completed,
                spurious: self.spurious - before.spurious,
            }
        }
    }

    type ProviderInit = unsafe extern "C" fn(
        core: *const c_void,
        upcalls: *const c_void,
        functions: *mut *const c_void,
        context: *mut *mut c_void,
    ) -> c_int;

    extern "C" {
        fn OSSL_PROVIDER_add_builtin(
            libctx: *mut ffi::OSSL_LIB_CTX,
            name: *const c_char,
            init: ProviderInit,
        ) -> c_int;
        fn OSSL_PROVIDER_available(libctx: *mut ffi::OSSL_LIB_CTX, name: *const c_char) -> c_int;

        fn pausing_provider_init(
            core: *const c_void,
            upcalls: *const c_void,
            functions: *mut *const c_void,
            context: *mut *mut c_void,
        ) -> c_int;
        fn pausing_set(kinds: c_uint, flags: c_uint);
        fn pausing_hold(on: c_int);
        fn pausing_get_counters(counters: *mut Counters);
    }

    /// Loads the provider into a library context under the name `pausing`, instead of the
    /// default provider (which a context loads by itself only if nothing else was loaded).
    pub fn load_into(libctx: Option<&LibCtxRef>) -> Provider {
        openssl::init();
        let raw = libctx.map_or(ptr::null_mut(), |c| c.as_ptr());
        // SAFETY: OSSL_PROVIDER_add_builtin takes a live library context (or NULL, the default
        // one), copies the name, and an entry point of the type OSSL_provider_init_fn.
        let added =
            unsafe { OSSL_PROVIDER_add_builtin(raw, c"pausing".as_ptr(), pausing_provider_init) };
        assert_eq!(added, 1, "OSSL_PROVIDER_add_builtin: {}", ErrorStack::get());
        let provider = Provider::load(libctx, "pausing").expect("the provider loads");
        // SAFETY: as above; OSSL_PROVIDER_available only reads.
        let default = unsafe { OSSL_PROVIDER_available(raw, c"default".as_ptr()) };
        assert_eq!(
            default, 0,
            "the default provider is loaded already: load the pausing provider first"
        );
        provider
    }

    /// Loads the provider instead of the default one into the process's default library
    /// context, for good. Before any other use of OpenSSL, once per process.
    pub fn load_builtin() {
        std::mem::forget(load_into(None));
    }

    /// Settings for the operations that begin from now on.
    pub fn set(settings: Settings) {
        let flags = u32::from(settings.complete_first)
            | match settings.notify {
                Notify::CallbackElseFd => 0,
                Notify::Fd => 2,
                Notify::Both => 4,
            }
            | u32::from(settings.set_status) << 3
            | u32::from(settings.busy_first) << 4;
        // SAFETY: pausing_set takes any numbers, from any thread.
        unsafe { pausing_set(settings.kinds, flags) }
    }

    /// While held, the device takes operations but completes none (except those it completes
    /// before the pause), so that a job stays paused for as long as a test wants.
    pub fn hold(on: bool) {
        // SAFETY: pausing_hold takes a truth value, from any thread.
        unsafe { pausing_hold(c_int::from(on)) }
    }

    /// What has happened so far.
    pub fn counters() -> Counters {
        let mut counters = Counters::default();
        // SAFETY: pausing_get_counters fills a struct pausing_counters, whose layout `Counters` has.
        unsafe { pausing_get_counters(&mut counters) }
        counters
    }
}
