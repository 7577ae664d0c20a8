//! TLS programs of others as peers, as child processes: [`Peer`]; and our end of a connection with
//! one: [`Ours`].

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

mod contexts;
mod files;
mod ours;
mod pause;
mod port;

pub use contexts::{
    client_context, gnutls_cli, gnutls_serv, s_client, s_server, server_context, Trust, NAME,
};
pub use files::{random_bytes, sha256, Files};
pub use ours::{
    accept_paused, chat, chat_again, connect, describe, socket_to, Listener, Ours, Way, WAYS,
};
pub use pause::{pauses_of, Asked};
pub use port::ReservedPort;

/// What takes longer is stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A program of another's, and the Debian package that has it.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    name: &'static str,
    package: &'static str,
}

/// OpenSSL's own: the system's, whichever OpenSSL is linked here.
pub const OPENSSL: Program = Program::new("openssl", "openssl");
/// With whatever TLS library it is linked to.
pub const CURL: Program = Program::new("curl", "curl");
/// GnuTLS's client.
pub const GNUTLS_CLI: Program = Program::new("gnutls-cli", "gnutls-bin");
/// GnuTLS's server.
pub const GNUTLS_SERV: Program = Program::new("gnutls-serv", "gnutls-bin");

/// What curl is told each time: nothing of the user's, no proxy, and an error is one.
pub const CURL_ALONE: [&str; 6] = [
    "--disable",
    "--silent",
    "--show-error",
    "--fail",
    "--noproxy",
    "*",
];

impl Program {
    const fn new(name: &'static str, package: &'static str) -> Program {
        Program { name, package }
    }

    /// Starts it, with its standard input open for the test to write to.
    pub fn start<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Peer {
        self.start_with(arguments, Stdio::piped())
    }

    /// Starts it with this standard input.
    pub fn start_with<A: AsRef<OsStr>>(
        self,
        arguments: impl IntoIterator<Item = A>,
        stdin: Stdio,
    ) -> Peer {
        let mut command = Command::new(self.name);
        command
            .args(arguments)
            .env("LC_ALL", "C")
            // What chooses the OpenSSL linked here is not for the system's programs.
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("OPENSSL_CONF")
            .env_remove("OPENSSL_MODULES")
            .env_remove("OPENSSL_ENGINES")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| match e.kind() {
            ErrorKind::NotFound => panic!(
                "`{}` is not installed: install the Debian package `{}`, as \
                 scripts/debian-packages does",
                self.name, self.package
            ),
            _ => panic!("`{}`: {e}", self.name),
        });
        let told = Arc::new(Told::default());
        told.lock().open = 2;
        follow(child.stdout.take(), &told, |said| &mut said.stdout);
        follow(child.stderr.take(), &told, |said| &mut said.stderr);
        Peer {
            program: self,
            command: format!("{command:?}"),
            stdin: child.stdin.take(),
            fed: None,
            child,
            told,
        }
    }
}

/// A program that runs, and all that it has said. It is killed when this is dropped.
pub struct Peer {
    program: Program,
    command: String,
    child: Child,
    stdin: Option<ChildStdin>,
    fed: Option<JoinHandle<ChildStdin>>,
    told: Arc<Told>,
}

/// What a program has said, and that it has said something.
#[derive(Default)]
struct Told {
    said: Mutex<Said>,
    more: Condvar,
}

#[derive(Default)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// How many of the two may say more.
    open: u32,
}

/// What a program has said until its end.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

