//! Copies of ciphertext and plaintext.
//!
//! From 2112 bytes on glibc may use `rep movsb`, which takes AMD's Zen 3 and 4 up to 30 times as long
//! where the target is 1 to 15 bytes behind the source in their pages (its bug 30994): longer than to
//! decrypt the same. Buffers of pages, one behind the other in a heap, are often placed so.

/// What the C library is asked to copy at once, in bytes.
pub(super) const AT_ONCE: usize = 2048;

/// `copy_from_slice`, of bytes.
#[inline]
pub(super) fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    if from.len() <= AT_ONCE {
        return to.copy_from_slice(from);
    }
    assert_eq!(to.len(), from.len(), "as much as there is room for");
    for (to, from) in to.chunks_mut(AT_ONCE).zip(from.chunks(AT_ONCE)) {
        to.copy_from_slice(from);
    }
}

/// Whether somebody else would copy slowly to this address from this one, or from up to 16 bytes behind
/// it: there a record's plaintext is, behind what a cipher has put before it.
#[inline]
pub(super) fn is_slow(to: usize, from: usize) -> bool {
    (1..32).contains(&(to.wrapping_sub(from) % 4096))
}
