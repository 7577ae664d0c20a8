//! A runtime of several threads, with job threads.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use openssl_async_jobs::tokio::JobThreads;
use openssl_async_jobs::JobStats;
use testing::random::Random;

use crate::ends::{plain, pooled, run, sockets};
use crate::jobs::MAX_JOBS;
use crate::pausing::pause;
use crate::plan::{Budget, Plan, Side};
use crate::round::COUNTS;

const TASKS: u64 = 16;

pub fn round(seed: u64, end: Instant, released: Arc<Barrier>) -> JobStats {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let threads = JobThreads::builder()
        .threads(2)
        .max_jobs(MAX_JOBS)
        .build()
        .expect("threads");
    let budget = Budget::new(2);
    runtime.block_on(async {
        let work = |task| work(seed ^ task << 32, end, threads.clone(), budget.clone());
        let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(work(task))).collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    });
    released.wait();
    released.wait();
    // Each thread looks after its own.
    let stats = runtime.block_on(async {
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            let stats = threads.stats().await;
            if (stats.in_flight, stats.waiting, threads.operations()) == (0, 0, 0) {
                return stats;
            }
            assert!(Instant::now() < patience, "not at their end: {stats:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    // Now and then the runtime goes first.
    match seed % 2 {
        0 => drop((threads, runtime)),
        _ => drop((runtime, threads)),
    }
    stats
}

async fn work(seed: u64, end: Instant, threads: JobThreads, budget: Budget) {
    let mut random = Random::new(seed);
    while Instant::now() < end {
        let plan = Arc::new(Plan::new(random.number(), &budget));
        match random.below(8) {
            0 => closure(&threads, &plan).await,
            _ => connection(&threads, &plan).await,
        }
    }
}

async fn connection(threads: &JobThreads, plan: &Arc<Plan>) {
    COUNTS.connections.add(1);
    let (near, far) = sockets().await;
    let end = |side: Side, socket| {
        let (threads, plan) = (threads.clone(), Arc::clone(plan));
        tokio::spawn(async move {
            match plan.kind(side) % 7 {
                0 => run(&plan, side, plain(&plan, side, socket)).await,
                _ => run(&plan, side, pooled(&threads, &plan, side, socket)).await,
            }
        })
    };
    let (server, client) = (end(Side::Server, far), end(Side::Client, near));
    server.await.expect("no panic");
    client.await.expect("no panic");
}

async fn closure(threads: &JobThreads, plan: &Arc<Plan>) {
    COUNTS.closures.add(1);
    let closure = {
        let plan = Arc::clone(plan);
        threads.run(move || pause(&plan.server))
    };
    let patience = plan
        .gives_up
        .map_or(Duration::from_secs(60), |(_, when)| when);
    let done = tokio::time::timeout(patience, closure).await;
    assert!(done.is_ok() || plan.gives_up.is_some(), "stuck");
}
