//! Jobs beside the C calls.

use benches::small::job;
use criterion::{criterion_group, criterion_main, Criterion};

fn jobs(c: &mut Criterion) {
    let in_c = job::InC::new(false);
    for (name, pauses) in [("start and finish", 0), ("start, pause, resume, finish", 1)] {
        let mut group = c.benchmark_group(name);
        group.bench_function("in C", |b| b.iter(|| in_c.run(pauses)));
        group.bench_function("Job, suspend", |b| {
            b.iter(|| job::run(job::suspends(pauses)))
        });
        group.bench_function("Job, CurrentJob::pause", |b| {
            b.iter(|| job::run(job::pauses_itself(pauses)))
        });
        group.finish();
    }
}

criterion_group!(benches, jobs);
criterion_main!(benches);
