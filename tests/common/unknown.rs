//! A function that the unwinder does not know, as of C that is compiled without its tables.
#![cfg(target_arch = "x86_64")]

std::arch::global_asm!(
    "openssl_async_jobs_tests_calls:",
    "sub rsp, 8",
    "call rdi",
    "add rsp, 8",
    "ret",
);

extern "C" {
    fn openssl_async_jobs_tests_calls(function: extern "C" fn());
}

pub fn calls(function: extern "C" fn()) {
    // SAFETY: calls what it is given, as any C function does.
    unsafe { openssl_async_jobs_tests_calls(function) };
}
