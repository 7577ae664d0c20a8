//! Whether a function may be among those that have called this one, without unwinding.

use std::ops::Range;

/// Functions to look for.
pub(super) struct Code {
    functions: Vec<Extent>,
    /// From the first to the last of them: they are near each other.
    all: Extent,
    /// It cannot be told: no functions are known; or valgrind would report that what is not
    /// initialized is compared.
    unknown: bool,
}

/// Not a `Range`, whose end would be taken for a return address where it is on the stack.
#[derive(Clone, Copy)]
struct Extent {
    start: usize,
    len: usize,
}

impl Extent {
    fn new(range: Range<usize>) -> Extent {
        Extent {
            start: range.start,
            len: range.len(),
        }
    }

    /// The address is behind the call, which may be the function's last instruction.
    #[inline]
    fn has_call_before(self, address: usize) -> bool {
        address.wrapping_sub(1).wrapping_sub(self.start) < self.len
    }

    /// The first group of words with one of which that is so, or the end.
    ///
    /// # Safety
    ///
    /// Memory from the first address to the second, both multiples of a group's size.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    unsafe fn find_call_before(self, mut group: usize, end: usize) -> usize {
        // By hand, as it is asked at each pause: three instructions a word.
        // SAFETY: the caller's.
        unsafe {
            std::arch::asm!(
                "2:",
                "cmp {group}, {end}",
                "je 3f",
                // Eight words are a group.
                ".irp offset, 0, 8, 16, 24, 32, 40, 48, 56",
                "mov {word}, [{group} + \\offset]",
                "sub {word}, {first}",
                "cmp {word}, {len}",
                "jb 3f",
                ".endr",
                "add {group}, {size}",
                "jmp 2b",
                "3:",
                group = inout(reg) group,
                end = in(reg) end,
                word = out(reg) _,
                first = in(reg) self.start.wrapping_add(1),
                len = in(reg) self.len,
                size = const GROUP,
                options(readonly, nostack),
            );
        }
        group
    }
}

/// So much of a stack, in bytes, is looked at together.
const GROUP: usize = 64;

/// The part of a stack that is inside a frame. It grows towards lower addresses.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // All of it is looked at there.
pub(super) struct Stretch {
    /// The end of the stack.
    inner: usize,
    /// In the frame, or beyond it, and a multiple of a group's size.
    outer: usize,
    /// In the frame, and not inside what it calls.
    frame: usize,
}

impl Stretch {
    pub(super) const EMPTY: Stretch = Stretch {
        inner: 0,
        outer: 0,
        frame: 0,
    };

    /// What is on this stack, inside the frame of the function that this is inlined into, or all of it.
    /// What is called there must not be its last act: it could have that frame's place.
    #[inline(always)]
    pub(super) fn inside(stack: Range<usize>) -> Stretch {
        #[cfg(target_arch = "x86_64")]
        let (frame, outer) = (stack_pointer(), stack_pointer().next_multiple_of(GROUP));
        // A library keeps some words there.
        #[cfg(not(target_arch = "x86_64"))]
        let (frame, outer) = (stack.end - GROUP, stack.end);
        match outer <= stack.end && outer > stack.start {
            true => Stretch {
                inner: stack.start,
                outer,
                frame,
            },
            false => Stretch::EMPTY,
        }
    }

    /// Whether this, on the stack, is the end of the outermost of those frames, or of a frame further out.
    pub(super) fn ends_at(self, end: usize) -> bool {
        end >= self.frame
    }

    /// Whether a stack pointer is that of such a frame, or of the outer one.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn has(self, here: usize) -> bool {
        (self.inner..=self.outer).contains(&here)
    }
}

/// Below it is what the calls of the frame that this is inlined into leave.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn stack_pointer() -> usize {
    let here: usize;
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mov {}, rsp", out(reg) here, options(nomem, nostack, preserves_flags));
    }
    here
}

