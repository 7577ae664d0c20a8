//! A thread with local tasks: many jobs interleaved.

use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use openssl_async_jobs::{Job, JobPool, JobStats};
use testing::random::Random;
use tokio::task::LocalSet;

use crate::ends::{local, plain, run, sockets};
use crate::jobs;
use crate::pausing::pause;
use crate::plan::{Budget, Plan, Side};
use crate::round::COUNTS;

const TASKS: u64 = 16;

/// Until then; with its jobs brought home when all is released.
pub fn round(seed: u64, end: Instant, released: Arc<Barrier>) -> JobStats {
    jobs::prepare();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let tasks = LocalSet::new();
    let budget = Budget::new(2);
    tasks.block_on(&runtime, async {
        // Who looks after what was given up.
        let reaper = tokio::task::spawn_local(JobPool::reap());
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| tokio::task::spawn_local(work(seed ^ task << 32, end, budget.clone())))
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        reaper.abort();
    });
    drop((tasks, runtime));
    jobs::finish(&released)
}

async fn work(seed: u64, end: Instant, budget: Budget) {
    let mut random = Random::new(seed);
    while Instant::now() < end {
        let plan = Rc::new(Plan::new(random.number(), &budget));
        match random.below(8) {
            0 => closure(&plan).await,
            _ => connection(&plan).await,
        }
    }
}

async fn connection(plan: &Rc<Plan>) {
    COUNTS.connections.add(1);
    let (near, far) = sockets().await;
    let end = |side: Side, socket| {
        let plan = Rc::clone(plan);
        // Each a task of its own, so that one may be gone while the other goes on.
        tokio::task::spawn_local(async move {
            match plan.kind(side) % 7 {
                0 => run(&plan, side, plain(&plan, side, socket)).await,
                _ => run(&plan, side, local(&plan, side, socket)).await,
            }
        })
    };
    let (server, client) = (end(Side::Server, far), end(Side::Client, near));
    server.await.expect("no panic");
    client.await.expect("no panic");
}

async fn closure(plan: &Rc<Plan>) {
    COUNTS.closures.add(1);
    let job = {
        let plan = Rc::clone(plan);
        Job::new(move || pause(&plan.server))
    };
    let patience = plan
        .gives_up
        .map_or(Duration::from_secs(60), |(_, when)| when);
    let done = tokio::time::timeout(patience, job).await;
    assert!(done.is_ok() || plan.gives_up.is_some(), "stuck");
}
