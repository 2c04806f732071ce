//! docs/VALIDATION.md against the specification's sections, the code's functions and the tests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|_| panic!("no {path}"))
}

/// The names of all test functions, and of the files in tests/.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut folders) = (BTreeSet::new(), vec![root.join("src"), root.join("tests")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.parent().unwrap().ends_with("tests") {
                found.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
            }
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                is_test |= line == "#[test]";
                if let Some(name) = line.strip_prefix("fn ").and_then(|line| line.split('(').next())
                    && is_test
                {
                    found.insert(name.to_owned());
                    is_test = false;
                }
            }
        }
    }
    found
}

/// The parts of a cell that stand between backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn sections_code_and_tests_exist() {
    let (table, protocol, tests) = (read("docs/VALIDATION.md"), read("docs/PROTOCOL.md"), tests());
    let sections: BTreeSet<String> = protocol
        .lines()
        .filter(|line| line.starts_with("##"))
        .filter_map(|line| line.trim_start_matches('#').trim_start().split(' ').next())
        .map(|word| word.trim_end_matches('.').to_owned())
        .collect();
    let mut named = BTreeSet::new();
    let mut count = 0;
    for line in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [section, check, code, shown] = cells[..] else { panic!("{line}") };
        for section in section.split(", ") {
            assert!(sections.contains(section), "section {section}: {check}");
            named.insert(section.split('.').next().unwrap().to_owned());
        }
        let [file, function] = quoted(code)[..] else { panic!("{line}") };
        let source = read(&format!("src/{file}"));
        assert!(
            ["(", "<"].iter().any(|next| source.contains(&format!("fn {function}{next}"))),
            "{file} has no {function}: {check}"
        );
        assert!(!quoted(shown).is_empty(), "{check}");
        for test in quoted(shown) {
            assert!(tests.contains(test), "no test {test}: {check}");
        }
        count += 1;
    }
    assert!(count > 45, "{count} checks");
    // Section 2 demands no check; every other one does.
    let expected = ["1", "10", "11", "3", "4", "5", "6", "7", "8", "9"].map(str::to_owned);
    assert_eq!(named, expected.into_iter().collect());
}

/// What README.md and SECURITY.md name as tests, examples and files is there.
#[test]
fn claims_point_at_something() {
    let tests = tests();
    for document in ["README.md", "SECURITY.md", "docs/SERVER_VIEW.md"] {
        let text = read(document);
        for name in quoted(&text) {
            let is_test = name.len() > 15
                && name.matches('_').count() >= 2
                && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if is_test && !name.starts_with("seal_") && !name.starts_with("one_time_") {
                assert!(tests.contains(name), "{document} names {name}");
            }
            if let Some(example) = name.strip_prefix("--example ") {
                let example = example.split(' ').next().unwrap();
                assert!(
                    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{example}.rs")).exists(),
                    "{name}"
                );
            }
        }
    }
}
