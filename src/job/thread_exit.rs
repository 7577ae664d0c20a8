//! Whether this thread is destroying its thread-locals.
//!
//! A paused fibre may hold a reference to a thread-local (it paused inside `LocalKey::with`). On an
//! ordinary stack that cannot be when thread-locals are destroyed, as the stack is empty by then, or
//! never returned to (`exit`); a fibre's is not. So no fibre is resumed once the first of them may
//! be gone, although the destructor of a thread-local may drop jobs, poll them and start new ones.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::mpsc::{channel, Sender};
use std::sync::OnceLock;
use std::thread;

use libc::{c_int, c_void};

use crate::job::destructors::{List, Probe};
use crate::job::return_addresses::read;

#[repr(C)]
struct UnwindContext {
    _opaque: [u8; 0],
}

// The unwinder that std links (Itanium C++ ABI, and an extension of gcc and LLVM).
extern "C" {
    fn _Unwind_Backtrace(
        callback: unsafe extern "C" fn(*mut UnwindContext, *mut c_void) -> c_int,
        arg: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut UnwindContext) -> usize;
    fn _Unwind_GetCFA(context: *mut UnwindContext) -> usize;
    fn _Unwind_FindEnclosingFunction(ip: *mut c_void) -> *mut c_void;
}

const GO_ON: c_int = 0; // _URC_NO_REASON
const STOP: c_int = 4; // _URC_NORMAL_STOP

/// Whether a fibre of this thread may go on: the C library's loop over a thread's destructors is
/// looked for on the stack, as it has no other trace. It takes some microseconds, so a `Sentinel`
/// asks for it rarely. On a stack whose other end is not a thread's (another crate's coroutine) it may be
/// beyond, and the answer is no.
pub(crate) fn may_resume_here() -> bool {
    let Some(landmarks) = Landmarks::known() else {
        return false;
    };
    let (mut ends, mut reached_the_bottom) = (false, false);
    // The end of the stack that the outermost frame has, if that is of a function that is not known.
    let mut unknown = None;
    for_each_frame(|function, end| {
        ends = function != 0 && landmarks.runners.contains(&function);
        // One that is not known is no bottom, not even where that of main is not.
        reached_the_bottom |= function != 0 && landmarks.bottoms.contains(&function);
        unknown = (function == 0).then_some(end);
        !ends
    });
    !ends && (reached_the_bottom || unknown.is_some_and(|end| landmarks.is_of_main(end)))
}

/// Whether a function is one of those that destroy thread-locals: `exit` calls them on a fibre's stack,
/// if that is where it is called.
pub(super) fn destroys_thread_locals(function: usize) -> bool {
    let runs = |landmarks: &Landmarks| landmarks.runners.contains(&function);
    function != 0 && (function == exit() || Landmarks::known().is_some_and(runs))
}

/// Those functions, as far as they are known.
pub(super) fn destroyers() -> Vec<usize> {
    let runners = Landmarks::known().map_or([0; 2], |landmarks| landmarks.runners);
    let all = runners.into_iter().chain([exit()]);
    all.filter(|function| *function != 0).collect()
}

fn exit() -> usize {
    static EXIT: OnceLock<usize> = OnceLock::new();
    // SAFETY: looks a symbol up; the name ends with a nul.
    let look_up = || unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"exit".as_ptr()) as usize };
    *EXIT.get_or_init(|| match look_up() {
        // Where it is linked in.
        0 => libc::exit as *const () as usize,
        exit => exit,
    })
}

/// Whether [`may_resume_here`] has what it needs. Asked before a process's first job, when there are
/// threads to be had.
pub(crate) fn is_known() -> bool {
    Landmarks::known().is_some()
}

/// The C library's list of a thread's destructors, where it is known.
pub(super) fn destructors() -> Option<List> {
    Landmarks::known()?.destructors
}

/// What is known of the C library.
struct Landmarks {
    /// What runs the destructors of a thread's thread-locals (`__call_tls_dtors` in glibc, which need
    /// not export it); and after that those of its keys (pthread_key_create(3)), 0 if that is not known.
    runners: [usize; 2],
    /// Where the stacks of threads begin; and that of the main thread, 0 if that is not known.
    bottoms: [usize; 2],
    /// Where the main thread's stack ends, 0 if that is not known.
    end_of_main: usize,
    destructors: Option<List>,
}

