//! A connection dropped at any pause of a whole conversation, be its completion still to come or
//! there already: its operation is brought to its end, and its `Ssl` freed, once (H3).

use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use openssl::ex_data::Index;
use openssl::ssl::{Ssl, SslVersion};
use openssl_async_jobs::{JobPool, Role};
use testing::pausing::{for_each_way, Pausing};
use testing::tls::{Held, Talk, VERSIONS};

const PATIENCE: Duration = Duration::from_secs(60);

/// Has the subject's `Ssl` hold `it` as long as it is there.
fn hold(held: &mut Held, it: &Arc<()>) {
    static INDEX: OnceLock<Index<Ssl, Arc<()>>> = OnceLock::new();
    let index = *INDEX.get_or_init(|| Ssl::new_ex_index().unwrap());
    let ssl = held.subject.ssl_mut().expect("nothing is in flight");
    ssl.set_ex_data(index, Arc::clone(it));
}

/// A conversation that has come to its pause number `pause`: `None` if it has none.
fn paused(
    pausing: Pausing,
    version: SslVersion,
    role: Role,
    pause: usize,
    freed: &Arc<()>,
) -> Option<Talk> {
    let mut talk = Talk::new(Held::new(pausing, version, role));
    hold(&mut talk.held, freed);
    for _ in 0..pause {
        if talk.go_on() == Poll::Ready(()) {
            return None;
        }
        talk.held.complete();
    }
    (talk.go_on() == Poll::Pending).then_some(talk)
}

/// What is in flight after the drop comes to its end.
fn assert_all_ends(pausing: Pausing, freed: &Arc<()>, reaped_before: u64) {
    let left = JobPool::stats().in_flight;
    match left {
        0 => assert_eq!(Arc::strong_count(freed), 1, "not freed, or too early"),
        1 => assert_eq!(Arc::strong_count(freed), 2, "freed too early"),
        _ => panic!("{:?}", JobPool::stats()),
    }
    pausing.hold(false);
    assert_eq!(JobPool::drain(PATIENCE).unwrap(), 0);
    assert_eq!(Arc::strong_count(freed), 1, "the Ssl is leaked");
    let stats = JobPool::stats();
    assert_eq!(stats.in_flight, 0);
    assert_eq!(stats.finished, stats.started);
    assert_eq!(stats.reaped - reaped_before, left as u64);
}

/// Drops a conversation at each of its pauses, and says how often what it had in flight had still
/// to be brought to its end then.
fn drop_at_each_pause(pausing: Pausing, ready: fn(&mut Talk)) -> (usize, usize) {
    let (mut at_once, mut later) = (0, 0);
    for version in VERSIONS {
        for role in [Role::Client, Role::Server] {
            for pause in 0.. {
                let freed = Arc::new(());
                let Some(mut talk) = paused(pausing, *version, role, pause, &freed) else {
                    println!("{pausing:?} {version:?} {role:?}: {pause} pauses");
                    assert!(pause >= 5, "it does not pause as it should");
                    break;
                };
                ready(&mut talk);
                let before = JobPool::stats();
                drop(talk);
                match JobPool::stats().in_flight {
                    0 => at_once += 1,
                    _ => later += 1,
                }
                assert_all_ends(pausing, &freed, before.reaped);
            }
        }
    }
    assert_eq!(JobPool::stats().leaked, 0);
    (at_once, later)
}

#[test]
fn dropped_at_any_pause_before_the_completion_it_ends_and_is_freed_after_it() {
    for_each_way(|pausing| {
        let (at_once, later) = drop_at_each_pause(pausing, |_| ());
        match pausing {
            // Cancelled, it waits for nothing.
            Pausing::Suspended => assert_eq!(later, 0),
            #[cfg(ossl300)]
            Pausing::Device(_) => assert_eq!(at_once, 0),
        }
        assert!(at_once + later > 40);
    });
}

#[test]
fn dropped_at_any_pause_after_the_completion_it_ends_and_is_freed() {
    for_each_way(|pausing| {
        let (at_once, later) = drop_at_each_pause(pausing, |talk| talk.held.complete());
        assert!(at_once > 0);
        // An operation may pause several times.
        assert_eq!(later > 0, !matches!(pausing, Pausing::Suspended));
    });
}

#[test]
fn many_dropped_connections_are_all_brought_to_their_end() {
    for_each_way(|pausing| {
        let freed = Arc::new(());
        let mut talks = Vec::new();
        for pause in 0..8 {
            let talk = paused(pausing, VERSIONS[0], Role::Server, pause, &freed).unwrap();
            talks.push(talk);
        }
        assert_eq!(JobPool::stats().in_flight, talks.len());
        drop(talks);
        // One more, which goes on meanwhile.
        let mut talk = Talk::new(Held::new(pausing, VERSIONS[0], Role::Client));
        pausing.hold(false);
        assert_eq!(JobPool::drain(PATIENCE).unwrap(), 0);
        assert_eq!(Arc::strong_count(&freed), 1);
        pausing.hold(true);
        while talk.go_on() == Poll::Pending {
            talk.held.complete();
        }
        assert_eq!(JobPool::stats().in_flight, 0);
    });
}

#[test]
fn what_is_left_when_the_time_is_over_ends_later() {
    for_each_way(|pausing| {
        let freed = Arc::new(());
        drop(paused(pausing, VERSIONS[0], Role::Server, 3, &freed));
        let left = JobPool::drain(Duration::ZERO).unwrap();
        assert_eq!(left, JobPool::stats().in_flight);
        pausing.hold(false);
        assert_eq!(JobPool::drain(PATIENCE).unwrap(), 0);
        assert_eq!(Arc::strong_count(&freed), 1);
    });
}
