//! What the certificate store has is what handshakes see.

use std::fs;

use openssl::x509::X509;

use super::site::{Site, NAME};
use crate::common::child::told;
use crate::common::tls::new_identity;

/// The certificate that a handshake is shown.
fn shown(site: &Site) -> X509 {
    site.connect().ssl().peer_certificate().unwrap()
}

fn change(site: &Site, contents: &[u8]) {
    let new = site.certificates.path("new");
    fs::write(&new, contents).unwrap();
    fs::rename(new, site.certificates.path(format!("{NAME}.pem"))).unwrap();
}

#[test]
fn a_certificate_that_changes_is_seen_by_the_next_handshake() {
    for way in [&["--lookup-ms=1"][..], &["--lookup-ms=1", "--sync"]] {
        let mut site = Site::start(way);
        let before = shown(&site);
        assert!(shown(&site) == before);

        let (cert, key) = new_identity();
        let pem = [
            cert.to_pem().unwrap(),
            key.private_key_to_pem_pkcs8().unwrap(),
        ]
        .concat();
        change(&site, &pem);
        site.server.wait_for(&format!("{NAME}.pem has changed"), 1);
        assert!(shown(&site) == cert);

        // As if it were half written. Its change is seen before any other one of the file.
        change(&site, &pem[..pem.len() / 2]);
        site.server.wait_for(&format!("{NAME}.pem has changed"), 3);
        assert!(shown(&site) == cert);
        site.server.wait_for("the former one stays", 1);

        fs::remove_file(site.certificates.path(format!("{NAME}.pem"))).unwrap();
        site.server.wait_for(&format!("{NAME}.pem has changed"), 5);
        let refused = site.try_curl(&[&format!("https://{NAME}/")]);
        assert!(
            told(&refused).contains("unrecognized name"),
            "{}",
            told(&refused)
        );
    }
}

#[test]
fn a_name_leads_to_no_other_file() {
    let site = Site::start(&["--lookup-ms=0"]);
    for name in ["authority", "unknown.example"] {
        let refused = site.try_curl(&[&format!("https://{name}/")]);
        assert!(
            told(&refused).contains("unrecognized name"),
            "{}",
            told(&refused)
        );
    }
    let well = site.curl(&[&format!("https://{NAME}/well")]);
    assert!(well.starts_with("path: /well\n"), "{well}");
}
