//! While an operation of a connection is paused, its callers may go away, come back with other
//! buffers, and ask for other operations: no byte is lost, repeated or put elsewhere (H2).

use std::task::Poll;

use openssl::ssl::{ErrorCode, ShutdownResult};
use openssl_async_jobs::{AsyncPolicy, Connection, Progress, Role};
use testing::pausing::{for_each_way, Pausing};
use testing::random::Bytes;
use testing::tls::{Held, VERSIONS};

const QUESTION: Bytes = Bytes(1);
const ANSWER: Bytes = Bytes(2);
/// Some records.
const LEN: usize = 40_000;

/// Runs a test with either end of each protocol version, and each way to pause.
fn for_each_end(
    make: fn(Pausing, openssl::ssl::SslVersion, Role) -> Held,
    test: impl Fn(Held) + Send + Sync + 'static,
) {
    for_each_way(move |pausing| {
        for version in VERSIONS {
            for role in [Role::Client, Role::Server] {
                test(make(pausing, *version, role));
            }
        }
    });
}

/// There is a question to read, and the read has paused.
fn with_a_paused_read(held: &mut Held) {
    held.peer_writes(&QUESTION.from(0, LEN));
    let mut buffer = vec![0; 4096].into_boxed_slice();
    let paused = held.poll(|subject, cx| subject.poll_read(cx, &mut buffer));
    assert_eq!(paused.unwrap(), Progress::Pending);
    assert!(held.subject.is_in_flight());
}

/// A write has paused that its caller was told is done.
fn with_a_paused_write(held: &mut Held) {
    let bytes = ANSWER.from(0, LEN);
    let paused = held.poll(|subject, cx| subject.poll_write(cx, &bytes));
    assert_eq!(paused.unwrap(), Progress::Done(LEN));
    assert!(held.subject.is_in_flight());
}

#[track_caller]
fn assert_question_is_read_once(held: &mut Held) {
    assert!(held.reads(LEN, 3000) == QUESTION.from(0, LEN));
    let more = held.finish_or_wants(|subject, cx| subject.poll_read(cx, &mut [0; 10]));
    assert_eq!(more, Progress::WantsCiphertext, "something comes twice");
}

#[track_caller]
fn assert_answer_is_written_once(held: &mut Held) {
    held.finish(Connection::poll_flush).unwrap();
    assert!(held.peer_reads() == ANSWER.from(0, LEN));
}

#[test]
fn a_read_that_paused_into_one_buffer_ends_in_the_next_callers() {
    for_each_end(Held::connected, |mut held| {
        held.peer_writes(&QUESTION.from(0, LEN));
        let mut first = vec![0xaa; 4096].into_boxed_slice();
        let paused = held.poll(|subject, cx| subject.poll_read(cx, &mut first));
        assert_eq!(paused.unwrap(), Progress::Pending);
        assert!(first.iter().all(|byte| *byte == 0xaa));
        drop(first);
        // Who may have its memory now.
        let others: Vec<Box<[u8]>> = vec![vec![0xbb; 4096].into_boxed_slice(); 4];
        assert_question_is_read_once(&mut held);
        assert!(others.iter().flatten().all(|byte| *byte == 0xbb));
    });
}

#[test]
fn a_paused_read_goes_on_only_when_it_has_completed() {
    for_each_end(Held::connected, |mut held| {
        with_a_paused_read(&mut held);
        for _ in 0..3 {
            let paused = held.poll(|subject, cx| subject.poll_read(cx, &mut [0; 10]));
            assert_eq!(paused.unwrap(), Progress::Pending);
        }
        assert_question_is_read_once(&mut held);
    });
}

#[test]
fn a_write_while_a_read_is_paused_takes_its_bytes_when_the_read_has_ended() {
    for_each_end(Held::connected, |mut held| {
        with_a_paused_read(&mut held);
        let refused = held.poll(|subject, cx| subject.poll_write(cx, b"of a caller that leaves"));
        assert_eq!(refused.unwrap(), Progress::Pending);
        let answer = ANSWER.from(0, LEN);
        let written = held.finish(|subject, cx| subject.poll_write(cx, &answer));
        assert_eq!(written.unwrap(), LEN);
        assert_question_is_read_once(&mut held);
        assert_answer_is_written_once(&mut held);
    });
}

