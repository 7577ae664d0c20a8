//! The directory of the certificates: the user's, or one for this run only.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::certificates::{ec_key, make, path, AUTHORITY};
use crate::Result;

const NAMES: [&str; 2] = ["localhost", "name.example"];

pub struct Directory {
    path: PathBuf,
    /// Removed with this value.
    temporary: bool,
    /// One of the names for which there is a certificate.
    name: String,
}

impl Directory {
    /// Makes certificates if there is nothing in it yet.
    pub fn open(users: Option<&Path>) -> Result<Directory> {
        let here = std::env::temp_dir().join(format!("https-server-{}", std::process::id()));
        let mut directory = Directory {
            path: users.unwrap_or(&here).to_owned(),
            temporary: false,
            name: NAMES[0].to_owned(),
        };
        let why = |e: &dyn std::fmt::Display| format!("{}: {e}", directory.path.display());
        // There are keys in it.
        let made = fs::DirBuilder::new().mode(0o700).create(&directory.path);
        match made {
            Ok(()) => {}
            Err(e) if users.is_some() && e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(why(&e).into()),
        }
        let mut names = names(&directory.path).map_err(|e| why(&e))?;
        directory.temporary = users.is_none();
        if names.is_empty() {
            names = NAMES.map(str::to_owned).to_vec();
            make(&directory.path, &names, ec_key)?;
        }
        names.sort();
        if !names.contains(&directory.name) {
            directory.name = names.swap_remove(0);
        }
        Ok(directory)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What curl is told so that it trusts these certificates.
    pub fn curl_trust(&self) -> String {
        let authority = path(&self.path, AUTHORITY);
        match authority.exists() {
            true => format!("--cacert {} ", authority.display()),
            // The system's authorities may do.
            false => String::new(),
        }
    }
}

/// For which there are files. If there are other files, it is not empty, and of no use.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut others = false;
    for entry in fs::read_dir(dir)? {
        let file = entry?.file_name();
        match file.to_str().and_then(|file| file.strip_suffix(".pem")) {
            Some(AUTHORITY) | None => others = true,
            Some(name) => names.push(name.to_owned()),
        }
    }
    match others && names.is_empty() {
        true => Err(io::Error::other(
            "there is no NAME.pem in it, but other files",
        )),
        false => Ok(names),
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.temporary {
            return;
        }
        if let Err(e) = fs::remove_dir_all(&self.path) {
            eprintln!("{} stays: {e}", self.path.display());
        }
    }
}
