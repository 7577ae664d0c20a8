//! From a completion to the task that waits for it.

use benches::small::wake;
use criterion::{criterion_group, criterion_main, Criterion};

fn wakes(c: &mut Criterion) {
    let mut group = c.benchmark_group("wake-up");
    group.bench_function("callback to resumed job", |b| {
        b.iter_custom(|times| {
            wake::on_runtime(wake::callback(times as usize))
                .iter()
                .sum()
        })
    });
    group.bench_function("eventfd through the reactor", |b| {
        b.iter_custom(|times| wake::on_runtime(wake::eventfd(times as usize)).iter().sum())
    });
    group.bench_function("spawn_blocking, there and back", |b| {
        b.iter_custom(|times| {
            wake::on_runtime(wake::spawn_blocking(times as usize))
                .iter()
                .sum()
        })
    });
    group.finish();
}

criterion_group!(benches, wakes);
criterion_main!(benches);
