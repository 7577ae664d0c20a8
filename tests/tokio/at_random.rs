//! Operations in random order over a transport with moods: what the peer has got is compared at each
//! flush, and at the end. `SEEDS=4000` has more of it.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;

use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::AsyncPolicy;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::each::{now, opened_with_tickets, Peer, Stream};
use super::polled::poll_now;
use super::wire::{wires, Act, Call, Wire};
use crate::common::script::Numbers;

/// Of every other server, which has them unsent when its handshake is done.
pub fn tickets(seed: u64) -> usize {
    2 * (seed % 2) as usize
}

pub fn seeds() -> u64 {
    let seeds = std::env::var("SEEDS").ok();
    seeds.map_or(30, |seeds| seeds.parse().unwrap())
}

/// Of a write or a read, in bytes: near the limits that there are.
pub fn size(n: &mut Numbers) -> usize {
    match n.below(8) {
        0 => 0,
        1 => 1,
        2 => n.below(100),
        3 => n.below(5000),
        4 => 4000 + n.below(200),
        5 => 16_300 + n.below(200),
        6 => n.below(20_000),
        _ => n.below(100_000),
    }
}

/// What a transport does, which never fails for good; not more than tokio-openssl can take, or more.
pub fn mood(seed: u64, is_rough: bool) -> impl FnMut(Call) -> Act + Send {
    let mut n = Numbers::new(seed);
    let mood = n.below(4);
    move |call| match (mood, n.below(6)) {
        (0, _) | (_, 0 | 1) => Act::All,
        _ if call == Call::Flush && !is_rough => Act::All,
        (1 | 2, 2) => Act::Later,
        (1, 3) if call == Call::Write => Act::Later,
        (2 | 3, 3) => Act::AtMost(1 + n.below(20_000)),
        (3, 4) => Act::AtMost(1 + n.below(100)),
        (3, 5) if is_rough => Act::Fail(ErrorKind::Interrupted),
        _ => Act::All,
    }
}

/// Likewise, with errors that are the caller's to see.
fn failing_mood(seed: u64) -> impl FnMut(Call) -> Act + Send {
    let mut n = Numbers::new(seed);
    move |call| match n.below(12) {
        0 | 1 if call != Call::Shutdown => Act::Fail(ErrorKind::Other),
        2 => Act::Later,
        3 => Act::AtMost(1 + n.below(20_000)),
        _ => Act::All,
    }
}

pub trait Settings: Stream<Wire> {
    fn set(&mut self, _policy: AsyncPolicy) {}
    fn coalesce(&mut self, on: bool);
}

impl Settings for LocalSslStream<Wire> {
    fn set(&mut self, policy: AsyncPolicy) {
        self.set_policy(policy);
    }

    fn coalesce(&mut self, on: bool) {
        self.set_write_coalescing(on);
    }
}

impl Settings for SslStream<Wire> {
    fn coalesce(&mut self, on: bool) {
        self.set_write_coalescing(on);
    }
}

/// A connection, and what is known of it.
struct Talk<T> {
    stream: T,
    peer: Peer,
    numbers: Numbers,
    /// Whether the transport's errors are told.
    fails: bool,
    switches: bool,
    coalesces: bool,
    /// What was accepted of the stream's writes, and has not come to the peer yet.
    unseen: VecDeque<u8>,
    /// Likewise the other way.
    unread: VecDeque<u8>,
}

impl<T: Settings> Talk<T> {
    fn new(policy: AsyncPolicy, seed: u64, fails: bool) -> Talk<T> {
        let mut numbers = Numbers::new(seed);
        let (here, there) = wires();
        let opened = opened_with_tickets::<T, _>(policy, tickets(seed), here, there);
        let (mut stream, peer) = now(opened);
        match fails {
            true => stream.transport().set_script(failing_mood(seed ^ 3)),
            false => stream.transport().set_script(mood(seed ^ 3, true)),
        }
        Talk {
            stream,
            peer,
            fails,
            switches: numbers.below(3) == 0,
            coalesces: numbers.below(3) == 0,
            numbers,
            unseen: VecDeque::new(),
            unread: VecDeque::new(),
        }
    }

    fn step(&mut self) {
        match self.numbers.below(12) {
            0..=3 => self.write(),
            4 => self.flush(),
            5 | 6 => self.read(),
            7 => self.peek(),
            8 => self.peer_writes(),
            9 => {
                let most = self.numbers.below(60_000);
                self.peer_reads(most);
            }
            10 => self.change_capacity(),
            _ => self.change_settings(),
        }
    }

    /// What an operation has brought; nothing if it waits, or may fail and did.
    fn told<V>(&self, polled: Option<std::io::Result<V>>) -> Option<V> {
        match polled? {
            Err(_) if self.fails => None,
            result => Some(result.unwrap()),
        }
    }

    fn write(&mut self) {
        let len = size(&mut self.numbers);
        let bytes = self.numbers.bytes(len);
        let (first, second) = bytes.split_at(self.numbers.below(len + 1));
        let slices = [first, second].map(IoSlice::new);
        let is_vectored = self.numbers.below(4) == 0;
        let stream = &mut self.stream;
        let written = poll_now(|cx| match is_vectored {
            true => Pin::new(stream).poll_write_vectored(cx, &slices),
            false => Pin::new(stream).poll_write(cx, &bytes),
        });
        if let Some(len) = self.told(written) {
            self.unseen.extend(&bytes[..len]);
        }
    }

