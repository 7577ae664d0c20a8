//! Finds out which OpenSSL openssl-sys chose, and tells the crate by cfgs.

mod decision;

use std::env;
use std::process::exit;

use decision::{decide, Metadata};

fn main() {
    println!("cargo:rerun-if-changed=build");
    println!(
        "cargo:rustc-check-cfg=cfg(osslconf, values(\"OPENSSL_NO_ASYNC\", \"OPENSSL_NO_ENGINE\"))"
    );
    for (cfg, _) in decision::VERSION_CFGS {
        println!("cargo:rustc-check-cfg=cfg({cfg})");
    }

    let target_os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let metadata = Metadata::from_vars(|key| env::var(key).ok());
    match decide(&metadata, &target_os) {
        Ok(cfgs) => {
            for cfg in cfgs {
                println!("cargo:rustc-cfg={cfg}");
            }
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            exit(1);
        }
    }
}
