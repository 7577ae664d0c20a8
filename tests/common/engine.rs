//! A hostile engine: it pauses the job that calls it as C does, its device writes into the job's
//! stack meanwhile, and it checks each resume: a real engine takes any for its completion (H6).

use std::ffi::c_void;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use openssl_async_jobs::ffi;

const WORDS: usize = 32;
type Buffer = [u64; WORDS];
/// What a buffer holds until its device writes into it.
const UNTOUCHED: Buffer = [0x5ead_beef_0bad_cafe; WORDS];
/// What an operation answers.
pub const RESULT: Buffer = [0x600d_600d_600d_600d; WORDS];

/// How an operation says that it has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    Fd,
    #[cfg(ossl300)]
    Callback,
    #[cfg(ossl300)]
    Both,
}

impl Tells {
    #[cfg(ossl300)]
    pub const ALL: &'static [Tells] = &[Tells::Fd, Tells::Callback, Tells::Both];
    #[cfg(not(ossl300))]
    pub const ALL: &'static [Tells] = &[Tells::Fd];

    fn by_fd(self) -> bool {
        #[cfg(ossl300)]
        return self != Tells::Callback;
        #[cfg(not(ossl300))]
        true
    }
}

/// One operation of the engine, for the job that waits for it and for its device, which may be any
/// thread.
#[derive(Clone)]
pub struct Operation(Arc<Inner>);

struct Inner {
    tells: Tells,
    /// The wait fd, and what makes it readable.
    fd: UnixStream,
    device: UnixStream,
    callback: Mutex<Option<Callback>>,
    /// Where the device writes, while the operation is under way.
    buffer: AtomicPtr<Buffer>,
    done: AtomicBool,
    true_resumes: AtomicUsize,
    spurious_resumes: AtomicUsize,
}

impl Operation {
    pub fn new(tells: Tells) -> Operation {
        let (fd, device) = UnixStream::pair().unwrap();
        fd.set_nonblocking(true).unwrap();
        Operation(Arc::new(Inner {
            tells,
            fd,
            device,
            callback: Mutex::new(None),
            buffer: AtomicPtr::new(ptr::null_mut()),
            done: AtomicBool::new(false),
            true_resumes: AtomicUsize::new(0),
            spurious_resumes: AtomicUsize::new(0),
        }))
    }

    /// Inside a job: submits it and pauses until it has completed.
    pub fn run(&self) -> Buffer {
        self.run_with(|| ())
    }

    /// As [`run`](Self::run), with something to do between the submission and the pause.
    pub fn run_with(&self, before_the_pause: impl FnOnce()) -> Buffer {
        let inner = &*self.0;
        let mut buffer = UNTOUCHED;
        let place = ptr::from_mut(&mut buffer);
        inner.buffer.store(place, Ordering::Release);
        if inner.tells.by_fd() {
            set_raw(self.key(), inner.fd.as_raw_fd());
        }
        *inner.callback.lock().unwrap() = Callback::get();
        before_the_pause();
        pause();
        // As a real engine does, it goes on whatever the reason; with a result that is not there.
        let resumes = match inner.done.load(Ordering::Acquire) {
            true => &inner.true_resumes,
            false => &inner.spurious_resumes,
        };
        resumes.fetch_add(1, Ordering::SeqCst);
        inner.buffer.store(ptr::null_mut(), Ordering::Release);
        if inner.tells.by_fd() {
            clear_raw(self.key());
            self.take_bytes();
        }
        // SAFETY: this frame's, and the device has lost sight of it.
        unsafe { place.read_volatile() }
    }

    fn key(&self) -> *const c_void {
        Arc::as_ptr(&self.0).cast()
    }

    /// What was written to the wait fd and not read by anybody yet.
    pub fn take_bytes(&self) -> usize {
        (&self.0.fd).read(&mut [0; 64]).unwrap_or(0)
    }

    /// The device: writes the result, and says so.
    pub fn complete(&self) {
        self.write_result();
        self.tell();
    }

    /// The device writes into the buffer, which must be as the job left it.
    pub fn write_result(&self) {
        let buffer = self.0.buffer.load(Ordering::Acquire);
        assert!(!buffer.is_null(), "the operation is not under way");
        // SAFETY: the frame of `run_with` has it until `done` is set: that the crate never frees
        // it before is what is tested (H3).
        unsafe {
            assert_eq!(buffer.read_volatile(), UNTOUCHED, "somebody used it");
            buffer.write_volatile(RESULT);
            assert_eq!(buffer.read_volatile(), RESULT);
        }
        self.0.done.store(true, Ordering::Release);
    }