    fn flush(&mut self) {
        let flushed = poll_now(|cx| Pin::new(&mut self.stream).poll_flush(cx));
        if self.told(flushed).is_some() {
            self.peer_reads(usize::MAX);
            assert_eq!(self.unseen.len(), 0, "flushed");
        }
    }

    fn read(&mut self) {
        let mut buffer = vec![0; 1 + self.numbers.below(40_000)];
        let mut to = ReadBuf::new(&mut buffer);
        let read = poll_now(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut to));
        if self.told(read).is_some() {
            let read = to.filled();
            assert!(!read.is_empty(), "the end");
            assert!(self.unread.drain(..read.len()).eq(read.iter().copied()));
        }
    }

    fn peek(&mut self) {
        let mut buffer = vec![0; 1 + self.numbers.below(100)];
        match poll_now(|cx| self.stream.poll_peeks(cx, &mut buffer)) {
            Some(Err(_)) if self.fails => {}
            Some(peeked) => {
                let peeked = &buffer[..peeked.unwrap()];
                assert!(self.unread.range(..peeked.len()).eq(peeked));
            }
            None => {}
        }
    }

    fn peer_writes(&mut self) {
        let len = size(&mut self.numbers);
        let bytes = self.numbers.bytes(len);
        #[cfg(ossl111)]
        if self.fails && self.numbers.below(3) == 0 {
            self.peer_updates_its_keys();
        }
        if let Some(len) = poll_now(|cx| Pin::new(&mut self.peer).poll_write(cx, &bytes)) {
            self.unread.extend(&bytes[..len.unwrap()]);
        }
    }

    #[cfg(ossl111)]
    fn peer_updates_its_keys(&mut self) {
        let requested = self.numbers.below(2) == 1;
        // It says no where it waits for an answer.
        crate::common::key_update::update_keys(self.peer.ssl(), requested);
    }

    fn peer_reads(&mut self, most: usize) {
        let mut buffer = [0; 20_000];
        let mut total = 0;
        while total < most {
            let mut to = ReadBuf::new(&mut buffer);
            match poll_now(|cx| Pin::new(&mut self.peer).poll_read(cx, &mut to)) {
                Some(read) => read.unwrap(),
                None => return,
            }
            let got = to.filled();
            if got.is_empty() {
                return;
            }
            assert!(self.unseen.drain(..got.len()).eq(got.iter().copied()));
            total += got.len();
        }
    }

    fn change_capacity(&mut self) {
        let outgoing = &self.stream.transport().outgoing;
        outgoing.set_capacity(match self.numbers.below(4) {
            0 => 0,
            1 => outgoing.len() + self.numbers.below(1000),
            2 => outgoing.len() + self.numbers.below(100_000),
            _ => usize::MAX,
        });
    }

    fn change_settings(&mut self) {
        if self.switches {
            self.stream.set(match self.numbers.below(3) {
                0 => AsyncPolicy::Handshake,
                1 => AsyncPolicy::Always,
                _ => AsyncPolicy::Never,
            });
        }
        if self.coalesces {
            self.stream.coalesce(self.numbers.below(2) == 0);
        }
    }

    /// By what sends all there is.
    fn end(&mut self) {
        self.stream.transport().outgoing.set_capacity(usize::MAX);
        self.stream.transport().set_script(|_| Act::All);
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        let sent = match self.numbers.below(3) {
            // (It waits, with those that others put together.)
            0 if !self.coalesces => {
                let read = poll_now(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut byte));
                read.unwrap_or(Ok(()))
            }
            1 if !self.fails => {
                poll_now(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).expect("it closes")
            }
            _ => poll_now(|cx| Pin::new(&mut self.stream).poll_flush(cx)).expect("it takes all"),
        };
        // What has failed before is told once.
        if self.fails {
            poll_now(|cx| Pin::new(&mut self.stream).poll_flush(cx))
                .expect("it takes all")
                .unwrap();
        } else {
            sent.unwrap();
        }
        self.peer_reads(usize::MAX);
        assert_eq!(self.unseen.len(), 0, "at the end");
    }
}

fn talk<T: Settings>(policy: AsyncPolicy, fails: bool) {
    for seed in 0..seeds() {
        let result = std::panic::catch_unwind(|| {
            let mut talk = Talk::<T>::new(policy, seed, fails);
            (0..300).for_each(|_| talk.step());
            talk.end();
        });
        if let Err(payload) = result {
            eprintln!("seed {seed}, {policy:?}");
            std::panic::resume_unwind(payload);
        }
    }
}

#[test]
fn nothing_is_lost_or_in_another_order_whatever_is_called_next() {
    talk::<LocalSslStream<Wire>>(AsyncPolicy::Handshake, false);
    talk::<LocalSslStream<Wire>>(AsyncPolicy::Always, false);
    talk::<SslStream<Wire>>(AsyncPolicy::Never, false);
}

#[test]
fn nothing_is_lost_when_the_transport_fails_and_goes_on() {
    talk::<LocalSslStream<Wire>>(AsyncPolicy::Handshake, true);
    talk::<LocalSslStream<Wire>>(AsyncPolicy::Always, true);
    talk::<SslStream<Wire>>(AsyncPolicy::Never, true);
}
