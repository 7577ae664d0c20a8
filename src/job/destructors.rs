//! The C library's list of a thread's destructors: those of thread-locals, last registered first.
//!
//! glibc keeps its head in a thread-local of its own, and says nowhere which. It is found by what it
//! does: on a thread of ours, the one word among the library's that changes with each registration,
//! and has its former value again when the destructor is called. Elsewhere it is not known.

use libc::c_void;

/// Where the head of a thread's list is, from the address that `pthread_self` answers.
#[derive(Clone, Copy)]
pub(super) struct List {
    offset: isize,
    register: Register,
}

/// `__cxa_thread_atexit_impl`.
type Register = unsafe extern "C" fn(Destructor, *mut c_void, *const c_void) -> libc::c_int;
pub(super) type Destructor = unsafe extern "C" fn(*mut c_void);

impl List {
    /// The head of this thread's list: it is another after each registration, and the former one
    /// again when that destructor is called.
    pub(super) fn head(self) -> *const usize {
        thread_pointer().wrapping_add_signed(self.offset) as *const usize
    }

    /// # Safety
    ///
    /// The argument is what the destructor may be called with at the end of this thread.
    pub(super) unsafe fn register(self, destructor: Destructor, arg: *mut c_void) {
        // SAFETY: the caller's. The last argument is any address in what the function is part of,
        // which is not unloaded before it was called. It has memory, or ends the process.
        unsafe { (self.register)(destructor, arg, destructor as *const c_void) };
    }
}

fn thread_pointer() -> usize {
    // SAFETY: takes nothing, and always answers.
    unsafe { libc::pthread_self() as usize }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) struct Probe;

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
impl Probe {
    pub(super) fn begin() -> Option<Probe> {
        None
    }

