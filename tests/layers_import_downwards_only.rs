//! The architecture's table, held by reading the imports: a module uses only modules below it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by layer; those on one line don't import each other.
const LAYERS: &[&[&str]] = &[
    &["labels", "limits"],
    &["error"],
    &["secret"],
    &["codec", "crypto", "text"],
    &["keys", "padding", "state"],
    &["wire"],
    &["identity"],
    &["attachment", "certificate", "log", "login", "message", "ratchet", "vault", "verification"],
    &["prekey"],
    &["handshake"],
    &["session", "group"],
    &["device"],
    &["store"],
    &["vectors"],
];

/// Errors name peers; nothing else looks upwards.
const EXCEPTIONS: &[(&str, &str)] = &[("error", "keys"), ("error", "wire")];

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|modules| modules.contains(&module)).unwrap_or_else(|| panic!("{module} has no layer"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The product code of a file: what stands before its tests.
fn product(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod tests").next().unwrap().split("#[cfg(test)]\npub(crate) mod").next().unwrap().into()
}

fn product_files() -> Vec<(String, PathBuf)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files
        .into_iter()
        .filter(|path| {
            let path = path.strip_prefix(&src).unwrap();
            !path.ends_with("lib.rs")
                && !path.ends_with("tests.rs")
                && !path.ends_with("testing.rs")
                && !path.ends_with("wycheproof.rs")
                && !path.components().any(|part| part.as_os_str() == "tests")
        })
        // What is written down for test vectors, of whatever layer.
        .filter(|path| !path.ends_with("trace.rs"))
        .map(|path| {
            let first = path.strip_prefix(&src).unwrap().components().next().unwrap().as_os_str().to_owned();
            (first.to_str().unwrap().trim_end_matches(".rs").to_owned(), path)
        })
        .collect()
}

#[test]
fn every_import() {
    let mut checked = 0;
    for (module, path) in product_files() {
        for line in product(&path).lines().filter(|line| !line.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if used.is_empty() || used == module || EXCEPTIONS.contains(&(module.as_str(), used.as_str())) {
                    continue;
                }
                checked += 1;
                assert!(layer(&used) < layer(&module), "{module} uses {used}, in {}: {line}", path.display());
            }
        }
    }
    assert!(checked > 100, "only {checked} imports were found");
}

#[test]
fn primitive_crates_are_named_in_crypto_only() {
    let primitives = [
        "x25519_dalek",
        "ed25519_dalek",
        "curve25519_dalek",
        "libcrux",
        "chacha20poly1305",
        "aead_stream",
        "hkdf",
        "hmac::",
        "sha2",
    ];
    for (module, path) in product_files() {
        let text = product(&path);
        for primitive in primitives {
            assert!(module == "crypto" || !text.contains(primitive), "{primitive} in {}", path.display());
        }
        for wiping in ["zeroize::", "subtle::"] {
            let allowed = module == "crypto" || module == "secret";
            assert!(allowed || !text.contains(wiping), "{wiping} in {}", path.display());
        }
    }
}

#[test]
fn files_stay_readable() {
    for (_, path) in product_files() {
        let lines = product(&path).lines().count();
        assert!(lines <= 450, "{} has {lines} lines of product code", path.display());
    }
}
