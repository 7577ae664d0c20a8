//! From a completion to the task that waits for it, on one thread.

use std::fmt;
use std::io;

use crate::measure;
use crate::settings::Settings;
use crate::small::wake;
use crate::table::Table;

#[derive(Clone, Copy)]
enum Way {
    Callback,
    Eventfd,
    SpawnBlocking,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Callback => "callback to resumed job",
            Way::Eventfd => "eventfd through the reactor",
            Way::SpawnBlocking => "spawn_blocking, there and back",
        })
    }
}

pub fn run(settings: &Settings) -> io::Result<Vec<Table>> {
    crate::cpu::pin(Some(0));
    let times = settings.many(20_000, 20);
    let ways = [Way::Callback, Way::Eventfd, Way::SpawnBlocking];
    let [time] = measure::rounds(settings.rounds, &ways, |way| {
        let mut waits = match way {
            Way::Callback => wake::on_runtime(wake::callback(times)),
            Way::Eventfd => wake::on_runtime(wake::eventfd(times)),
            Way::SpawnBlocking => wake::on_runtime(wake::spawn_blocking(times)),
        };
        // Those of a moment in which the machine did something else count as one.
        waits.sort();
        [waits[waits.len() / 2].as_secs_f64() * 1e6]
    });
    Ok(vec![Table::new("A wake-up on one thread", "us", time)
        .base(Way::Eventfd)
        .at_most(Way::Callback, 1.0)
        .plot("wake")])
}
