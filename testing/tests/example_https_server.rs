//! The example `https_server` with what `OPENSSL_CONF` names, and curl with the system's OpenSSL: the
//! engine or provider pauses its handshakes, and curl is served as without.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use testing::peer::{Files, CURL, CURL_ALONE, NAME};
use testing::tls::{certificate, KeyType};

/// How often curl comes with each choice: as often as it shakes hands.
const TIMES: usize = 3;

/// What curl is told to offer, and the cipher suite that then is agreed on.
type Choice = (&'static [&'static str], &'static str);

/// Here the engine has something to do in each version: RSA in 1.1.x, and SHA-1 in all, with which
/// the Finished messages are protected.
#[cfg(engines)]
const OF_ENGINE: [Choice; 2] = [
    (
        &["--tls-max", "1.2", "--ciphers", "ECDHE-RSA-AES128-SHA"],
        "ECDHE-RSA-AES128-SHA",
    ),
    (
        &["--tls-max", "1.2", "--ciphers", "AES128-SHA"],
        "AES128-SHA",
    ),
];
const TLS_1_3: Choice = (&["--tlsv1.3"], "TLS_AES_256_GCM_SHA384");

/// The server, with a certificate of RSA; killed when this is dropped.
struct Server {
    child: Child,
    port: String,
    said: BufReader<std::process::ChildStdout>,
}

/// What it has counted.
#[derive(Debug)]
struct Counted {
    handshakes: u64,
    /// Each pauses its handshake once.
    lookups: u64,
    pauses: u64,
}

impl Counted {
    fn pauses_of_engine(&self) -> u64 {
        self.pauses - self.lookups
    }
}

fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(std::path::Path::parent).unwrap();
    let program = target.join("examples").join("https_server_that_loads");
    let missing = "is missing: `cargo test --workspace --features tokio` builds it";
    assert!(program.exists(), "{} {missing}", program.display());
    program
}

impl Server {
    fn start(files: &Files, configuration: &str) -> Server {
        let identity = certificate(KeyType::Rsa, &[NAME]);
        let mut pem = identity.certificate.to_pem().unwrap();
        files.write("trusted", &pem);
        pem.extend(identity.key.private_key_to_pem_pkcs8().unwrap());
        let directory = files.path("store");
        fs::create_dir_all(&directory).unwrap();
        fs::write(format!("{directory}/{NAME}.pem"), pem).unwrap();

        let file = files.write("openssl.cnf", configuration.as_bytes());
        let mut child = Command::new(program())
            .args(["--port", "0", "--lookup-ms", "5", "--directory", &directory])
            .args(["--ciphers", "ALL:@SECLEVEL=0"])
            .env("OPENSSL_CONF", file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let port = loop {
            line.clear();
            let len = said.read_line(&mut line).unwrap();
            assert!(len > 0, "it ended: {:?}", child.wait());
            if let Some(port) = line.strip_prefix("listening on 127.0.0.1:") {
                break port.trim().to_owned();
            }
        };
        Server { child, port, said }
    }

    /// Has curl fetch something, and returns what it was told.
    fn fetch(&self, files: &Files, more: &[&str]) -> String {
        let url = format!("https://{NAME}:{}/", self.port);
        let resolve = format!("{NAME}:{}:127.0.0.1", self.port);
        let trusted = files.path("trusted");
        let ours = [
            "--max-time",
            "30",
            "--cacert",
            &trusted,
            "--resolve",
            &resolve,
            &url,
        ];
        let finished = CURL
            .start(CURL_ALONE.iter().chain(&ours).chain(more))
            .finish();
        assert!(finished.status.success(), "{more:?}: {}", finished.stderr);
        String::from_utf8(finished.stdout).unwrap()
    }

    /// Ends it, and returns what it has counted.
    fn stop(mut self) -> Counted {
        // SAFETY: kill(2) takes numbers; the child is not waited for yet, so the number is its own.
        let told = unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        assert_eq!(told, 0);
        let mut said = String::new();
        self.said.read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success(), "{said}");
        let before = |words: &str| -> u64 {
            let (before, _) = said
                .split_once(words)
                .unwrap_or_else(|| panic!("no {words:?} in\n{said}"));
            let number = before.split_whitespace().next_back().unwrap();
            number.parse().unwrap()
        };
        Counted {
            handshakes: before(" handshake(s)"),
            lookups: before(" lookup(s)"),
            pauses: before(" pause(s)"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is counted when curl comes with each of these choices.
fn counted(configuration: &str, choices: &[Choice]) -> Counted {
    let files = Files::new();
    let server = Server::start(&files, configuration);
    for (arguments, cipher) in choices {
        for _ in 0..TIMES {
            let told = server.fetch(&files, arguments);
            assert!(told.contains(&format!("\ncipher: {cipher}\n")), "{told}");
        }
    }
    let counted = server.stop();
    assert_eq!(counted.handshakes, (choices.len() * TIMES) as u64);
    counted
}

fn choices(some: &[Choice]) -> Vec<Choice> {
    let newer = cfg!(ossl111).then_some(TLS_1_3);
    some.iter().copied().chain(newer).collect()
}

#[test]
fn without_an_engine_only_lookups_pause() {
    let tls_1_2: Choice = (&["--tls-max", "1.2"], "ECDHE-RSA-AES256-GCM-SHA384");
    let counted = counted("", &choices(&[tls_1_2]));
    assert_eq!(counted.pauses_of_engine(), 0, "{counted:?}");
}

#[cfg(not(engines))]
#[test]
fn there_are_no_engines() {
    println!("dasync: 0 pauses, as this OpenSSL has no engines");
    assert!(testing::dasync_object().is_none());
}

#[cfg(engines)]
#[test]
fn curl_is_served_while_the_engine_pauses() {
    let engine = testing::dasync_object().unwrap();
    // On 3.x it must not have RSA: libssl finds no signature algorithm with it.
    let (algorithms, choices) = match cfg!(ossl300) {
        true => ("DIGESTS", OF_ENGINE.to_vec()),
        false => ("ALL", choices(&OF_ENGINE)),
    };
    let configuration = format!(
        "openssl_conf = all\n[all]\nengines = list\n[list]\ndasync = it\n[it]\n\
         engine_id = dasync\ndynamic_path = {}\ndefault_algorithms = {algorithms}\ninit = 1\n",
        engine.display()
    );
    let counted = counted(&configuration, &choices);
    let pauses = counted.pauses_of_engine();
    println!("dasync: {pauses} pauses, https_server and curl");
    assert!(pauses >= counted.handshakes, "{counted:?}");
}

#[cfg(ossl300)]
#[test]
fn curl_is_served_while_the_provider_pauses() {
    let module = testing::provider::module_object().unwrap();
    let configuration = format!(
        "openssl_conf = all\n[all]\nproviders = list\n[list]\npausing = it\n[it]\n\
         module = {}\nactivate = 1\n",
        module.display()
    );
    let tls_1_2: Choice = (&["--tls-max", "1.2"], "ECDHE-RSA-AES256-GCM-SHA384");
    let counted = counted(&configuration, &choices(&[tls_1_2]));
    let pauses = counted.pauses_of_engine();
    println!("pausing: {pauses} pauses, https_server and curl");
    // A key exchange and a signature in each.
    assert!(pauses >= 2 * counted.handshakes, "{counted:?}");
}
