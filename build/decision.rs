//! Which OpenSSL will do, and which cfgs it brings: a pure function of what openssl-sys found.
//!
//! `tests/build_decision.rs` tests this file.

/// The cfg of each OpenSSL release that this crate tells apart, and the lowest version number
/// (`OPENSSL_VERSION_NUMBER`, `0xMNNFFPPS`, as openssl-sys passes it on) that has it.
pub(crate) const VERSION_CFGS: &[(&str, u64)] = &[
    ("ossl110", 0x1010_0000),
    ("ossl111", 0x1010_1000),
    ("ossl300", 0x3000_0000),
    ("ossl310", 0x3010_0000),
    ("ossl320", 0x3020_0000),
    ("ossl330", 0x3030_0000),
    ("ossl340", 0x3040_0000),
    ("ossl350", 0x3050_0000),
    ("ossl360", 0x3060_0000),
    ("ossl400", 0x4000_0000),
];

/// The `no-...` options of an OpenSSL build that this crate tells apart.
const CONF_CFGS: &[&str] = &["OPENSSL_NO_ASYNC", "OPENSSL_NO_ENGINE"];

const WAY_OUT: &str = "openssl-async-jobs needs OpenSSL 1.1.0 or later: install its development \
                       package (Debian and Ubuntu: libssl-dev), point OPENSSL_DIR at another \
                       installation of it, or build it from source with the feature `vendored`";

/// What openssl-sys says about the library that it found: its `DEP_OPENSSL_*` variables.
#[derive(Default)]
pub(crate) struct Metadata {
    pub(crate) version_number: Option<String>,
    pub(crate) libressl_version_number: Option<String>,
    pub(crate) boringssl: bool,
    pub(crate) awslc: bool,
    pub(crate) include: Option<String>,
    pub(crate) conf: Option<String>,
}

impl Metadata {
    pub(crate) fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        Metadata {
            version_number: var("DEP_OPENSSL_VERSION_NUMBER"),
            libressl_version_number: var("DEP_OPENSSL_LIBRESSL_VERSION_NUMBER"),
            boringssl: var("DEP_OPENSSL_BORINGSSL").is_some(),
            awslc: var("DEP_OPENSSL_AWSLC").is_some(),
            include: var("DEP_OPENSSL_INCLUDE"),
            conf: var("DEP_OPENSSL_CONF"),
        }
    }

    fn place(&self) -> String {
        match &self.include {
            Some(dir) => format!("(headers in {dir})"),
            None => "(openssl-sys names no header directory)".to_owned(),
        }
    }
}

/// The cfgs to set, or one sentence that says what was found, where, what is needed, and how to
/// point to another one.
pub(crate) fn decide(found: &Metadata, target_os: &str) -> Result<Vec<String>, String> {
    let place = found.place();
    let refuse = |what: String| Err(format!("{what} {place}; {WAY_OUT}."));

    if target_os == "windows" {
        return Err(
            "openssl-async-jobs is not built for Windows yet, where OpenSSL's asynchronous jobs \
             wait on HANDLEs instead of file descriptors: build for a Unix target."
                .to_owned(),
        );
    }
    if found.awslc {
        return refuse("AWS-LC was found, which has no asynchronous jobs".to_owned());
    }
    if found.boringssl {
        return refuse("BoringSSL was found, which has no asynchronous jobs".to_owned());
    }
    if let Some(number) = &found.libressl_version_number {
        let version = parse(number).map_or_else(
            || format!("(version number {number})"),
            // 0xMNNFFPPS, of which LibreSSL uses MNNFF.
            |n| format!("{}.{}.{}", n >> 28, n >> 20 & 0xff, n >> 12 & 0xff),
        );
        return refuse(format!(
            "LibreSSL {version} was found, which has no asynchronous jobs"
        ));
    }
    let Some(number) = &found.version_number else {
        return refuse("no OpenSSL version was reported by openssl-sys".to_owned());
    };
    let Some(version) = parse(number) else {
        return refuse(format!(
            "openssl-sys reported an OpenSSL version number that is not hexadecimal, {number:?}"
        ));
    };
    if version < VERSION_CFGS[0].1 {
        return refuse(format!(
            "OpenSSL {} was found, which is older than asynchronous jobs",
            display(version)
        ));
    }

    let versions = VERSION_CFGS
        .iter()
        .filter(|(_, least)| version >= *least)
        .map(|(cfg, _)| (*cfg).to_owned());
    let confs = found
        .conf
        .iter()
        .flat_map(|list| list.split(','))
        .filter(|name| CONF_CFGS.contains(name))
        .map(|name| format!("osslconf=\"{name}\""));
    Ok(versions.chain(confs).collect())
}

fn parse(number: &str) -> Option<u64> {
    u64::from_str_radix(number, 16).ok()
}

fn display(version: u64) -> String {
    let (major, minor, fix) = (version >> 28, version >> 20 & 0xff, version >> 12 & 0xff);
    let patch = (version >> 4 & 0xff) as u8;
    let letter = match patch {
        0 => String::new(),
        1..=26 => char::from(b'a' + patch - 1).to_string(),
        _ => format!(" patch {patch}"),
    };
    format!("{major}.{minor}.{fix}{letter}")
}
