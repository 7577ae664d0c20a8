//! `SslStream` over a transport that does whatever a transport may do: a byte at a time, pieces,
//! `WouldBlock`, `Interrupted`, errors and the end, at any point. What comes out is what went in
//! (H2, H7), and nobody waits for what has come already.

use std::io::ErrorKind;

use crate::common::both::{Both, Told};
use crate::common::memory::{client_context, server_context};
use crate::common::script::{link, Act, Call, Numbers, Scripted};
use openssl::ssl::{self, Ssl, SslContext};
use openssl_async_jobs::{AsyncPolicy, SslStream};

const POLICIES: [AsyncPolicy; 3] = [
    AsyncPolicy::Handshake,
    AsyncPolicy::Always,
    AsyncPolicy::Never,
];
/// So many rounds in which nothing moves are a hang: no script stops a stream for as long.
const STUCK: usize = 1000;
const DATA: usize = 60_000;

type Peer = ssl::SslStream<Scripted>;
type Ours = SslStream<Scripted>;

/// What one end sends and has got.
struct Side<T> {
    stream: T,
    open: bool,
    data: Vec<u8>,
    sent: usize,
    got: Vec<u8>,
    /// How it ended, if not as it should.
    failed: Option<Told>,
    /// Errors of its transport that it went on after.
    errors: usize,
    numbers: Numbers,
}

impl<T: Both<Scripted>> Side<T> {
    fn new(ssl: Ssl, transport: Scripted, policy: AsyncPolicy, seed: u64) -> Side<T> {
        let mut numbers = Numbers::new(seed);
        Side {
            stream: T::over(ssl, transport, policy),
            open: false,
            data: numbers.bytes(DATA),
            sent: 0,
            got: Vec::new(),
            failed: None,
            errors: 0,
            numbers,
        }
    }

    /// Does a little; whether that came to something.
    fn step(&mut self) -> bool {
        if self.failed.is_some() {
            return false;
        }
        if !self.open {
            let told = self.stream.handshake();
            self.open = self.heed(told).is_some();
            return self.open;
        }
        let received = self.stream.transport().received;
        let mut moved = false;
        if self.sent < self.data.len() {
            let left = &self.data[self.sent..];
            let len = 1 + self.numbers.below(left.len().min(20_000));
            let told = self.stream.writes(&left[..len]);
            let written = self.heed(told);
            self.sent += written.unwrap_or(0);
            moved |= written.is_some();
        } else {
            // A transport that fails a flush is asked again.
            let _ = self.stream.flush();
        }
        let mut buffer = vec![0; 1 + self.numbers.below(20_000)];
        let told = self.stream.reads(&mut buffer);
        if let Some(len) = self.heed(told) {
            self.got.extend_from_slice(&buffer[..len]);
            moved = true;
        }
        moved || self.stream.transport().received > received
    }

    fn heed(&mut self, told: Told) -> Option<usize> {
        match told {
            Told::Done(len) => return Some(len),
            Told::Io(ErrorKind::WouldBlock) => {}
            // The scripts' transient error.
            Told::Io(ErrorKind::TimedOut) => self.errors += 1,
            other => self.failed = Some(other),
        }
        None
    }
}

struct Run {
    ours: Side<Ours>,
    peer: Side<Peer>,
}

impl Run {
    fn new(
        contexts: &(SslContext, SslContext),
        ours_accepts: bool,
        policy: AsyncPolicy,
        script: impl FnMut(Call) -> Act + 'static,
    ) -> Run {
        let mut client = Ssl::new(&contexts.0).unwrap();
        client.set_connect_state();
        let mut server = Ssl::new(&contexts.1).unwrap();
        server.set_accept_state();
        let (here, there) = link();
        let here = here.with(script);
        let (ours, peer) = match ours_accepts {
            true => (server, client),
            false => (client, server),
        };
        Run {
            ours: Side::new(ours, here, policy, 1),
            peer: Side::new(peer, there, policy, 2),
        }
    }

