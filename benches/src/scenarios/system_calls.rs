//! System calls on the server.
//!
//! The client waits a little before each message, so that the server has come to wait for it: a
//! round trip has its whole cost then.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::child::{Kind, Running, Task};
use crate::client::{Client, MUCH};
use crate::measure::Series;
use crate::peers::Stack;
use crate::settings::Settings;
use crate::strace;
use crate::table::Table;

const PACE: Duration = Duration::from_millis(1);
const MIB: usize = 1 << 20;

pub fn run(settings: &Settings) -> io::Result<Vec<Table>> {
    let (few, many) = (20, settings.many(220, 40));
    let (little, much) = (2, settings.many(10, 3));
    let table = |title: &str, kind, unit, size, counts: (usize, usize)| {
        let mut series = Vec::new();
        for stack in Stack::TLS {
            let calls = per_operation(
                Task {
                    stack,
                    kind,
                    count: 0,
                    size,
                },
                unit,
                counts,
            )?;
            series.push(Series {
                name: stack.to_string(),
                values: vec![calls],
            });
        }
        Ok::<_, io::Error>(Table::new(title, "system calls", series).base(Stack::TokioOpenssl))
    };
    let ours = Stack::Ours;
    Ok(vec![
        table(
            "System calls, one round trip of 1 byte",
            Kind::Echo,
            1,
            1,
            (few, many),
        )?
        .at_most(ours, 3.05),
        table(
            "System calls, one round trip of 1 KiB",
            Kind::Echo,
            1,
            1024,
            (few, many),
        )?
        .at_most(ours, 3.05),
        table(
            "System calls, one handshake from accept to close",
            Kind::Handshakes,
            1,
            0,
            (few, many),
        )?
        .at_most(ours, 14.0),
        table(
            "System calls, one handshake whose ClientHello comes after it is accepted",
            Kind::SlowHandshakes,
            1,
            0,
            (few, many),
        )?,
        table(
            "System calls, one MiB received in records of 1 KiB",
            Kind::Receive,
            MIB,
            1024,
            (little, much),
        )?
        .at_most(ours, 640.0),
        table(
            "System calls, one MiB sent in writes of 256 KiB",
            Kind::Send,
            MIB,
            256 * 1024,
            (little, much),
        )?
        .at_most(ours, 17.0)
        .plot("system-calls-sent"),
    ])
}

/// What the second run has more than the first, for each operation that it has more.
fn per_operation(task: Task, unit: usize, (few, many): (usize, usize)) -> io::Result<f64> {
    let mut calls = [0.0; 2];
    for (calls, count) in calls.iter_mut().zip([few, many]) {
        let count = count * unit;
        let counted = count_calls(Task { count, ..task })?;
        *calls = counted.iter().map(|(_, calls)| *calls as f64).sum();
        if std::env::var_os("BENCHES_CALLS").is_some() {
            eprintln!("{task:?} {count}: {counted:?}");
        }
    }
    Ok((calls[1] - calls[0]) / (many - few) as f64)
}

fn count_calls(task: Task) -> io::Result<Vec<(String, u64)>> {
    let summary = strace::summary_file("calls");
    let child = Running::start(task, Some(&summary))?;
    let socket = || TcpStream::connect(child.address);
    let connect = |socket, pace| Client::over(socket, task.stack.is_tls(), MUCH, pace);
    match task.kind {
        Kind::Echo => {
            let mut client = connect(socket()?, Some(PACE))?;
            let (message, mut answer) = (vec![1; task.size], vec![0; task.size]);
            for _ in 0..task.count {
                client.round_trip(&message, &mut answer)?;
            }
        }
        Kind::Handshakes => {
            // The next connection is there already: the server does not wait for that.
            let hello = || Client::hello(socket()?);
            let mut next = hello()?;
            for _ in 0..task.count {
                let this = std::mem::replace(&mut next, hello()?);
                this.finish(Some(PACE))?.read_to_close()?;
            }
        }
        Kind::SlowHandshakes => {
            let mut next = socket()?;
            for _ in 0..task.count {
                let this = std::mem::replace(&mut next, socket()?);
                connect(this, Some(PACE))?.read_to_close()?;
            }
        }
        Kind::Receive => {
            let mut client = connect(socket()?, None)?;
            let message = vec![1; task.size];
            for _ in 0..task.count / task.size {
                client.write_all(&message)?;
            }
            client.round_trip(&[1], &mut [0])?;
        }
        _ => {
            let mut client = connect(socket()?, None)?;
            let (mut buffer, mut left) = (vec![0; MUCH], task.count);
            while left > 0 {
                let room = left.min(MUCH);
                left -= client.read(&mut buffer[..room])?;
            }
            client.round_trip(&[1], &mut [0])?;
        }
    }
    child.finish()?;
    let mut calls = strace::take_summary(&summary)?;
    // libcrypto looks whether the process has forked: as often with each stack on it.
    calls.retain(|(name, _)| name != "getpid");
    Ok(calls)
}
