//! Full handshakes with an operation of a millisecond in each.

use std::fmt;
use std::io;

use super::handshakes::{sample, Load};
use crate::identity::Key;
use crate::measure;
use crate::peers::{Operation, Stack};
use crate::settings::Settings;
use crate::table::Table;

#[derive(Clone, Copy)]
struct Variant(Stack, Operation);

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Variant(stack, operation) = self;
        match operation {
            Operation::Nothing => write!(f, "{stack}, without"),
            _ => write!(f, "{stack}"),
        }
    }
}

pub fn run(settings: &Settings) -> io::Result<Vec<Table>> {
    let mut tables = Vec::new();
    for (key, plot) in [
        (Key::Rsa2048, "asynchronous-rsa"),
        (Key::EcdsaP256, "asynchronous-ecdsa"),
    ] {
        let ours = Variant(Stack::Ours, Operation::Millisecond);
        let without = Variant(Stack::Ours, Operation::Nothing);
        let blocks = Variant(Stack::TokioOpenssl, Operation::Millisecond);
        // What can wait only before its handshake begins.
        let rustls = Variant(Stack::Rustls, Operation::Millisecond);
        let rustls_without = Variant(Stack::Rustls, Operation::Nothing);
        let variants = [ours, without, blocks, rustls, rustls_without];
        let [rate, cpu] = measure::rounds(settings.rounds, &variants, |variant| {
            let Variant(stack, operation) = variant;
            let [rate, cpu, _] = sample(
                stack,
                Load {
                    key,
                    operation,
                    handshakes: settings.many(2000, 64),
                    at_once: 64,
                },
            );
            [rate, cpu]
        });
        let title = format!(
            "Full handshakes with an operation of 1 ms in each, {}, 64 in flight, one thread",
            key.name()
        );
        tables.push(
            Table::new(&title, "handshakes/s", rate)
                .base(without)
                .at_least_times(ours, 0.95, without)
                .plot(plot),
        );
        tables.push(
            Table::new(
                format!("{title}: the server's CPU time"),
                "us a handshake",
                cpu,
            )
            .base(without),
        );
    }
    Ok(tables)
}
