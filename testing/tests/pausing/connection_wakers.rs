//! Whoever was answered `Pending` is woken when the operation that was paused has gone on.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use openssl_async_jobs::{block_on, Connection, Progress, Role};
use testing::pausing::for_each_way;
use testing::random::Bytes;
use testing::tls::{Held, VERSIONS};
use testing::woken::Woken;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));
const QUESTION: Bytes = Bytes(5);

fn write(connection: &mut Connection, writer: &Arc<Woken>) -> Progress<usize> {
    let waker = writer.waker();
    let written = connection.poll_write(&mut Context::from_waker(&waker), b"answer");
    written.unwrap()
}

#[test]
fn a_reader_and_a_writer_with_wakers_of_their_own_are_both_woken() {
    for_each_way(|pausing| {
        for version in VERSIONS {
            let mut held = Held::connected(pausing, *version, Role::Server);
            held.peer_writes(&QUESTION.from(0, 100));
            let (reader, writer) = (Woken::new(), Woken::new());
            let mut buffer = [0; 100];
            let read = held
                .subject
                .poll_read(&mut Context::from_waker(&reader.waker()), &mut buffer);
            assert_eq!(read.unwrap(), Progress::Pending);
            assert_eq!(write(&mut held.subject, &writer), Progress::Pending);

            held.release();
            // The writer's task does what it is woken for. The read is done then.
            while write(&mut held.subject, &writer) == Progress::Pending {
                writer.wait_for(&held.subject);
            }
            assert!(
                reader.take(),
                "{pausing:?}: its bytes are there, and it does not know"
            );
        }
    });
}

/// The loop that the documentation of `Connection` has, but for its time-out.
#[test]
fn block_on_drives_a_connection_whatever_its_engine_signals() {
    for_each_way(|pausing| {
        for version in VERSIONS {
            let mut held = Held::new(pausing, *version, Role::Server);
            loop {
                let step = poll_fn(|cx| {
                    pausing.hold(true);
                    match held.subject.poll_handshake(cx) {
                        Ok(Progress::Pending) => {
                            // It completes when nobody looks.
                            pausing.hold(false);
                            Poll::Pending
                        }
                        other => Poll::Ready(other),
                    }
                });
                let Ok(step) = block_on(step, PATIENCE) else {
                    panic!("{pausing:?}: it has paused, and nobody watches its wait fds");
                };
                match step.unwrap() {
                    Progress::Done(()) => break,
                    _ => assert!(held.exchange() > 0, "stuck"),
                }
            }
            held.finish(Connection::poll_flush).unwrap();
        }
    });
}