    /// Says that it has completed, as often as it is called.
    pub fn tell(&self) {
        if self.0.tells.by_fd() {
            (&self.0.device).write_all(&[1]).unwrap();
        }
        #[cfg(ossl300)]
        if self.0.tells != Tells::Fd {
            self.call_back();
        }
    }

    /// Calls the completion callback that it found when it was submitted, at any time (H8).
    #[cfg(ossl300)]
    pub fn call_back(&self) {
        let callback = *self.0.callback.lock().unwrap();
        callback.expect("there was a callback").call();
    }

    /// Resumed once, and for its completion.
    pub fn assert_resumed_once(&self) {
        assert_eq!(self.resumes(), (1, 0), "{:?}", self.0.tells);
    }

    pub fn assert_not_resumed(&self) {
        assert_eq!(self.resumes(), (0, 0), "{:?}", self.0.tells);
    }

    pub fn was_resumed(&self) -> bool {
        self.resumes() != (0, 0)
    }

    /// How often its job was resumed when it had completed, and when it had not.
    fn resumes(&self) -> (usize, usize) {
        (
            self.0.true_resumes.load(Ordering::SeqCst),
            self.0.spurious_resumes.load(Ordering::SeqCst),
        )
    }
}

/// The completion callback of a wait context.
#[derive(Clone, Copy)]
struct Callback {
    #[cfg(ossl300)]
    function: unsafe extern "C" fn(*mut c_void) -> libc::c_int,
    #[cfg(ossl300)]
    arg: usize,
}

impl Callback {
    #[cfg(ossl300)]
    fn get() -> Option<Callback> {
        let (mut callback, mut arg) = (None, ptr::null_mut());
        // SAFETY: the running job's wait context, and places for the answers.
        let found =
            unsafe { ffi::ASYNC_WAIT_CTX_get_callback(wait_context(), &mut callback, &mut arg) };
        callback.filter(|_| found == 1).map(|function| Callback {
            function,
            arg: arg as usize,
        })
    }

    #[cfg(not(ossl300))]
    fn get() -> Option<Callback> {
        None
    }

    #[cfg(ossl300)]
    fn call(self) {
        // SAFETY: the pair as OpenSSL had it; that it may be called at any time is what is tested.
        unsafe { (self.function)(self.arg as *mut c_void) };
    }
}

/// What a wait fd is registered under: the address of a static.
pub struct Key(AtomicU8);

impl Key {
    #[allow(clippy::new_without_default)] // A key that is not a static's is of no use.
    pub const fn new() -> Key {
        Key(AtomicU8::new(0))
    }

    pub fn as_ptr(&'static self) -> *const c_void {
        ptr::from_ref(self).cast()
    }
}

/// The wait context of the running job.
pub fn wait_context() -> *mut ffi::ASYNC_WAIT_CTX {
    // SAFETY: may be called at any time.
    let job = NonNull::new(unsafe { ffi::ASYNC_get_current_job() }).expect("called outside a job");
    // SAFETY: the running job.
    unsafe { ffi::ASYNC_get_wait_ctx(job.as_ptr()) }
}

/// Pauses the running job, as C does.
pub fn pause() {
    // SAFETY: in a job, with a wait context.
    assert_eq!(unsafe { ffi::ASYNC_pause_job() }, 1);
}

/// Registers a wait fd that stays the caller's.
pub fn set_fd(key: &'static Key, fd: &impl AsRawFd) {
    set_raw(key.as_ptr(), fd.as_raw_fd());
}

fn set_raw(key: *const c_void, fd: RawFd) {
    // SAFETY: the running job's wait context.
    let set =
        unsafe { ffi::ASYNC_WAIT_CTX_set_wait_fd(wait_context(), key, fd, ptr::null_mut(), None) };
    assert_eq!(set, 1);
}

/// The wait fd under this key.
pub fn get_fd(key: &'static Key) -> Option<RawFd> {
    let (mut fd, mut custom) = (ffi::OSSL_BAD_ASYNC_FD, ptr::null_mut());
    // SAFETY: the running job's wait context, and places for the answers.
    let found =
        unsafe { ffi::ASYNC_WAIT_CTX_get_fd(wait_context(), key.as_ptr(), &mut fd, &mut custom) };
    (found == 1).then_some(fd)
}

pub fn clear_fd(key: &'static Key) {
    clear_raw(key.as_ptr());
}

fn clear_raw(key: *const c_void) {
    // SAFETY: the running job's wait context.
    let cleared = unsafe { ffi::ASYNC_WAIT_CTX_clear_fd(wait_context(), key) };
    assert_eq!(cleared, 1);
}

#[cfg(ossl300)]
pub fn set_status(status: libc::c_int) {
    // SAFETY: the running job's wait context.
    let set = unsafe { ffi::ASYNC_WAIT_CTX_set_status(wait_context(), status) };
    assert_eq!(set, 1);
}