impl Landmarks {
    #[inline]
    fn known() -> Option<&'static Landmarks> {
        static KNOWN: OnceLock<Landmarks> = OnceLock::new();
        // Tried again if there was no thread for it.
        KNOWN
            .get()
            .or_else(|| Landmarks::find().map(|found| KNOWN.get_or_init(|| found)))
    }

    /// Whether a function that the unwinder does not know, and whose frame has its inner end there, is `main`:
    /// rustc's is not known where a panic aborts. It is if what calls it is right outside.
    fn is_of_main(&self, frame: usize) -> bool {
        /// Those of `main` and of the C library's function between, in bytes.
        const FRAMES: usize = 80 * size_of::<usize>();
        /// From there to the end of the stack, likewise.
        const BEYOND: usize = 4096;
        let near = frame..frame.saturating_add(BEYOND);
        if self.bottoms[1] == 0
            || !near.contains(&self.end_of_main)
            || frame % size_of::<usize>() != 0
        {
            return false;
        }
        let end = self.end_of_main - self.end_of_main % size_of::<usize>();
        let mut found = false;
        // To the end, as what is nearer may be anything.
        for slot in (frame..end).step_by(size_of::<usize>()) {
            // SAFETY: the stack of the main thread is mapped to its end.
            let caller = enclosing_function(unsafe { read(slot) }.wrapping_sub(1));
            if destroys_thread_locals(caller) {
                return false;
            }
            found |= caller == self.bottoms[1] && slot - frame < FRAMES;
        }
        found
    }

    /// Has a thread look at its stack while it runs and twice while it ends. The outermost function
    /// that is there only then is a runner.
    fn find() -> Option<Landmarks> {
        struct AtTheEnd(Sender<Vec<usize>>);
        impl Drop for AtTheEnd {
            fn drop(&mut self) {
                // Nobody listens any more if the thread could not be joined.
                let _ = self.0.send(functions());
            }
        }
        thread_local!(static AT_THE_END: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) });
        let (tell, told) = channel();
        let key = Key::new();
        let looks = thread::Builder::new()
            .name("openssl-async-jobs looks".to_owned())
            .spawn(move || {
                let _ = tell.send(functions());
                if let Some(key) = key {
                    key.set(tell.clone());
                }
                AT_THE_END.set(Some(AtTheEnd(tell)));
                Probe::begin()
            });
        let looked = looks.map(|looks| looks.join());
        if let Some(key) = key {
            key.delete();
        }
        let destructors = looked.ok()?.ok()?.and_then(Probe::end);
        let (running, ending) = (told.recv().ok()?, told.recv().ok()?);
        let outermost = |functions: Vec<usize>| {
            let mut outermost_first = functions.into_iter().rev();
            outermost_first.find(|function| !running.contains(function))
        };
        let of_keys = told.recv().ok().and_then(outermost);
        Some(Landmarks {
            end_of_main: end_of_main(),
            runners: [outermost(ending)?, of_keys.unwrap_or(0)],
            bottoms: [*running.last()?, bottom_of_main()],
            destructors,
        })
    }
}

/// A key whose destructor looks at the stack.
#[derive(Clone, Copy)]
struct Key(libc::pthread_key_t);

impl Key {
    /// `None` if there are too many.
    fn new() -> Option<Key> {
        unsafe extern "C" fn look(tell: *mut c_void) {
            // SAFETY: what `set` has given away; called once, as the C library has cleared it.
            let tell = unsafe { Box::from_raw(tell.cast::<Sender<Vec<usize>>>()) };
            let _ = tell.send(functions());
        }
        let mut key = 0;
        // SAFETY: a place for the key; the destructor takes what `set` sets.
        match unsafe { libc::pthread_key_create(&mut key, Some(look)) } {
            0 => Some(Key(key)),
            _ => None,
        }
    }

    /// On the thread that is to look.
    fn set(self, tell: Sender<Vec<usize>>) {
        let tell = Box::into_raw(Box::new(tell));
        // SAFETY: a key of ours; the destructor takes the box.
        if unsafe { libc::pthread_setspecific(self.0, tell.cast()) } != 0 {
            // SAFETY: it was not taken.
            drop(unsafe { Box::from_raw(tell) });
        }
    }