#[test]
fn a_read_while_a_write_is_paused_gets_what_it_asked_for() {
    for_each_end(Held::connected, |mut held| {
        with_a_paused_write(&mut held);
        held.peer_writes(&QUESTION.from(0, LEN));
        let waits = held.poll(|subject, cx| subject.poll_read(cx, &mut [0; 10]));
        assert_eq!(waits.unwrap(), Progress::Pending);
        assert_question_is_read_once(&mut held);
        assert_answer_is_written_once(&mut held);
    });
}

#[test]
fn a_shutdown_while_a_read_is_paused_leaves_what_was_read() {
    for_each_end(Held::connected, |mut held| {
        with_a_paused_read(&mut held);
        let waits = held.poll(Connection::poll_shutdown);
        assert_eq!(waits.unwrap(), Progress::Pending);
        let sent = held.finish(Connection::poll_shutdown).unwrap();
        assert_eq!(sent, ShutdownResult::Sent);
        assert!(held.reads(LEN, 3000) == QUESTION.from(0, LEN));
        closes(held, &[]);
    });
}

#[test]
fn a_shutdown_while_a_write_is_paused_comes_after_all_of_it() {
    for_each_end(Held::connected, |mut held| {
        with_a_paused_write(&mut held);
        let waits = held.poll(Connection::poll_shutdown);
        assert_eq!(waits.unwrap(), Progress::Pending);
        let sent = held.finish(Connection::poll_shutdown).unwrap();
        assert_eq!(sent, ShutdownResult::Sent);
        closes(held, &ANSWER.from(0, LEN));
    });
}

/// The peer reads what was written and then the end; it closes as well, and the subject is told.
fn closes(mut held: Held, written: &[u8]) {
    held.exchange();
    let waker = held.woken.waker();
    let cx = &mut std::task::Context::from_waker(&waker);
    let (mut got, mut buffer) = (Vec::new(), vec![0; 10_000]);
    let end = loop {
        match held.peer.poll_read(cx, &mut buffer) {
            Ok(Progress::Done(len)) => got.extend_from_slice(&buffer[..len]),
            Ok(other) => panic!("{other:?}"),
            Err(e) => break e,
        }
    };
    assert_eq!(end.code(), ErrorCode::ZERO_RETURN);
    assert!(got == written);
    let closed = held.peer.poll_shutdown(cx).unwrap();
    assert_eq!(closed, Progress::Done(ShutdownResult::Received));
    let closed = held.finish(Connection::poll_shutdown).unwrap();
    assert_eq!(closed, ShutdownResult::Received);
    assert!(!held.subject.is_in_flight());
}

#[test]
fn a_peek_that_pauses_leaves_its_bytes_for_reads_and_peeks() {
    for_each_end(Held::connected, |mut held| {
        held.peer_writes(&QUESTION.from(0, LEN));
        let mut first = vec![0xaa; 100];
        let paused = held.poll(|subject, cx| subject.poll_peek(cx, &mut first));
        assert_eq!(paused.unwrap(), Progress::Pending);
        drop(first);
        let mut peeked = [0; 50];
        for _ in 0..2 {
            let seen = held.finish(|subject, cx| subject.poll_peek(cx, &mut peeked));
            assert_eq!(seen.unwrap(), peeked.len());
            assert_eq!(peeked[..], QUESTION.from(0, peeked.len()));
        }
        assert_question_is_read_once(&mut held);
    });
}

#[test]
fn a_peek_while_a_read_is_paused_sees_what_the_next_read_gets() {
    for_each_end(Held::connected, |mut held| {
        with_a_paused_read(&mut held);
        let waits = held.poll(|subject, cx| subject.poll_peek(cx, &mut [0; 10]));
        assert_eq!(waits.unwrap(), Progress::Pending);
        let mut peeked = [0; 50];
        let seen = held.finish(|subject, cx| subject.poll_peek(cx, &mut peeked));
        assert_eq!(seen.unwrap(), peeked.len());
        assert_eq!(peeked[..], QUESTION.from(0, peeked.len()));
        assert_question_is_read_once(&mut held);
    });
}

