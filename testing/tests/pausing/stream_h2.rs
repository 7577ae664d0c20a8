//! While an operation of a stream on a non-blocking socket is paused, its callers may come back with
//! other buffers and ask for other operations: no byte is lost, repeated or put elsewhere (H2, H3).

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use openssl::ssl::{ShutdownResult, Ssl};
use openssl_async_jobs::{Error, JobPool, SslStream};
use testing::pausing::for_each_way;
use testing::tls::held_stream::{HeldStream, ANSWER, LEN, QUESTION};
use testing::tls::VERSIONS;

const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
fn assert_would_block(e: Error) {
    assert!(e.is_would_block(), "{e}");
}

fn for_each_version(test: impl Fn(HeldStream) + Sync) {
    for_each_way(|pausing| {
        for version in VERSIONS {
            test(HeldStream::connected(pausing, *version));
        }
    });
}

#[test]
fn a_read_that_paused_into_one_buffer_ends_in_the_next_callers() {
    for_each_version(|mut ends| {
        ends.pause_a_read();
        ends.assert_question_is_read_once();
        let e = ends.subject.read(&mut [0]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::WouldBlock);
        assert!(ends.subject.interest().readable);
    });
}

#[test]
fn a_write_while_a_read_is_paused_takes_its_bytes_when_the_read_has_ended() {
    for_each_version(|mut ends| {
        ends.pause_a_read();
        let e = ends.subject.write(b"of a caller that leaves").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::WouldBlock);
        let answer = ANSWER.from(0, LEN);
        let written = ends.finish(|stream| stream.ssl_write(&answer));
        assert_eq!(written, LEN);
        ends.assert_question_is_read_once();
        ends.assert_answer_is_written_once();
    });
}

#[test]
fn a_read_while_a_write_is_paused_gets_what_it_asked_for() {
    for_each_version(|mut ends| {
        ends.pause_a_write();
        ends.peer.write_all(&QUESTION.from(0, LEN)).unwrap();
        let e = ends.subject.read(&mut [0; 10]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::WouldBlock);
        ends.assert_question_is_read_once();
        ends.assert_answer_is_written_once();
    });
}

#[test]
fn a_shutdown_while_a_write_is_paused_comes_after_all_of_it() {
    for_each_version(|mut ends| {
        ends.pause_a_write();
        assert_would_block(ends.subject.shutdown().unwrap_err());
        let sent = ends.finish(SslStream::shutdown);
        assert_eq!(sent, ShutdownResult::Sent);
        let mut got = Vec::new();
        ends.peer.read_to_end(&mut got).unwrap();
        assert!(got == ANSWER.from(0, LEN));
        ends.peer.shutdown().unwrap();
        let received = ends.finish(SslStream::shutdown);
        assert_eq!(received, ShutdownResult::Received);
    });
}

#[test]
fn a_shutdown_while_a_read_is_paused_leaves_what_was_read() {
    for_each_version(|mut ends| {
        ends.pause_a_read();
        assert_would_block(ends.subject.shutdown().unwrap_err());
        let sent = ends.finish(SslStream::shutdown);
        assert_eq!(sent, ShutdownResult::Sent);
        ends.assert_question_is_read_once();
    });
}

#[test]
fn dropped_while_it_is_paused_it_ends_and_its_socket_closes_at_once() {
    for_each_version(|mut ends| {
        let freed = Arc::new(());
        let index = Ssl::new_ex_index().unwrap();
        let ssl = ends.subject.ssl_mut().expect("nothing is in flight");
        ssl.set_ex_data(index, Arc::clone(&freed));
        ends.pause_a_read();
        drop(ends.subject);
        // Tickets, and then the end: a reset, as what the peer sent was not read.
        let end = ends.peer.get_mut().read_to_end(&mut Vec::new());
        let open = end.is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
        assert!(!open, "the job has the socket");
        ends.pausing.hold(false);
        assert_eq!(JobPool::drain(PATIENCE).unwrap(), 0);
        assert_eq!(Arc::strong_count(&freed), 1);
        assert_eq!(JobPool::stats().in_flight, 0);
    });
}
