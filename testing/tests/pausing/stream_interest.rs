//! `interest` names all that a stream waits for, so that who polls is told.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use openssl_async_jobs::AsyncPolicy;
use testing::pausing::for_each_way;
use testing::tls::held_stream::{HeldStream, ANSWER, LEN};
use testing::tls::VERSIONS;

fn for_each_version(test: impl Fn(HeldStream) + Sync) {
    for_each_way(|pausing| {
        for version in VERSIONS {
            test(HeldStream::connected(pausing, *version));
        }
    });
}

#[test]
fn a_poller_still_learns_that_a_write_can_go_on_when_a_read_came_in_between() {
    for_each_version(|mut ends| {
        ends.pause_a_read();
        let mut buffer = [0; 10];
        let read = ends.finish(|stream| Ok(stream.read(&mut buffer)?));
        assert_eq!(read, buffer.len());
        // The rest of what the paused read got is kept, so the next one does not touch the write.
        ends.pause_a_write();
        ends.complete();
        assert_eq!(ends.subject.read(&mut buffer).unwrap(), buffer.len());
        let told = ends.subject.wait(Some(Duration::ZERO)).unwrap();
        assert!(told, "{:?}: who polls waits for ever", ends.pausing);
        ends.assert_answer_is_written_once();
    });
}

#[test]
fn a_write_that_has_paused_is_what_a_poller_waits_for_though_its_caller_was_told_it_is_done() {
    for_each_version(|mut ends| {
        assert_eq!(ends.subject.write(&ANSWER.from(0, LEN)).unwrap(), LEN);
        assert!(ends.subject.ssl_mut().is_none(), "it is in flight");
        let interest = ends.subject.interest();
        assert!(!interest.fds.is_empty(), "who polls does not learn of it");
        ends.assert_answer_is_written_once();
    });
}

#[test]
fn a_write_does_not_make_a_poller_forget_that_a_reader_waits() {
    for_each_version(|mut ends| {
        ends.subject.set_policy(AsyncPolicy::Never);
        let e = ends.subject.read(&mut [0]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::WouldBlock);
        assert!(ends.subject.interest().readable);
        assert_eq!(ends.subject.write(&ANSWER.from(0, LEN)).unwrap(), LEN);
        let interest = ends.subject.interest();
        assert!(interest.readable, "the reader waits for ever");
    });
}
