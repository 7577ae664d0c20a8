//! This process's memory, as Linux tells it.

use std::fs;
use std::ops::Range;

#[derive(Clone, Debug)]
pub struct Mapping {
    pub range: Range<usize>,
    pub writable: bool,
    pub readable: bool,
}

/// All of this process's mappings, in order.
pub fn mappings() -> Vec<Mapping> {
    // In pieces, between which other threads map and unmap: until nothing has changed meanwhile.
    let read = || fs::read_to_string("/proc/self/maps").unwrap();
    let mut maps = read();
    loop {
        let again = read();
        if again == maps {
            break;
        }
        maps = again;
    }
    let parse = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let at = |hex| usize::from_str_radix(hex, 16).ok();
        let rights = rest.as_bytes();
        Some(Mapping {
            range: at(start)?..at(end)?,
            readable: rights[0] == b'r',
            writable: rights[1] == b'w',
        })
    };
    maps.lines().map(|line| parse(line).unwrap()).collect()
}

/// Where the memory starts that this address is in, and how many bytes below it nobody may touch:
/// in as many mappings as the kernel makes of them.
pub fn start_of(address: usize) -> (usize, usize) {
    let mut mappings = mappings();
    let found = mappings
        .iter()
        .position(|mapping| mapping.range.contains(&address))
        .expect("mapped");
    let start = mappings[found].range.start;
    mappings.truncate(found);
    let mut guard = start;
    while let Some(below) = mappings.pop() {
        if below.range.end != guard || below.readable || below.writable {
            break;
        }
        guard = below.range.start;
    }
    (start, start - guard)
}

/// Maps what is free just below this address, so that only a guard is left to stop who comes there.
pub fn fill_below(start: usize, pages: usize) {
    let page = page_size();
    for address in (1..=pages).map(|n| start - n * page) {
        // SAFETY: a new mapping, where there is none: the flag has the call fail otherwise.
        unsafe {
            libc::mmap(
                address as *mut libc::c_void,
                page,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            )
        };
    }
}

pub fn page_size() -> usize {
    // SAFETY: asks for a constant.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap()
}
