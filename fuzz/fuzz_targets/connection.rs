//! Connections under operations, chunk sizes and pauses in any order: see `src/run.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|program: fuzz::Program| fuzz::run(program));

/// AddressSanitizer's defaults; what ASAN_OPTIONS says goes before them.
///
/// Frames of several fibres are entered and left in any order, which its fake stacks do not know.
#[no_mangle]
extern "C" fn __asan_default_options() -> *const libc::c_char {
    c"detect_stack_use_after_return=0".as_ptr()
}