    pub(super) fn end(self) -> Option<List> {
        None
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) use probe::Probe;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod probe {
    use std::ffi::c_void;
    use std::ptr;

    use libc::{c_int, dl_phdr_info};

    use super::{thread_pointer, List, Register};

    /// Looks at the C library's thread-locals around registrations. Begun on a thread, and ended on
    /// another one once that has ended.
    pub(in crate::job) struct Probe(*mut Seen);

    // SAFETY: what it points to is used by the thread that began it until that has ended.
    unsafe impl Send for Probe {}

    struct Seen {
        register: Register,
        /// From the thread pointer.
        offset: isize,
        block: *const usize,
        /// Before the first registration, after it, and after the second.
        words: [Vec<usize>; 3],
        /// Of each word whether it was the former one again, both times.
        back: Vec<bool>,
        called: usize,
    }

    impl Probe {
        /// On a thread that is at its beginning.
        pub(in crate::job) fn begin() -> Option<Probe> {
            // SAFETY: looks a symbol up; the name ends with a nul.
            let register =
                unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__cxa_thread_atexit_impl".as_ptr()) };
            if register.is_null() {
                return None;
            }
            let (block, len) = thread_locals_beside(register as usize)?;
            let seen = Box::into_raw(Box::new(Seen {
                // SAFETY: the function's type (glibc since 2.18).
                register: unsafe { std::mem::transmute::<*mut c_void, Register>(register) },
                offset: (block as isize).wrapping_sub(thread_pointer() as isize),
                block,
                words: [vec![0; len], vec![0; len], vec![0; len]],
                back: vec![true; len],
                called: 0,
            }));
            // SAFETY: alive until `end`, and nobody else's.
            let (words, register) = unsafe { (&mut (*seen).words, (*seen).register) };
            let [before, first, second] = words;
            look(block, before);
            // SAFETY: `look_again` takes it; `end` waits for the thread's end.
            unsafe { register(look_again, seen.cast(), seen_from().cast()) };
            look(block, first);
            // SAFETY: likewise.
            unsafe { register(look_again, seen.cast(), seen_from().cast()) };
            look(block, second);
            Some(Probe(seen))
        }

        /// When its thread has ended, and its destructors have been called.
        pub(in crate::job) fn end(self) -> Option<List> {
            // SAFETY: made by `begin`; its thread does not use it any more.
            let seen = unsafe { Box::from_raw(self.0) };
            let [before, first, second] = &seen.words;
            let mut found = (0..before.len())
                .filter(|&n| seen.back[n] && before[n] != first[n] && first[n] != second[n]);
            let n = found.next().filter(|_| seen.called == 2)?;
            let only_one = found.next().is_none();
            only_one.then(|| List {
                offset: seen.offset + (n * size_of::<usize>()) as isize,
                register: seen.register,
            })
        }
    }

    /// An address in what `look_again` is part of.
    fn seen_from() -> *const () {
        look_again as *const ()
    }

    /// The destructor: the second one is called first.
    unsafe extern "C" fn look_again(seen: *mut c_void) {
        // SAFETY: what `begin` registered, and nobody else's meanwhile.
        let seen = unsafe { &mut *seen.cast::<Seen>() };
        seen.called += 1;
        let Some(expected) = 2_usize.checked_sub(seen.called) else {
            return;
        };
        let mut now = vec![0; seen.back.len()];
        look(seen.block, &mut now);
        let pairs = now.iter().zip(&seen.words[expected]);
        for (back, (now, then)) in seen.back.iter_mut().zip(pairs) {
            *back &= now == then;
        }
    }

    fn look(block: *const usize, words: &mut [usize]) {
        for (n, word) in words.iter_mut().enumerate() {
            // SAFETY: this thread's, and as long as this (`thread_locals_beside`).
            *word = unsafe { block.add(n).read_volatile() };
        }
    }

    /// This thread's copy of the thread-locals of the object that a function is in, and how many
    /// words they are.
    fn thread_locals_beside(function: usize) -> Option<(*const usize, usize)> {
        struct Search {
            function: usize,
            found: Option<(*const usize, usize)>,
        }
        unsafe extern "C" fn look_at(
            info: *mut dl_phdr_info,
            size: libc::size_t,
            search: *mut c_void,
        ) -> c_int {
            // SAFETY: what is passed below; and what the C library passes.
            let (search, info) = unsafe { (&mut *search.cast::<Search>(), &*info) };
            if size < size_of::<dl_phdr_info>() {
                return 0;
            }
            // SAFETY: so many headers.
            let headers =
                unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
            let is_here = headers.iter().any(|header| {
                let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
                header.p_type == libc::PT_LOAD
                    && search.function.wrapping_sub(start) < header.p_memsz as usize
            });
            if !is_here {
                return 0;
            }
            let block = info.dlpi_tls_data.cast_const().cast::<usize>();
            let header = headers.iter().find(|header| header.p_type == libc::PT_TLS);
            if let Some(header) = header.filter(|_| !block.is_null() && block.is_aligned()) {
                let words = header.p_memsz as usize / size_of::<usize>();
                search.found = Some((block, words));
            }
            1
        }
        let mut search = Search {
            function,
            found: None,
        };
        // SAFETY: the callback takes what is passed here, which outlives the call, and does not
        // unwind.
        unsafe { libc::dl_iterate_phdr(Some(look_at), ptr::from_mut(&mut search).cast()) };
        search.found
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::job::thread_exit::destructors;

    #[test]
    fn the_head_is_another_after_a_registration_and_the_former_one_in_the_call() {
        static IN_THE_CALL: AtomicUsize = AtomicUsize::new(0);
        unsafe extern "C" fn look(head: *mut c_void) {
            // SAFETY: this thread's, as registered below.
            let head = unsafe { head.cast::<usize>().read_volatile() };
            IN_THE_CALL.store(head, Ordering::SeqCst);
        }
        let thread = std::thread::spawn(|| {
            let list = destructors().expect("it is known with glibc");
            let head = list.head();
            // SAFETY: this thread's, which lives.
            let before = unsafe { head.read_volatile() };
            // SAFETY: `look` may read it when this thread ends.
            unsafe { list.register(look, head.cast_mut().cast()) };
            // SAFETY: as above.
            let after = unsafe { head.read_volatile() };
            assert!(after != 0 && after != before);
            before
        });
        assert_eq!(thread.join().unwrap(), IN_THE_CALL.load(Ordering::SeqCst));
    }
}