impl Peer {
    /// Writes to its standard input.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("it is open");
        let written = stdin.write_all(bytes).and_then(|()| stdin.flush());
        written.unwrap_or_else(|e| panic!("{}: its input: {e}", self.program.name));
    }

    /// Writes to its standard input on a thread of its own, as a program that writes itself may not
    /// read meanwhile. After that its input stays open, and is not the test's any more.
    pub fn feed(&mut self, bytes: Vec<u8>) {
        let mut stdin = self.stdin.take().expect("it is open");
        self.fed = Some(thread::spawn(move || {
            // If it has ended, the test knows from elsewhere.
            let _ = stdin.write_all(&bytes);
            stdin
        }));
    }

    /// Its standard input has an end.
    pub fn close_stdin(&mut self) {
        if let Some(fed) = self.fed.take() {
            self.stdin = fed.join().ok();
        }
        self.stdin = None;
    }

    /// Waits until it says this, on either output, and returns the whole line.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_for_nth(text, 1)
    }

    /// Waits until it has said this so many times, and returns the line of the last.
    pub fn wait_for_nth(&self, text: &str, times: usize) -> String {
        self.wait_until(&format!("{text:?} ({times}x)"), |said| {
            let lines = [&said.stdout, &said.stderr];
            let mut found = lines
                .into_iter()
                .flat_map(|output| lines_with(output, text));
            found.nth(times - 1)
        })
    }

    /// Waits until it says one of these, and returns the whole line.
    pub fn wait_for_any(&self, texts: &[&str]) -> String {
        self.wait_until(&format!("one of {texts:?}"), |said| {
            let outputs = texts.iter().flat_map(|text| {
                let outputs = [&said.stdout, &said.stderr];
                outputs.map(|output| (output, *text))
            });
            let mut found = outputs.flat_map(|(output, text)| lines_with(output, text));
            found.next()
        })
    }

    /// Waits until its standard output has so many bytes, and returns them.
    pub fn wait_for_stdout(&self, len: usize) -> Vec<u8> {
        self.wait_for_bytes(len, |_| true)
    }

    /// Waits until its standard output has so many of these bytes, and returns them.
    pub fn wait_for_bytes(&self, len: usize, which: fn(u8) -> bool) -> Vec<u8> {
        self.wait_until(&format!("{len} bytes"), |said| {
            if said.stdout.len() < len {
                return None;
            }
            let bytes = said.stdout.iter().copied().filter(|byte| which(*byte));
            let bytes: Vec<u8> = bytes.collect();
            (bytes.len() >= len).then_some(bytes)
        })
    }

    /// Waits until it ends by itself.
    pub fn finish(mut self) -> Finished {
        self.close_stdin();
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.told.lock();
        while said.open > 0 {
            said = self.more(said, deadline, "its end");
        }
        let all = std::mem::take(&mut *said);
        drop(said);
        let status = self.child.wait().expect("it is ours to wait for");
        Finished {
            status,
            stdout: all.stdout,
            stderr: String::from_utf8_lossy(&all.stderr).into_owned(),
        }
    }

    fn wait_until<T>(&self, what: &str, mut found: impl FnMut(&Said) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.told.lock();
        loop {
            if let Some(found) = found(&said) {
                return found;
            }
            if said.open == 0 {
                drop(said);
                panic!("{} ended without {what}", self.program.name);
            }
            said = self.more(said, deadline, what);
        }
    }

    /// Waits until it has said more.
    fn more<'a>(
        &'a self,
        said: MutexGuard<'a, Said>,
        deadline: Instant,
        what: &str,
    ) -> MutexGuard<'a, Said> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            drop(said);
            panic!("stuck: {} and {what}", self.program.name);
        }
        let waited = self.told.more.wait_timeout(said, left);
        waited.unwrap_or_else(|e| e.into_inner()).0
    }
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The complete lines with this text, once for each time it is there.
fn lines_with<'a>(output: &'a [u8], text: &'a str) -> impl Iterator<Item = String> + 'a {
    let lines = output.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| line.ends_with(b"\n"))
        .flat_map(move |line| {
            let line = String::from_utf8_lossy(line).into_owned();
            let times = line.matches(text).count();
            std::iter::repeat_n(line, times)
        })
}

/// Collects what comes, on a thread of its own, which ends when the program does.
fn follow(
    output: Option<impl Read + Send + 'static>,
    told: &Arc<Told>,
    of: fn(&mut Said) -> &mut Vec<u8>,
) {
    let mut output = output.expect("piped");
    let told = Arc::clone(told);
    thread::spawn(move || {
        let mut buffer = [0; 64 * 1024];
        loop {
            let len = match output.read(&mut buffer) {
                Ok(len) => len,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => 0,
            };
            let mut said = told.lock();
            of(&mut said).extend_from_slice(&buffer[..len]);
            said.open -= u32::from(len == 0);
            told.more.notify_all();
            if len == 0 {
                return;
            }
        }
    });
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let said = self.told.lock();
            for (name, output) in [("stdout", &said.stdout), ("stderr", &said.stderr)] {
                let shown = &output[..output.len().min(8 * 1024)];
                let shown = String::from_utf8_lossy(shown);
                eprintln!("{}\n--- its {name}:\n{shown}", self.command);
            }
        }
    }
}
