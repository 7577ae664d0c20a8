//! What jobs and wait fds cost beside the C calls, in nanoseconds of CPU time.

use std::fmt;
use std::hint::black_box;
use std::io;

use crate::allocations;
use crate::cpu;
use crate::measure;
use crate::settings::Settings;
use crate::small::{fds, job};
use crate::table::Table;

#[derive(Clone, Copy)]
enum Variant {
    Suspend,
    Pause,
    C,
    /// With the calls that each start and resume takes here besides.
    Asks,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Variant::Suspend => "Job, suspend",
            Variant::Pause => "Job, CurrentJob::pause",
            Variant::C => "in C",
            Variant::Asks => "in C, with what else is asked",
        })
    }
}

pub fn run(settings: &Settings) -> io::Result<Vec<Table>> {
    cpu::pin(Some(0));
    let times = settings.many(200_000, 100);
    let (in_c, asks) = (job::InC::new(false), job::InC::new(true));
    let run_one = |variant, pauses| match variant {
        Variant::Suspend => job::run(job::suspends(pauses)),
        Variant::Pause => job::run(job::pauses_itself(pauses)),
        Variant::C => in_c.run(pauses),
        Variant::Asks => asks.run(pauses),
    };
    let variants = [Variant::Suspend, Variant::Pause, Variant::C, Variant::Asks];
    let [once, never, each, allocated] = measure::rounds(settings.rounds, &variants, |variant| {
        let before = allocations::count();
        let once = nanoseconds(times, || run_one(variant, 1));
        let allocated = (allocations::count() - before) as f64 / (times + times / 10 + 1) as f64;
        let never = nanoseconds(times, || run_one(variant, 0));
        const MANY: usize = 100;
        let many = nanoseconds(times / MANY, || run_one(variant, MANY));
        [once, never, (many - never) / MANY as f64, allocated]
    });
    let table = |title, series| {
        Table::new(title, "ns", series)
            .base(Variant::C)
            .least(Variant::Asks)
            .at_most_times(Variant::Suspend, 2.0, Variant::C)
    };
    let mut tables = vec![
        table("Job: start, pause, resume, finish", once)
            .at_most_times(Variant::Pause, 2.0, Variant::C)
            .plot("job"),
        table("Job: start and finish", never),
        table("Job: pause and resume", each).at_most_times(Variant::Pause, 2.0, Variant::C),
        Table::new("Job: allocations in Rust", "a job", allocated)
            .at_most(Variant::Suspend, 1.001)
            .at_most(Variant::Pause, 1.001),
    ];
    tables.push(fds_table(settings));
    Ok(tables)
}

fn fds_table(settings: &Settings) -> Table {
    let paused = fds::Paused::default();
    let times = settings.many(5_000_000, 100);
    let [time] = measure::rounds(
        settings.rounds,
        &["all_async_fds_into", "in C"],
        |variant| {
            let mut buffer = [-1; 1];
            [match variant {
                "in C" => nanoseconds(times, || {
                    black_box(paused.in_c(black_box(&mut buffer)));
                }),
                _ => nanoseconds(times, || {
                    black_box(paused.here(black_box(&mut buffer)));
                }),
            }]
        },
    );
    Table::new("Wait fds into a buffer, 1 fd", "ns", time)
        .base("in C")
        .at_most_times("all_async_fds_into", 1.2, "in C")
}

fn nanoseconds(times: usize, one: impl FnMut()) -> f64 {
    cpu::of_one(times, one) * 1e9
}
