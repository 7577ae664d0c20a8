//! Finds the headers of the OpenSSL linked, and has `ffi.rs` compared with them.

#[path = "../../build/decision.rs"]
mod decision;
mod redeclare;

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::exit;

use ctest::TestGenerator;
use decision::{decide, Metadata};
use quote::ToTokens;

const FFI: &str = "../src/ffi.rs";
const HEADERS: &[&str] = &["openssl/async.h", "openssl/ssl.h"];
/// The type aliases that only Rust has.
const WITHOUT_C_NAME: &[&str] = &["ASYNC_WAIT_CTX_cleanup_fn"];

fn main() {
    if let Err(reason) = run() {
        eprintln!("error: {reason}");
        exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    for path in ["build", "../build/decision.rs", FFI] {
        println!("cargo:rerun-if-changed={path}");
    }

    let target_os = env::var("CARGO_CFG_TARGET_OS")?;
    let found = Metadata::from_vars(|key| env::var(key).ok());
    let cfgs: Vec<(String, Option<String>)> = decide(&found, &target_os)?
        .iter()
        .map(|cfg| match cfg.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.trim_matches('"').to_owned())),
            None => (cfg.clone(), None),
        })
        .collect();
    let include = found
        .include
        .ok_or("openssl-sys names no header directory")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut source = syn::parse_file(&fs::read_to_string(FFI)?)?;
    let imports = redeclare::Imports::replace_in(&mut source)?;
    let ffi = out.join("ffi.rs");
    fs::write(&ffi, source.to_token_stream().to_string())?;

    // First, since its messages say most.
    let expanded = syn::parse_file(&ctest::expand(&ffi, &cfgs, env::var("TARGET")?)?)?;
    let items = redeclare::Items::new(expanded, imports)?;
    let c_file = out.join("redeclare.c");
    fs::write(&c_file, items.to_c(HEADERS, WITHOUT_C_NAME)?)?;
    compiler(&include)
        .file(&c_file)
        // A deprecated function is declared all the same.
        .flag("-Wno-deprecated-declarations")
        .try_compile("redeclare")?;

    fs::write(out.join("items.txt"), items.names().join("\n"))?;
    let c_file = out.join("headers.c");
    fs::write(&c_file, redeclare::include_lines(HEADERS))?;
    // -dD keeps the macro definitions.
    let expanded = compiler(&include).file(&c_file).flag("-dD").try_expand()?;
    fs::write(out.join("headers.i"), expanded)?;

    let mut values = TestGenerator::new();
    values
        .include(&include)
        .skip_alias(|alias| WITHOUT_C_NAME.contains(&alias.ident()));
    for header in HEADERS {
        values.header(header);
    }
    for (key, value) in &cfgs {
        values.cfg(key, value.as_deref());
    }
    ctest::generate_test(&mut values, &ffi, "values.rs")?;
    Ok(())
}

fn compiler(include: &str) -> cc::Build {
    let mut build = cc::Build::new();
    build.include(include);
    build
}
