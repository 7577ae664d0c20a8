//! Full handshakes, nothing asynchronous in them, on one thread.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::client::{Client, LITTLE};
use crate::cpu::{self, Spent, Usage};
use crate::identity::Key;
use crate::machine;
use crate::measure::{self, Series};
use crate::peers::{Operation, Peer, Stack};
use crate::server::{accept, Configuration, Server};
use crate::settings::Settings;
use crate::table::Table;
use crate::with_peer;

pub fn run(settings: &Settings) -> io::Result<Vec<Table>> {
    let mut tables = Vec::new();
    for (key, plot) in [
        (Key::Rsa2048, "handshakes-rsa"),
        (Key::EcdsaP256, "handshakes-ecdsa"),
    ] {
        let load = Load {
            key,
            operation: Operation::Nothing,
            handshakes: settings.many(2000, 20),
            at_once: 8,
        };
        let [rate, cpu, allocations] = measure(settings, &Stack::TLS, load);
        let title = format!("Full handshakes, {}, one thread", key.name());
        tables.push(
            Table::new(&title, "handshakes/s", rate)
                .base(Stack::TokioOpenssl)
                .at_least_times(Stack::Ours, 1.0, Stack::TokioOpenssl)
                .plot(plot),
        );
        tables.push(
            Table::new(
                format!("{title}: the server's CPU time"),
                "us a handshake",
                cpu,
            )
            .base(Stack::TokioOpenssl)
            .at_most_times(Stack::Ours, 1.0, Stack::TokioOpenssl),
        );
        tables.push(Table::new(
            format!("{title}: allocations in Rust"),
            "a handshake",
            allocations,
        ));
    }
    Ok(tables)
}

#[derive(Clone, Copy)]
pub struct Load {
    pub key: Key,
    pub operation: Operation,
    pub handshakes: usize,
    pub at_once: usize,
}

/// Handshakes a second; the server's CPU time for each, in microseconds; its allocations.
pub fn measure(settings: &Settings, stacks: &[Stack], load: Load) -> [Vec<Series>; 3] {
    measure::rounds(settings.rounds, stacks, |stack| sample(stack, load))
}

/// Likewise, once.
pub fn sample(stack: Stack, load: Load) -> [f64; 3] {
    let spent = with_peer!(stack, P => sample_peer::<P>(load));
    let handshakes = load.handshakes as f64;
    [
        handshakes / spent.wall,
        spent.cpu / handshakes * 1e6,
        spent.allocations / handshakes,
    ]
}

fn sample_peer<P: Peer>(load: Load) -> Spent {
    let configuration = Configuration {
        key: load.key,
        operation: load.operation,
        core: Some(0),
    };
    let warm = (load.handshakes / 10).max(load.at_once);
    let server = Server::start(
        configuration,
        async move |peer: P, listener: TcpListener| {
            serve(&peer, &listener, warm).await?;
            let before = Usage::now();
            serve(&peer, &listener, load.handshakes).await?;
            Ok(before.spent())
        },
    );
    let clients = Clients::start(server.address, load.at_once, warm + load.handshakes);
    let spent = server.finish();
    clients.finish();
    spent
}

/// Accepts so many connections, each in a task, and closes them.
async fn serve<P: Peer>(peer: &P, listener: &TcpListener, connections: usize) -> io::Result<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let socket = accept(listener).await?;
        let peer = peer.clone();
        tasks.spawn_local(async move {
            let mut stream = peer.accept(socket).await?;
            stream.shutdown().await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic")?;
    }
    Ok(())
}

/// Clients on threads of their own, away from the server's core, that connect again and again.
pub struct Clients {
    threads: Vec<thread::JoinHandle<()>>,
}

impl Clients {
    pub fn start(address: SocketAddr, threads: usize, connections: usize) -> Clients {
        let left = Arc::new(AtomicUsize::new(connections));
        let core = machine::cores().min(2) - 1;
        let client = move || {
            cpu::pin(Some(core));
            let take = |left: usize| left.checked_sub(1);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
            {
                let connected = Client::connect(address, true, LITTLE);
                let closed = connected.and_then(|mut client| client.read_to_close());
                closed.expect("a handshake");
            }
        };
        let threads = (0..threads)
            .map(|_| thread::spawn(client.clone()))
            .collect();
        Clients { threads }
    }

    pub fn finish(self) {
        for thread in self.threads {
            thread.join().expect("no panic");
        }
    }
}
