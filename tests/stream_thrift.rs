//! What a TLS connection costs: few calls of its transport, and while it is idle neither a buffer nor
//! a file descriptor.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::c_void;
use std::io::{Read, Write};
use std::os::raw::{c_char, c_int};
use std::rc::Rc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::task::{Context, Poll};

use common::child::in_a_process_of_its_own;
use common::duo::each_way;
use common::executor::quiet_waker;
use common::handshake::{client_context, server_context};
use common::memory::Pair;
use common::script::{Act, Call};
use common::tls::identity;
use openssl::ssl::{SslAcceptor, SslConnector, SslContext, SslMethod, SslVerifyMode};
use openssl_async_jobs::{Connection, Progress};

const MIB: usize = 1 << 20;

#[test]
fn a_mebibyte_takes_few_calls_of_the_transport_each_way() {
    each_way(|way| {
        let mut duo = way.duo(&client_context(|_| ()), &server_context(|_| ()));
        duo.handshake();
        duo.talk(b"hello");
        let (reads, writes) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let counts = (Rc::clone(&reads), Rc::clone(&writes));
        duo.ours.get_mut().set_script(move |call| {
            match call {
                Call::Read => counts.0.set(counts.0.get() + 1),
                Call::Write => counts.1.set(counts.1.get() + 1),
                Call::Flush => {}
            }
            Act::All
        });
        let message: Vec<u8> = (0..MIB).map(|n| (n % 251) as u8).collect();
        let mut got = vec![0; MIB];

        duo.ours.write_all(&message).unwrap();
        duo.ours.flush().unwrap();
        duo.peer.read_exact(&mut got).unwrap();
        assert!(got == message);
        let written = writes.take();
        // Four records in each.
        assert_eq!(written, 16, "{way:?}");

        reads.set(0);
        got.fill(0);
        duo.peer.write_all(&message).unwrap();
        duo.ours.read_exact(&mut got).unwrap();
        assert!(got == message);
        let read = reads.take();
        assert!((1..=40).contains(&read), "{way:?}: {read} reads");
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_stream_whose_handshake_was_paused_keeps_no_file_descriptor() {
    use common::both::Both;
    use common::duo::Way;
    use common::executor::Gate;
    use openssl::ssl::Ssl;
    use openssl_async_jobs::{suspend, AsyncPolicy, JobPool};
    use std::cell::RefCell;

    thread_local! {
        /// Of the handshake that is next.
        static GATE: RefCell<Gate> = RefCell::default();
    }

    fn open_files() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    // Nobody else may open files meanwhile.
    let test = "a_stream_whose_handshake_was_paused_keeps_no_file_descriptor";
    in_a_process_of_its_own(test, || {
        let client = client_context(|_| ());
        let server = server_context(|ctx| {
            ctx.set_servername_callback(|_, _| {
                suspend(GATE.with_borrow(Gate::wait)).unwrap();
                Ok(())
            });
        });
        let way = Way {
            policy: AsyncPolicy::Handshake,
            accepts: true,
        };
        let streams = || {
            let mut client = Ssl::new(&client).unwrap();
            client.set_hostname("name.example").unwrap();
            way.duo_of(client, Ssl::new(&server).unwrap())
        };
        // What the process keeps for all.
        GATE.with_borrow(Gate::open);
        streams().handshake();
        let before = open_files();
        let kept: Vec<_> = (0..10)
            .map(|_| {
                let mut duo = streams();
                GATE.set(Gate::new());
                let paused = JobPool::stats().paused;
                assert!(duo.peer.handshake().would_block());
                assert!(duo.ours.handshake().would_block());
                assert_eq!(JobPool::stats().paused, paused + 1);
                assert!(open_files() > before, "nothing to poll while it is paused");
                GATE.with_borrow(Gate::open);
                duo.handshake();
                duo.talk(b"hello");
                assert_eq!(open_files(), before);
                duo
            })
            .collect();
        assert_eq!(open_files(), before, "of {} streams", kept.len());
    });
}

const RECORD: usize = 16 * 1024;

/// Bytes that are allocated, by Rust and by OpenSSL.
static LIVE: AtomicIsize = AtomicIsize::new(0);
/// Likewise, how many pieces that may be a record's.
static LARGE: AtomicIsize = AtomicIsize::new(0);
/// How many of these there were ever.
static LARGE_EVER: AtomicIsize = AtomicIsize::new(0);

struct Counting;

fn count(bytes: usize) {
    LIVE.fetch_add(bytes as isize, Ordering::Relaxed);
    if bytes >= RECORD {
        LARGE.fetch_add(1, Ordering::Relaxed);
        LARGE_EVER.fetch_add(1, Ordering::Relaxed);
    }
}

fn discount(bytes: usize) {
    LIVE.fetch_sub(bytes as isize, Ordering::Relaxed);
    if bytes >= RECORD {
        LARGE.fetch_sub(1, Ordering::Relaxed);
    }
}

// SAFETY: the system's, and a count.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        discount(layout.size());
        // SAFETY: the caller's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

extern "C" {
    fn CRYPTO_set_mem_functions(
        malloc: unsafe extern "C" fn(usize, *const c_char, c_int) -> *mut c_void,
        realloc: unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void,
        free: unsafe extern "C" fn(*mut c_void, *const c_char, c_int),
    ) -> c_int;
}

/// Before each piece of memory of OpenSSL's: its length, and what keeps it aligned.
const HEADER: usize = 16;

unsafe extern "C" fn allocate(len: usize, file: *const c_char, line: c_int) -> *mut c_void {
    // SAFETY: what `reallocate` is for.
    unsafe { reallocate(std::ptr::null_mut(), len, file, line) }
}

unsafe extern "C" fn reallocate(
    memory: *mut c_void,
    len: usize,
    file: *const c_char,
    line: c_int,
) -> *mut c_void {
    if len == 0 {
        // SAFETY: the caller's.
        unsafe { release(memory, file, line) };
        return std::ptr::null_mut();
    }
    // SAFETY: what was allocated here has a header before it, and is the caller's to give away.
    unsafe {
        let mut place = memory.cast::<u8>();
        if !place.is_null() {
            place = place.sub(HEADER);
            discount(place.cast::<usize>().read());
        }
        let place = libc::realloc(place.cast(), HEADER + len).cast::<u8>();
        assert!(!place.is_null(), "no memory");
        place.cast::<usize>().write(len);
        count(len);
        place.add(HEADER).cast()
    }
}

unsafe extern "C" fn release(memory: *mut c_void, _: *const c_char, _: c_int) {
    if !memory.is_null() {
        // SAFETY: it was allocated above, with a header before it.
        unsafe {
            let place = memory.cast::<u8>().sub(HEADER);
            discount(place.cast::<usize>().read());
            libc::free(place.cast());
        }
    }
}

/// Contexts as the acceptor and the connector make them.
fn ready_made_contexts() -> (SslContext, SslContext) {
    let (cert, key) = identity();
    let mut server = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    server.set_certificate(cert).unwrap();
    server.set_private_key(key).unwrap();
    let mut client = SslConnector::builder(SslMethod::tls_client()).unwrap();
    client.set_verify(SslVerifyMode::NONE);
    (client.build().into_context(), server.build().into_context())
}

/// Two connections that have talked, and wait.
fn idle(client: &SslContext, server: &SslContext) -> Pair {
    let waker = quiet_waker();
    let cx = &mut Context::from_waker(&waker);
    let mut pair = Pair::new(client, server);
    assert!(matches!(pair.handshake(cx), Poll::Ready(Ok(()))));
    for _ in 0..2 {
        let read = |end: &mut Connection, cx: &mut Context<'_>| {
            let mut buffer = [0; 100];
            while matches!(end.poll_read(cx, &mut buffer).unwrap(), Progress::Done(_)) {}
        };
        let written = pair.client.poll_write(cx, b"hello").unwrap();
        assert_eq!(written, Progress::Done(5));
        let written = pair.server.poll_write(cx, b"hello").unwrap();
        assert_eq!(written, Progress::Done(5));
        pair.exchange();
        read(&mut pair.client, cx);
        read(&mut pair.server, cx);
    }
    pair
}

#[test]
fn an_idle_connection_keeps_no_buffer() {
    const PAIRS: usize = 50;
    // Before OpenSSL has allocated anything.
    in_a_process_of_its_own("an_idle_connection_keeps_no_buffer", || {
        // SAFETY: functions that allocate as malloc does, before anything else of OpenSSL.
        let set = unsafe { CRYPTO_set_mem_functions(allocate, reallocate, release) };
        assert_eq!(set, 1, "too late");
        let plain = (client_context(|_| ()), server_context(|_| ()));
        for (client, server) in [plain, ready_made_contexts()] {
            // What the thread and the contexts keep for all.
            drop(idle(&client, &server));
            let count = || [&LIVE, &LARGE, &LARGE_EVER].map(|n| n.load(Ordering::Relaxed));
            let before = count();
            let pairs: Vec<Pair> = (0..PAIRS).map(|_| idle(&client, &server)).collect();
            let after = count();
            // While they are not idle there are some; else the count would not work.
            assert!(after[2] - before[2] >= PAIRS as isize);
            // A table of the contexts' may have grown.
            let large = after[1] - before[1];
            assert!(large < PAIRS as isize / 2, "{large} buffers");
            // libssl's own state is about a record's size. Its buffers would be twice that more.
            let each = (after[0] - before[0]) as usize / (2 * pairs.len());
            assert!((1000..2 * RECORD).contains(&each), "{each} bytes each");
        }
    });
}
