//! A stream of small writes.

use std::io;

use super::bulk::{libssl, measure, Direction, Load};
use crate::peers::Stack;
use crate::settings::Settings;
use crate::table::Table;

pub fn run(settings: &Settings) -> io::Result<Vec<Table>> {
    let load = Load {
        direction: Direction::Out,
        size: 1024,
        bytes: settings.many(32, 1) << 20,
        client_core: 0,
    };
    let mut stacks = Stack::ALL.to_vec();
    stacks.insert(1, Stack::OursCoalescing);
    let [rate, cpu, both] = measure(settings, &stacks, load);
    let title = "Sent in writes of 1 KiB, both ends on one core";
    let rate = Table::new(title, "MiB/s", rate)
        .base(Stack::TokioOpenssl)
        .at_least_times(Stack::Ours, 1.2, Stack::TokioOpenssl)
        .at_least_times(Stack::OursCoalescing, 2.3, Stack::TokioOpenssl)
        .limit(&cpu, &both, &libssl(settings, load.size))
        .plot("small-writes");
    let cpu = Table::new(format!("{title}: the server's CPU time"), "us a MiB", cpu)
        .base(Stack::TokioOpenssl);
    let both = Table::new(format!("{title}: both ends' CPU time"), "us a MiB", both)
        .base(Stack::TokioOpenssl);
    Ok(vec![rate, cpu, both])
}
