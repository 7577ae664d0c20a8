//! What a server and a client will do together: all of it from one seed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use openssl_async_jobs::AsyncPolicy;
use testing::random::Random;

use crate::engine::Tells;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Server,
    Client,
}

/// When a device completes an operation.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// Before the job pauses.
    Early,
    Late(Duration),
    /// And once more.
    Twice(Duration),
    /// When the round ends.
    Never,
}

#[derive(Clone, Copy, Debug)]
pub enum Pause {
    Engine(Tells, When),
    Lookup(Duration),
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub server: Vec<Pause>,
    pub client: Vec<Pause>,
    pub policies: [AsyncPolicy; 2],
    /// Who gives up when, whatever it does then.
    pub gives_up: Option<(Side, Duration)>,
    /// By a reset of the connection.
    pub resets: bool,
    /// How much is transferred.
    pub len: usize,
    /// The client closes its direction while it reads, or after it has read.
    pub half_closes: bool,
    /// Which kind of stream each has, where there are several.
    pub kinds: [usize; 2],
}

/// How many operations of a pool may never complete: they keep its jobs.
#[derive(Clone)]
pub struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub fn new(operations: usize) -> Budget {
        Budget(Arc::new(AtomicUsize::new(operations)))
    }

    fn take(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        let taken = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        taken.is_ok()
    }
}

impl Plan {
    pub fn new(seed: u64, budget: &Budget) -> Plan {
        let mut random = Random::new(seed);
        let r = &mut random;
        let mut plan = Plan {
            seed,
            server: pauses(r),
            client: pauses(r),
            policies: [policy(r), policy(r)],
            gives_up: None,
            resets: r.below(2) == 0,
            len: r.length(200_000),
            half_closes: r.below(2) == 0,
            kinds: [r.below(100), r.below(100)],
        };
        let side = match r.below(2) {
            0 => Side::Server,
            _ => Side::Client,
        };
        let when = millis(r, 12);
        if r.below(3) == 0 {
            plan.gives_up = Some((side, when));
        } else if r.below(60) == 0 && budget.take() {
            let tells = Tells::ALL[r.below(Tells::ALL.len())];
            let pauses = match side {
                Side::Server => &mut plan.server,
                Side::Client => &mut plan.client,
            };
            drop_last_twice(pauses);
            pauses.push(Pause::Engine(tells, When::Never));
            plan.gives_up = Some((side, when));
        }
        plan
    }

    pub fn pauses(&self, side: Side) -> &[Pause] {
        match side {
            Side::Server => &self.server,
            Side::Client => &self.client,
        }
    }

    pub fn policy(&self, side: Side) -> AsyncPolicy {
        self.policies[side as usize]
    }

    pub fn kind(&self, side: Side) -> usize {
        self.kinds[side as usize]
    }

    /// How long this side goes on.
    pub fn patience(&self, side: Side) -> Option<Duration> {
        self.gives_up
            .filter(|(who, _)| *who == side)
            .map(|(_, when)| when)
    }

    /// Whether both must come to a good end.
    pub fn is_clean(&self) -> bool {
        self.gives_up.is_none()
    }
}

fn pauses(r: &mut Random) -> Vec<Pause> {
    let mut pauses = Vec::new();
    for _ in 0..r.below(4) {
        drop_last_twice(&mut pauses);
        pauses.push(pause(r));
    }
    pauses
}

/// A callback that comes once more while its own job waits for another is taken for that: there is
/// nothing to tell them by. So an engine that calls twice does so in a job's last pause.
fn drop_last_twice(pauses: &mut Vec<Pause>) {
    if let Some(Pause::Engine(_, When::Twice(_))) = pauses.last() {
        pauses.pop();
    }
}

fn pause(r: &mut Random) -> Pause {
    let tells = Tells::ALL[r.below(Tells::ALL.len())];
    match r.below(5) {
        0 => Pause::Lookup(millis(r, 5)),
        1 => Pause::Engine(tells, When::Early),
        2 => Pause::Engine(tells, When::Twice(millis(r, 5))),
        _ => Pause::Engine(tells, When::Late(millis(r, 5))),
    }
}

fn policy(r: &mut Random) -> AsyncPolicy {
    match r.below(4) {
        0 => AsyncPolicy::Always,
        1 => AsyncPolicy::Never,
        _ => AsyncPolicy::Handshake,
    }
}

fn millis(r: &mut Random, most: usize) -> Duration {
    Duration::from_micros(r.below(1000 * most) as u64)
}