    /// Until all data is there, either end has failed, or nothing moves.
    fn run(&mut self) {
        let mut idle = 0;
        while !self.is_done() && idle < STUCK {
            let moved = self.ours.step() | self.peer.step();
            idle = if moved { 0 } else { idle + 1 };
            let repeated = self.ours.got.len().max(self.peer.got.len()) > DATA;
            if self.ours.failed.is_some() || repeated {
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.ours.got.len() >= DATA && self.peer.got.len() >= DATA
    }

    #[track_caller]
    fn assert_done(&self, what: &str) {
        for (side, failed) in [("ours", &self.ours.failed), ("peer", &self.peer.failed)] {
            assert!(failed.is_none(), "{what}: {side}: {failed:?}");
        }
        let too_much = self.ours.got.len().max(self.peer.got.len()) > DATA;
        assert!(!too_much, "{what}: bytes came twice");
        assert!(
            self.is_done(),
            "{what}: stuck: {} of ours sent, {} got; {} of the peer's sent, {} got",
            self.ours.sent,
            self.peer.got.len(),
            self.peer.sent,
            self.ours.got.len()
        );
        assert!(self.peer.got == self.ours.data, "{what}: what we sent");
        assert!(self.ours.got == self.peer.data, "{what}: what we got");
    }

    /// Both ends close, and say so.
    #[track_caller]
    fn close(mut self, what: &str) {
        let mut both = (Told::Done(0), Told::Done(0));
        let received = Told::Shutdown("received");
        for _ in 0..STUCK {
            for (told, closed) in [
                (self.ours.stream.closes(), &mut both.0),
                (self.peer.stream.closes(), &mut both.1),
            ] {
                match told {
                    Told::Io(ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    other => *closed = other,
                }
            }
            if both == (received.clone(), received.clone()) {
                return;
            }
        }
        panic!("{what}: {both:?}");
    }
}

/// Runs it in all ways with a script, which is made for each.
fn all_ways<F: FnMut(Call) -> Act + 'static>(what: &str, mut script: impl FnMut() -> F) {
    let contexts = (client_context(|_| ()), server_context(|_| ()));
    for policy in POLICIES {
        for ours_accepts in [true, false] {
            let what = format!("{what}, {policy:?}, accepts: {ours_accepts}");
            let mut run = Run::new(&contexts, ours_accepts, policy, script());
            run.run();
            run.assert_done(&what);
            run.close(&what);
        }
    }
}

#[test]
fn a_byte_at_a_time_brings_all_bytes_in_order() {
    all_ways("a byte", || |_| Act::AtMost(1));
}

#[test]
fn random_pieces_bring_all_bytes_in_order() {
    for seed in 0..10 {
        all_ways(&format!("seed {seed}"), || {
            let mut numbers = Numbers::new(seed);
            move |_| Act::AtMost(1 + numbers.below(2 << seed))
        });
    }
}

#[test]
fn would_block_and_interrupted_anywhere_lose_and_repeat_nothing() {
    for seed in 0..10 {
        all_ways(&format!("seed {seed}"), || {
            let mut numbers = Numbers::new(seed);
            move |_| match numbers.below(4) {
                0 => Act::Fail(ErrorKind::WouldBlock),
                1 => Act::Fail(ErrorKind::Interrupted),
                _ => Act::AtMost(1 + numbers.below(5000)),
            }
        });
    }
}

/// A transport that fails once is asked again with the next call. An error of `Write::write` says
/// that nothing was written, so its caller writes the same again.
fn with_errors_in(call: Call) {
    for every in [2, 3, 5, 7, 11] {
        all_ways(&format!("each {every} of {call:?}"), || {
            let mut n = 0;
            move |it| {
                n += usize::from(it == call);
                match it == call && n % every == 0 {
                    true => Act::Fail(ErrorKind::TimedOut),
                    false => Act::AtMost(3000),
                }
            }
        });
    }
}

#[test]
fn an_error_of_any_read_loses_and_repeats_nothing() {
    with_errors_in(Call::Read);
}

#[test]
fn an_error_of_any_write_loses_and_repeats_nothing() {
    with_errors_in(Call::Write);
}

#[test]
fn each_error_of_a_read_is_told() {
    let contexts = (client_context(|_| ()), server_context(|_| ()));
    for policy in POLICIES {
        let failures = std::rc::Rc::new(std::cell::Cell::new(0));
        let counted = std::rc::Rc::clone(&failures);
        let mut n = 0;
        let mut run = Run::new(&contexts, true, policy, move |call| {
            n += usize::from(call == Call::Read);
            if call != Call::Read || n % 3 != 0 {
                return Act::AtMost(3000);
            }
            counted.set(counted.get() + 1);
            Act::Fail(ErrorKind::TimedOut)
        });
        run.run();
        run.assert_done(&format!("{policy:?}"));
        assert_eq!(run.ours.errors, failures.get(), "{policy:?}");
    }
}

#[test]
fn an_end_at_any_call_leaves_a_prefix_and_is_told() {
    let contexts = (client_context(|_| ()), server_context(|_| ()));
    for policy in POLICIES {
        for ours_accepts in [true, false] {
            for at in 1..200 {
                let what = format!("{policy:?}, accepts: {ours_accepts}, at call {at}");
                let mut calls = 0;
                let mut run = Run::new(&contexts, ours_accepts, policy, move |_| {
                    calls += 1;
                    match calls >= at {
                        true => Act::End,
                        // So that there are more calls than that.
                        false => Act::AtMost(2 * DATA / 200),
                    }
                });
                run.run();
                assert!(run.ours.failed.is_some(), "{what}: nothing told");
                let (ours, peer) = (&run.ours, &run.peer);
                assert!(peer.data.starts_with(&ours.got), "{what}: what we got");
                assert!(ours.data.starts_with(&peer.got), "{what}: what we sent");
            }
        }
    }
}
