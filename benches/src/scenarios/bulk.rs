//! One connection that sends or receives as fast as it can.

use std::fmt;
use std::io::{self, Read, Write};

use tokio::net::TcpListener;

use crate::client::{Client, MUCH};
use crate::cpu::{self, Spent, Usage};
use crate::handlers;
use crate::machine;
use crate::measure;
use crate::peers::{Peer, Stack};
use crate::server::{accept, Configuration, Server};
use crate::settings::Settings;
use crate::small::libssl::InMemory;
use crate::table::Table;
use crate::with_peer;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The server sends.
    Out,
    /// The server receives.
    In,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Out => "sent",
            Direction::In => "received",
        })
    }
}

/// What is moved, and where the ends are.
#[derive(Clone, Copy)]
pub struct Load {
    pub direction: Direction,
    /// Of each write.
    pub size: usize,
    pub bytes: usize,
    pub client_core: usize,
}

const MIB: usize = 1 << 20;

pub fn run(settings: &Settings) -> io::Result<Vec<Table>> {
    let bytes = settings.many(256, 4) * MIB;
    let libssl = libssl(settings, 16 * 1024);
    let mut tables = Vec::new();
    for client_core in 0..machine::cores().min(2) {
        let (place, least) = match client_core {
            0 => ("both ends on one core", 1.10),
            _ => ("an end on each of two cores", 1.25),
        };
        for direction in [Direction::Out, Direction::In] {
            for size in [16 * 1024, 256 * 1024] {
                let load = Load {
                    direction,
                    size,
                    bytes,
                    client_core,
                };
                let [rate, cpu, both] = measure(settings, &Stack::ALL, load);
                let title = format!("Bulk {direction} in writes of {} KiB, {place}", size / 1024);
                let plot = match (client_core, direction, size) {
                    (0, Direction::Out, 16_384) => Some("bulk-sent-16k"),
                    (0, Direction::In, 16_384) => Some("bulk-received-16k"),
                    (1, Direction::Out, 262_144) => Some("bulk-sent-256k-two-cores"),
                    (1, Direction::In, 262_144) => Some("bulk-received-256k-two-cores"),
                    _ => None,
                };
                let mut table = Table::new(&title, "MiB/s", rate)
                    .base(Stack::TokioOpenssl)
                    .at_least_times(Stack::Ours, least, Stack::TokioOpenssl);
                table = match client_core {
                    0 => table.limit(&cpu, &both, &libssl),
                    _ => table.limit_on_two(&cpu, &both, &libssl),
                };
                table.plot = plot;
                tables.push(table);
                tables.push(
                    Table::new(format!("{title}: the server's CPU time"), "us a MiB", cpu)
                        .base(Stack::TokioOpenssl),
                );
                tables.push(
                    Table::new(format!("{title}: both ends' CPU time"), "us a MiB", both)
                        .base(Stack::TokioOpenssl),
                );
            }
        }
    }
    Ok(tables)
}

/// What libssl alone takes for a MiB in such messages, in microseconds, in each round.
pub fn libssl(settings: &Settings, size: usize) -> Vec<f64> {
    let mut libssl = InMemory::default();
    let messages = MIB / size;
    (0..settings.rounds)
        .map(|_| libssl.message(size, 16 * messages) * messages as f64 * 1e6)
        .collect()
}

/// MiB a second; the CPU time for each, in microseconds: the server's, and that of both ends.
pub fn measure(settings: &Settings, stacks: &[Stack], load: Load) -> [Vec<measure::Series>; 3] {
    measure::rounds(settings.rounds, stacks, |stack| {
        let (server, client) = with_peer!(stack, P => sample::<P>(stack.is_tls(), load));
        let mibs = load.bytes as f64 / MIB as f64;
        [
            mibs / server.wall,
            server.cpu / mibs * 1e6,
            (server.cpu + client.cpu) / mibs * 1e6,
        ]
    })
}

/// What the server and the client spend, from the first byte to the last that has arrived.
fn sample<P: Peer>(tls: bool, load: Load) -> (Spent, Spent) {
    let Load {
        direction,
        size,
        bytes,
        client_core,
    } = load;
    let warm = (bytes / 16).next_multiple_of(size);
    let server = Server::start(
        Configuration::default(),
        async move |peer: P, listener: TcpListener| {
            let mut stream = peer.accept(accept(&listener).await?).await?;
            let mut before = Usage::now();
            for bytes in [warm, bytes] {
                before = Usage::now();
                match direction {
                    Direction::Out => handlers::send(&mut stream, size, bytes).await?,
                    Direction::In => handlers::receive(&mut stream, bytes).await?,
                }
                // The other end has all of it.
                handlers::echo(&mut stream, 1, 1).await?;
            }
            Ok(before.spent())
        },
    );
    cpu::pin(Some(client_core));
    let mut client = Client::connect(server.address, tls, MUCH).expect("a connection");
    let mut before = Usage::now();
    for bytes in [warm, bytes] {
        before = Usage::now();
        match direction {
            Direction::Out => take(&mut client, bytes),
            Direction::In => give(&mut client, size, bytes),
        }
        .and_then(|()| client.round_trip(&[1], &mut [0]))
        .expect("a connection that lasts");
    }
    let client = before.spent();
    (server.finish(), client)
}

fn take(client: &mut Client, bytes: usize) -> io::Result<()> {
    let (mut buffer, mut left) = (vec![0; 64 * 1024], bytes);
    while left > 0 {
        let room = left.min(buffer.len());
        match client.read(&mut buffer[..room])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => left -= len,
        }
    }
    Ok(())
}

fn give(client: &mut Client, size: usize, bytes: usize) -> io::Result<()> {
    let message = vec![1; size];
    for _ in 0..bytes / size {
        client.write_all(&message)?;
        client.flush()?;
    }
    Ok(())
}
