//! `all_async_fds_into` beside the two C calls.

use std::hint::black_box;

use benches::small::fds::Paused;
use criterion::{criterion_group, criterion_main, Criterion};

fn fds(c: &mut Criterion) {
    let paused = Paused::default();
    let mut buffer = [-1; 1];
    let mut group = c.benchmark_group("wait fds into a buffer, 1 fd");
    group.bench_function("in C", |b| b.iter(|| paused.in_c(black_box(&mut buffer))));
    group.bench_function("all_async_fds_into", |b| {
        b.iter(|| paused.here(black_box(&mut buffer)))
    });
    group.finish();
}

criterion_group!(benches, fds);
criterion_main!(benches);