    /// When that thread has ended.
    fn delete(self) {
        // SAFETY: a key of ours, which nobody has a value under any more.
        unsafe { libc::pthread_key_delete(self.0) };
    }
}

/// The C library's function that calls `main`.
fn bottom_of_main() -> usize {
    // SAFETY: looks a symbol up; the name ends with a nul.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_start_main".as_ptr()) as usize };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if found == 0 {
        extern "C" {
            fn __libc_start_main();
        }
        // It is linked in.
        return __libc_start_main as *const () as usize;
    }
    found
}

/// glibc's note of it.
fn end_of_main() -> usize {
    // SAFETY: looks a symbol up; the name ends with a nul.
    let noted = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_stack_end".as_ptr()) };
    // SAFETY: a pointer that it has set before `main`, if it is there.
    unsafe { noted.cast::<usize>().as_ref() }.map_or(0, |end| *end)
}

/// 0 if the unwinder does not know it.
fn enclosing_function(instruction: usize) -> usize {
    // SAFETY: looks an address up, which may be any.
    unsafe { _Unwind_FindEnclosingFunction(instruction as *mut c_void) as usize }
}

/// The functions on this stack that are known, innermost first.
#[inline(never)]
fn functions() -> Vec<usize> {
    let mut functions = Vec::new();
    for_each_frame(|function, _| {
        functions.push(function);
        true
    });
    functions.retain(|function| *function != 0);
    functions
}

/// Calls it with each function on this stack, 0 if that is not known, and an address of its frame,
/// innermost first, while it says so.
#[inline(never)]
pub(super) fn for_each_frame<F: FnMut(usize, usize) -> bool>(mut look: F) {
    unsafe extern "C" fn look_at<F: FnMut(usize, usize) -> bool>(
        context: *mut UnwindContext,
        look: *mut c_void,
    ) -> c_int {
        // SAFETY: passed below, where it is not touched meanwhile.
        let look = unsafe { &mut *look.cast::<F>() };
        // SAFETY: a context that the unwinder has just made.
        let (returns_to, end) = unsafe { (_Unwind_GetIP(context), _Unwind_GetCFA(context)) };
        // That is behind the call, which may be its function's last instruction.
        match look(enclosing_function(returns_to.wrapping_sub(1)), end) {
            true => GO_ON,
            false => STOP,
        }
    }
    // SAFETY: the callback takes what is passed here, which outlives the call. It does not unwind:
    // its callers compare and push numbers.
    unsafe { _Unwind_Backtrace(look_at::<F>, std::ptr::from_mut(&mut look).cast()) };
}

/// Where a function's instructions are, from its address; `None` if the unwinder does not know it.
pub(super) fn extent(function: usize) -> Option<Range<usize>> {
    // The unwinder takes what it is asked for as a return address, and looks before that.
    let is_in = |address: usize| enclosing_function(address + 1) == function;
    if !is_in(function) {
        return None;
    }
    let (mut inside, mut beyond) = (0, 1);
    while is_in(function + beyond) {
        (inside, beyond) = (beyond, beyond * 2);
    }
    while beyond - inside > 1 {
        let middle = inside + (beyond - inside) / 2;
        match is_in(function + middle) {
            true => inside = middle,
            false => beyond = middle,
        }
    }
    Some(function..function + beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Looks(Sender<bool>);

    impl Drop for Looks {
        fn drop(&mut self) {
            self.0.send(!may_resume_here()).unwrap();
        }
    }

    thread_local!(static LOOKS: RefCell<Option<Looks>> = const { RefCell::new(None) });

    #[test]
    fn a_function_extends_from_its_address_to_the_next_one() {
        let function = functions as *const () as usize;
        let extent = extent(function).unwrap();
        assert_eq!(extent.start, function);
        assert!((16..0x10000).contains(&extent.len()), "{extent:x?}");
        assert_eq!(super::extent(function + 1), None);
    }

    #[test]
    fn only_a_destructor_of_a_thread_local_sees_the_thread_end() {
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            tell.send(!may_resume_here()).unwrap();
            drop(Looks(tell.clone()));
            LOOKS.set(Some(Looks(tell)));
        });
        thread.join().unwrap();
        assert_eq!(told.iter().collect::<Vec<_>>(), [false, false, true]);
    }
}
