//! A whole conversation of a connection, to be stopped at any of its pauses.

use std::task::Poll;

use openssl::ssl::{ErrorCode, ShutdownResult};
use openssl_async_jobs::{Connection, Progress};

use super::held::{of_peer, Held};
use crate::random::Bytes;

const QUESTION: Bytes = Bytes(3);
const ANSWER: Bytes = Bytes(4);
/// Some records.
const LEN: usize = 20_000;

/// Handshake, some records each way, and shutdown. Which bytes come is checked.
pub struct Talk {
    /// Whose conversation it is.
    pub held: Held,
    step: Step,
}

enum Step {
    Handshake,
    Write,
    Flush,
    Peek,
    Read(usize),
    Close,
    AwaitClose,
    Done,
}

impl Talk {
    /// Before the handshake.
    pub fn new(held: Held) -> Talk {
        Talk {
            held,
            step: Step::Handshake,
        }
    }

    /// Goes on to the next pause, or to the end.
    pub fn go_on(&mut self) -> Poll<()> {
        while !matches!(self.step, Step::Done) {
            match self.go_one_step() {
                Poll::Ready(step) => self.step = step,
                Poll::Pending => return Poll::Pending,
            }
            // A write that has paused is done for its caller.
            if self.held.subject.is_in_flight() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    fn go_one_step(&mut self) -> Poll<Step> {
        let held = &mut self.held;
        match self.step {
            Step::Handshake => {
                let done = held.until_paused(Connection::poll_handshake);
                done.expect("a handshake").map(|()| Step::Write)
            }
            Step::Write => {
                let answer = ANSWER.from(0, LEN);
                let written = held.until_paused(|subject, cx| subject.poll_write(cx, &answer));
                written.expect("written").map(|len| {
                    assert_eq!(len, LEN);
                    Step::Flush
                })
            }
            Step::Flush => {
                let flushed = held.until_paused(Connection::poll_flush);
                flushed.expect("flushed").map(|()| {
                    assert!(held.peer_reads() == ANSWER.from(0, LEN));
                    held.peer_writes(&QUESTION.from(0, LEN));
                    Step::Peek
                })
            }
            Step::Peek => {
                let mut first = [0];
                let seen = held.until_paused(|subject, cx| subject.poll_peek(cx, &mut first));
                seen.expect("a byte").map(|len| {
                    assert_eq!(first[..len], QUESTION.from(0, 1));
                    Step::Read(0)
                })
            }
            Step::Read(LEN) => Poll::Ready(Step::Close),
            Step::Read(read) => {
                let mut buffer = [0; 5000];
                let more = held.until_paused(|subject, cx| subject.poll_read(cx, &mut buffer));
                more.expect("bytes").map(|len| {
                    assert!(buffer[..len] == QUESTION.from(read, len));
                    Step::Read(read + len)
                })
            }
            Step::Close => {
                let sent = held.until_paused(Connection::poll_shutdown);
                sent.expect("closed").map(|result| {
                    assert_eq!(result, ShutdownResult::Sent);
                    held.exchange();
                    peer_closes(held);
                    Step::AwaitClose
                })
            }
            Step::AwaitClose => {
                let received = held.until_paused(Connection::poll_shutdown);
                received.expect("closed").map(|result| {
                    assert_eq!(result, ShutdownResult::Received);
                    Step::Done
                })
            }
            Step::Done => Poll::Ready(Step::Done),
        }
    }
}

fn peer_closes(held: &mut Held) {
    let peer = &mut held.peer;
    let end = peer.poll_read(
        &mut std::task::Context::from_waker(&held.woken.waker()),
        &mut [0],
    );
    assert_eq!(end.expect_err("the end").code(), ErrorCode::ZERO_RETURN);
    let closed = of_peer(|cx| peer.poll_shutdown(cx));
    assert_eq!(closed, Progress::Done(ShutdownResult::Received));
    held.exchange();
}
