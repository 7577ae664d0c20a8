//! Compiles what the tests load into OpenSSL, against the headers of the OpenSSL linked: its own
//! test engine `dasync` and our provider `pausing`, each linked in and as a shared object.
//!
//! Neither shared object is linked to libcrypto: its symbols come from the libcrypto that the
//! process loading it has already, so there can never be a second one. Where libcrypto itself is
//! linked in, its symbols are not to be had by shared objects; there the linked-in ones are used,
//! except in the examples here, which export what the shared objects need.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const CFGS: [&str; 3] = ["engines", "ossl111", "ossl300"];

fn main() {
    for cfg in CFGS {
        println!("cargo:rustc-check-cfg=cfg({cfg})");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=c");

    let version = env::var("DEP_OPENSSL_VERSION_NUMBER")
        .expect("the OpenSSL linked must be OpenSSL itself, 1.1.0 or later");
    let version = u64::from_str_radix(&version, 16).expect("a hexadecimal version number");
    let conf = env::var("DEP_OPENSSL_CONF").unwrap_or_default();
    let engines = version < 0x4000_0000 && !conf.split(',').any(|c| c == "OPENSSL_NO_ENGINE");

    let set = [engines, version >= 0x1010_1000, version >= 0x3000_0000];
    for (cfg, _) in CFGS.iter().zip(set).filter(|(_, set)| *set) {
        println!("cargo:rustc-cfg={cfg}");
    }
    if engines {
        dasync(version);
    }
    if version >= 0x3000_0000 {
        pausing();
    }
}

/// OpenSSL's test engine, from the source of the release line that is linked.
fn dasync(version: u64) {
    let source = if version < 0x1010_1000 {
        openssl_src_110::source_dir()
    } else if version < 0x3000_0000 {
        openssl_src_111::source_dir()
    } else {
        openssl_src_300::source_dir()
    };
    let engine = source.join("engines").join("e_dasync.c");
    // Warnings in OpenSSL's file are not ours to mend.
    let mut build = cc();
    build.warnings(false).include("c/stub");
    let mut loaded = build.clone();
    loaded.flag("-include").flag("c/dynamic_engine.h");
    shared_object("dasync", std::slice::from_ref(&engine), &loaded);
    build
        .file(engine)
        // Leaves out what a shared object exports.
        .define("OPENSSL_NO_DYNAMIC_ENGINE", None)
        .compile("dasync");
}

fn pausing() {
    let sources = ["c/device.c", "c/hooks.c", "c/pausing_provider.c"].map(PathBuf::from);
    let mut build = cc();
    build.std("gnu11").warnings(true).extra_warnings(true);
    shared_object("pausing", &sources, build.clone().flag("-pthread"));
    build
        .files(&sources)
        // The module's entry point; linked in, its name might clash with another provider's.
        .define("OSSL_provider_init", "pausing_provider_init")
        .compile("pausing_provider");
}

/// The target's compiler, looking into the linked OpenSSL's headers first.
fn cc() -> cc::Build {
    let mut build = cc::Build::new();
    build.pic(true);
    for dir in env::split_paths(&env::var_os("DEP_OPENSSL_INCLUDE").unwrap_or_default()) {
        build.include(dir);
    }
    build
}

/// Links `sources` into `OUT_DIR/<name>.so` and tells the crate where as `<NAME>_PATH`. The examples
/// can load it however they are linked to libcrypto.
fn shared_object(name: &str, sources: &[PathBuf], build: &cc::Build) {
    let out = Path::new(&env::var_os("OUT_DIR").expect("set by cargo")).join(format!("{name}.so"));
    let mut command = build.get_compiler().to_command();
    command.arg("-shared").arg("-o").arg(&out).args(sources);
    // Not with the sanitizer that Rust may be built with: its runtime is the test binary's.
    command.arg("-fno-sanitize=all");
    let status = command
        .status()
        .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(status.success(), "{command:?} failed: {status}");
    println!(
        "cargo:rustc-env={}_PATH={}",
        name.to_uppercase(),
        out.display()
    );
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        export_to(&out);
    }
}

/// Has the examples keep and export the symbols that the shared object leaves open.
fn export_to(shared_object: &Path) {
    let mut command = Command::new("nm");
    let output = command
        .args(["--dynamic", "--undefined-only"])
        .arg(shared_object)
        .output();
    let output = output.unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(output.status.success(), "{command:?} failed: {output:?}");
    println!("cargo:rustc-link-arg-examples=-Wl,--export-dynamic");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        // Those with a version are libc's; weak ones may stay open.
        if let Some(symbol) = line.trim().strip_prefix("U ").filter(|s| !s.contains('@')) {
            println!("cargo:rustc-link-arg-examples=-Wl,--undefined={symbol}");
        }
    }
}
