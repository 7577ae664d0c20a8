//! What the programs take as files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::tls::Identity;

/// A directory that goes when this does.
pub struct Files(PathBuf);

impl Files {
    /// An empty one.
    #[allow(clippy::new_without_default)] // It makes a directory.
    pub fn new() -> Files {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("openssl-async-jobs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a directory");
        Files(path)
    }

    /// Where a file of this name is, or may be.
    pub fn path(&self, name: &str) -> String {
        let path = self.0.join(name);
        path.to_str().expect("the names are ASCII").to_owned()
    }

    /// A file with these bytes, and where it is.
    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.0.join(name), bytes).expect("written");
        self.path(name)
    }

    /// What a program has written.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// A program's input from a file.
    pub fn as_stdin(path: impl AsRef<Path>) -> Stdio {
        File::open(path).expect("it is there").into()
    }

    /// A certificate and its key, as PEM: where they are.
    pub fn identity(&self, name: &str, identity: &Identity) -> (String, String) {
        let certificate = identity.certificate.to_pem().expect("PEM");
        let key = identity.key.private_key_to_pem_pkcs8().expect("PEM");
        (
            self.write(&format!("{name}.crt"), &certificate),
            self.write(&format!("{name}.key"), &key),
        )
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What is left is in the directory for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes to send.
pub fn random_bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    openssl::rand::rand_bytes(&mut bytes).expect("random");
    bytes
}

/// To compare bytes that are too many to show.
pub fn sha256(bytes: &[u8]) -> String {
    let hash = openssl::sha::sha256(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
