//! How late a ticker on the server's runtime is while handshakes with a large key come.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::{spawn_local, JoinSet};

use super::handshakes::Clients;
use crate::identity::Key;
use crate::measure;
use crate::peers::{Operation, Peer, Stack};
use crate::server::{accept, Configuration, Server};
use crate::settings::Settings;
use crate::table::Table;
use crate::with_peer;

const AT_ONCE: usize = 32;
const TICK: Duration = Duration::from_millis(1);

#[derive(Clone, Copy)]
enum Variant {
    Idle,
    Busy(Stack),
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Variant::Idle => f.write_str("idle"),
            Variant::Busy(stack) => write!(f, "{stack}"),
        }
    }
}

pub fn run(settings: &Settings) -> io::Result<Vec<Table>> {
    let handshakes = settings.many(320, 32);
    let threads = Variant::Busy(Stack::OursOnThreads);
    let variants = [
        threads,
        Variant::Busy(Stack::Ours),
        Variant::Busy(Stack::TokioOpenssl),
        Variant::Busy(Stack::Rustls),
        Variant::Idle,
    ];
    let [late, rate] = measure::rounds(settings.rounds, &variants, |variant| match variant {
        // As long as some hundred handshakes.
        Variant::Idle => sample::<crate::peers::Plain>(0, settings.many(500, 20)),
        Variant::Busy(stack) => with_peer!(stack, P => sample::<P>(handshakes, 0)),
    });
    let title = "A ticker of 1 ms on the server's runtime, RSA-4096 handshakes 32 at once";
    Ok(vec![
        Table::new(
            format!("{title}: 99th percentile of its lateness"),
            "ms",
            late,
        )
        .base(Variant::Busy(Stack::TokioOpenssl))
        .at_most(threads, 10.0)
        .plot("ticker"),
        Table::new(
            format!("{title}: handshakes meanwhile"),
            "handshakes/s",
            rate[..4].to_vec(),
        )
        .base(Variant::Busy(Stack::TokioOpenssl)),
    ])
}

/// The lateness in milliseconds, and handshakes a second.
fn sample<P: Peer>(handshakes: usize, ticks: usize) -> [f64; 2] {
    let configuration = Configuration {
        key: Key::Rsa4096,
        operation: Operation::Nothing,
        // Its threads may be where there is room.
        core: None,
    };
    crate::identity::identity(Key::Rsa4096);
    let server = Server::start(
        configuration,
        async move |peer: P, listener: TcpListener| {
            let lateness = Rc::new(std::cell::RefCell::new(Vec::new()));
            let kept = Rc::clone(&lateness);
            let ticker = spawn_local(async move {
                let mut due = Instant::now();
                loop {
                    due += TICK;
                    tokio::time::sleep_until(due.into()).await;
                    let now = Instant::now();
                    kept.borrow_mut().push((now - due).as_secs_f64() * 1e3);
                    // It does not catch up: what was late once is late once.
                    due = due.max(now - TICK);
                }
            });
            let begun = Instant::now();
            let mut tasks = JoinSet::new();
            for _ in 0..handshakes {
                let socket = accept(&listener).await?;
                let peer = peer.clone();
                tasks.spawn_local(async move {
                    let mut stream = peer.accept(socket).await?;
                    stream.shutdown().await
                });
            }
            while let Some(done) = tasks.join_next().await {
                done.expect("no panic")?;
            }
            tokio::time::sleep(TICK * ticks as u32).await;
            let seconds = begun.elapsed().as_secs_f64();
            ticker.abort();
            let late = percentile_99(&mut lateness.borrow_mut());
            Ok([late, handshakes as f64 / seconds])
        },
    );
    let clients = Clients::start(server.address, AT_ONCE.min(handshakes), handshakes);
    let measured = server.finish();
    clients.finish();
    measured
}

fn percentile_99(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() * 99).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or(0.0)
}
