//! The stacks that jobs run on: as large as they are said to be, guarded against an overflow, and
//! used again (H4).
#![cfg(target_os = "linux")]

mod common;

use std::collections::HashSet;
use std::future::Future;
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::task::Context;

use common::child::{self, crashed, in_a_process_of_its_own, no_core_file, told};
use common::executor::{quiet_waker, yield_once, Gate};
use common::maps::{fill_below, mappings, page_size, start_of};
use common::thread::{on_a_new_thread, PATIENCE};
use openssl_async_jobs::{suspend, Job, JobPool};

const KIB: usize = 1024;
/// What a job's stack is guarded with.
const GUARD: usize = 64 * KIB;
const SMALLEST: usize = 32 * KIB;

/// Has this many bytes of locals across a pause, and touches each page of them before and after.
#[inline(never)]
fn use_locals<const BYTES: usize>() -> bool {
    let mut locals = [0_u8; BYTES];
    let page = page_size();
    for (n, page) in locals.chunks_mut(page).enumerate() {
        page[0] = n as u8;
    }
    let locals = black_box(&mut locals);
    suspend(yield_once()).unwrap();
    let mut pages = locals.chunks(page).enumerate();
    pages.all(|(n, page)| page[0] == n as u8)
}

fn with_stack_of<T: Send + 'static>(
    bytes: Option<usize>,
    closure: impl FnOnce() -> T + Send + 'static,
) -> T {
    on_a_new_thread(move || {
        if let Some(bytes) = bytes {
            JobPool::builder().stack_size(bytes).init().unwrap();
        }
        Job::new(closure).block_on(PATIENCE).expect("stuck")
    })
}

#[test]
fn without_a_size_a_job_has_200_kib_for_its_locals() {
    assert!(with_stack_of(None, use_locals::<{ 200 * KIB }>));
}

#[test]
fn a_larger_stack_is_what_the_job_gets() {
    assert!(with_stack_of(Some(KIB * KIB), use_locals::<{ 900 * KIB }>));
}

#[test]
fn a_smaller_stack_is_what_the_job_gets() {
    const TEST: &str = "a_smaller_stack_is_what_the_job_gets";
    if child::argument().is_some() {
        no_core_file();
        with_stack_of(Some(64 * KIB), || {
            fill_below(stack_start(), 256 * KIB / page_size());
            use_locals::<{ 200 * KIB }>()
        });
        return;
    }
    assert!(with_stack_of(Some(64 * KIB), use_locals::<{ 40 * KIB }>));
    let output = child::run(TEST, "");
    assert!(crashed(output.status), "{}", told(&output));
}

/// Where the stack ends that this runs on.
fn stack_start() -> usize {
    let here = 0_u8;
    start_of(std::ptr::from_ref(black_box(&here)) as usize).0
}

/// Calls itself until its frame is below this address, and says how often.
#[inline(never)]
fn recurse(until: usize) -> usize {
    let frame = black_box([until; 16]);
    match std::ptr::from_ref(&frame) as usize {
        here if here < until => 0,
        _ => recurse(until) + black_box(&frame).len() / 16,
    }
}

fn size_of_child(argument: &str) -> Option<usize> {
    argument.parse().ok()
}

#[test]
fn a_recursion_deeper_than_the_stack_ends_the_process() {
    const TEST: &str = "a_recursion_deeper_than_the_stack_ends_the_process";
    if let Some(size) = child::argument() {
        no_core_file();
        with_stack_of(size_of_child(&size), || {
            // What is not guarded shall be there to be overwritten.
            let start = stack_start();
            fill_below(start, GUARD / page_size());
            recurse(start - GUARD / 2)
        });
        return;
    }
    for size in ["default", &SMALLEST.to_string()] {
        let output = child::run(TEST, size);
        assert!(crashed(output.status), "{size}: {}", told(&output));
    }
}

/// Writes to this distance below the stack's end, as C does whose frames skip pages.
fn jump_below_the_stack(distance: usize) {
    let start = stack_start();
    fill_below(start, GUARD / page_size());
    let below = (start - distance) as *mut u8;
    // SAFETY: there is none; that this is caught is what is tested, in a process of its own.
    unsafe { below.write_volatile(1) };
}

#[test]
fn a_jump_over_pages_into_the_guard_ends_the_process() {
    const TEST: &str = "a_jump_over_pages_into_the_guard_ends_the_process";
    if let Some(argument) = child::argument() {
        no_core_file();
        let (size, distance) = argument.split_once(' ').unwrap();
        let distance = distance.parse().unwrap();
        with_stack_of(size_of_child(size), move || jump_below_the_stack(distance));
        return;
    }
    for size in ["default", &SMALLEST.to_string()] {
        for distance in [1, page_size() + 1, 32 * KIB, GUARD] {
            let output = child::run(TEST, &format!("{size} {distance}"));
            assert_eq!(
                output.status.signal(),
                Some(libc::SIGSEGV),
                "{distance} bytes below a stack of {size}: {}",
                told(&output)
            );
        }
    }
}

#[test]
fn below_a_jobs_stack_there_is_a_guard_of_64_kib() {
    let (_, guard) = with_stack_of(None, || {
        let here = 0_u8;
        start_of(std::ptr::from_ref(black_box(&here)) as usize)
    });
    assert!(guard >= GUARD, "{guard} bytes");
}

/// Where the stack is that this runs on: the page of a local.
#[inline(never)]
fn here() -> usize {
    let local = 0_u8;
    std::ptr::from_ref(black_box(&local)) as usize / page_size()
}

#[test]
fn a_stack_is_used_again_when_its_job_has_ended() {
    on_a_new_thread(|| {
        let mut stacks = HashSet::new();
        for _ in 0..200 {
            stacks.insert(Job::new(here).block_on(PATIENCE).unwrap());
        }
        assert_eq!(stacks.len(), 1);
        // One for each of those in flight at once, and no more.
        for _ in 0..50 {
            let gate = Gate::new();
            let waker = quiet_waker();
            let jobs: Vec<_> = (0..4)
                .map(|_| {
                    let wait = gate.wait();
                    let mut job = Job::new(move || suspend(wait).map(|()| here()).unwrap());
                    let mut cx = Context::from_waker(&waker);
                    assert!(Pin::new(&mut job).poll(&mut cx).is_pending());
                    job
                })
                .collect();
            gate.open();
            let used: HashSet<_> = jobs
                .into_iter()
                .map(|job| job.block_on(PATIENCE).unwrap())
                .collect();
            assert_eq!(used.len(), 4, "two jobs in flight on one stack");
            stacks.extend(used);
        }
        assert_eq!(stacks.len(), 4);
    });
}

#[test]
fn a_thread_that_ends_gives_its_stacks_back() {
    const TEST: &str = "a_thread_that_ends_gives_its_stacks_back";
    // Alone in its process, where nobody else maps anything.
    in_a_process_of_its_own(TEST, || {
        let run = || {
            on_a_new_thread(|| {
                JobPool::builder()
                    .max_jobs(16)
                    .preallocate(16)
                    .init()
                    .unwrap();
                assert!(Job::new(use_locals::<{ 64 * KIB }>)
                    .block_on(PATIENCE)
                    .unwrap());
            });
        };
        run();
        let before = mappings().len();
        (0..20).for_each(|_| run());
        let after = mappings().len();
        assert!(after < before + 16, "{before} mappings became {after}");
    });
}
