//! Runs a program on a thread of its own, and then sees that all has come through, and nothing is
//! left.

use std::time::Duration;

use openssl_async_jobs::{JobPool, Role};

use crate::callbacks;
use crate::contexts::contexts;
use crate::end::End;
use crate::program::{At, Opening, Program, Step};
use crate::random;

const MAX_PAIRS: usize = 4;
/// Rounds until nothing moves any more: more is a loop.
const ROUNDS: usize = 2000;

pub fn run(program: Program) {
    random::make_repeatable();
    contexts();
    let leaked = JobPool::stats().leaked;
    // Its pool, its counts and its random numbers are its own.
    std::thread::spawn(move || on_this_thread(program))
        .join()
        .expect("a panic aborts");
    assert_eq!(JobPool::stats().leaked, leaked, "the thread left jobs");
}

fn on_this_thread(program: Program) {
    if let 1..=3 = program.max_jobs {
        let max = usize::from(program.max_jobs);
        JobPool::builder().max_jobs(max).init().unwrap();
    }
    let mut world = World::default();
    world.open(Opening::FIRST);
    for step in program.steps {
        world.step(step);
    }
    world.settle();
    world.check_all_came_through();
    world.check_nothing_is_left();
}

#[derive(Default)]
struct World {
    pairs: Vec<[End; 2]>,
}

impl World {
    fn open(&mut self, opening: Opening) {
        let id = 2 * self.pairs.len();
        self.pairs.push([
            End::new(id, Role::Client, opening),
            End::new(id + 1, Role::Server, opening),
        ]);
    }

    fn pair(&mut self, at: At) -> &mut [End; 2] {
        let nth = at.pair(self.pairs.len());
        &mut self.pairs[nth]
    }

    /// An end, and its peer.
    fn ends(&mut self, at: At) -> (&mut End, &mut End) {
        let [client, server] = self.pair(at);
        match at.side() {
            0 => (client, server),
            _ => (server, client),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open(opening) => {
                if self.pairs.len() < MAX_PAIRS {
                    self.open(opening);
                }
            }
            Step::Connect(at) => connect(self.pair(at)),
            Step::Handshake(at) => {
                self.ends(at).0.handshake();
            }
            Step::Read(at, size) => {
                let (end, peer) = self.ends(at);
                end.read(peer, size.bytes());
            }
            Step::Peek(at, size) => {
                let (end, peer) = self.ends(at);
                end.peek(peer, size.bytes());
            }
            Step::Write(at, size) => self.ends(at).0.write(size.bytes()),
            Step::Flush(at) => self.ends(at).0.flush(),
            Step::Shutdown(at) => self.ends(at).0.shutdown(),
            Step::SetPolicy(at, policy) => self.ends(at).0.set_policy(policy),
            Step::Exchange(at) => {
                exchange(self.pair(at));
            }
            Step::Send(at, size) => {
                let (end, peer) = self.ends(at);
                end.send(size.bytes(), &mut peer.incoming);
            }
            Step::Deliver(at, size, chunk) => {
                self.ends(at).0.deliver(size.bytes(), chunk.bytes());
            }
            Step::Flip(at, bit) => self.ends(at).0.flip(bit),
            Step::Cut(at) => self.ends(at).0.cut(),
            Step::Plan(at, after, pause) => callbacks::plan(self.ends(at).0.id, after & 31, pause),
            Step::Complete(nth) => {
                callbacks::complete(nth);
            }
            Step::Panic(nth) => callbacks::panic(nth),
            Step::Drop(at) => self.ends(at).0.drop_connection(),
            Step::Drain => {
                JobPool::drain(Duration::ZERO).unwrap();
            }
        }
    }

    /// Brings all to where nothing moves any more, with each end called only when it can go on.
    fn settle(&mut self) {
        callbacks::plan_nothing();
        for _ in 0..ROUNDS {
            while callbacks::complete(0) {}
            JobPool::drain(Duration::ZERO).unwrap();
            let mut moved = 0;
            for pair in &mut self.pairs {
                for side in [0, 1] {
                    let (first, second) = pair.split_at_mut(1);
                    let (end, peer) = match side {
                        0 => (&mut first[0], &second[0]),
                        _ => (&mut second[0], &first[0]),
                    };
                    if !end.waits() {
                        // That goes on with what is in flight, and begins nothing.
                        end.flush();
                        // Who calls again after an error is not to complain that it goes on.
                        if !end.failed {
                            end.handshake();
                        }
                        if !end.failed && !end.saw_end {
                            moved += end.read(peer, 100_000);
                        }
                    }
                }
                moved += exchange(pair);
            }
            // Said at the end: one that ends lets another one start.
            let mut ends = self.pairs.iter().flatten();
            let ready = ends.any(|end| end.is_in_flight() && !end.waits());
            if moved == 0 && !ready {
                return;
            }
        }
        panic!("it goes on and on");
    }

    fn check_all_came_through(&mut self) {
        for pair in &mut self.pairs {
            let excused = pair.iter().any(|end| end.excused);
            for end in pair.iter_mut() {
                assert!(!end.is_in_flight(), "it waits for nothing");
                assert!(excused || end.saw_end || end.handshake(), "no handshake");
            }
            for (end, peer) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                // An end of the stream is said after all that was written, and no sooner.
                if !excused {
                    assert_eq!(end.read, peer.written, "bytes are missing");
                }
            }
        }
    }

    fn check_nothing_is_left(&mut self) {
        for pair in &mut self.pairs {
            pair.iter_mut().for_each(End::drop_connection);
        }
        while callbacks::complete(0) {}
        assert_eq!(JobPool::drain(Duration::from_secs(10)).unwrap(), 0);
        let stats = JobPool::stats();
        assert_eq!((stats.in_flight, stats.waiting), (0, 0));
        assert_eq!(stats.started, stats.finished);
        assert_eq!(stats.paused, stats.resumed);
    }
}

/// Carries all there is, both ways; says how much.
fn exchange(pair: &mut [End; 2]) -> usize {
    let [client, server] = pair;
    let mut moved = client.send(usize::MAX, &mut server.incoming);
    moved += server.send(usize::MAX, &mut client.incoming);
    moved += client.deliver(usize::MAX, usize::MAX);
    moved + server.deliver(usize::MAX, usize::MAX)
}

/// Both handshakes, until they wait for something else than each other.
fn connect(pair: &mut [End; 2]) {
    for _ in 0..20 {
        let done = pair.iter_mut().map(End::handshake).filter(|done| *done);
        if done.count() == 2 || exchange(pair) == 0 {
            return;
        }
    }
}
