//! The build takes every OpenSSL from 1.1.0 on, and says what to do about anything else.

#[path = "../build/decision.rs"]
mod decision;

use decision::{decide, Metadata};

fn openssl(number: &str) -> Metadata {
    Metadata::from_vars(|key| match key {
        "DEP_OPENSSL_VERSION_NUMBER" => Some(number.to_owned()),
        "DEP_OPENSSL_INCLUDE" => Some("/opt/ssl/include".to_owned()),
        _ => None,
    })
}

fn cfgs(number: &str) -> Vec<String> {
    decide(&openssl(number), "linux").unwrap()
}

#[test]
fn each_version_brings_its_cfg_and_those_before_it() {
    assert_eq!(cfgs("1010009f"), ["ossl110"]);
    assert_eq!(cfgs("1010117f"), ["ossl110", "ossl111"]);
    assert_eq!(cfgs("30000130"), ["ossl110", "ossl111", "ossl300"]);
    assert_eq!(
        cfgs("30500050"),
        ["ossl110", "ossl111", "ossl300", "ossl310", "ossl320", "ossl330", "ossl340", "ossl350"]
    );
    assert_eq!(cfgs("30600030").last().unwrap(), "ossl360");
    assert_eq!(cfgs("40000030").last().unwrap(), "ossl400");
}

#[test]
fn the_first_of_a_line_has_its_cfg() {
    assert_eq!(cfgs("10100000"), ["ossl110"]);
    assert_eq!(cfgs("10101000").last().unwrap(), "ossl111");
    assert_eq!(cfgs("30000000").last().unwrap(), "ossl300");
    assert_eq!(cfgs("30200000").last().unwrap(), "ossl320");
    assert_eq!(cfgs("40000000").last().unwrap(), "ossl400");
}

#[test]
fn only_the_options_this_crate_knows_are_passed_on() {
    let mut found = openssl("1010117f");
    found.conf = Some("OPENSSL_NO_IDEA,OPENSSL_NO_ENGINE,OPENSSL_NO_ASYNC".to_owned());
    assert_eq!(
        decide(&found, "linux").unwrap()[2..],
        [
            "osslconf=\"OPENSSL_NO_ENGINE\"",
            "osslconf=\"OPENSSL_NO_ASYNC\""
        ]
    );
}

/// What was found, where, what is needed, how to point to another one: in one sentence.
fn assert_one_clear_sentence(found: &Metadata, what: &str) {
    let refusal = decide(found, "linux").unwrap_err();
    assert!(refusal.starts_with(what), "{refusal}");
    for needed in ["OpenSSL 1.1.0 or later", "OPENSSL_DIR", "vendored"] {
        assert!(refusal.contains(needed), "no {needed} in: {refusal}");
    }
    if let Some(include) = &found.include {
        assert!(refusal.contains(include.as_str()), "{refusal}");
    }
    assert!(
        refusal.ends_with('.') && !refusal.contains(". "),
        "{refusal}"
    );
    assert!(!refusal.contains('\n'), "{refusal}");
}

#[test]
fn libressl_boringssl_and_aws_lc_are_refused_by_name() {
    let libressl = Metadata {
        // LibreSSL also reports the OpenSSL version it imitates.
        libressl_version_number: Some("3090200f".to_owned()),
        ..openssl("20000000")
    };
    assert_one_clear_sentence(&libressl, "LibreSSL 3.9.2 was found");
    let boringssl = Metadata {
        boringssl: true,
        ..Metadata::default()
    };
    assert_one_clear_sentence(&boringssl, "BoringSSL was found");
    let awslc = Metadata {
        awslc: true,
        include: Some("/aws/include".to_owned()),
        ..Metadata::default()
    };
    assert_one_clear_sentence(&awslc, "AWS-LC was found");
}

#[test]
fn openssl_before_1_1_0_is_refused_with_its_version() {
    assert_one_clear_sentence(&openssl("1000215f"), "OpenSSL 1.0.2u was found");
}

#[test]
fn a_missing_or_unreadable_version_is_refused() {
    assert_one_clear_sentence(&Metadata::default(), "no OpenSSL version was reported");
    assert_one_clear_sentence(&openssl("three"), "openssl-sys reported an OpenSSL version");
}

#[test]
fn windows_is_refused_whatever_the_library() {
    let refusal = decide(&openssl("30500050"), "windows").unwrap_err();
    assert!(refusal.contains("Windows"), "{refusal}");
}
