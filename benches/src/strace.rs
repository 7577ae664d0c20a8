//! How many system calls a server makes: counted by strace, exactly, in a process of its own. What
//! it does besides falls out, as it runs twice: with few operations and with many.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// strace in front of a command, with its summary in a file.
pub fn traced(program: &Path, summary: &Path) -> Command {
    let mut command = Command::new("strace");
    // All threads; the detail of each call is not wanted.
    command
        .args(["-f", "-q", "-c", "-o"])
        .arg(summary)
        .arg(program);
    command
}

/// A file for a summary.
pub fn summary_file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("benches-{}-{name}", std::process::id()))
}

/// The number of each call in a summary, which is taken away.
pub fn take_summary(file: &Path) -> io::Result<Vec<(String, u64)>> {
    let summary = fs::read_to_string(file)?;
    fs::remove_file(file)?;
    Ok(parse(&summary))
}

fn parse(summary: &str) -> Vec<(String, u64)> {
    let rows = summary.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (calls, name) = (words.get(3)?.parse().ok()?, *words.last()?);
        (name != "total").then(|| (name.to_owned(), calls))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_summary_has_calls_with_and_without_errors() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            60.00    0.000030           1        30        10 recvfrom\n \
            40.00    0.000020           2        10           sendto\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.000050           1        40        10 total\n";
        let counted = super::parse(summary);
        let expected = [("recvfrom".to_owned(), 30), ("sendto".to_owned(), 10)];
        assert_eq!(counted, expected);
    }
}
