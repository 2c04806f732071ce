//! Writes the test vectors: `cargo run --release --example vectors`. With `-- --check` it makes them again and compares.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            eprintln!("unknown option {other}");
            return ExitCode::from(2);
        }
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("test-vectors");
    let files = sceau::vectors::files();
    let mut differ: Vec<&str> = Vec::new();
    for file in &files {
        let (path, text) = (folder.join(file.name).with_extension("json"), format!("{}\n", file.value));
        if check {
            if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
                differ.push(file.name);
            }
        } else if let Err(error) = std::fs::write(&path, text) {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    println!("files={} differ={} {}", files.len(), differ.len(), differ.join(" "));
    if differ.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
