//! The provider as a loadable module, in a library context of its own; its teardown.
#![cfg(ossl300)]

use openssl::lib_ctx::LibCtx;
use openssl::md::Md;
use openssl::provider::Provider;
use testing::provider;

#[test]
fn loads_and_unloads_as_a_module() {
    let Some(module) = provider::module_path() else {
        eprintln!("OpenSSL is linked statically and loads no modules");
        return;
    };
    let dir = module.parent().expect("a directory");
    for _ in 0..3 {
        let context = LibCtx::new().expect("a library context");
        Provider::set_default_search_path(Some(&context), dir.to_str().expect("UTF-8"))
            .expect("a search path");
        let loaded = Provider::load(Some(&context), "pausing").expect("the module loads");
        Md::fetch(Some(&context), "SHA2-256", None).expect("what the default provider has");
        // Both go here, and with them the provider is torn down.
        drop(loaded);
    }
}

#[test]
fn loads_and_unloads_in_the_process() {
    for _ in 0..3 {
        let context = LibCtx::new().expect("a library context");
        let loaded = provider::load_into(Some(&context));
        Md::fetch(Some(&context), "SHA2-256", None).expect("what the default provider has");
        drop(loaded);
    }
}
