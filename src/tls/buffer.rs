//! Ciphertext on its way, in memory that is the thread's as long as there is none.

use std::cell::RefCell;

use crate::tls::copy::copy;

/// A record of 16 KiB and what ciphers add to it, in bytes.
pub(crate) const RECORD: usize = 16 * 1024 + 256;
/// What a buffer has at first, in bytes: several records, for one call of the transport.
pub(crate) const PIECE: usize = 4 * RECORD;
/// How many a thread keeps for its connections. A buffer is in use between two calls of the
/// transport, as a rule, so few are enough for many connections.
const KEPT: usize = 16;

thread_local! {
    /// Of ciphertext, and of plaintext: no transport sees what memory had of that.
    static FREE: [RefCell<Vec<Vec<u8>>>; 2] = const { [const { RefCell::new(Vec::new()) }; 2] };
}

/// Bytes in order: added at the end, taken from the start. Without any it holds no memory.
#[derive(Default)]
pub(crate) struct Buffer<const PLAIN: bool = false> {
    /// Initialized throughout, so that any transport can read into it.
    memory: Vec<u8>,
    start: usize,
    end: usize,
}

/// Of plaintext.
pub(crate) type Plain = Buffer<true>;

impl<const PLAIN: bool> Buffer<PLAIN> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// Room for at least so many bytes more; what is written there [`add`](Self::add) adds.
    #[inline]
    pub(crate) fn room(&mut self, at_least: usize) -> &mut [u8] {
        if self.memory.is_empty() {
            self.memory = Self::piece();
        }
        if self.memory.len() - self.end < at_least {
            self.make_room(at_least);
        }
        &mut self.memory[self.end..]
    }

    fn piece() -> Vec<u8> {
        let kept = FREE
            .try_with(|free| free[usize::from(PLAIN)].borrow_mut().pop())
            .ok()
            .flatten();
        kept.unwrap_or_else(|| vec![0; PIECE])
    }

    #[cold]
    fn make_room(&mut self, at_least: usize) {
        if self.memory.len() < PIECE {
            let shrunk = std::mem::replace(&mut self.memory, Self::piece());
            self.memory[self.start..self.end].copy_from_slice(&shrunk[self.start..self.end]);
        }
        self.memory.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.memory.len() - self.end < at_least {
            let len = (self.end + at_least).max(2 * self.memory.len());
            self.memory.resize(len, 0);
        }
    }

    /// Adds so many bytes, which are in the [`room`](Self::room).
    #[inline]
    pub(crate) fn add(&mut self, bytes: usize) {
        assert!(bytes <= self.memory.len() - self.end, "more than the room");
        self.end += bytes;
        self.give_back_if_empty();
    }

    /// Gives back room that nothing was added in.
    #[inline]
    pub(crate) fn trim(&mut self) {
        self.give_back_if_empty();
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        copy(&mut self.room(bytes.len())[..bytes.len()], bytes);
        self.add(bytes.len());
    }

    /// Takes so many bytes away.
    #[inline]
    pub(crate) fn consume(&mut self, bytes: usize) {
        assert!(bytes <= self.len(), "more than there is");
        self.start += bytes;
        self.give_back_if_empty();
    }

    /// Holds no more memory than its bytes take, as they will stay for a while.
    pub(crate) fn shrink(&mut self) {
        let bytes = self.bytes().to_vec();
        self.give_back();
        self.end = bytes.len();
        self.memory = bytes;
    }

    #[inline]
    fn give_back_if_empty(&mut self) {
        if self.is_empty() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        (self.start, self.end) = (0, 0);
        let memory = std::mem::take(&mut self.memory);
        if memory.len() == PIECE {
            // At the thread's end it is only dropped.
            let _ = FREE.try_with(|free| {
                let mut free = free[usize::from(PLAIN)].borrow_mut();
                if free.len() < KEPT {
                    free.push(memory);
                }
            });
        }
    }
}

impl<const PLAIN: bool> Drop for Buffer<PLAIN> {
    fn drop(&mut self) {
        (self.start, self.end) = (0, 0);
        self.give_back_if_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut buffer = Buffer::<false>::default();
        let mut expected = std::collections::VecDeque::new();
        let mut next = 0_u8;
        for step in 0..2000_usize {
            let piece: Vec<u8> = (0..step % 977)
                .map(|n| next.wrapping_add(n as u8))
                .collect();
            next = next.wrapping_add(7);
            buffer.extend(&piece);
            expected.extend(&piece);
            let taken = (step * 31 % 1009).min(buffer.len());
            assert!(buffer.bytes()[..taken].iter().eq(expected.range(..taken)));
            buffer.consume(taken);
            expected.drain(..taken);
        }
        assert!(buffer.bytes().iter().eq(&expected));
    }

    #[test]
    fn an_empty_buffer_holds_no_memory_and_the_next_one_has_it() {
        let mut first = Buffer::<false>::default();
        first.extend(b"abc");
        let place = first.memory.as_ptr();
        first.consume(3);
        assert_eq!(first.memory.capacity(), 0);
        let mut second = Buffer::<false>::default();
        assert_eq!(second.room(1).as_ptr(), place);
        second.add(0);
        assert_eq!(second.memory.capacity(), 0);
    }

    #[test]
    fn ciphertext_is_not_put_where_plaintext_was() {
        let mut plain = Plain::default();
        plain.extend(b"secret");
        let place = plain.memory.as_ptr();
        plain.consume(6);
        let mut cipher = Buffer::<false>::default();
        assert_ne!(cipher.room(1).as_ptr(), place);
        assert_eq!(plain.room(1).as_ptr(), place);
    }

    #[test]
    fn what_is_shrunk_holds_its_bytes_only_until_there_are_more() {
        let mut buffer = Buffer::<false>::default();
        buffer.extend(b"abcd");
        let place = buffer.memory.as_ptr();
        buffer.consume(1);
        buffer.shrink();
        assert_eq!(buffer.memory.capacity(), 3);
        let mut other = Buffer::<false>::default();
        assert_eq!(other.room(1).as_ptr(), place);
        other.trim();
        buffer.consume(1);
        buffer.extend(b"efghi");
        assert_eq!(buffer.bytes(), b"cdefghi");
        assert_eq!(buffer.memory.as_ptr(), place);
        buffer.shrink();
        buffer.consume(7);
        assert_eq!(buffer.memory.capacity(), 0);
    }

    #[test]
    fn it_grows_for_more_than_a_piece_and_that_is_not_kept() {
        let mut buffer = Buffer::<false>::default();
        let large: Vec<u8> = (0..3 * PIECE).map(|n| n as u8).collect();
        buffer.extend(&large[..10]);
        buffer.extend(&large[10..]);
        assert_eq!(buffer.bytes(), large);
        buffer.consume(large.len());
        assert!(FREE.with(|[free, _]| free.borrow().iter().all(|memory| memory.len() == PIECE)));
    }
}
