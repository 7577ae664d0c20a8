//! `https_client` and the server.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::site::{Site, NAME};
use crate::common::child::told;
use crate::common::example::{program, run};

fn client(site: &Site, pins: &Path, more: &[&str]) -> Output {
    run(Command::new(program("https_client"))
        .arg("--pins")
        .arg(pins)
        .arg("--cacert")
        .arg(site.authority())
        .args(["--connect", &format!("127.0.0.1:{}", site.port())])
        .args(more))
}

#[test]
fn a_pinned_key_is_accepted_and_another_one_refused_with_a_sentence() {
    let site = Site::start(&["--lookup-ms", "5"]);
    let pins = site.certificates.path("pins");
    fs::write(&pins, "# nobody yet\n").unwrap();
    let url = format!("https://{NAME}/from-the-client?q");

    let refused = client(&site, &pins, &[&url]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    let sentence = format!("https_client: the key of {NAME} is not pinned.");
    assert!(told(&refused).contains(&sentence), "{}", told(&refused));

    // The line that it has named.
    let text = String::from_utf8(refused.stderr).unwrap();
    let line = text.lines().find(|line| line.starts_with(NAME)).unwrap();
    fs::write(&pins, format!("{line} # for the test\n")).unwrap();
    for (more, protocol) in [(&[][..], "HTTP/2.0"), (&["--http1.1"], "HTTP/1.1")] {
        let got = client(&site, &pins, &[more, &[&*url]].concat());
        assert!(got.status.success(), "{}", told(&got));
        let body = String::from_utf8(got.stdout).unwrap();
        let expected = format!("path: /from-the-client\nserver name: {NAME}\n");
        assert!(body.starts_with(&expected), "{body}");
        assert!(body.contains(&format!("protocol: {protocol}\n")), "{body}");
    }

    // It is the pin of that host, and no other one's.
    let refused = client(&site, &pins, &["https://localhost/"]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("the key of localhost is not pinned."));
    fs::write(&pins, line.replace(NAME, "localhost")).unwrap();
    let refused = client(&site, &pins, &[&url]);
    assert!(told(&refused).contains(&sentence), "{}", told(&refused));
}

#[test]
fn what_cannot_be_asked_is_an_error_in_a_sentence() {
    let site = Site::start(&["--lookup-ms", "0"]);
    let missing = site.certificates.path("missing");
    let url = format!("https://{NAME}/");
    let no_store = client(&site, &missing, &[&url]);
    assert_eq!(no_store.status.code(), Some(1), "{}", told(&no_store));
    assert!(told(&no_store).contains("https_client: cannot read "));
    for (wrong, sentence) in [
        ("http://name.example/", "is no https://HOST/ URL"),
        ("--lookup-ms=never", "--lookup-ms needs a number"),
        ("--what", "there is no option --what"),
    ] {
        let output = client(
            &site,
            &missing,
            &[wrong, &url][..1 + usize::from(wrong.starts_with('-'))],
        );
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(told(&output).contains(sentence), "{}", told(&output));
    }

    let server = |more: &[&str]| run(Command::new(program("https_server")).args(more));
    let taken = server(&["--port", &site.port().to_string()]);
    assert_eq!(taken.status.code(), Some(1), "{}", told(&taken));
    assert!(told(&taken).contains("https_server: cannot listen on 127.0.0.1:"));
    for wrong in [
        &["--port", "65536"][..],
        &["--sync", "--max-jobs=1"],
        &["x"],
    ] {
        let output = server(wrong);
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(told(&output).contains("--help explains"));
    }
}
