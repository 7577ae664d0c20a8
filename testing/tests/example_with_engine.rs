//! The examples `handshake` and `sign` with an engine or a provider that `OPENSSL_CONF` names: they
//! run unchanged, and what it pauses shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The configuration of what can be loaded into the OpenSSL linked; `None` where it is linked
/// statically, and loads nothing.
fn configuration() -> Option<String> {
    let provider = testing::provider::module_path().map(|module| {
        format!(
            "providers = list\n[list]\npausing = it\n[it]\nmodule = {}\nactivate = 1\n",
            module.display()
        )
    });
    // On 3.x the engine has no RSA, and is the default for nothing that these examples do.
    let engine = testing::dasync_path()
        .filter(|_| provider.is_none())
        .map(|engine| {
            format!(
            "engines = list\n[list]\ndasync = it\n[it]\nengine_id = dasync\ndynamic_path = {}\n\
             default_algorithms = ALL\ninit = 1\n",
            engine.display()
        )
        });
    let section = provider.or(engine)?;
    Some(format!("openssl_conf = it_all\n[it_all]\n{section}"))
}

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(Path::parent).unwrap();
    let program = target.join("examples").join(name);
    let missing = "is missing: `cargo test --workspace` builds it, `cargo build --examples` too";
    assert!(program.exists(), "{} {missing}", program.display());
    program
}

/// What it prints, with this configuration.
fn output_of(name: &str, args: &[&str], configuration: &str) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.cnf"));
    fs::write(&file, configuration).unwrap();
    let output = Command::new(example(name))
        .args(args)
        .env("OPENSSL_CONF", &file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{said}{complained}",
        output.status
    );
    said
}

/// The number before these words.
fn number_before(words: &str, said: &str) -> u64 {
    let (before, _) = said
        .split_once(words)
        .unwrap_or_else(|| panic!("no {words:?} in\n{said}"));
    let number = before.split_whitespace().next_back().unwrap();
    number
        .parse()
        .unwrap_or_else(|_| panic!("{number:?} before {words:?} in\n{said}"))
}

#[test]
fn a_handshake_shows_the_pauses_and_wait_fds_of_the_engine() {
    let Some(configuration) = configuration() else {
        assert!(testing::dasync_path().is_none() && testing::provider::module_path().is_none());
        return;
    };
    let said = output_of("handshake", &[], &configuration);
    // One is that of the lookup.
    assert!(number_before(" pauses", &said) > 1, "{said}");
    let paused: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(" true "))
        .collect();
    assert!(
        paused
            .iter()
            .all(|line| line.contains('[') && !line.contains("true     []")),
        "{said}"
    );
}

#[test]
fn signatures_are_in_flight_together() {
    let Some(configuration) = configuration() else {
        return;
    };
    let args = ["--signatures", "32", "--at-once", "8"];
    let said = output_of("sign", &args, &configuration);
    assert!(number_before(" pauses", &said) >= 5 * 32, "{said}");
    // dasync is done before it pauses.
    #[cfg(ossl300)]
    assert!(number_before(" in flight at once", &said) > 1, "{said}");
}