/// A word of a stack. In assembly, as much of it is not initialized, or another frame's, and the
/// compiler (a sanitizer with it) would have its opinion of that.
///
/// # Safety
///
/// An address of mapped memory, and a multiple of a word's size.
pub(super) unsafe fn read(slot: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let word: usize;
        // SAFETY: the caller's.
        unsafe {
            std::arch::asm!("mov {}, [{}]", out(reg) word, in(reg) slot,
                options(readonly, nostack, preserves_flags, pure));
        }
        word
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller's.
    unsafe {
        (slot as *const usize).read_volatile()
    }
}

impl Code {
    pub(super) fn new(functions: Vec<Range<usize>>) -> Code {
        let start = functions.iter().map(|function| function.start).min();
        let end = functions.iter().map(|function| function.end).max();
        let under_valgrind = std::env::var_os("LD_PRELOAD").is_some_and(|preloaded| {
            let name = b"vgpreload";
            let mut parts = preloaded.as_encoded_bytes().windows(name.len());
            parts.any(|part| part == name)
        });
        Code {
            unknown: functions.is_empty() || under_valgrind,
            all: Extent::new(start.unwrap_or(0)..end.unwrap_or(0)),
            functions: functions.into_iter().map(Extent::new).collect(),
        }
    }

    /// Whether there may be a return address into one of them between here and the outer end of the
    /// stack. No is certain: a call leaves its return address there. Yes may come of what an earlier
    /// call has left, or because this is not on that stack.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(super) fn may_return_to(&self, stack: Stretch) -> bool {
        let here = stack_pointer();
        if !stack.has(here) || self.unknown {
            return true;
        }
        // What is below may be looked at, too: it is of the same page.
        let group = here & !(GROUP - 1);
        // SAFETY: from the stack pointer's page to the end of its stack, all is mapped (H4), and both
        // are multiples of a group.
        let found = unsafe { self.all.find_call_before(group, stack.outer) };
        found != stack.outer && self.may_return_from(found, stack.outer)
    }

    /// Likewise, from the first group with an address that is near them.
    #[cfg(target_arch = "x86_64")]
    #[cold]
    fn may_return_from(&self, mut group: usize, outer: usize) -> bool {
        while group != outer {
            for slot in (group..group + GROUP).step_by(size_of::<usize>()) {
                // SAFETY: as above.
                if self.have_call_before(unsafe { read(slot) }) {
                    return true;
                }
            }
            // SAFETY: as above.
            group = unsafe { self.all.find_call_before(group + GROUP, outer) };
        }
        false
    }

    /// Return addresses may be signed there.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn may_return_to(&self, _: Stretch) -> bool {
        true
    }

    fn have_call_before(&self, address: usize) -> bool {
        let mut functions = self.functions.iter();
        functions.any(|function| function.has_call_before(address))
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::job::thread_exit::extent;

    /// Where the caller's frame is, and some of the outer ones.
    #[inline(never)]
    fn stack() -> Stretch {
        let here = 0_usize;
        let here = std::ptr::from_ref(&here) as usize & !(GROUP - 1);
        Stretch {
            inner: here - 0x10000,
            outer: here + 0x200,
            frame: here,
        }
    }

    #[inline(never)]
    fn calls(look: &dyn Fn() -> bool) -> bool {
        std::hint::black_box(look())
    }

    /// Calls it by way of `calls`, with more of the stack above than is looked at below.
    #[inline(never)]
    fn with_room(look: impl Fn() -> bool) -> bool {
        let room = std::hint::black_box([0_u8; 0x2000]);
        let found = calls(&look);
        std::hint::black_box(&room);
        found
    }

    #[inline(never)]
    fn does_not_call() {
        std::hint::black_box(());
    }

    /// Found on another stack: the search leaves such addresses on its own.
    fn code(function: *const ()) -> Code {
        let function = function as usize;
        let search = move || Code::new(vec![extent(function).unwrap()]);
        std::thread::spawn(search).join().unwrap()
    }

    #[test]
    fn a_caller_is_found_and_what_has_not_called_is_not() {
        let (caller, other) = (code(calls as *const ()), code(does_not_call as *const ()));
        assert!(calls(&|| caller.may_return_to(stack())));
        // Under valgrind it is not told.
        assert!(other.unknown || !calls(&|| other.may_return_to(stack())));
    }

    #[test]
    fn where_no_function_is_known_or_on_another_stack_it_is_not_told() {
        assert!(Code::new(Vec::new()).may_return_to(stack()));
        assert!(code(does_not_call as *const ()).may_return_to(Stretch::EMPTY));
    }

    #[test]
    fn what_is_inside_a_frame_is_what_its_function_calls() {
        #[inline(never)]
        fn inside(look: &dyn Fn(Stretch) -> bool) -> bool {
            let stretch = Stretch::inside(0..usize::MAX & !(GROUP - 1));
            assert!(stretch.ends_at(stretch.frame) && !stretch.ends_at(stretch.frame - 1));
            std::hint::black_box(look(stretch))
        }
        let (inner, outer) = (
            code(inside as *const ()),
            code(with_room_inside as *const ()),
        );
        #[inline(never)]
        fn with_room_inside(look: &dyn Fn(Stretch) -> bool) -> bool {
            let room = std::hint::black_box([0_u8; 0x1000]);
            let found = std::hint::black_box(inside(look));
            std::hint::black_box(&room);
            found
        }
        assert!(with_room_inside(&|stretch| inner.may_return_to(stretch)));
        // Under valgrind it is not told.
        assert!(outer.unknown || !with_room_inside(&|stretch| outer.may_return_to(stretch)));
    }

    /// Whatever else is there, and in whichever group of the stack.
    #[test]
    fn a_caller_is_found_in_the_last_group_and_behind_other_code() {
        let mut caller = code(calls as *const ());
        // All else is taken for code that is near.
        caller.all = Extent {
            start: 0,
            len: usize::MAX,
        };
        if caller.unknown {
            return;
        }
        const OUTER: usize = 0x1000;
        let far = with_room(|| {
            let mut stack = stack();
            let here = stack.outer - 0x200;
            stack.outer = here + OUTER;
            let ends = (here..stack.outer + 1).step_by(GROUP).skip(1);
            let mut found = ends.filter(|outer| {
                let outer = *outer;
                caller.may_return_to(Stretch { outer, ..stack })
            });
            let first = found.next().unwrap();
            // SAFETY: words of this stack.
            let is_there = (first - GROUP..first)
                .step_by(8)
                .any(|slot| caller.have_call_before(unsafe { read(slot) }));
            is_there && found.count() == (stack.outer - first) / GROUP
        });
        assert!(far);
    }

    #[repr(align(64))]
    struct Words([usize; 64]);

    #[test]
    fn groups_are_searched_as_word_by_word() {
        let mut seed = 88_172_645_463_325_252_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as usize
        };
        for _ in 0..20_000 {
            let start = [0, usize::MAX - 100, 0x7fff_0000_0000, random()][random() % 4];
            let len = [0, 1, random() % 64, random() % 0x10000][random() % 4];
            let extent = Extent { start, len };
            let mut words = Words([0; 64]);
            for word in &mut words.0 {
                let near = [0, 1, len, len + 1, random() % (len + 1)];
                *word = match near.get(random() % 40) {
                    Some(offset) => start.wrapping_add(*offset),
                    None => start.wrapping_sub(1 + random() % 0x7fff_ffff),
                };
            }
            let base = words.0.as_ptr() as usize;
            let (one, other) = (random() % 9, random() % 9);
            let (from, to) = (one.min(other), one.max(other));
            let group = |group: usize| &words.0[group * 8..group * 8 + 8];
            let plain = (from..to)
                .find(|at| group(*at).iter().any(|word| extent.has_call_before(*word)))
                .unwrap_or(to);
            // SAFETY: groups of `words`.
            let found = unsafe { extent.find_call_before(base + from * 64, base + to * 64) };
            assert_eq!(found, base + plain * 64, "{start:x} {len:x} {from}..{to}");
            std::hint::black_box(&words);
        }
    }
}
