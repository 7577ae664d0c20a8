//! Round trips of small messages, both ends on one core.

use std::io;

use tokio::net::TcpListener;

use crate::client::{Client, MUCH};
use crate::cpu::{self, Spent, Usage};
use crate::handlers;
use crate::measure;
use crate::peers::{Peer, Stack};
use crate::server::{accept, Configuration, Server};
use crate::settings::Settings;
use crate::small::libssl::InMemory;
use crate::table::Table;
use crate::with_peer;

pub fn run(settings: &Settings) -> io::Result<Vec<Table>> {
    let trips = settings.many(20_000, 200);
    let mut tables = Vec::new();
    let mut libssl = InMemory::default();
    for (size, name, plot) in [
        (1, "1 byte", "ping-pong-1b"),
        (1024, "1 KiB", "ping-pong-1k"),
    ] {
        let [rate, cpu, both, allocations] =
            measure::rounds(settings.rounds, &Stack::ALL, |stack| {
                let (client, server) =
                    with_peer!(stack, P => sample::<P>(stack.is_tls(), size, trips));
                [
                    trips as f64 / client.wall,
                    server.cpu / trips as f64 * 1e6,
                    (server.cpu + client.cpu) / trips as f64 * 1e6,
                    server.allocations / trips as f64,
                ]
            });
        // A message there, and one back.
        let libssl: Vec<f64> = (0..settings.rounds)
            .map(|_| 2e6 * libssl.message(size, trips))
            .collect();
        tables.push(
            Table::new(
                format!("Ping-pong of {name}, both ends on one core"),
                "round trips/s",
                rate,
            )
            .base(Stack::TokioOpenssl)
            .at_least_times(Stack::Ours, 1.15, Stack::TokioOpenssl)
            .limit(&cpu, &both, &libssl)
            .plot(plot),
        );
        tables.push(
            Table::new(
                format!("Ping-pong of {name}: the server's CPU time"),
                "us a round trip",
                cpu,
            )
            .base(Stack::TokioOpenssl),
        );
        tables.push(
            Table::new(
                format!("Ping-pong of {name}: both ends' CPU time"),
                "us a round trip",
                both,
            )
            .base(Stack::TokioOpenssl),
        );
        tables.push(Table::new(
            format!("Ping-pong of {name}: allocations in Rust"),
            "a round trip",
            allocations,
        ));
    }
    Ok(tables)
}

fn sample<P: Peer>(tls: bool, size: usize, trips: usize) -> (Spent, Spent) {
    let warm = trips / 10;
    let server = Server::start(
        Configuration::default(),
        async move |peer: P, listener: TcpListener| {
            let mut stream = peer.accept(accept(&listener).await?).await?;
            handlers::echo(&mut stream, size, warm).await?;
            let before = Usage::now();
            handlers::echo(&mut stream, size, trips).await?;
            Ok(before.spent())
        },
    );
    cpu::pin(Some(0));
    let mut client = Client::connect(server.address, tls, MUCH).expect("a connection");
    let (message, mut answer) = (vec![1; size], vec![0; size]);
    let mut trip = || {
        client
            .round_trip(&message, &mut answer)
            .expect("a round trip")
    };
    (0..warm).for_each(|_| trip());
    let before = Usage::now();
    (0..trips).for_each(|_| trip());
    (before.spent(), server.finish())
}