#[test]
fn a_write_that_paused_is_what_its_caller_gave_and_the_next_buffer_comes_after_it() {
    for_each_end(Held::connected, |mut held| {
        let mut first = ANSWER.from(0, 20_000);
        let written = held.poll(|subject, cx| subject.poll_write(cx, &first));
        assert_eq!(written.unwrap(), Progress::Done(first.len()));
        assert!(held.subject.is_in_flight());
        // The caller's memory is used for something else, and goes.
        first.fill(0xaa);
        drop(first);
        let refused = held.poll(|subject, cx| subject.poll_write(cx, &[0xbb; 500]));
        assert_eq!(refused.unwrap(), Progress::Pending);
        let next = ANSWER.from(20_000, LEN - 20_000);
        let written = held.finish(|subject, cx| subject.poll_write(cx, &next));
        assert_eq!(written.unwrap(), next.len());
        assert_answer_is_written_once(&mut held);
    });
}

#[test]
fn what_is_paused_is_finished_first_when_the_policy_changes() {
    for_each_end(Held::connected, |mut held| {
        with_a_paused_read(&mut held);
        held.subject.set_policy(AsyncPolicy::Never);
        let waits = held.poll(|subject, cx| subject.poll_read(cx, &mut [0; 10]));
        assert_eq!(waits.unwrap(), Progress::Pending);
        assert_question_is_read_once(&mut held);

        held.subject.set_policy(AsyncPolicy::Always);
        with_a_paused_write(&mut held);
        held.subject.set_policy(AsyncPolicy::Never);
        assert_answer_is_written_once(&mut held);
    });
}

#[test]
fn ciphertext_may_come_and_go_while_an_operation_is_paused() {
    for_each_end(Held::connected, |mut held| {
        with_a_paused_write(&mut held);
        held.subject.set_policy(AsyncPolicy::Always);
        for place in (0..LEN).step_by(1000) {
            held.peer_writes(&QUESTION.from(place, 1000));
            held.exchange();
        }
        assert_question_is_read_once(&mut held);
        assert_answer_is_written_once(&mut held);
    });
}

/// The handshake has paused.
fn in_the_handshake(pausing: Pausing, version: openssl::ssl::SslVersion, role: Role) -> Held {
    let mut held = Held::new(pausing, version, role);
    held.exchange(); // A client that is the peer begins.
    let paused = held.until_paused(Connection::poll_handshake).unwrap();
    assert_eq!(paused, Poll::Pending);
    held
}

#[test]
fn a_read_goes_on_with_the_handshake_that_has_paused() {
    for_each_end(in_the_handshake, |mut held| {
        let waits = held.poll(|subject, cx| subject.poll_read(cx, &mut [0; 10]));
        assert_eq!(waits.unwrap(), Progress::Pending);
        let read = held.finish_or_wants(|subject, cx| subject.poll_read(cx, &mut [0; 10]));
        assert_eq!(read, Progress::WantsCiphertext);
        converses(held);
    });
}

#[test]
fn a_write_goes_on_with_the_handshake_that_has_paused() {
    for_each_end(in_the_handshake, |mut held| {
        let waits = held.poll(|subject, cx| subject.poll_write(cx, b"of a caller that leaves"));
        assert_eq!(waits.unwrap(), Progress::Pending);
        let answer = ANSWER.from(0, LEN);
        let written = held.finish(|subject, cx| subject.poll_write(cx, &answer));
        assert_eq!(written.unwrap(), LEN);
        assert_answer_is_written_once(&mut held);
        converses(held);
    });
}

#[test]
fn a_shutdown_while_the_handshake_is_paused_ends_that_first() {
    for_each_end(in_the_handshake, |mut held| {
        let waits = held.poll(Connection::poll_shutdown);
        assert_eq!(waits.unwrap(), Progress::Pending);
        match held.finish(Connection::poll_shutdown) {
            Ok(result) => {
                assert_eq!(result, ShutdownResult::Sent);
                assert!(held.subject.ssl().is_init_finished());
            }
            // As libssl has it: not before the peer has ended the handshake, too.
            Err(e) => {
                assert_eq!(e.code(), ErrorCode::SSL);
                assert!(!held.subject.ssl().is_init_finished());
                held.finish(Connection::poll_handshake).unwrap();
                converses(held);
            }
        }
    });
}

/// Some bytes each way.
fn converses(mut held: Held) {
    held.finish(Connection::poll_handshake).unwrap();
    held.exchange();
    with_a_paused_write(&mut held);
    held.peer_writes(&QUESTION.from(0, LEN));
    assert_question_is_read_once(&mut held);
    assert_answer_is_written_once(&mut held);
}
