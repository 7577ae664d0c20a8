//! What a connection costs among many.

use std::io;

use crate::child::{Kind, Running, Task};
use crate::client::{Client, LITTLE};
use crate::measure::{self, Series};
use crate::peers::Stack;
use crate::settings::Settings;
use crate::table::Table;

pub fn run(settings: &Settings) -> io::Result<Vec<Table>> {
    let numbers = match settings.brief {
        false => [100, 1000, 10_000],
        true => [10, 20, 40],
    };
    let rounds = settings.rounds.min(3);
    let mut tables = Vec::new();
    let mut growth = Vec::new();
    for stack in Stack::ALL {
        let mut failed = None;
        let [trip, handshake, memory] = measure::rounds(rounds, &numbers, |number| {
            sample(settings, stack, number).unwrap_or_else(|e| {
                failed = Some(e);
                [f64::NAN; 3]
            })
        });
        if let Some(e) = failed {
            return Err(e);
        }
        growth.push((stack, [trip, handshake, memory]));
    }
    for (measure, (title, unit)) in [
        (
            "A round trip of 1 byte among many connections: the server's CPU time",
            "us",
        ),
        (
            "A handshake, with many connections: the server's CPU time",
            "us",
        ),
        ("Resident memory of a connection among many", "KiB"),
    ]
    .into_iter()
    .enumerate()
    {
        for (stack, measures) in &growth {
            let series = measures[measure].clone();
            let named = |number: usize| format!("{number} connections");
            let series = series
                .into_iter()
                .zip(numbers)
                .map(|(series, number)| Series {
                    name: named(number),
                    ..series
                });
            let mut table = Table::new(format!("{title}, {stack}"), unit, series.collect())
                .base(named(numbers[0]));
            if *stack == Stack::Ours {
                table = table.at_most_times(named(numbers[2]), 1.15, named(numbers[0]));
            }
            tables.push(table);
        }
    }
    Ok(tables)
}

/// For each connection: CPU time of a round trip and of its handshake in microseconds; KiB.
fn sample(settings: &Settings, stack: Stack, number: usize) -> io::Result<[f64; 3]> {
    let task = Task {
        stack,
        kind: Kind::Hold,
        count: 0,
        size: 0,
    };
    let mut server = Running::start(task, None)?;
    let address = server.address;
    let connect = |clients: usize| -> io::Result<Vec<Client>> {
        let connect = |_| Client::connect(address, stack.is_tls(), LITTLE);
        (0..clients).map(connect).collect()
    };
    let trip = |client: &mut Client| client.round_trip(&[1], &mut [0]);
    let mut warm = connect(settings.many(100, 5))?;
    warm.iter_mut().try_for_each(trip)?;

    let (memory, cpu) = (server.ask("memory")?, server.ask("cpu")?);
    let mut clients = connect(number)?;
    trip(clients.last_mut().expect("some"))?;
    let handshakes = server.ask("cpu")? - cpu;
    let memory = server.ask("memory")? - memory;

    let trips = settings.many(20_000, 40).max(number);
    clients.iter_mut().try_for_each(trip)?;
    let cpu = server.ask("cpu")?;
    for n in 0..trips {
        trip(&mut clients[n % number])?;
    }
    let trips = (server.ask("cpu")? - cpu) / trips as f64;
    let number = number as f64;
    Ok([trips / 1e3, handshakes / number / 1e3, memory / number])
}
