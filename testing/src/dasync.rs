//! OpenSSL's test engine `dasync`, which pauses the job before an operation and signals its
//! completion before it pauses.
//!
//! What pauses in a TLS server:
//! - 1.1.x: [`Method::Rsa`], the signature (keys have to be made after the engine was loaded);
//! - 3.x: SHA-1 and nothing else. A handshake pauses where a peer's certificate is parsed, for
//!   its fingerprint is a SHA-1;
//! - all: [`Method::Digests`], records of TLS 1.2 with an HMAC of SHA-1 (`ECDHE-RSA-AES128-SHA`).

use std::path::Path;

/// The engine's shared object; `None` where the OpenSSL linked has no engines, or cannot load any
/// because it is linked statically (`load_dasync` then takes one that is linked in).
pub fn dasync_path() -> Option<&'static Path> {
    #[cfg(engines)]
    return crate::linked::dynamically().then(|| Path::new(env!("DASYNC_PATH")));
    #[cfg(not(engines))]
    None
}

/// The engine's shared object, for an example of this crate: those can load it however they are
/// linked. `None` where the OpenSSL linked has no engines.
pub fn dasync_object() -> Option<&'static Path> {
    #[cfg(engines)]
    return Some(Path::new(env!("DASYNC_PATH")));
    #[cfg(not(engines))]
    None
}

#[cfg(engines)]
pub use load::{load_dasync, Method};

#[cfg(engines)]
mod load {
    use std::ffi::{c_char, c_int, c_uint, c_void, CStr, CString};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::ptr;

    use openssl::error::ErrorStack;

    /// What the engine may be made the process's default for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u32)]
    pub enum Method {
        /// RSA keys. 1.1.x only: there is no RSA method in the engine of 3.x.
        Rsa = 0x0001,
        /// AES-128-CBC and AES-128-CBC-HMAC-SHA1. They pipeline, but never pause.
        Ciphers = 0x0040,
        /// SHA-1.
        Digests = 0x0080,
        /// RSA at the level of `EVP_PKEY`. 3.x only, and it does not pause; libssl finds no RSA
        /// signature algorithm with it.
        PkeyMethods = 0x0200,
    }

    /// C's `ENGINE`, only ever behind a pointer.
    enum Engine {}

    const OPENSSL_INIT_ENGINE_DYNAMIC: u64 = 0x400;

    extern "C" {
        fn OPENSSL_init_crypto(options: u64, settings: *const c_void) -> c_int;
        fn ENGINE_by_id(id: *const c_char) -> *mut Engine;
        fn ENGINE_ctrl_cmd_string(
            engine: *mut Engine,
            command: *const c_char,
            argument: *const c_char,
            optional: c_int,
        ) -> c_int;
        fn engine_load_dasync_int();
        fn ENGINE_get_last() -> *mut Engine;
        fn ENGINE_remove(engine: *mut Engine) -> c_int;
        fn ENGINE_init(engine: *mut Engine) -> c_int;
        fn ENGINE_set_default(engine: *mut Engine, flags: c_uint) -> c_int;
    }

    fn check(result: c_int, what: &str) {
        assert_eq!(result, 1, "{what}: {}", ErrorStack::get());
    }

    /// Loads the engine and makes it the process's default for `methods`. Once per process,
    /// and before the keys are made that it shall work on.
    pub fn load_dasync(methods: &[Method]) {
        openssl::init();
        let engine = match super::dasync_path() {
            Some(path) => dynamic(path),
            None => linked_in(),
        };
        // SAFETY: the engine is a live structural reference. Both references are kept for the
        // life of the process: callers may have jobs in the engine at its end.
        check(unsafe { ENGINE_init(engine) }, "ENGINE_init");
        let flags = methods.iter().fold(0, |flags, m| flags | *m as c_uint);
        // SAFETY: ENGINE_set_default takes a live engine and adds references of its own.
        check(
            unsafe { ENGINE_set_default(engine, flags) },
            "ENGINE_set_default",
        );
    }

    /// The engine from its shared object.
    fn dynamic(path: &Path) -> *mut Engine {
        let path = CString::new(path.as_os_str().as_bytes()).expect("a path has no NUL");
        // SAFETY: OPENSSL_init_crypto takes NULL for no settings.
        let result = unsafe { OPENSSL_init_crypto(OPENSSL_INIT_ENGINE_DYNAMIC, ptr::null()) };
        check(result, "OPENSSL_init_crypto");
        // SAFETY: ENGINE_by_id takes a C string and returns a structural reference or NULL.
        let engine = unsafe { ENGINE_by_id(c"dynamic".as_ptr()) };
        assert!(!engine.is_null(), "no engine: {}", ErrorStack::get());
        let commands: [(&CStr, Option<&CStr>); 3] = [
            (c"SO_PATH", Some(&path)),
            (c"ID", Some(c"dasync")),
            (c"LOAD", None),
        ];
        for (command, argument) in commands {
            let argument = argument.map_or(ptr::null(), CStr::as_ptr);
            // SAFETY: the engine is a live reference; ENGINE_ctrl_cmd_string copies its strings,
            // and takes NULL for the argument of a command that has none.
            let result = unsafe { ENGINE_ctrl_cmd_string(engine, command.as_ptr(), argument, 0) };
            check(result, &command.to_string_lossy());
        }
        engine
    }

    /// The engine that is linked in.
    fn linked_in() -> *mut Engine {
        // SAFETY: engine_load_dasync_int adds the engine to the end of OpenSSL's list, and
        // ENGINE_get_last returns a structural reference to the engine there, or NULL.
        let engine = unsafe {
            engine_load_dasync_int();
            ENGINE_get_last()
        };
        assert!(!engine.is_null(), "no engine: {}", ErrorStack::get());
        // As long as it is in the list, ENGINE_by_id makes it the default for all it has.
        // SAFETY: ENGINE_remove takes an engine of the list; ours is a reference of its own.
        check(unsafe { ENGINE_remove(engine) }, "ENGINE_remove");
        engine
    }
}
