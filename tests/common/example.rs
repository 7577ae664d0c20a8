//! A server of `examples/` as a process, and the programs that talk to it.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// What takes so long is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ended with this value, whatever happens.
pub struct Server {
    child: Child,
    /// For its temporary files, which one that is killed leaves behind.
    dir: PathBuf,
    lines: Receiver<String>,
    told: Vec<String>,
}

/// An example's program, as cargo has built it beside the tests.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(|deps| deps.parent()).unwrap();
    let program = target.join("examples").join(name);
    assert!(
        program.exists(),
        "{} is missing: `cargo test` builds it, but not with `--test`; `cargo build --example {name}` does",
        program.display()
    );
    program
}

impl Server {
    /// Starts it, and waits until it has said that it listens.
    pub fn start(name: &str, args: &[&str]) -> Server {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = format!("{name}-{}-{number}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(dir);
        fs::create_dir_all(&dir).unwrap();
        let mut child = Command::new(program(name))
            .args(args)
            .env("TMPDIR", &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        // Until its end, so that it is never stuck for want of a reader.
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| tell.send(line))
        });
        let mut server = Server {
            child,
            dir,
            lines,
            told: Vec::new(),
        };
        server.wait_for("listening on", 1);
        server
    }

    /// Waits until so many lines contain it.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str, times: usize) {
        while self.told.iter().filter(|line| line.contains(text)).count() < times {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.told.push(line),
                Err(e) => panic!("no {text:?}: {e}, after\n{}", self.told.join("\n")),
            }
        }
    }

    /// What follows this text in what it has said, up to a space.
    #[track_caller]
    pub fn word_after(&self, text: &str) -> &str {
        let rest = self.told.iter().find_map(|line| line.split_once(text));
        let (_, rest) = rest.unwrap_or_else(|| panic!("no {text:?} in {:?}", self.told));
        rest.split_whitespace().next().unwrap_or_default()
    }

    pub fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: two numbers; the process is our child, which nobody has waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Interrupts it, and returns all that it has said: it must end successfully.
    #[track_caller]
    pub fn stop(self, signal: libc::c_int) -> String {
        self.signal(signal);
        self.end()
    }

    /// Waits for its end, and returns all that it has said.
    #[track_caller]
    pub fn end(mut self) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.told.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it goes on"),
            }
        }
        let status = self.child.wait().unwrap();
        let told = self.told.join("\n");
        assert!(status.success(), "{status}\n{told}");
        told
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not if it has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A program of the system, with the system's OpenSSL.
pub fn system(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("OPENSSL_CONF");
    command
}

/// Runs it to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    match command.output() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let program = command.get_program().to_string_lossy();
            panic!("{program} is missing: it is in the Debian package {program}")
        }
        output => output.unwrap(),
    }
}
