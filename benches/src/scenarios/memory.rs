//! Resident memory of the server's process, for each connection that it holds.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use crate::child::{Kind, Running, Task};
use crate::client::{Client, LITTLE};
use crate::measure::Series;
use crate::peers::Stack;
use crate::settings::Settings;
use crate::table::Table;

const RUST_OPENSSL: &str = "rust-openssl";
const C_JOB: &str = "a job paused in C";
/// Handshakes of which the client leaves the rest to be waited for: what libssl itself has then.
const WAITS: &str = "none paused: tokio-openssl";
const OURS_WAITS: &str = "none paused: openssl-async-jobs";
const MESSAGE: usize = 16 * 1024;

pub fn run(settings: &Settings) -> io::Result<Vec<Table>> {
    let rounds = settings.rounds.min(3); // it hardly differs
    let (mut idle, mut passed) = (Vec::new(), Vec::new());
    for stack in Stack::TLS {
        let (mut idle_values, mut passed_values) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let [idle, passed] = held(settings, stack, Kind::Hold)?;
            idle_values.push(idle);
            passed_values.push(passed);
        }
        idle.push(series(stack, idle_values));
        passed.push(series(stack, passed_values));
    }
    let mut raw = Vec::new();
    for _ in 0..rounds {
        raw.push(held(settings, Stack::TokioOpenssl, Kind::HoldRaw)?[0]);
    }
    let [ours, openssl] = [0, 1].map(|stack| idle[stack].values.clone());
    let mut parked = Vec::new();
    for (name, kind, stack, idle) in [
        (Stack::Ours.to_string(), Kind::Park, Stack::Ours, &ours),
        (C_JOB.to_owned(), Kind::ParkRaw, Stack::TokioOpenssl, &raw),
        (WAITS.to_owned(), Kind::Hold, Stack::TokioOpenssl, &openssl),
        (OURS_WAITS.to_owned(), Kind::Hold, Stack::Ours, &ours),
    ] {
        let mut beyond = Vec::new();
        for idle in idle {
            beyond.push(parked_memory(settings, kind, stack)? - idle);
        }
        parked.push(series(name, beyond));
    }
    // Most of that is libssl's own, paused or not.
    let beyond = |paused: &Series, waits: &Series| {
        let pairs = paused.values.iter().zip(&waits.values);
        series(
            &paused.name,
            pairs.map(|(paused, waits)| paused - waits).collect(),
        )
    };
    let alone = vec![
        beyond(&parked[0], &parked[3]),
        beyond(&parked[1], &parked[2]),
    ];
    idle.push(series(RUST_OPENSSL, raw));
    let base = Stack::TokioOpenssl;
    Ok(vec![
        Table::new("Resident memory of an idle connection", "KiB", idle)
            .base(base)
            .at_most(Stack::Ours, 15.7)
            .plot("memory-idle"),
        Table::new(
            "Resident memory of one after 16 KiB each way",
            "KiB",
            passed,
        )
        .base(base)
        .at_most(Stack::Ours, 15.7),
        Table::new(
            "Resident memory of a parked handshake, beyond an idle connection",
            "KiB",
            parked,
        )
        .base(C_JOB),
        Table::new(
            "Resident memory of a parked handshake, beyond one that waits for its client",
            "KiB",
            alone,
        )
        .base(C_JOB)
        .at_most(Stack::Ours, 24.0)
        .plot("memory-parked"),
    ])
}

fn series(name: impl ToString, values: Vec<f64>) -> Series {
    Series {
        name: name.to_string(),
        values,
    }
}

fn child(kind: Kind, stack: Stack) -> io::Result<Running> {
    let task = Task {
        stack,
        kind,
        count: 0,
        size: 0,
    };
    Running::start(task, None)
}

/// KiB for each connection: idle, and after a message each way.
fn held(settings: &Settings, stack: Stack, kind: Kind) -> io::Result<[f64; 2]> {
    let (warm, more) = (settings.many(200, 10), settings.many(2000, 20));
    let mut server = child(kind, stack)?;
    let address = server.address;
    let connect = |clients: usize| -> io::Result<Vec<Client>> {
        let connect = |_| Client::connect(address, true, LITTLE);
        (0..clients).map(connect).collect()
    };
    let talks = kind == Kind::Hold;
    let mut answer = vec![0; MESSAGE];
    let mut talk = |clients: &mut [Client]| match talks {
        true => clients
            .iter_mut()
            .try_for_each(|client| client.round_trip(&[1; MESSAGE], &mut answer)),
        false => Ok(()),
    };
    // What all connections share is there after the first ones.
    let mut first = connect(warm)?;
    talk(&mut first)?;
    settle(talks, &mut first)?;
    let before = server.ask("memory")?;
    let mut clients = connect(more)?;
    settle(talks, &mut clients)?;
    let idle = server.ask("memory")? - before;
    talk(&mut clients)?;
    let passed = server.ask("memory")? - before;
    Ok([idle / more as f64, passed / more as f64])
}

/// The server has done what the last client brought: it answers, if it does.
fn settle(talks: bool, clients: &mut [Client]) -> io::Result<()> {
    match clients.last_mut() {
        Some(last) if talks => last.round_trip(&[1], &mut [0]),
        _ => {
            std::thread::sleep(Duration::from_millis(100));
            Ok(())
        }
    }
}

/// KiB for each handshake that waits.
fn parked_memory(settings: &Settings, kind: Kind, stack: Stack) -> io::Result<f64> {
    let (warm, more) = (settings.many(100, 10), settings.many(1000, 20));
    let mut server = child(kind, stack)?;
    let address = server.address;
    let hellos = |clients: usize| (0..clients).map(|_| Client::hello(TcpStream::connect(address)?));
    let _first = hellos(warm).collect::<io::Result<Vec<_>>>()?;
    let before = stable(&mut server)?;
    let _more = hellos(more).collect::<io::Result<Vec<_>>>()?;
    let after = stable(&mut server)?;
    Ok((after - before) / more as f64)
}

/// Its memory once that grows no more: nothing tells when a handshake has come to wait.
fn stable(server: &mut Running) -> io::Result<f64> {
    let mut last = -1.0;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = server.ask("memory")?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}
