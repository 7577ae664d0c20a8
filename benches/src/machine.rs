//! What was measured, and on what: named in the report.

use std::fs;
use std::thread::available_parallelism;

/// Lines of the report.
pub fn describe() -> Vec<String> {
    vec![
        format!(
            "{}, {} cores; Linux {}",
            processor(),
            cores(),
            first_line("/proc/sys/kernel/osrelease")
        ),
        openssl::version::version().to_owned(),
        crates(),
    ]
}

pub fn cores() -> usize {
    available_parallelism().map_or(1, |cores| cores.get())
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let name = line.map(|line| line.trim_start_matches([' ', '\t', ':']));
    name.unwrap_or("a processor without a name").to_owned()
}

fn first_line(path: &str) -> String {
    let file = fs::read_to_string(path).unwrap_or_default();
    file.lines().next().unwrap_or_default().to_owned()
}

/// The versions that were built, from the lock file.
fn crates() -> String {
    let lock = include_str!("../Cargo.lock");
    let named = [
        "openssl-async-jobs",
        "openssl",
        "tokio",
        "tokio-openssl",
        "tokio-rustls",
        "rustls",
        "aws-lc-rs",
        "aws-lc-sys",
    ];
    let version = |name: &str| {
        let start = lock.find(&format!("name = \"{name}\"\n"))?;
        let version = lock[start..].split("version = \"").nth(1)?;
        Some(format!("{name} {}", version.split('"').next()?))
    };
    named
        .into_iter()
        .filter_map(version)
        .collect::<Vec<_>>()
        .join(", ")
}
